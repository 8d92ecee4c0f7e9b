"""Directives that reserve a page or file, for all robots or for ours."""

import pytest

from curation.crawl.optout import opt_out

CASES: list[tuple[list[str], str | None, str]] = [
    ([], None, ""),
    (["all"], None, ""),
    (["index, follow, max-snippet:-1, max-image-preview:large"], None, ""),
    (["noai"], None, "noai"),
    (["NOIMAGEAI"], None, "noimageai"),
    (["nofollow,noindex"], None, "noindex"),
    (["nofollow", "noimageindex"], None, "noimageindex"),
    (["none"], None, "none"),
    (["otherbot: noindex"], None, ""),
    (["otherbot: nofollow, noindex"], None, ""),
    (["otherbot: noindex", "noai"], None, "noai"),
    (["lvd: noindex"], None, "noindex"),
    (["LVD: nofollow, noai"], None, "noai"),
    (["unavailable_after: 25 Jun 2010 15:00:00 PST"], None, ""),
    (["unavailable_after: 25 Jun 2010 15:00:00 PST, noindex"], None, "noindex"),
    ([""], None, ""),
    ([], "1", "tdm-reservation"),
    ([], " 1 ", "tdm-reservation"),
    ([], "0", ""),
    ([], "yes", ""),
]


@pytest.mark.parametrize(("robots", "reservation", "said"), CASES)
def test_what_is_said(robots: list[str], reservation: str | None, said: str) -> None:
    assert opt_out(robots, reservation) == said
