"""The views against torchvision's transforms, put together as in the official recipe: the distributions are equal."""

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from skimage import data
from torchvision import transforms

from curation.dinov2.config import AugmentConfig, CropConfig
from curation.dinov2.data.augment import Augmentation, resized_crop
from curation.dinov2.data.plan import Planner

PHOTO = Image.fromarray(data.chelsea()).resize((160, 120), Image.Resampling.BICUBIC)
PIXELS = np.asarray(PHOTO)
CROPS = CropConfig(global_size=56, local_size=28, local_count=2)
DRAWS = 250


def augmentation_of(recipe: str, crops: CropConfig = CROPS) -> Augmentation:
    return Augmentation(Planner(crops, recipe, AugmentConfig()))


def reference(size: int, scale: tuple[float, float], blur: float, solarise: float) -> transforms.Compose:
    jitter = transforms.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
    steps = [
        transforms.RandomResizedCrop(size, scale=scale, interpolation=transforms.InterpolationMode.BICUBIC),
        transforms.RandomHorizontalFlip(0.5),
        transforms.RandomApply([jitter], p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.RandomApply([transforms.GaussianBlur(9, (0.1, 2.0))], p=blur),
        transforms.RandomSolarize(128, p=solarise),
        transforms.PILToTensor(),
    ]
    return transforms.Compose(steps)


def statistics(views: torch.Tensor) -> dict[str, np.ndarray]:
    """One number per view: brightness, contrast, colour, sharpness, left-right balance."""
    x = views.float()
    red, green, blue = x.mean(dim=(2, 3)).T
    return {
        "mean": x.mean(dim=(1, 2, 3)).numpy(),
        "deviation": x.std(dim=(1, 2, 3)).numpy(),
        "red-green": (red - green).numpy(),
        "blue-green": (blue - green).numpy(),
        "saturation": (x.amax(dim=1) - x.amin(dim=1)).mean(dim=(1, 2)).numpy(),
        "sharpness": (x[..., 1:] - x[..., :-1]).abs().mean(dim=(1, 2, 3)).numpy(),
        "balance": (x[..., :14].mean(dim=(1, 2, 3)) - x[..., -14:].mean(dim=(1, 2, 3))).numpy(),
    }


@pytest.fixture(scope="module", params=["official", "paper"])
def drawn(request: pytest.FixtureRequest) -> tuple[str, list[torch.Tensor]]:
    augmentation = augmentation_of(request.param)
    rng = np.random.default_rng(1)
    views = [augmentation(PIXELS, rng) for _ in range(DRAWS)]
    assert views[0].globals_.shape == (2, 3, 56, 56)
    assert views[0].locals_.dtype == torch.uint8
    globals_ = torch.stack([view.globals_ for view in views])
    return request.param, [globals_[:, 0], globals_[:, 1], torch.cat([view.locals_ for view in views])]


@pytest.mark.parametrize("view", [0, 1, 2], ids=["global 1", "global 2", "local"])
def test_views_have_the_distribution_of_the_official_transforms(
    drawn: tuple[str, list[torch.Tensor]], view: int
) -> None:
    recipe, views = drawn
    blur = {"official": (0.0, 0.9, 0.5), "paper": (1.0, 0.1, 0.5)}[recipe][view]
    size, scale = (56, (0.32, 1.0)) if view < 2 else (28, (0.05, 0.32))
    torch.manual_seed(2)
    transform = reference(size, scale, blur, 0.2 * (view == 1))
    expected = statistics(torch.stack([transform(PHOTO) for _ in range(DRAWS)]))
    for name, values in statistics(views[view]).items():
        assert ks_2samp(values, expected[name]).pvalue > 1e-3, name


def test_the_two_recipes_differ_in_sharpness() -> None:
    sharp = {}
    for recipe in ("official", "paper"):
        augmentation, rng = augmentation_of(recipe), np.random.default_rng(0)
        views = torch.stack([augmentation(PIXELS, rng).globals_[0] for _ in range(60)])
        sharp[recipe] = statistics(views)["sharpness"].mean()
    assert sharp["official"] > 1.15 * sharp["paper"]


def test_a_seed_gives_the_same_views_again() -> None:
    augmentation = augmentation_of("official")
    one, two = (augmentation(PIXELS, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(one.globals_, two.globals_)
    assert torch.equal(one.locals_, two.locals_)


def test_crops_are_pillows_to_one_level() -> None:
    image = torch.from_numpy(PIXELS.copy()).permute(2, 0, 1)
    pillow = PHOTO.crop((30, 10, 130, 90)).resize((28, 28), Image.Resampling.BICUBIC)
    ours = resized_crop(image, (10, 30, 80, 100), 28).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(ours - np.asarray(pillow).astype(int)).max() <= 1


def test_an_image_of_one_pixel_has_views() -> None:
    views = augmentation_of("official")(np.zeros((1, 1, 3), dtype=np.uint8), np.random.default_rng(0))
    assert views.locals_.shape == (2, 3, 28, 28)


def test_no_local_crops_give_an_empty_tensor() -> None:
    crops = CROPS.model_copy(update={"local_count": 0})
    assert augmentation_of("official", crops)(PIXELS, np.random.default_rng(0)).locals_.shape == (0, 3, 28, 28)
