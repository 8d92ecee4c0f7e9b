"""Find the copies among the images of a folder: saved again, cropped, mirrored."""

import tempfile
from pathlib import Path

import skimage.data
from PIL import Image, ImageOps

from curation import find_copies


def make_photos(folder: Path) -> None:
    """Four photographs, and three edits of them."""
    for name in ("astronaut", "cat", "coffee", "rocket"):
        photo = Image.fromarray(getattr(skimage.data, name)())
        photo.thumbnail((320, 320))
        photo.save(folder / f"{name}.png")
        if name == "astronaut":
            photo.crop((20, 40, 260, 300)).save(folder / "astronaut-cropped.jpg", quality=80)
        if name == "cat":
            ImageOps.mirror(photo).save(folder / "cat-mirrored.jpg", quality=80)
        if name == "coffee":
            photo.resize((160, 106)).save(folder / "coffee-small.jpg", quality=60)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_photos(Path(folder))
        paths = sorted(Path(folder).iterdir())
        for pair in find_copies(paths):
            evidence = f"{pair.inliers} points agree, probability {pair.probability:.2f}"
            print(f"{paths[pair.first].name} = {paths[pair.second].name}: similarity {pair.similarity:.2f}, {evidence}")


if __name__ == "__main__":
    main()
