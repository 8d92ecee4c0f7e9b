"""The documentation says what the code says."""

import re
from pathlib import Path

from curation.drops import DropReason
from pipelines.curate import STEPS

DOCS = Path(__file__).parents[1] / "docs"


def test_every_drop_reason_is_explained_in_the_words_of_the_code():
    page = (DOCS / "curate.md").read_text()
    explained = dict(re.findall(r"^\| `(\w+)` \| (.*?)(?:; may pass, see `--retry-failed`)? \|$", page, re.MULTILINE))
    assert {reason.value: explained.get(reason.value) for reason in DropReason} == {
        reason.value: reason.meaning for reason in DropReason
    }


def test_every_step_is_explained():
    page = (DOCS / "curate.md").read_text().split("\n## Steps\n")[1].split("\n## ")[0]
    assert tuple(step for step in re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) if step in STEPS) == STEPS
