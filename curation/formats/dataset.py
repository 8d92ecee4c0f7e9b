"""Tells kinds of datasets apart by what they are, and lists them.

A dataset is a folder of images, WebDataset tars, Parquet files with images or URLs, text files of URLs, or crawl files
(WARC, ARC, WAT, or lists of them as `warc.paths.gz`). Kinds with bytes are listed here as rows; kinds with URLs are
split into files that are read later, each as one unit of work.
"""

import glob
import os
from collections.abc import Iterator
from enum import Enum

import braceexpand

from curation.errors import DatasetError
from curation.formats import folder, parquet, tars
from curation.formats.fingerprints import is_fingerprints
from curation.formats.row import ListedRow
from curation.formats.warc.path_lists import is_path_list, read_path_list
from curation.run.store import filesystem, is_url, reaching

__all__ = ["Kind", "dataset_files", "detect", "link_files", "list_rows", "resolve"]

CRAWL_ENDINGS = (".warc", ".warc.gz", ".arc", ".arc.gz", ".wat", ".wat.gz", ".warc.wat", ".warc.wat.gz")
TEXT_ENDINGS = (".txt", ".txt.gz", ".urls")


class Kind(Enum):
    """What a dataset argument can be."""

    FOLDER = "a folder of images"
    TARS = "WebDataset tars"
    PARQUET_IMAGES = "Parquet files with images"
    PARQUET_URLS = "Parquet files with URLs"
    TEXT = "text files of URLs"
    CRAWL = "crawl files"

    @property
    def has_urls(self) -> bool:
        """Whether the rows are URLs that are to be fetched, rather than bytes at hand."""
        return self in (Kind.PARQUET_URLS, Kind.TEXT, Kind.CRAWL)


def detect(data: str) -> Kind:
    """Say what a dataset is.

    Raises:
        DatasetError: nothing is there, or it is of no known kind.
    """
    return resolve(data)[0]


def dataset_files(data: str) -> list[str]:
    """The shards or Parquet files of a dataset, in order, or its one folder; DatasetError as `detect`."""
    return resolve(data)[1]


def list_rows(data: str) -> Iterator[ListedRow]:
    """List the images of a dataset whose bytes are at hand, in a fixed order."""
    kind, files = resolve(data)
    assert not kind.has_urls, f"{data} has URLs; use link_files"
    if kind is Kind.FOLDER:
        return folder.list_folder(files[0], data)
    return (tars.list_tar if kind is Kind.TARS else parquet.list_images)(files, data)


def link_files(data: str) -> list[str]:
    """The files of a dataset of URLs, in order: each is read by itself, as one part.

    A list such as Common Crawl's `warc.paths.gz` stands for the files that it names.
    """
    kind, files = resolve(data)
    assert kind.has_urls, f"{data} has its bytes at hand; use list_rows"
    return [part for file in files for part in (read_path_list(file) if is_path_list(file) else [file])]


def resolve(data: str, column: str | None = None) -> tuple[Kind, list[str]]:
    """What a dataset is, and its files in order, or its one folder; DatasetError as `detect`.

    Args:
        column: of Parquet files, the column that holds the images, where it has no usual name.
    """
    files = _files(data)
    if len(files) == 1 and _is_folder(files[0]):
        return _resolve_folder(files[0], column)
    return _kind_of(data, files, column), files


def _resolve_folder(path: str, column: str | None) -> tuple[Kind, list[str]]:
    """A folder that holds tars, Parquet or crawl files, and nothing else but hidden files, stands for those."""
    fs, inner = filesystem(path)
    entries = [entry for entry in fs.ls(inner, detail=True) if not _leaf(entry["name"]).startswith(".")]
    names = sorted(_leaf(entry["name"]) for entry in entries)
    if names and all(entry["type"] == "file" for entry in entries):
        for endings in ((".tar",), (".parquet",), CRAWL_ENDINGS):
            chosen = [name for name in names if name.endswith(endings)]
            others = [name for name in names if name not in chosen and not name.endswith((".json", ".parquet"))]
            if chosen and not others:
                files = [f"{path.rstrip('/')}/{name}" for name in chosen]
                return _kind_of(path, files, column), files
    return Kind.FOLDER, [path]


def _kind_of(data: str, files: list[str], column: str | None) -> Kind:
    if all(is_path_list(file) for file in files):
        return Kind.CRAWL
    for endings, kind in ((".tar", Kind.TARS), (CRAWL_ENDINGS, Kind.CRAWL), (TEXT_ENDINGS, Kind.TEXT)):
        if all(file.endswith(endings) for file in files):
            return kind
    if is_fingerprints(files[0]):
        raise DatasetError(
            f"{data}: is a file of fingerprints, which hold no images; give it to lvd decontaminate as --against"
        )
    if all(file.endswith(".parquet") for file in files):
        return Kind.PARQUET_URLS if parquet.image_column(files[0], column) is None else Kind.PARQUET_IMAGES
    raise DatasetError(
        f"{data}: is no dataset that lvd knows; it should be a folder of images, .tar shards, .parquet files with an "
        "image or url column, .txt files of URLs, or .warc, .arc or .wat files"
    )


def _files(data: str) -> list[str]:
    """Expand braces and wildcards into files that exist."""
    files: list[str] = []
    for pattern in braceexpand.braceexpand(data):
        if is_url(pattern):
            with reaching(pattern):
                fs, inner = filesystem(pattern)
                result = sorted(fs.unstrip_protocol(name) for name in fs.glob(inner)) if "*" in inner else [pattern]
                missing = not result or ("*" not in inner and not fs.exists(inner))
            files += result
        else:
            result = sorted(glob.glob(pattern)) if any(char in pattern for char in "*?[") else [pattern]
            files += [os.path.abspath(file) for file in result]
            missing = not all(os.path.exists(file) for file in result) or not result
        if missing:
            raise DatasetError(f"{pattern}: does not exist; check the path of the dataset")
    return files


def _is_folder(path: str) -> bool:
    with reaching(path):
        fs, inner = filesystem(path)
        return bool(fs.isdir(inner))


def _leaf(path: str) -> str:
    return path.rstrip("/").rsplit("/", 1)[-1]
