"""Names of files in a clean dataset."""

import pytest

from curation.decontaminate.source import checked_name, open_source
from curation.errors import DatasetError


@pytest.mark.parametrize("name", ["a.jpg", "a/b c.jpg", "-x", "..a", "日本", "a\\b"])
def test_names_below_a_folder_pass(name):
    assert checked_name(name) == name


@pytest.mark.parametrize("name", ["", "/etc/passwd", "..", "a/../../b", "./a", "a//b", "a/", "a\0b"])
def test_names_that_lead_elsewhere_are_refused(name):
    with pytest.raises(DatasetError, match="is no path that can be written below a folder"):
        checked_name(name)


def test_shards_are_named_from_the_folder_that_they_share(tmp_path):
    for name in ("x/a/0.tar", "x/a/1.tar", "x/ab/0.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert open_source(str(tmp_path / "x/{a/0,a/1,ab/0}.tar")).names == ("a/0.tar", "a/1.tar", "ab/0.tar")
    assert open_source(str(tmp_path / "x/a/{0,1}.tar")).names == ("0.tar", "1.tar")
    assert open_source(str(tmp_path / "x/a/1.tar")).names == ("1.tar",)
    with pytest.raises(DatasetError, match=r"0.tar: is named twice by"):
        open_source(str(tmp_path / "x/a/{0,0}.tar"))
