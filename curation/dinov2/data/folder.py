"""A folder of image files, however deep."""

from collections.abc import Sequence

import fsspec

from curation.errors import DatasetError

__all__ = ["EXTENSIONS", "FolderSource", "find_images"]

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")


def find_images(path: str) -> list[str]:
    """Paths of all images below `path`, sorted."""
    files, root = fsspec.core.url_to_fs(path)
    return sorted(name for name in files.find(root) if name.lower().endswith(EXTENSIONS))


class FolderSource:
    """All images of a folder as one unit."""

    def __init__(self, path: str, images: Sequence[str]) -> None:
        self.path = path
        self.images = images
        self.sizes = [len(images)]

    def read(self, unit: int, index: int) -> bytes:
        """Bytes of image `index`.

        Raises:
            DatasetError: the file is gone or cannot be read.
        """
        files, _ = fsspec.core.url_to_fs(self.path)
        try:
            content: bytes = files.cat_file(self.images[index])
        except OSError as error:
            raise DatasetError(f"{self.images[index]}: cannot be read: {error}") from error
        return content
