"""Edits of photographs hidden among others are found, and nothing else is."""

import io
import json

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from pipelines.decontaminate import decontaminate
from pipelines.demo.photographs import CONCEPTS, TEXTURES, crops, open_photograph

REFERENCES = ("astronaut", "coffee", "motorcycle", "rocket")
SIDE = 256


def jpeg(image, quality=85):
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def middle(image, share):
    width, height = (round(side * share) for side in image.size)
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))


LIGHT = {
    "re-encoded": lambda image: jpeg(image, 30),
    "half": lambda image: jpeg(image.resize((image.width // 2, image.height // 2))),
    "crop": lambda image: jpeg(middle(image, 0.8)),
    "brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.3)),
    "duller": lambda image: jpeg(ImageEnhance.Color(image).enhance(0.4)),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """References, and a dataset of their light edits among crops of other photographs."""
    root = tmp_path_factory.mktemp("planted")
    (root / "references").mkdir()
    (root / "dataset").mkdir()
    for name in REFERENCES:
        image = Image.fromarray(open_photograph(name).pixels).convert("RGB")
        image.thumbnail((SIDE, SIDE))
        (root / "references" / f"{name}.png").write_bytes(png(image))
        for edit, make in LIGHT.items():
            (root / "dataset" / f"{name} {edit}.jpg").write_bytes(make(image))
    rng = np.random.default_rng(0)
    for name in sorted({*CONCEPTS, *TEXTURES} - set(REFERENCES)):
        photograph = open_photograph(name)
        for number, box in enumerate(crops(photograph, 40, rng)):
            (root / "dataset" / f"other {name} {number}.jpg").write_bytes(jpeg(photograph.cut(box)))
    return root


def png(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_every_light_edit_is_found_and_certified_and_nothing_else(planted, tmp_path):
    decontaminate(
        str(planted / "dataset"),
        [str(planted / "references")],
        str(tmp_path / "out"),
        settings={"runner": {"kind": "inline"}, "dedup": {"verify": "geometry"}},
        action="list",
    )
    certificate = json.loads((tmp_path / "out" / "certificate.json").read_text())
    result = {item["name"]: item["reference"] for item in certificate["removed"]}
    hidden = {f"{name} {edit}.jpg": f"{name}.png" for name in REFERENCES for edit in LIGHT}
    assert len(set(result) & set(hidden)) >= 0.98 * len(hidden), sorted(set(hidden) - set(result))
    assert {name: reference for name, reference in result.items() if hidden.get(name) != reference} == {}
    listed = {name for item in certificate["reference_images"] for name in item["removed"]}
    assert listed == set(result)
    assert certificate["counts"]["read"] > 2 * len(hidden)
