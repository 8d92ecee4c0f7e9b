"""Batches: exact resume, broken images, weights."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from curation.dinov2.batch import Batch
from curation.dinov2.config import PretrainConfig
from curation.dinov2.data.loader import BatchLoader, open_loader
from curation.errors import DatasetError, RunError

from .made import jpeg, shards, write_shards


def config(*paths: Path, device: str = "cpu", **data: Any) -> PretrainConfig:
    weights = data.pop("weights", [1.0] * len(paths))
    sources = [{"path": str(path), "weight": weight} for path, weight in zip(paths, weights, strict=True)]
    return PretrainConfig(
        model={"patch": 7},
        crops={"global_size": 28, "local_size": 14, "local_count": 2},
        augment={"device": device},
        optim={"batch_size": 4},
        data={"sources": sources, "workers": 0} | data,
    )


def batches(loader: BatchLoader, steps: range) -> list[Batch]:
    return [loader.batch(step) for step in steps]


def same(one: Batch, two: Batch) -> bool:
    pairs = [(one.globals_, two.globals_), (one.locals_, two.locals_), (one.masks, two.masks)]
    return all(torch.equal(a, b) for a, b in pairs)


def test_batches_have_the_shapes_that_the_objective_takes(tmp_path: Path) -> None:
    batch = open_loader(config(shards(tmp_path, [9]))).batch(0)
    assert batch.globals_.shape == (2, 4, 3, 28, 28)
    assert batch.locals_.shape == (2, 4, 3, 14, 14)
    assert batch.masks.shape == (2, 4, 16)
    assert batch.globals_.dtype == torch.uint8


@pytest.mark.parametrize("device", ["cpu", "model"])
@pytest.mark.parametrize("stop", [1, 3, 5])
def test_a_loader_resumed_in_the_middle_of_an_epoch_gives_the_same_batches(
    tmp_path: Path, stop: int, device: str
) -> None:
    settings = config(shards(tmp_path, [9, 6, 4]), device=device)
    whole = batches(open_loader(settings), range(8))
    first = open_loader(settings)
    batches(first, range(stop))
    second = open_loader(settings)
    second.restore(first.state())
    for one, two in zip(whole[stop:], batches(second, range(stop, 8)), strict=True):
        assert same(one, two)


@pytest.mark.parametrize("device", ["cpu", "model"])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, device: str) -> None:
    folder = shards(tmp_path, [9, 6])
    alone = batches(open_loader(config(folder, device=device)), range(4))
    helped = batches(open_loader(config(folder, device=device, workers=2)), range(4))
    assert all(same(one, two) for one, two in zip(alone, helped, strict=True))


def test_views_made_on_the_models_device_are_the_workers_but_for_rounding(tmp_path: Path) -> None:
    folder = shards(tmp_path, [9, 6])
    pairs = [batches(open_loader(config(folder, device=device)), range(4)) for device in ("cpu", "model")]
    for workers, together in zip(*pairs, strict=True):
        assert torch.equal(workers.masks, together.masks)
        for one, two in ((workers.globals_, together.globals_), (workers.locals_, together.locals_)):
            assert one.shape == two.shape
            assert one.dtype == two.dtype == torch.uint8
            assert (one.float() - two.float()).abs().max() <= 6
            assert (one.float() - two.float()).abs().mean() < 0.2


@pytest.mark.parametrize("device", ["cpu", "model"])
def test_broken_images_are_passed_over_and_counted(tmp_path: Path, device: str) -> None:
    images = [jpeg(n) for n in range(12)]
    images[2:5] = [b"broken", images[3][:150], b""]
    loader = open_loader(config(write_shards(tmp_path, [images]), device=device))
    assert batches(loader, range(4))[3].images == 4
    assert loader.broken >= 3
    again = open_loader(config(tmp_path, device=device))
    again.restore(loader.state())
    assert again.broken == loader.broken


def test_too_many_broken_images_stop_the_run_with_the_last_cause(tmp_path: Path) -> None:
    folder = write_shards(tmp_path, [[b"broken"] * 30])
    with pytest.raises(
        DatasetError, match=r"11 of 11 images are broken, more than data\.max_broken \(0\.01\)"
    ) as caught:
        open_loader(config(folder)).batch(0)
    assert re.search(
        r"the last: .*/shard-000000\.tar/\d{9}\.jpg: not_an_image \(starts with b'broken'\)$", str(caught.value)
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_one_line_also_from_a_worker(tmp_path: Path, workers: int) -> None:
    folder = shards(tmp_path, [4])
    tar = folder / "shard-000000.tar"
    tar.write_bytes(b"\xff" * tar.stat().st_size)
    with pytest.raises(DatasetError, match=r"is not a readable tar \(bad checksum\)") as caught:
        open_loader(config(folder, workers=workers)).batch(0)
    assert "\n" not in str(caught.value)


def test_ranks_see_different_images(tmp_path: Path) -> None:
    settings = config(shards(tmp_path, [8]))
    one, two = (open_loader(settings, rank=rank, world=2).batch(0) for rank in range(2))
    assert not same(one, two)
    assert not torch.equal(one.masks, two.masks)


def test_more_ranks_than_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="3 images are too few for 4 processes"):
        open_loader(config(shards(tmp_path, [3])), world=4)


def test_tars_of_others_resume_exactly_whatever_the_number_of_workers(tmp_path: Path) -> None:
    folder = shards(tmp_path, [9, 6, 4])
    (folder / "manifest.json").unlink()
    whole = batches(open_loader(config(folder)), range(8))
    first = open_loader(config(folder, workers=2))
    assert all(same(one, two) for one, two in zip(whole[:3], batches(first, range(3)), strict=True))
    second = open_loader(config(folder))
    second.restore(first.state())
    assert all(same(one, two) for one, two in zip(whole[3:], batches(second, range(3, 8)), strict=True))


def test_other_images_of_the_same_names_are_not_resumed_on(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for number in range(8):
        (tmp_path / "images" / f"{number}.jpg").write_bytes(jpeg(number))
    state = open_loader(config(tmp_path / "images")).state()
    (tmp_path / "images" / "3.jpg").write_bytes(jpeg(3, size=64))
    with pytest.raises(RunError, match="when the checkpoint was made this source was other images"):
        open_loader(config(tmp_path / "images")).restore(state)


def test_what_is_passed_over_is_reported(tmp_path: Path) -> None:
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(number))
    (tmp_path / "notes.txt").write_text("")
    (line,) = open_loader(config(tmp_path)).describe()
    assert line == f"{tmp_path}: 8 images, 100.0% of the images; 1 files passed over as no images (1 .txt)"


def test_no_source_is_refused() -> None:
    with pytest.raises(DatasetError, match="no dataset given"):
        open_loader(config())


def test_sources_are_mixed_by_weight(tmp_path: Path) -> None:
    one, two = shards(tmp_path / "a", [6]), shards(tmp_path / "b", [6])
    loader = open_loader(config(one, two, weights=[3.0, 1.0]))
    counts = [loader._counts(step) for step in range(500)]
    assert {sum(pair) for pair in counts} == {4}
    assert sum(pair[1] for pair in counts) / 2000 == pytest.approx(0.25, abs=0.03)


def test_whole_batches_can_come_from_one_source(tmp_path: Path) -> None:
    one, two = shards(tmp_path / "a", [6]), shards(tmp_path / "b", [6])
    loader = open_loader(config(one, two, weights=[9.0, 1.0], mixing="batch"))
    counts = [loader._counts(step) for step in range(500)]
    assert {tuple(sorted(pair)) for pair in counts} == {(0, 4)}
    assert sum(pair[1] > 0 for pair in counts) / 500 == pytest.approx(0.1, abs=0.04)
    loader.batch(0)
