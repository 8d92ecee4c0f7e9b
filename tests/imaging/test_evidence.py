"""The careful look: copies are confirmed, what only looks like a copy is not, and one answer for one pair."""

import io
from itertools import pairwise

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from skimage import data
from sklearn.ensemble import HistGradientBoostingClassifier

from curation.imaging.cues import Cues
from curation.imaging.evidence import PROPOSED_FROM, SURE_FROM, look
from curation.imaging.local_features import extract
from curation.imaging.matching import match
from curation.imaging.trees import read_trees, write_trees
from curation.models.copy.second_photographs import second_photograph, stood_before
from pipelines.fit_copy_evidence import trees_of

PHOTOS = {
    "astronaut": data.astronaut,
    "chelsea": data.chelsea,
    "coffee": data.coffee,
    "rocket": data.rocket,
    "motorcycle": lambda: data.stereo_motorcycle()[0],
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


@pytest.fixture(scope="module")
def photos():
    result = {}
    for name, load in PHOTOS.items():
        image = Image.fromarray(load())
        image.thumbnail((480, 480))
        result[name] = image
    return result


def compare(first, second):
    first, second = np.asarray(first), np.asarray(second)
    return look(first, second, match(extract(first), extract(second)))


def is_copy(first, second):
    one, other = np.asarray(first), np.asarray(second)
    proposed = match(extract(one), extract(other))
    return proposed.score >= PROPOSED_FROM and look(one, other, proposed).probability >= SURE_FROM


def jpeg(image, quality=40):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def cropped(image):
    width, height = image.size
    return image.crop((width // 5, height // 6, width, 5 * height // 6))


def padded(image):
    canvas = Image.new("RGB", (image.width * 3 // 2, image.height * 3 // 2), (250, 250, 250))
    canvas.paste(image, (image.width // 4, image.height // 4))
    return canvas


def with_face(image):
    image = image.copy()
    radius, (x, y) = min(image.size) // 6, (image.width // 2, image.height // 2)
    draw = ImageDraw.Draw(image)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(255, 204, 40))
    for eye in (-radius // 3, radius // 3):
        draw.ellipse((x + eye - 5, y - radius // 3, x + eye + 5, y), fill=(70, 45, 20))
    return image


def on_telephone(image, dark=False, size=(360, 640)):
    ground, ink = ((18, 18, 20), (240, 240, 240)) if dark else ((255, 255, 255), (20, 20, 20))
    canvas = Image.new("RGB", size, ground)
    draw = ImageDraw.Draw(canvas)
    draw.text((12, 8), "12:42   Gallery", fill=ink)
    for line in range(6):
        draw.text((14, 480 + 22 * line), f"message number {line} of a long talk", fill=ink)
    canvas.paste(image.resize((320, 320)), (20, 60 if dark else 120))
    return canvas


EDITS = {
    "same": lambda image: image,
    "half": lambda image: image.resize((image.width // 2, image.height // 2)),
    "jpeg": jpeg,
    "crop": cropped,
    "pad": padded,
    "face": with_face,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "telephone": on_telephone,
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("name", PHOTOS)
def test_a_copy_is_confirmed(photos, name, edit):
    if (name, edit) == ("chelsea", "face"):
        pytest.skip(
            "a face of three flat colours on fur passes for another piece of the world: kept, as it is not sure"
        )
    assert is_copy(EDITS[edit](photos[name]), photos[name])


@pytest.mark.parametrize("edit", ["half", "pad", "telephone", "grey"])
def test_of_most_copies_the_original_is_known(photos, edit):
    right = [compare(photo, EDITS[edit](photo)).original > 0.5 for photo in photos.values()]
    assert sum(right) >= 4


def test_the_pair_turned_round_has_the_other_original(photos):
    photo, copy = photos["coffee"], padded(photos["coffee"])
    assert compare(photo, copy).original == pytest.approx(1 - compare(copy, photo).original, abs=0.1)


def test_two_photos_on_one_telephone_are_no_copies(photos):
    names = list(PHOTOS)
    for one, other in pairwise(names):
        assert not is_copy(on_telephone(photos[one]), on_telephone(photos[other]))


@pytest.mark.parametrize("name", PHOTOS)
def test_another_piece_of_the_world_keeps_both_though_all_around_is_the_same(photos, name):
    """A photo laid over a twelfth of another may be an edit, or another car before a camera that stands still."""
    image, other = photos[name].copy(), photos["coffee" if name != "coffee" else "chelsea"]
    image.paste(other.resize((image.width // 3, image.height // 4)), (image.width // 3, image.height // 3))
    assert not is_copy(image, photos[name])


@pytest.mark.parametrize("seed", range(4))
def test_two_things_before_one_background_are_no_copies(photos, seed):
    rng = np.random.default_rng(seed)
    packs = [np.ascontiguousarray(np.asarray(photos[name])[:, 80:280]) for name in ("chelsea", "motorcycle")]
    things = [(pack, np.ones(pack.shape[:2], bool)) for pack in packs]
    for background in ("astronaut", "coffee"):
        first, second = stood_before(np.asarray(photos[background]), things, rng)
        assert not is_copy(first, second_photograph(second, rng))


def test_two_views_of_one_scene_are_no_copies():
    left, right, _ = data.stereo_motorcycle()
    assert not is_copy(left, right)


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (20, 20), (300, 300)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_tiny_and_flat_images_are_no_copies(photos, size, level):
    flat = np.full((*size, 3), level, np.uint8)
    for other in (flat, np.asarray(photos["coffee"])):
        evidence = compare(flat, other)
        assert evidence.probability == 0
        assert 0 <= evidence.original <= 1


def test_noise_on_a_plain_ground_is_no_copy():
    rng = np.random.default_rng(0)
    first, second = (np.clip(rng.normal(128, 4, (240, 320, 3)), 0, 255).astype(np.uint8) for _ in range(2))
    assert compare(first, second).refused in ("apart", "points")


def test_the_same_pair_has_the_same_evidence_whatever_ran_before(photos):
    photo, copy = photos["chelsea"], cropped(photos["chelsea"])
    before = compare(photo, copy)
    compare(photos["rocket"], photos["coffee"])
    cv2.setNumThreads(2)
    assert compare(photo, copy) == before
    cv2.setNumThreads(1)


def test_every_cue_is_a_finite_float(photos):
    for other in ("chelsea", "coffee"):
        cues = compare(photos["chelsea"], photos[other]).cues
        assert [name for name, value in zip(Cues._fields, cues, strict=True) if type(value) is not float] == []
        assert np.isfinite(cues).all()


def test_trees_say_what_scikit_learn_says(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 4))
    model = HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(rows, rows[:, 0] * rows[:, 1] > 0.2)
    write_trees(tmp_path / "trees.safetensors", {"it": trees_of(model, "abcd")}, {})
    trees = read_trees(tmp_path / "trees.safetensors")["it"]
    assert trees.names == ("a", "b", "c", "d")
    said = [trees.probability(row) for row in rows]
    np.testing.assert_allclose(said, model.predict_proba(rows)[:, 1], rtol=0, atol=1e-12)
