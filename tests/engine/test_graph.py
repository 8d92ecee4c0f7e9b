"""What follows from a pipeline alone: what a path is, what comes before what, what runs together, where a job stops."""

import pytest

from curation.config import parse_config
from curation.engine.graph import Node, Pipeline, row_set_of
from curation.run.directory import Run

CONFIG = parse_config(
    {
        "pool": ["p"],
        "seeds": [{"name": "crawl", "data": "s"}, {"name": "birds", "data": "b"}],
        "references": [{"name": "pool", "data": "r"}],
        "exclude": [{"name": "logos", "data": "e"}],
    }
)
EVERY = ("pool", "seed")


def is_birds(config, path):
    return path == "seeds/birds"


PIPELINE = Pipeline(
    (
        Node("links", "part", ("urls",), None),
        Node("rows", "rows", EVERY, None),
        Node("look", "image", EVERY, None),
        Node("look_again", "image", ("pool",), None),
        Node("look_at_birds", "image", ("seed",), None, when=is_birds),
        Node("compare", "global", ("pool",), None),
        Node("off", "part", EVERY, None, when=lambda config, path: False),
        Node("embed", "image", EVERY, None),
        Node("embed_again", "image", EVERY, None),
        Node("choose", "rows", ("shards",), None),
        Node("write", "part", ("shards",), None),
    )
)


@pytest.mark.parametrize(
    ("path", "row_set"),
    [
        ("pool", "pool"),
        ("pool/crawl", "urls"),
        ("seeds/birds", "seed"),
        ("seeds/birds/crawl", "urls"),
        ("seeds/crawl", "seed"),
        ("seeds/crawl/crawl", "urls"),
        ("seeds/pool", "seed"),
        ("references/crawl", "reference"),
        ("references/crawl/crawl", "urls"),
        ("excludes/crawl", "exclude"),
        ("excludes/crawl/crawl", "urls"),
        ("", "shards"),
    ],
)
def test_a_path_is_a_row_set_whatever_a_collection_is_called(path, row_set):
    assert row_set_of(path) == row_set


def test_the_row_sets_of_a_run_are_in_the_order_of_the_work_each_with_its_urls_before_it(tmp_path):
    assert PIPELINE.row_sets(Run(str(tmp_path), CONFIG)) == [
        *("pool/crawl", "pool", "seeds/crawl/crawl", "seeds/crawl", "seeds/birds/crawl", "seeds/birds"),
        *("references/pool/crawl", "references/pool", "excludes/logos/crawl", "excludes/logos", ""),
    ]


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("pool/crawl", ["links"]),
        ("pool", ["rows", "look", "look_again", "compare", "embed", "embed_again"]),
        ("seeds/crawl", ["rows", "look", "embed", "embed_again"]),
        ("seeds/birds", ["rows", "look", "look_at_birds", "embed", "embed_again"]),
        ("references/pool", []),
        ("", ["choose", "write"]),
    ],
)
def test_a_row_set_has_the_stages_that_are_for_its_kind_and_that_the_settings_ask_for(path, names):
    assert [node.name for node in PIPELINE.at(CONFIG, path)] == names


@pytest.mark.parametrize(
    ("path", "name", "before"),
    [
        ("pool/crawl", "links", None),
        ("pool", "rows", None),
        ("pool", "look", "rows"),
        ("pool", "compare", "look_again"),
        ("pool", "embed", "compare"),
        ("seeds/crawl", "embed", "look"),
        ("seeds/birds", "embed", "look_at_birds"),
        ("pool", "embed_again", "embed"),
        ("", "choose", None),
        ("", "write", "choose"),
    ],
)
def test_a_stage_takes_the_rows_of_the_last_that_is_on_before_it_in_its_own_row_set(path, name, before):
    assert PIPELINE.before(CONFIG, path, name) == before


def test_consecutive_image_stages_run_together_and_every_other_stage_by_itself():
    assert [block.names for block in PIPELINE.blocks()] == [
        ("links",),
        ("rows",),
        ("look", "look_again", "look_at_birds"),
        ("compare",),
        ("off",),
        ("embed", "embed_again"),
        ("choose",),
        ("write",),
    ]


def test_a_pipeline_is_cut_behind_the_stage_that_is_named_even_within_a_block():
    cut = PIPELINE.until("look_again")
    assert cut.names == ("links", "rows", "look", "look_again")
    assert [block.names for block in cut.blocks()] == [("links",), ("rows",), ("look", "look_again")]
    assert PIPELINE.until("write").names == PIPELINE.names
    with pytest.raises(ValueError, match="not in tuple"):
        PIPELINE.until("writes")
