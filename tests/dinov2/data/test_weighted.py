"""Manifests that weight their sources: one stream for each, in the shares they are given, and no half-truths."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.dinov2.config import SourceConfig, parse_pretrain_config
from curation.dinov2.data.loader import BatchLoader, open_loader
from curation.dinov2.data.sources import WeightedSource, open_sources
from curation.errors import ConfigError, DatasetError, RunError

from .made import jpeg, shards
from .test_loader import batches, config, same

NAMES = ["a", "b", "a", "c"]
SIZES = [5, 6, 4, 7]
WEIGHTS = {"a": 0.1, "b": 0.3, "c": 0.6}


def weigh(folder: Path, names: list[str], weights: dict[str, Any]) -> Path:
    """Shards as if curated with weights: the manifest names the source of each."""
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    for shard, name in zip(raw["shards"], names, strict=True):
        shard["source"] = name
    counts = Counter(dict.fromkeys(weights, 0))
    for shard in raw["shards"]:
        counts[shard["source"]] += shard["samples"]
    raw["sources"] = {name: {"samples": counts[name], "weight": weight} for name, weight in weights.items()}
    path.write_text(json.dumps(raw))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return weigh(shards(tmp_path / "shards", SIZES), NAMES, WEIGHTS)


def opened(folder: Path, **settings: Any) -> list[WeightedSource]:
    return open_sources(SourceConfig(path=str(folder), **settings))


def contents(sources: list[WeightedSource]) -> list[list[bytes]]:
    return [
        [source.source.read(unit, index) for unit, size in enumerate(source.source.sizes) for index in range(size)]
        for source in sources
    ]


def drawn(loader: BatchLoader, steps: int) -> list[list[int]]:
    """Images of each source by step."""
    return [loader._counts(step) for step in range(steps)]


def test_each_source_is_a_stream_of_its_own_shards(folder: Path) -> None:
    sources = opened(folder)
    assert [source.name for source in sources] == [f"{folder} [{name}]" for name in "abc"]
    pictures = [jpeg(number) for number in range(22)]
    a, b, c = contents(sources)
    assert (a, b, c) == (pictures[:5] + pictures[11:15], pictures[5:11], pictures[15:])


@pytest.mark.parametrize(("workers", "each"), [(0, [0, 0, 0]), (1, [1, 1, 1]), (8, [1, 2, 5]), (10, [1, 3, 6])])
def test_workers_are_shared_out_by_weight_at_least_one_for_each(
    folder: Path, monkeypatch: pytest.MonkeyPatch, workers: int, each: list[int]
) -> None:
    monkeypatch.setattr("curation.dinov2.data.loader._cores", lambda: 64)
    loader = open_loader(config(folder, workers=workers))
    assert [stream.workers for stream in loader.streams] == each


def test_the_manifests_weights_share_out_the_datasets_own(folder: Path, tmp_path: Path) -> None:
    assert [source.weight for source in opened(folder)] == pytest.approx([0.1, 0.3, 0.6])
    assert [source.weight for source in opened(folder, weight=5.0)] == pytest.approx([0.5, 1.5, 3.0])
    weigh(folder, NAMES, {"a": 2, "b": 6, "c": 12})
    assert [source.weight for source in opened(folder)] == pytest.approx([0.1, 0.3, 0.6])
    loader = open_loader(config(folder, shards(tmp_path / "more", [3]), weights=[3.0, 1.0]))
    assert loader.weights.tolist() == pytest.approx([0.075, 0.225, 0.45, 0.25])


def test_weights_can_be_replaced_by_name_or_left_alone(folder: Path) -> None:
    replaced = opened(folder, weights={"b": 0.1, "c": 0.2})
    assert [source.weight for source in replaced] == pytest.approx([0.25, 0.25, 0.5])
    (mixed,) = opened(folder, by_source=False, weight=3.0)
    assert (mixed.name, mixed.weight) == (str(folder), 3.0)
    assert contents([mixed]) == [[jpeg(number) for number in range(22)]]


def test_shares_of_many_batches_agree_with_the_weights(folder: Path) -> None:
    """Standard deviations of a share: of 2,000 images 0.011 at most, of 1,500 batches 0.013; three of them each."""
    steps = drawn(open_loader(config(folder)), 500)
    assert {sum(counts) for counts in steps} == {4}
    assert [sum(of) / 2000 for of in zip(*steps, strict=True)] == pytest.approx([0.1, 0.3, 0.6], abs=0.033)
    steps = drawn(open_loader(config(folder, mixing="batch")), 1500)
    assert {tuple(sorted(counts)) for counts in steps} == {(0, 0, 4)}
    assert [sum(of) / 6000 for of in zip(*steps, strict=True)] == pytest.approx([0.1, 0.3, 0.6], abs=0.038)


def test_all_ranks_take_their_batch_from_one_source_and_see_each_image_once_an_epoch(folder: Path) -> None:
    settings = config(folder, mixing="batch")
    loaders = [open_loader(settings, rank=rank, world=2) for rank in range(2)]
    one, two = (drawn(loader, 50) for loader in loaders)
    assert one == two
    for number, source in enumerate(stream.source for stream in loaders[0].streams):
        orders = [loader.streams[number].images.order for loader in loaders]
        assert {order.share for order in orders} == {sum(source.source.sizes) // 2}
        for epoch in range(2):
            places = []
            for order in orders:
                cursor = type(loaders[0].streams[0].cursor)(epoch, 0)
                while cursor.epoch == epoch:
                    places.append(order.at(cursor))
                    cursor = order.next(cursor)
            assert len(places) == len(set(places)) == 2 * (sum(source.source.sizes) // 2)


@pytest.mark.parametrize("mixing", ["sample", "batch"])
@pytest.mark.parametrize("stop", [1, 4])
def test_a_weighted_loader_resumed_in_the_middle_of_an_epoch_gives_the_same_batches(
    folder: Path, stop: int, mixing: str
) -> None:
    settings = config(folder, mixing=mixing)
    whole = batches(open_loader(settings), range(8))
    first = open_loader(settings)
    batches(first, range(stop))
    state = first.state()
    assert any(of["position"] > 0 for of in state)
    second = open_loader(settings)
    second.restore(state)
    assert all(same(one, two) for one, two in zip(whole[stop:], batches(second, range(stop, 8)), strict=True))


def test_a_manifest_without_weights_gives_the_batches_it_always_gave(folder: Path, tmp_path: Path) -> None:
    plain = shards(tmp_path / "plain", SIZES)
    (source,) = opened(plain)
    assert (source.name, source.weight, list(source.source.sizes)) == (str(plain), 1.0, SIZES)
    mixed = config(folder)
    mixed = mixed.model_copy(
        update={"data": mixed.data.model_copy(update={"sources": (SourceConfig(path=str(folder), by_source=False),)})}
    )
    pairs = zip(batches(open_loader(config(plain)), range(4)), batches(open_loader(mixed), range(4)), strict=True)
    assert all(same(one, two) for one, two in pairs)


def test_the_loader_tells_each_source_and_its_share(folder: Path) -> None:
    assert open_loader(config(folder, mixing="batch")).describe() == [
        f"{folder} [a]: 9 images, 10.0% of the batches",
        f"{folder} [b]: 6 images, 30.0% of the batches",
        f"{folder} [c]: 7 images, 60.0% of the batches",
    ]


def changed(folder: Path, how: str) -> None:
    if how == "weights":
        weigh(folder, NAMES, WEIGHTS | {"a": 0.2})
    elif how == "samples":
        shards(folder, [5, 6, 3, 7])
        weigh(folder, NAMES, WEIGHTS)
    elif how == "names":
        weigh(folder, ["a", "b", "a", "d"], {"a": 0.1, "b": 0.3, "d": 0.6})
    elif how == "a source less":
        weigh(folder, ["a", "b", "a", "b"], {"a": 0.1, "b": 0.9})


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("weights", r"\[a\]: when the checkpoint was made this source was 10\.0000% of what is drawn, not 18\.1818%; "),
        ("samples", r"\[a\]: when the checkpoint was made this source was other images; set another `out`"),
        ("names", r"\[d\]: when the checkpoint was made this source was other images; "),
        ("a source less", r"^the checkpoint has read 3 source\(s\), now there are 2; set another `out`"),
    ],
)
def test_other_sources_than_the_checkpoints_are_refused_in_one_line(folder: Path, how: str, message: str) -> None:
    loader = open_loader(config(folder))
    loader.batch(0)
    state = loader.state()
    changed(folder, how)
    with pytest.raises(RunError, match=message) as caught:
        open_loader(config(folder)).restore(state)
    assert "\n" not in str(caught.value)


def test_a_dataset_that_was_moved_is_the_same_and_so_is_a_state_that_tells_no_source(
    folder: Path, tmp_path: Path
) -> None:
    first = open_loader(config(folder))
    first.batch(0)
    state = first.state()
    expected = first.batch(1)
    moved = folder.rename(tmp_path / "moved")
    for kept in (state, [{key: value for key, value in of.items() if key != "source"} for of in state]):
        loader = open_loader(config(moved))
        loader.restore(kept)
        assert same(loader.batch(1), expected)


def test_a_state_passes_through_a_checkpoint(folder: Path, tmp_path: Path) -> None:
    state = open_loader(config(folder)).state()
    torch.save(state, tmp_path / "state.pt")
    assert torch.load(tmp_path / "state.pt", weights_only=True) == state


LIES = {
    "negative": (lambda m: m["sources"]["a"].update(weight=-0.1), r"the source a has the weight -0\.1; it must be a "),
    "zero": (lambda m: m["sources"]["a"].update(weight=0), r"the source a has the weight 0; "),
    "nan": (lambda m: m["sources"]["a"].update(weight=float("nan")), r"the source a has the weight nan; "),
    "infinite": (lambda m: m["sources"]["a"].update(weight=float("inf")), r"the source a has the weight inf; "),
    "text": (lambda m: m["sources"]["a"].update(weight="0.1"), r"the source a has the weight '0\.1'; "),
    "true": (lambda m: m["sources"]["a"].update(weight=True), r"the source a has the weight True; "),
    "no weight": (lambda m: m["sources"]["a"].pop("weight"), r"the source a has the weight None; "),
    "not a mapping": (lambda m: m["sources"].update(a=3), r"the source a has the weight None; "),
    "too many": (lambda m: m["sources"]["b"].update(samples=7), r"the source b has 7 samples, its shards 6"),
    "no count": (lambda m: m["sources"]["b"].pop("samples"), r"the source b has None samples, its shards 6"),
    "none of it": (
        lambda m: m["sources"].update(d={"samples": 0, "weight": 1}),
        r"the source d has 0 samples, its shards 0",
    ),
    "unlisted": (lambda m: m["shards"][3].update(source="d"), r"the source c has 7 samples, its shards 0"),
    "missing": (lambda m: m["sources"].pop("c"), r"shard-000003\.tar is of the source 'c', which its sources do not "),
    "unnamed": (lambda m: m["shards"].append({"name": "x.tar", "samples": 0}), r"x\.tar is of the source None, which "),
    "a list of names": (lambda m: m["shards"][3].update(source=["c"]), r"the source c has 7 samples, its shards 0"),
    "none listed": (lambda m: m.pop("sources"), r"shard-000000\.tar is of the source 'a', which its sources do not "),
    "a list": (lambda m: m.update(sources=["a", "b", "c"]), r"its sources are no mapping of names"),
    "a name with an escape": (
        lambda m: m["sources"].update({"\x1b[2J": {"samples": 0, "weight": 1}}),
        r"'\\\\x1b\[2J' is no name of a source",
    ),
}


@pytest.mark.parametrize("kind", LIES)
def test_a_manifest_that_lies_about_sources_is_one_error_that_names_it(folder: Path, kind: str) -> None:
    lie, message = LIES[kind]
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    lie(raw)
    path.write_text(json.dumps(raw))
    with pytest.raises(DatasetError, match=rf"manifest\.json: not a manifest of shards: .*{message}") as caught:
        opened(folder)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


def test_weights_of_sources_that_are_not_there_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"manifest\.json: names no source 'd' to weigh; its sources are a, b, c$"):
        opened(folder, weights={"d": 1.0})
    weigh(folder, ["birds", "b", "birds", "c"], {"birds": 1, "b": 1, "c": 1})
    with pytest.raises(DatasetError, match=r"names no source 'brids' to weigh; did you mean birds\? its sources are "):
        opened(folder, weights={"brids": 1.0})
    with pytest.raises(DatasetError, match=r"names no source 'a' to weigh; its shards mix all$"):
        opened(shards(tmp_path / "plain", [3]), weights={"a": 1.0})
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.jpg").write_bytes(jpeg(1))
    with pytest.raises(
        DatasetError, match=r"images: has no manifest\.json that names sources, so its `weights` weigh "
    ):
        opened(tmp_path / "images", weights={"a": 1.0})


def test_too_few_images_of_one_source_for_all_ranks_are_refused_by_its_name(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"\[b\]: 6 images are too few for 7 processes"):
        open_loader(config(folder), world=7)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"weights": {"a": -1}}, r"data\.sources\.0\.weights\.a: input should be greater than 0 \(got -1\)"),
        (
            {"weights": {"a": float("nan")}},
            r"data\.sources\.0\.weights\.a: input should be a finite number \(got nan\)",
        ),
        ({"weight": float("inf")}, r"data\.sources\.0\.weight: input should be a finite number \(got inf\)"),
        ({"weights": {"a": 1}, "by_source": False}, r"data\.sources\.0: weights are those of sources, which by_source"),
    ],
)
def test_weights_that_cannot_be_meant_are_one_line(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_pretrain_config({"data": {"sources": [{"path": "x"} | entry]}})
    assert "\n" not in str(caught.value)
