"""Each quality rule drops what it is for, for its own reason, and the cheap ones come first."""

import io

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFilter

from curation.config import ModelConfig, QualityConfig, QualityHeadConfig
from curation.drops import DropReason
from curation.errors import ModelError
from curation.models.detectors.classifier import Classifier
from curation.stages.filters.quality import Measures, Quality, judge, measure_header, measure_pixels


def encoded(image, format="JPEG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


PHOTO = Image.fromarray(skimage.data.coffee())
RNG = np.random.default_rng(0)
GREY_NOISE = Image.fromarray(RNG.integers(0, 256, (60, 400, 3), dtype=np.uint8))


def output_of(images, settings=None):
    """The stage's answer for encoded images."""
    stage = Quality(settings or QualityConfig(), "decode", 256)
    stage.setup()
    pixels = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in images]
    return stage.process(pixels, images)


BAD = [
    (encoded(PHOTO.resize((90, 60))), "low_resolution", "shorter side 60, limit 64"),
    (encoded(PHOTO.resize((600, 100))), "extreme_aspect", "aspect ratio 6, limit 5"),
    (encoded(PHOTO, quality=4), "overcompressed", None),
    (encoded(Image.new("RGB", (2000, 2000), "white"), "PNG"), "overcompressed", None),
    (encoded(Image.new("RGB", (200, 200), (9, 99, 200))), "blank", "share of one grey level 1, limit 0.98"),
    (
        encoded(Image.fromarray(np.kron(np.eye(8, dtype=np.uint8) * 200, np.ones((40, 40), np.uint8)))),
        "low_entropy",
        None,
    ),
    (encoded(PHOTO.filter(ImageFilter.GaussianBlur(20)), quality=95), "blurry", None),
]


@pytest.mark.parametrize(("data", "reason", "detail"), BAD, ids=[reason for _, reason, _ in BAD])
def test_what_is_of_no_use_is_dropped_for_its_reason(data, reason, detail):
    output = output_of([encoded(PHOTO), data])
    assert list(output.drops) == [1]
    assert output.drops[1].reason == reason
    if detail:
        assert output.drops[1].detail == detail


@pytest.mark.parametrize("name", ["astronaut", "coffee", "cat", "rocket", "retina", "hubble_deep_field"])
def test_photographs_are_kept(name):
    assert not output_of([encoded(Image.fromarray(getattr(skimage.data, name)()), quality=85)]).drops


def test_what_the_header_rules_out_has_no_pixels_measured():
    output = output_of([encoded(PHOTO.resize((600, 100)))])
    row = {name: column.to_pylist()[0] for name, column in output.columns.items()}
    assert row["aspect"] == 6.0
    assert row["uniform"] is row["entropy"] is row["sharpness"] is None


@pytest.mark.parametrize("field", ["min_side", "max_aspect", "min_bytes_per_pixel", "min_jpeg_quality"])
def test_a_rule_that_is_off_drops_nothing(field):
    settings = QualityConfig(**{field: None})
    measures = Measures(1, 100.0, 0.0, 1.0, 0.0, 8.0, 1000.0)
    reasons = set()
    for name, value in (("min_side", 500), ("aspect", 1.0), ("bytes_per_pixel", 1.0), ("jpeg_quality", 90.0)):
        if name not in field:
            setattr(measures, name, value)
    verdict = judge(measures, settings)
    reasons.add(verdict.reason if verdict else None)
    assert reasons == {None}


def test_measures_are_what_they_say():
    grey = RNG.integers(0, 40, (60, 80)).astype(np.uint8)
    measures = Measures()
    measure_pixels(measures, np.repeat(grey[:, :, None], 3, axis=2))
    shares = np.unique(grey, return_counts=True)[1] / grey.size
    median = np.sort(grey.ravel())[(grey.size - 1) // 2]
    wide = grey.astype(int)
    laplacian = [
        wide[y - 1, x] + wide[y + 1, x] + wide[y, x - 1] + wide[y, x + 1] - 4 * wide[y, x]
        for y in range(1, 59)
        for x in range(1, 79)
    ]
    assert measures.entropy == pytest.approx(-sum(share * np.log2(share) for share in shares))
    assert measures.uniform == pytest.approx((np.abs(wide - int(median)) <= 4).mean())
    assert measures.sharpness == pytest.approx(np.var(laplacian), rel=1e-5)


@pytest.mark.parametrize("quality", [1, 5, 10, 30, 50, 75, 90, 99])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality):
    measures = Measures()
    measure_header(measures, encoded(PHOTO, quality=quality))
    assert measures.jpeg_quality == pytest.approx(quality, abs=1.6)
    assert measures.bytes_per_pixel == len(encoded(PHOTO, quality=quality)) / (PHOTO.width * PHOTO.height)


def test_other_formats_have_no_jpeg_quality():
    measures = Measures()
    measure_header(measures, encoded(PHOTO, "PNG"))
    assert measures.jpeg_quality is None


@pytest.mark.parametrize("data", [b"", b"nothing", encoded(PHOTO)[:30], b"\xff\xd8\xff\xd9"])
def test_bytes_without_a_header_are_no_error(data):
    measures = Measures()
    measure_header(measures, data)
    assert measures.jpeg_quality is None


@pytest.mark.parametrize("shape", [(1, 1), (2, 500), (500, 2), (3, 3)])
def test_tiny_images_have_measures_as_far_as_they_go(shape):
    measures = Measures()
    measure_pixels(measures, np.zeros((*shape, 3), np.uint8))
    assert measures.uniform == 1.0
    assert measures.entropy == 0.0
    assert measures.sharpness in (None, 0.0)


def test_a_model_scores_what_is_left(small_classifier):
    head = QualityHeadConfig(model=f"local-dir:{small_classifier}", label="SFW", min_score=0.0)
    images = [encoded(PHOTO), encoded(PHOTO.resize((600, 100))), encoded(PHOTO.transpose(Image.Transpose.ROTATE_180))]
    output = output_of(images, QualityConfig(head=head))
    scores = output.columns["score"].to_pylist()
    assert scores[1] is None
    assert list(output.drops) == [1]
    classifier = Classifier(ModelConfig(model=f"local-dir:{small_classifier}"))
    classifier.setup()
    pixels = [np.asarray(Image.open(io.BytesIO(images[at])).convert("RGB")) for at in (0, 2)]
    assert [scores[0], scores[2]] == pytest.approx(classifier.scores(pixels)[:, 1].tolist(), abs=1e-5)
    strict = output_of(images, QualityConfig(head=head.model_copy(update={"min_score": 1.0})))
    assert {drop.reason for at, drop in strict.drops.items() if at != 1} == {DropReason.LOW_SCORE}


def test_a_class_that_the_model_lacks_is_one_line(small_classifier):
    head = QualityHeadConfig(model=f"local-dir:{small_classifier}", label="beauty")
    with pytest.raises(ModelError, match=r"has no class beauty; set quality\.head\.label to one of NSFW, SFW"):
        Quality(QualityConfig(head=head), "decode", 256).setup()
