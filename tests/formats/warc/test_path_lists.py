"""Lists of crawl files lead to the files."""

import gzip
from pathlib import Path

import pytest

from curation.errors import DatasetError
from curation.formats.warc.path_lists import is_path_list, read_path_list

NAME = "crawl-data/CC-MAIN-2024-22/segments/1/warc/one.warc.gz"


@pytest.mark.parametrize(
    ("line", "root", "expected"),
    [
        (NAME, None, f"https://data.commoncrawl.org/{NAME}"),
        (NAME, "s3://commoncrawl", f"s3://commoncrawl/{NAME}"),
        (NAME, "/mirror/", f"/mirror/{NAME}"),
        ("one.warc.gz", None, "{folder}/one.warc.gz"),
        ("/crawls/one.warc.gz", None, "/crawls/one.warc.gz"),
        ("s3://bucket/one.warc.gz", "/mirror", "s3://bucket/one.warc.gz"),
    ],
)
def test_where_the_files_of_a_list_lie(tmp_path: Path, line: str, root: str | None, expected: str) -> None:
    path = tmp_path / "warc.paths.gz"
    path.write_bytes(gzip.compress(f"{line}\n\n# more\n{line}\n".encode(), mtime=0))
    assert read_path_list(str(path), root) == [expected.format(folder=tmp_path)]


def test_lists_are_told_by_their_names() -> None:
    assert is_path_list("s3://bucket/wat.paths.gz")
    assert is_path_list("warc.paths")
    assert not is_path_list("one.warc.gz")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "cannot be read"), (b"\n", "names no crawl file"), (b"\xff", "cannot be read")]
)
def test_a_list_that_leads_nowhere_is_one_clear_error(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "warc.paths"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_path_list(str(path))


def test_a_real_list_is_read(shared_data: Path) -> None:
    sample = shared_data / "warc" / "whirlwind" / "CC-MAIN-2024-22.warc.paths.gz"
    paths = read_path_list(str(sample))
    assert len(paths) == 300
    assert all(Path(path).parent == sample.parent for path in paths)
