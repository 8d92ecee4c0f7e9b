"""Copies among images without a run: the pairs, and that they are those of a run."""

import io

import numpy as np
import pytest
from PIL import Image

from curation import find_copies
from curation.config import DedupConfig, NormaliseConfig, parse_config
from curation.errors import ConfigError, ModelError
from curation.imaging.matching import reversed_transform
from curation.search.components import components_of
from pipelines import curate
from pipelines.demo.photographs import open_photograph

NAMES = ("astronaut", "cat", "coffee", "rocket", "tissue")
BOX = (0.1, 0.2, 0.8, 0.9)
"""Left, top, right and bottom of a crop, in shares of the sides."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five photographs, a crop of the first, the mirrored second, and the third saved again."""
    folder = tmp_path_factory.mktemp("photographs") / "pool"
    folder.mkdir()
    for name in NAMES:
        image = Image.fromarray(open_photograph(name).pixels).convert("RGB")
        image.thumbnail((256, 256))
        image.save(folder / f"{name}.jpg", quality=92)
        if name == "astronaut":
            image.crop(tuple(round(share * side) for share, side in zip(BOX, image.size * 2, strict=True))).save(
                folder / "astronaut crop.png"
            )
        if name == "cat":
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "cat mirrored.jpg", quality=92)
        if name == "coffee":
            image.save(folder / "coffee again.jpg", quality=60)
    return folder


@pytest.fixture(scope="module")
def paths(folder):
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def pairs(paths):
    return {(paths[pair.first].stem, paths[pair.second].stem): pair for pair in find_copies(paths)}


def test_copies_are_found_and_nothing_else_is_in_the_order_of_the_images(pairs):
    assert list(pairs) == [("astronaut crop", "astronaut"), ("cat mirrored", "cat"), ("coffee again", "coffee")]


def test_a_crop_is_verified_and_its_transform_takes_the_crop_into_the_photograph(pairs):
    pair = pairs["astronaut crop", "astronaut"]
    assert (pair.probability >= 0.9, pair.mirrored) == (True, False)
    assert pair.inliers > 30
    affine = np.array(pair.transform).reshape(2, 3)
    onto = np.array([[0, 0], [1, 1]]) @ affine[:, :2].T + affine[:, 2]
    np.testing.assert_allclose(onto, [BOX[:2], BOX[2:]], atol=0.02)


def test_however_similar_a_pair_is_looked_at(pairs):
    pair = pairs["coffee again", "coffee"]
    assert pair.similarity > 0.9
    assert pair.inliers > 30
    assert pair.original < 0.5  # saved again
    assert pairs["cat mirrored", "cat"].mirrored


def test_the_pairs_are_the_links_of_a_run_over_the_same_images(folder, tmp_path):
    config = parse_config(
        {
            "pool": [str(folder)],
            "seeds": [{"name": "seeds", "data": str(folder)}],
            "image": {"min_side": 1},
            "runner": {"kind": "inline"},
            "quality": {"on": []},
            "safety": {"nsfw": "off", "faces": "keep"},
        }
    )
    run = curate(config, str(tmp_path / "run"), until="dedup")
    names = run.pool.read("list", 0, ["path"])["path"].to_pylist()
    ids = run.pool.read("fetch", 0, ["id"])["id"].to_pylist()
    verdicts = run.pool.read("dedup", 0).to_pylist()
    pairs = {(pair.first, pair.second): pair for pair in find_copies([folder / name for name in names])}
    kept = [ids.index(row["representative"]) for row in verdicts]
    assert components_of(len(names), np.array(list(pairs))).tolist() == [
        min(at, kept.index(k)) for at, k in enumerate(kept)
    ]
    for at, row in enumerate(verdicts):
        if kept[at] != at:
            pair = pairs[min(at, kept[at]), max(at, kept[at])]
            assert pair.similarity == pytest.approx(row["similarity"], abs=1e-3)
            assert row["link"] == "verified"
            assert (pair.inliers, pair.mirrored) == (row["inliers"], row["mirrored"])
            assert np.float32(pair.agreement) == row["agreement"]
            transform = pair.transform if kept[at] < at else reversed_transform(np.array(pair.transform), pair.mirrored)
            np.testing.assert_allclose(transform, row["transform"], atol=1e-5)


def test_paths_bytes_and_arrays_are_compared_with_each_other(paths, pairs):
    chosen = {path.stem: path for path in paths}
    array = np.asarray(Image.open(chosen["coffee again"]))
    (pair,) = find_copies([chosen["cat"], chosen["coffee"].read_bytes(), array])
    assert (pair.first, pair.second) == (1, 2)
    assert pair.similarity == pytest.approx(pairs["coffee again", "coffee"].similarity, abs=2e-3)


def test_without_geometry_a_similarity_alone_decides(paths):
    pairs = find_copies(paths, dedup=DedupConfig(verify="off", self_={"threshold": 0.9}))
    assert {"coffee", "coffee again"} in [{paths[pair.first].stem, paths[pair.second].stem} for pair in pairs]
    assert all(pair.similarity > 0.9 and pair.probability is None for pair in pairs)


def test_an_image_that_does_not_decode_is_in_no_pair_and_named_in_a_warning(paths):
    names = {path.stem: path for path in paths}
    with pytest.warns(UserWarning, match=r"1 of 3 images are in no pair; images\[1\]: "):
        pairs = find_copies([names["coffee"], b"no image", names["coffee again"]])
    assert [(pair.first, pair.second) for pair in pairs] == [(0, 2)]


def test_no_images_have_no_copies():
    assert find_copies([]) == []


def test_mistakes_name_the_argument(paths):
    buffer = io.BytesIO()
    Image.new("L", (40, 40)).save(buffer, "PNG")
    with pytest.raises(ConfigError, match=r"^images\[1\]: is uint8 of shape \(40, 40\); give \(H, W, 3\) uint8 RGB$"):
        find_copies([buffer.getvalue(), np.zeros((40, 40), np.uint8)])
    with pytest.raises(ModelError, match="no such copy descriptor"):
        find_copies(paths, model="sscd/nothing")
    with pytest.raises(ConfigError, match=r"^dedup\.normalise: needs the background of a run"):
        find_copies(paths, dedup=DedupConfig(normalise=NormaliseConfig(weight=1.0)))
