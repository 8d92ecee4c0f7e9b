"""Decontaminate: take the copies of benchmark images out of a training set, and certify it."""

import tempfile
from pathlib import Path

import skimage.data
from PIL import Image, ImageOps

from pipelines import decontaminate


def make_pictures(folder: Path) -> None:
    """A training set of eight pictures, two of them edits of the two benchmark images."""
    for name in ("train", "benchmark"):
        (folder / name).mkdir()
    for name in ("astronaut", "cat", "coffee", "rocket"):
        photo = Image.fromarray(getattr(skimage.data, name)())
        photo.thumbnail((320, 320))
        if name in ("cat", "rocket"):
            photo.save(folder / "benchmark" / f"{name}.png")
        edited = ImageOps.autocontrast(photo.crop((10, 10, photo.width - 20, photo.height - 10)))
        edited.save(folder / "train" / f"{name}-edited.jpg", quality=80)
    for name in ("camera", "coins", "moon", "page"):
        Image.fromarray(getattr(skimage.data, name)()).save(folder / "train" / f"{name}.png")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_pictures(Path(folder))
        certificate = decontaminate(f"{folder}/train", [f"{folder}/benchmark"], f"{folder}/clean")
        counts = certificate.counts
        print(f"{counts['read']} images read, {counts['removed']} removed, {counts['kept']} kept")
        print("clean:", ", ".join(sorted(path.name for path in Path(folder, "clean", "data").iterdir())))


if __name__ == "__main__":
    main()
