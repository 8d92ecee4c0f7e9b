"""Boxes and scores are the libraries' own, on real photos: see tests/bench/reference_detectors.py."""

import json
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from curation.models.detectors.centerface import CenterFace
from curation.models.detectors.nudenet import LABELS, NudeNet

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "detectors.json").read_text())
SCORE, PIXELS = 0.02, 4.0  # what a resize that is off by one level in some pixels can do


@pytest.fixture(scope="module")
def photos():
    astronaut, coffee = skimage.data.astronaut(), skimage.data.coffee()
    return {
        "astronaut": astronaut,
        "crop": astronaut[:300, 100:400],
        "mirrored": astronaut[:, ::-1],
        "half": astronaut[::2, ::2],
        "four": np.tile(astronaut[::2, ::2], (2, 2, 1)),
        "beside": np.hstack((astronaut[:400], coffee[:400])),
        "above": np.vstack((coffee[:, :512], astronaut[40:360])),
        "coffee": coffee,
        "rocket": skimage.data.rocket(),
        "cat": skimage.data.cat(),
    }


@pytest.fixture(scope="module")
def nudenet():
    detector = NudeNet(threads=1, floor=0.25)
    detector.setup()
    return detector


def test_nudenet_finds_what_the_library_finds(nudenet, photos):
    answers = dict(zip(photos, nudenet.detect(list(photos.values())), strict=True))
    assert sum(len(boxes) for boxes in answers.values()) >= 8
    for name, boxes in answers.items():
        expected = GOLDEN[name]["nudenet"]
        assert [box.label for box in boxes] == [label for label, *_ in expected], name
        for box, (_, score, *place) in zip(boxes, expected, strict=True):
            assert box.score == pytest.approx(score, abs=SCORE)
            assert [box.x, box.y, box.width, box.height] == pytest.approx(place, abs=PIXELS), name


@pytest.mark.parametrize("side", [320, 480])
def test_centerface_finds_what_the_library_finds(photos, side):
    detector = CenterFace(side, floor=0.2)
    detector.setup()
    answers = dict(zip(photos, detector.detect(list(photos.values())), strict=True))
    assert sum(len(boxes) for boxes in answers.values()) >= 9
    for name, boxes in answers.items():
        expected = GOLDEN[name][f"centerface {side}"]
        assert len(boxes) == len(expected), name
        for box, (score, *place) in zip(boxes, expected, strict=True):
            assert box.score == pytest.approx(score, abs=SCORE)
            assert [box.x, box.y, box.width, box.height] == pytest.approx(place, abs=PIXELS), name


def test_an_image_has_the_same_boxes_alone_and_in_a_batch(nudenet, photos):
    images = list(photos.values())
    together = nudenet.detect(images)
    for image, boxes in zip(images, together, strict=True):
        (alone,) = nudenet.detect([image])
        assert [box.label for box in alone] == [box.label for box in boxes]
        assert [box.score for box in alone] == pytest.approx([box.score for box in boxes], abs=1e-4)


def test_scores_are_those_of_each_class_best_box(nudenet, photos):
    scores = nudenet.scores([photos["astronaut"], photos["coffee"]])
    assert scores.shape == (2, 18)
    (best,) = (row for row in GOLDEN["astronaut"]["nudenet"] if row[0] == "FACE_FEMALE")
    assert scores[0, LABELS.index("FACE_FEMALE")] == pytest.approx(best[1], abs=SCORE)
    assert not scores[1].any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 700, 3), (700, 1, 3), (33, 64, 3)])
def test_images_of_any_shape_are_taken(nudenet, shape):
    faces = CenterFace(320, floor=0.2)
    faces.setup()
    image = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert len(nudenet.detect([image])) == len(faces.detect([image])) == 1


def test_no_images_are_no_boxes(nudenet):
    assert nudenet.detect([]) == []
    assert nudenet.scores([]).shape == (0, 18)
