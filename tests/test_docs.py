"""The documentation says what the code says."""

import re
from pathlib import Path

from curation.drops import DropReason
from curation.pipeline import CURATE
from curation.report.steps import steps_table

DOCS = Path(__file__).parents[1] / "docs"


def test_every_drop_reason_is_explained_in_the_words_of_the_code():
    page = (DOCS / "curate.md").read_text()
    explained = dict(re.findall(r"^\| `(\w+)` \| (.*?)(?:; may pass, see `--retry-failed`)? \|$", page, re.MULTILINE))
    assert {reason.value: explained.get(reason.value) for reason in DropReason} == {
        reason.value: reason.meaning for reason in DropReason
    }


def test_the_table_of_steps_is_made_from_the_pipeline():
    assert steps_table(CURATE) in (DOCS / "curate.md").read_text()
    assert all(node.what for node in CURATE)
