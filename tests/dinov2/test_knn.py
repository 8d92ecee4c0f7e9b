"""Labelled folders, and their evaluation by nearest neighbours."""

from pathlib import Path

import numpy as np
import pytest
import torch

from curation.dinov2.config import EvaluateConfig
from curation.dinov2.knn import centre_crop, evaluate_features, pixel_features, read_labelled
from curation.errors import DatasetError

from .data.made import jpeg

SETTINGS = EvaluateConfig(image_size=28, neighbours=3, batch_size=4)


def made(folder: Path) -> Path:
    for number in range(9):
        path = folder / f"class{number % 2}" / "deeper" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number % 2))
    (folder / "class0" / "broken.jpg").write_bytes(b"broken")
    (folder / "lonely").mkdir()
    (folder / "lonely" / "1.jpg").write_bytes(jpeg(5))
    return folder


def test_every_second_image_of_a_class_is_a_query_and_broken_ones_are_left_out(tmp_path: Path) -> None:
    images = read_labelled(str(made(tmp_path)), SETTINGS, max_pixels=10_000)
    assert (images.bank, len(images.labels), images.classes) == (5, 9, 2)
    result = evaluate_features(pixel_features, images, SETTINGS, torch.device("cpu"))
    assert result.accuracy == 1
    assert (result.bank, result.queries) == (5, 4)
    assert result.rankme < 2.5


def test_a_folder_without_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no such folder"):
        read_labelled(str(tmp_path / "nowhere"), SETTINGS, max_pixels=10_000)
    with pytest.raises(DatasetError, match="at least two sub-folders"):
        read_labelled(str(tmp_path), SETTINGS, max_pixels=10_000)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (100, 37), (10, 300), (1, 1)])
def test_centre_crops_have_the_asked_size(height: int, width: int) -> None:
    assert centre_crop(np.zeros((height, width, 3), dtype=np.uint8), 28).shape == (3, 28, 28)
