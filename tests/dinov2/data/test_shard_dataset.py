"""`ShardDataset`: which samples come, in which order, to whom."""

import json
from collections import Counter

import pytest
from torch.utils.data import DataLoader

from curation import Sample, ShardDataset
from curation.errors import ConfigError, DatasetError

from .made import jpeg, shards, write_tar

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine with fewer cores

SIZES = [5, 1, 7, 4, 3]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """20 samples in five shards; those of one shard have keys of their own only together with its name."""
    return shards(tmp_path_factory.mktemp("shards") / "shards", SIZES)


def key_of(sample):
    return sample.key


def keys(dataset):
    return [sample.key for sample in dataset]


def batches(dataset, workers, size=2):
    return [list(batch) for batch in DataLoader(dataset, batch_size=size, num_workers=workers)]


def test_every_sample_comes_once_in_an_epoch_with_its_bytes(folder):
    samples = list(ShardDataset(folder))
    assert len(samples) == len({sample.key for sample in samples}) == 20
    assert Counter(sample.data for sample in samples) == Counter(jpeg(number) for number in range(20))
    assert isinstance(samples[0], Sample)


def test_the_order_is_that_of_the_seed_and_the_epoch(folder):
    dataset = ShardDataset(folder, seed=3)
    first = keys(dataset)
    assert keys(dataset) == keys(ShardDataset(str(folder / "manifest.json"), seed=3)) == first
    assert keys(ShardDataset(folder, seed=4)) != first
    dataset.set_epoch(1)
    second = keys(dataset)
    assert second != first
    assert sorted(second) == sorted(first)
    dataset.set_epoch(0)
    assert keys(dataset) == first


def test_tars_without_a_manifest_come_in_the_same_order(folder):
    assert keys(ShardDataset(f"{folder}/shard-{{000000..000004}}.tar", seed=3)) == keys(ShardDataset(folder, seed=3))


def test_ranks_have_equally_many_samples_and_none_twice(folder):
    parts = [keys(ShardDataset(folder, rank=rank, world=3)) for rank in range(3)]
    assert [len(part) for part in parts] == [6, 6, 6]
    assert len(set().union(*parts)) == 18


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_batches_are_the_same_for_any_number_of_workers(folder, workers):
    dataset = ShardDataset(folder, transform=key_of, batch_size=2)
    assert [key for batch in batches(dataset, workers) for key in batch] == keys(ShardDataset(folder))
    assert len(DataLoader(dataset, batch_size=2)) == 10


@pytest.mark.parametrize("workers", [0, 2])
def test_what_was_stopped_goes_on_after_the_samples_that_were_taken(folder, workers):
    whole = batches(ShardDataset(folder, transform=key_of, batch_size=3), 0, 3)
    dataset = ShardDataset(folder, transform=key_of, batch_size=3)
    dataset.set_epoch(0, position=9)
    assert len(dataset) == 11
    assert batches(dataset, workers, 3) == whole[3:]
    dataset.set_epoch(0, position=20)
    assert batches(dataset, workers, 3) == []


def test_a_shard_that_is_not_what_the_manifest_says_is_named(tmp_path):
    folder = shards(tmp_path / "shards", [3, 2])
    write_tar(folder / "shard-000001.tar", [jpeg(0)])
    with pytest.raises(DatasetError, match=r"shard-000001\.tar: 1 images, 2 were listed; copy the shard again"):
        list(ShardDataset(folder))
    (folder / "manifest.json").write_text(json.dumps({"format": "another/1"}))
    with pytest.raises(DatasetError, match="format 'another/1' is not known"):
        ShardDataset(folder)


def test_mistakes_are_refused_when_it_is_made(folder, tmp_path):
    for changes, message in (
        ({"rank": 2, "world": 2}, "rank: 2 is no process of 2; give a number from 0 to world - 1"),
        ({"batch_size": 0}, "batch_size: 0 is too small; give at least 1"),
    ):
        with pytest.raises(ConfigError) as raised:
            ShardDataset(folder, **changes)
        assert str(raised.value) == message
    with pytest.raises(DatasetError, match="20 samples are too few for 21 processes"):
        ShardDataset(folder, rank=0, world=21)
    (tmp_path / "a.jpg").write_bytes(jpeg(0))
    with pytest.raises(DatasetError, match="is a folder of images; name WebDataset tars, or a folder of shards"):
        ShardDataset(tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        ShardDataset(tmp_path / "nothing")
