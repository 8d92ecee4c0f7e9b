"""Lists of crawl files, as Common Crawl publishes them: `warc.paths.gz`, `wat.paths.gz`."""

import gzip

import fsspec

from curation.errors import DatasetError, cause_of

__all__ = ["is_path_list", "read_path_list"]

COMMON_CRAWL = "https://data.commoncrawl.org/"
"""Where paths that start with `crawl-data/` lie, unless the list lies beside that folder itself."""


def is_path_list(path: str) -> bool:
    """Whether a file, by its name, lists crawl files rather than being one."""
    return path.endswith((".paths", ".paths.gz"))


def read_path_list(path: str, root: str | None = None) -> list[str]:
    """The crawl files that a list names, in its order, each once.

    Args:
        root: what paths in the list are relative to; by default Common Crawl's server for paths that start with
            `crawl-data/`, and the list's own folder for others.

    Raises:
        DatasetError: the list cannot be read, or names nothing.
    """
    try:
        with fsspec.open(path, "rb") as stream:
            content: bytes = stream.read()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        lines = content.decode("utf-8").split("\n")
    except Exception as error:  # every fsspec backend has its own kinds
        reason = cause_of(error)
        raise DatasetError(f"{path}: the list of crawl files cannot be read ({reason}); check the path") from error
    names = [name for line in lines if (name := line.strip()) and not name.startswith("#")]
    if not names:
        raise DatasetError(f"{path}: names no crawl file; give a list with one path per line")
    return list(dict.fromkeys(_located(name, path, root) for name in names))


def _located(name: str, path: str, root: str | None) -> str:
    if "://" in name or name.startswith("/"):
        return name
    if root is None:
        folder, slash, _ = path.rpartition("/")
        root = COMMON_CRAWL if name.startswith("crawl-data/") else folder + slash
    return f"{root.rstrip('/')}/{name}" if root else name
