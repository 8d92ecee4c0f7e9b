"""Unsafe images are dropped, faces are blurred in the bytes, and a model's failure costs one image."""

import io
import pickle

import numpy as np
import pytest
import skimage.data
from PIL import Image

from curation.config import ImageConfig, SafetyConfig
from curation.drops import DropReason
from curation.engine.locations import STORED
from curation.errors import ModelError
from curation.imaging.decode import decode
from curation.models.detectors.boxes import Box
from curation.models.detectors.centerface import CenterFace
from curation.models.detectors.nudenet import NudeNet
from curation.stages.filters.nsfw import NsfwConfirmation
from curation.stages.filters.safety import Safety, is_active, safety_side

LIMITS = ImageConfig()
OFF = {"nsfw": "off"}
PHOTO = skimage.data.astronaut()


def jpeg(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", **{"quality": 92} | options)
    return buffer.getvalue()


def stage_of(role="pool", side=480, **settings):
    stage = Safety(SafetyConfig(**settings), LIMITS, role, "decode", side)
    stage.setup()
    return stage


def run(stage, sources, side=480):
    return stage.process([decode(source, LIMITS, side) for source in sources], sources)


def test_it_has_the_columns_of_a_stage_that_stores_images():
    stage = stage_of(**OFF)
    assert set(STORED.names) <= set(stage.spec.adds.names)


def test_a_face_is_blurred_where_it_is_and_the_rest_stays():
    source = jpeg(PHOTO)
    output = run(stage_of(**OFF), [source, jpeg(skimage.data.coffee())])
    assert list(output.images) == [0]
    assert output.drops == {}
    assert output.columns["blurred"].to_pylist() == [1, 0]
    assert output.columns["nsfw"].to_pylist() == [None, None]
    (face,) = [box for box in output.columns["faces"].to_pylist()[0] if box["score"] >= 0.3]
    assert 150 < face["x"] < 200
    assert 40 < face["y"] < 80
    before, after = decode(source, LIMITS).astype(int), decode(output.images[0], LIMITS).astype(int)
    assert before.shape == after.shape
    change = np.abs(before - after).max(axis=2)
    assert np.median(change[80:160, 190:260]) > 15
    assert (change[260:] <= 8).mean() > 0.99


def test_boxes_are_in_pixels_of_the_full_image_whatever_scale_it_is_decoded_at():
    large = jpeg(np.asarray(Image.fromarray(PHOTO).resize((2048, 2048), Image.Resampling.BICUBIC)))
    output = run(stage_of(**OFF), [large])
    assert decode(large, LIMITS, 480).shape[0] == 512
    (face,) = [box for box in output.columns["faces"].to_pylist()[0] if box["score"] >= 0.3]
    assert 600 < face["x"] < 800
    assert 250 < face["width"] < 500
    assert decode(output.images[0], LIMITS).shape == (2048, 2048, 3)


def test_a_turned_photo_is_blurred_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = jpeg(np.ascontiguousarray(np.rot90(PHOTO)), exif=exif)
    output = run(stage_of(**OFF), [turned])
    assert output.columns["blurred"].to_pylist() == [1]
    assert run(stage_of(**OFF), [output.images[0]]).images == {}


def test_blurring_is_the_same_in_any_batch():
    stage = stage_of(**OFF)
    source = jpeg(PHOTO)
    others = [jpeg(skimage.data.coffee()), jpeg(skimage.data.rocket())]
    assert run(stage, [source]).images[0] == run(stage, [*others, source]).images[2]


def test_faces_can_be_dropped():
    output = run(stage_of(faces="drop", **OFF), [jpeg(PHOTO), jpeg(skimage.data.coffee())])
    assert output.images == {}
    assert output.drops[0].reason == DropReason.FACE
    assert output.drops[0].detail.startswith("1 found, the first with score 0.9")
    assert list(output.drops) == [0]


@pytest.mark.parametrize(
    ("settings", "role", "active"),
    [
        ({}, "pool", True),
        ({}, "seed", False),
        ({}, "reference", False),
        ({}, "exclude", False),
        ({"faces_on": ["seed"]}, "seed", True),
        ({"faces_on": ["seed"], "faces": "keep"}, "seed", False),
        ({"faces": "keep", "nsfw_on": ["pool", "seed"]}, "seed", True),
        ({"faces": "keep", "nsfw": "off"}, "pool", False),
        ({"faces_on": ["pool"]}, "reference", False),
    ],
)
def test_where_there_is_anything_to_do(settings, role, active):
    assert is_active(SafetyConfig(**settings), role) is active


def test_seeds_that_are_named_are_blurred_and_not_judged():
    output = run(stage_of("seed", faces_on=["pool", "seed"]), [jpeg(PHOTO)])
    assert output.columns["nsfw"].to_pylist() == [None]
    assert output.columns["blurred"].to_pylist() == [1]


def test_scores_over_a_threshold_drop_for_the_worst_class(monkeypatch):
    scores = np.zeros((2, 18), np.float32)
    scores[0, NudeNet().labels.index("FEMALE_BREAST_EXPOSED")] = 0.4
    scores[0, NudeNet().labels.index("ANUS_EXPOSED")] = 0.3
    scores[1, NudeNet().labels.index("FEET_EXPOSED")] = 1.0  # no threshold, no drop
    monkeypatch.setattr(NudeNet, "scores", lambda self, images: scores[: len(images)])
    output = run(stage_of(faces="keep"), [jpeg(PHOTO), jpeg(PHOTO)])
    assert list(output.drops) == [0]
    assert output.drops[0].reason == DropReason.NSFW
    assert output.drops[0].detail.startswith("FEMALE_BREAST_EXPOSED 0.400, threshold 0.3; with FACE_FEMALE 0.7")
    kept = {item["label"]: item["score"] for item in output.columns["nsfw"].to_pylist()[0]}
    assert kept["ANUS_EXPOSED"] == pytest.approx(0.3)


def test_scores_that_are_no_numbers_drop(monkeypatch):
    monkeypatch.setattr(NudeNet, "scores", lambda self, images: np.full((len(images), 18), np.nan, np.float32))
    output = run(stage_of(faces="keep"), [jpeg(PHOTO)])
    assert output.drops[0].reason == DropReason.NON_FINITE


def test_a_classifier_by_name_drops_by_its_own_classes(small_classifier):
    name = f"local-dir:{small_classifier}"
    low = run(stage_of(nsfw=name, nsfw_thresholds={"NSFW": 0.0}, faces="keep"), [jpeg(PHOTO)])
    assert low.drops[0].reason == DropReason.NSFW
    high = run(stage_of(nsfw=name, nsfw_thresholds={"NSFW": 1.0}, faces="keep"), [jpeg(PHOTO)])
    assert high.drops == {}
    with pytest.raises(ModelError, match=r"has no class ANUS_EXPOSED; give safety\.nsfw_thresholds .* NSFW, SFW"):
        stage_of(nsfw=name, faces="keep")


def test_models_that_cannot_be_are_one_line():
    for settings, message in (
        ({"nsfw": "nudnet"}, "unknown classifier"),
        ({"nsfw_weights": "x"}, "comes with its own weights"),
        ({"nsfw_thresholds": {}}, "has no threshold, so it would drop nothing"),
    ):
        with pytest.raises(ModelError, match=message) as caught:
            stage_of(faces="keep", **settings)
        assert "\n" not in str(caught.value)


def test_a_model_that_fails_on_one_image_costs_that_image(monkeypatch):
    detect = CenterFace.detect

    def fails_on_small(self, images):
        if any(min(image.shape[:2]) < 100 for image in images):
            raise RuntimeError("bad shape")
        return detect(self, images)

    monkeypatch.setattr(CenterFace, "detect", fails_on_small)
    output = run(stage_of(**OFF), [jpeg(PHOTO), jpeg(PHOTO[:90]), jpeg(skimage.data.coffee())])
    assert output.drops[1].reason == DropReason.MODEL_FAILED
    assert output.drops[1].detail == "RuntimeError: bad shape"
    assert list(output.images) == [0]


def test_a_model_that_fails_on_all_images_is_an_error_and_no_drop(monkeypatch):
    def fails(self, images):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(CenterFace, "detect", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        run(stage_of(**OFF), [jpeg(PHOTO), jpeg(PHOTO)])


@pytest.mark.parametrize(
    ("box", "blurred"),
    [
        (Box(-50.0, 200.0, 1000.0, 100.0, 0.9, "face"), 1),
        (Box(-50.0, -50.0, 1000.0, 1000.0, 0.9, "face"), 0),  # it covers the frame
        (Box(500.0, 500.0, 0.0, 0.0, 0.9, "face"), 0),
        (Box(float("nan"), 0.0, 10.0, 10.0, 0.9, "face"), 0),
        (Box(700.0, 0.0, 10.0, 10.0, 0.9, "face"), 0),
    ],
)
def test_odd_boxes_are_no_error(monkeypatch, box, blurred):
    monkeypatch.setattr(CenterFace, "detect", lambda self, images: [[box] for _ in images])
    output = run(stage_of(**OFF), [jpeg(PHOTO)])
    assert len(output.images) == blurred
    assert output.drops == {}


def test_the_pass_decodes_for_the_larger_of_its_detectors():
    assert safety_side(SafetyConfig()) == 480
    assert safety_side(SafetyConfig(faces="keep")) == 320
    assert safety_side(SafetyConfig(faces="keep", nsfw="off")) == 1


def test_a_changed_threshold_is_another_digest_and_other_roles_settings_are_not():
    def settings(**changes):
        settings = SafetyConfig(**{"faces_on": ["seed"]} | changes)
        return dict(Safety(settings, LIMITS, "seed", "decode", 480).spec.settings)

    assert settings(face_threshold=0.5) != settings()
    assert settings(nsfw="off") == settings()


def test_the_weights_of_a_second_look_are_in_the_digest_where_it_is_taken():
    def settings(**changes):
        return str(Safety(SafetyConfig(**changes), LIMITS, "pool", "decode", 480).spec.settings)

    assert settings().count("efficientnet-lite0") == 2
    assert settings(faces="keep").count("efficientnet-lite0") == 1
    assert "efficientnet-lite0" not in settings(confirm=False)


def test_a_cup_of_coffee_that_nudenet_takes_for_nudity_is_kept_and_said_why():
    cup = jpeg(skimage.data.coffee()[64:207, 126:321])
    alone = run(stage_of(faces="keep", confirm=False), [cup])
    assert alone.drops[0].detail.startswith("BUTTOCKS_EXPOSED 0.5")
    output = run(stage_of(faces="keep"), [cup])
    assert output.drops == {}
    (veto,) = output.columns["nsfw_veto"].to_pylist()
    assert veto.startswith("BUTTOCKS_EXPOSED 0.5")
    assert "vetoed: animal or food 0.9" in veto
    assert "(food: espresso 0." in veto
    assert {item["label"]: item["score"] for item in output.columns["nsfw"].to_pylist()[0]}["BUTTOCKS_EXPOSED"] > 0.5


def test_a_second_look_that_a_model_cannot_take_costs_that_image(monkeypatch):
    def fails(self, images, over):
        raise RuntimeError("bad shape")

    monkeypatch.setattr(NsfwConfirmation, "look", fails)
    output = run(stage_of(faces="keep"), [jpeg(skimage.data.coffee()[64:207, 126:321]), jpeg(PHOTO)])
    assert {at: drop.reason for at, drop in output.drops.items()} == {0: DropReason.MODEL_FAILED}


def test_off_may_be_written_without_quotes():
    assert SafetyConfig.model_validate({"nsfw": False}).nsfw == "off"


def test_it_travels_to_a_worker_before_its_models_are_loaded(small_classifier):
    settings = SafetyConfig(nsfw=f"local-dir:{small_classifier}", nsfw_thresholds={"NSFW": 1.0})
    for one in (Safety(SafetyConfig(), LIMITS, "pool", "decode", 480), Safety(settings, LIMITS, "pool", "decode", 480)):
        copy = pickle.loads(pickle.dumps(one))
        copy.setup()
        assert run(copy, [jpeg(PHOTO)]).columns["blurred"].to_pylist() == [1]
