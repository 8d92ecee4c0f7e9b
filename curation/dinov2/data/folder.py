"""A folder of image files, however deep."""

from collections import Counter
from collections.abc import Iterable

from curation.errors import DatasetError
from curation.formats.row import ListedRow
from curation.formats.tars import IMAGE_ENDINGS
from curation.run.store import filesystem

__all__ = ["FolderSource", "is_image_name"]


def is_image_name(name: str) -> bool:
    """Whether a file's ending is that of an image, in any case."""
    return "." in name and name.rpartition(".")[2].lower() in IMAGE_ENDINGS


class FolderSource:
    """The images of a listed folder as one unit.

    Attributes:
        passed_over: files that are no images by their ending, as one may tell the user; empty where there are none.
    """

    def __init__(self, rows: Iterable[ListedRow]) -> None:
        self.files: list[str] = []
        self.known: list[tuple[str, int | None]] = []
        """Name within the folder and length of each image."""
        others: Counter[str] = Counter()
        for row in rows:
            assert row.tar is not None
            if is_image_name(row.key):
                self.files.append(row.tar)
                self.known.append((row.key, row.length))
            else:
                leaf = row.key.rpartition("/")[2]
                others["." + leaf.rpartition(".")[2].lower() if "." in leaf else "without an ending"] += 1
        self.sizes = [len(self.files)]
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in others.most_common(3))
        self.passed_over = f"{others.total():,} files passed over as no images ({kinds})" if others else ""

    def read(self, unit: int, index: int) -> bytes:
        """Bytes of image `index`; DatasetError where the file is gone or cannot be read."""
        fs, path = filesystem(self.files[index])
        try:
            return bytes(fs.cat_file(path))
        except OSError as error:
            raise DatasetError(f"{self.files[index]}: cannot be read: {error}") from error

    def name(self, unit: int, index: int) -> str:
        """The file."""
        return self.files[index]
