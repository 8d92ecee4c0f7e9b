"""What is a face among what a detector reports: heads of cats are none, small faces are."""

import numpy as np
import pytest
import skimage.data
from PIL import Image

from curation.config import ImageConfig, SafetyConfig
from curation.imaging.decode import decode
from curation.models.detectors.boxes import Box
from curation.models.detectors.centerface import CenterFace
from curation.models.lite0.network import Lite0
from curation.stages.filters.faces import FaceFinder

PHOTO = skimage.data.astronaut()
CAT = skimage.data.cat()
HEAD = (130.0, 40.0, 120.0, 120.0)


def finder(**settings):
    result = FaceFinder(SafetyConfig(**settings), Lite0())
    result.setup()
    return result


@pytest.fixture(scope="module")
def finds():
    return finder().find


def reports(monkeypatch, *boxes):
    """The detector reports these boxes on whole images, and what it does on what is cut out of them."""
    detect = CenterFace.detect
    first = [True]

    def reported(self, images):
        if first.pop() if first else False:
            return [list(boxes) for _ in images]
        return detect(self, images)

    monkeypatch.setattr(CenterFace, "detect", reported)


@pytest.mark.parametrize("side", [512, 256, 128, 96, 64])
def test_a_face_is_found_at_any_size_that_it_can_be_seen_at(finds, side):
    small = np.asarray(Image.fromarray(PHOTO).resize((side, side), Image.Resampling.LANCZOS))
    frame = np.full((512, 512, 3), 120, np.uint8)
    frame[:side, :side] = small
    (face,) = [face for face in finds([frame])[0] if face.is_face]
    middle = (face.box.x + face.box.width / 2) / side, (face.box.y + face.box.height / 2) / side
    assert middle == pytest.approx((0.43, 0.23), abs=0.03)


def test_a_sure_face_needs_no_second_look(finds):
    face = finds([PHOTO])[0][0]
    assert (face.verdict, face.second, face.shows) == ("face", None, None)


def test_the_head_of_a_cat_is_no_face(finds, monkeypatch):
    reports(monkeypatch, Box(*HEAD, 0.7, "face"))
    (face,) = finds([CAT])[0]
    assert face.verdict in ("animal or food", "not confirmed")
    assert face.shows.kind == "animal"
    assert face.shows.probability > 0.85
    assert "(animal: " in str(face.shows)


def test_the_head_of_a_cat_is_no_face_though_the_second_look_takes_it_for_one(finds, monkeypatch):
    box = Box(*HEAD, 0.6, "face")
    monkeypatch.setattr(CenterFace, "detect", lambda self, images: [[box]] if len(images) == 1 else two_sure(images))
    (face,) = finds([CAT])[0]
    assert face.verdict == "animal or food"
    assert face.second == pytest.approx(0.75)


def two_sure(images):
    """A box of score 0.75 in the middle of each view, as large as that of the head."""
    result = []
    for image in images:
        height, width = image.shape[:2]
        side = 256 / (2.5 if len(result) % 2 == 0 else 4)
        result.append([Box(width / 2 - side / 2, height / 2 - side / 2, side, side, 0.75, "face")])
    return result


def test_what_only_the_first_look_sees_is_no_face(finds, monkeypatch):
    reports(monkeypatch, Box(300.0, 300.0, 60.0, 60.0, 0.6, "face"))
    (face,) = finds([skimage.data.coffee()])[0]
    assert (face.verdict, face.second) == ("not confirmed", 0.0)


def test_a_box_that_covers_most_of_the_frame_is_no_face(finds, monkeypatch):
    reports(monkeypatch, Box(10.0, 10.0, 480.0, 480.0, 0.95, "face"))
    (face,) = finds([PHOTO])[0]
    assert face.verdict == "covers the frame"


def test_without_confirmation_every_box_over_the_threshold_is_a_face(monkeypatch):
    reports(monkeypatch, Box(*HEAD, 0.31, "face"), Box(0.0, 0.0, 10.0, 10.0, 0.29, "face"))
    faces = finder(confirm=False).find([CAT])[0]
    assert [face.verdict for face in faces] == ["face", "low score"]


@pytest.mark.slow
def test_all_photos_of_faces_keep_their_face(finds, shared_data):
    files = sorted((shared_data / "dev" / "caltech101__Faces").iterdir())
    images = [decode(file.read_bytes(), ImageConfig(), 480) for file in files]
    assert len(images) == 40
    assert sum(any(face.is_face for face in faces) for faces in finds(images)) == 40
