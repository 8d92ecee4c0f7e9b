"""The files of a dataset, and what each is called in its clean copy."""

from collections.abc import Sequence
from dataclasses import dataclass

from curation.errors import DatasetError
from curation.formats.dataset import Kind, dataset_files, detect
from curation.run.store import filesystem, is_url

__all__ = ["Source", "checked_name", "open_source"]


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that is to be written again.

    Attributes:
        files: its shards or Parquet files, in order, as the column `tar` of stage `list` has them; its one folder.
        names: the path of each file within the clean dataset: what lies below the folder that all files share.
    """

    data: str
    kind: Kind
    files: tuple[str, ...]
    names: tuple[str, ...]


def open_source(data: str) -> Source:
    """Look at a dataset.

    Raises:
        DatasetError: it is not there, or holds URLs rather than images.
    """
    kind = detect(data)
    if kind.has_urls:
        raise DatasetError(
            f"{data}: is {kind.value}; name a folder of images, WebDataset tars or Parquet files with images"
        )
    files = tuple(file if is_url(file) else filesystem(file)[1] for file in dataset_files(data))
    if twice := sorted({file for file in files if files.count(file) > 1}):
        raise DatasetError(f"{twice[0]}: is named twice by {data}; name each file once")
    return Source(data, kind, files, ("",) if kind is Kind.FOLDER else _below_shared_folder(files))


def _below_shared_folder(files: Sequence[str]) -> tuple[str, ...]:
    folders = [file.split("/")[:-1] for file in files]
    shared = next(
        (at for at, parts in enumerate(zip(*folders, strict=False)) if len(set(parts)) > 1), min(map(len, folders))
    )
    return tuple(checked_name("/".join(file.split("/")[shared:])) for file in files)


def checked_name(name: str) -> str:
    """A relative path that stays below the folder it is joined to; an object store may hold names that do not.

    Raises:
        DatasetError: it does not.
    """
    if any(part in ("", ".", "..") for part in name.split("/")) or "\0" in name:
        raise DatasetError(f"{name!r}: is no path that can be written below a folder; rename or leave out this file")
    return name
