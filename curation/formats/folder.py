"""A folder of images: sub-folders are labels, bytes stay where they are."""

from collections.abc import Iterator

from curation.errors import DatasetError
from curation.formats.row import ListedRow
from curation.run.store import filesystem

__all__ = ["list_folder"]


def list_folder(path: str, source: str) -> Iterator[ListedRow]:
    """List every file below a folder, sorted by path; hidden files and folders are passed over.

    A file that is no image is listed too: it ends as a drop with its reason, not as something silently missing.
    """
    fs, inner = filesystem(path)
    try:
        result = fs.find(inner, detail=True)
    except OSError as error:
        raise DatasetError(f"{path}: cannot be listed ({error.strerror or error}); check its permissions") from error
    for name, entry in sorted(result.items()):
        relative = name[len(inner.rstrip("/")) + 1 :]
        if any(part.startswith(".") for part in relative.split("/")) or entry.get("type") != "file":
            continue
        folder, _, _ = relative.rpartition("/")
        yield ListedRow(
            key=relative,
            source=source,
            label=folder or None,
            path=relative,
            tar=name if fs.protocol in ("file", ("file", "local")) else fs.unstrip_protocol(name),
            offset=0,
            length=int(entry["size"]),
        )
