"""Makes a set to measure copy detection on: photos, edits of them by AugLy, and photos that have no copy in the set.

Run it with the Python of an environment of its own, since AugLy 1.0 needs Pillow < 10 and NumPy < 1.24:

    python -m venv augly && augly/bin/pip install --no-deps 'augly==1.0.0' 'pillow<10' 'numpy<1.24'
    augly/bin/pip install iopath python-magic regex
    augly/bin/python tests/bench/make_copy_edits.py PHOTOS SET

PHOTOS holds one folder of images for each class. Every fourth class (of the names in order) is used, so that a
descriptor can be trained on the others. SET gets `sources/`, `distractors/` (the photos' own bytes), `copies/<edit>/`
and `truth.tsv` (copy, source, edit). Photos named in PHOTOS/NEAR_DUP_CANDIDATES.tsv are left out, except for the first
of each group: two photos that are copies of each other by nature would make the truth wrong. PHOTOS may also be a text
file that names a photo a line, as `tests.bench.evidence_split` writes: then all of these are used.
"""

import argparse
import csv
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import augly.image as imaugs
from PIL import Image

LEFT_OUT = ("caltech101__BACKGROUND_Google", "caltech101__Faces", "caltech101__Faces_easy")
EVERY = 4
SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

# Each takes a Pillow image; strengths are those that a re-post shows.
EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "jpeg30": lambda image: imaugs.encoding_quality(image, quality=30),
    "half": lambda image: imaugs.scale(image, factor=0.5),
    "crop80": lambda image: imaugs.crop(image, x1=0.1, y1=0.1, x2=0.9, y2=0.9),
    "crop50": lambda image: imaugs.crop(image, x1=0.25, y1=0.25, x2=0.75, y2=0.75),
    "flip": lambda image: imaugs.hflip(image),
    "rotate10": lambda image: imaugs.rotate(image, degrees=10.0),
    "brightness": lambda image: imaugs.brightness(image, factor=1.5),
    "grey": lambda image: imaugs.grayscale(image),
    "blur": lambda image: imaugs.blur(image, radius=3.0),
    "pad": lambda image: imaugs.pad(image, w_factor=0.25, h_factor=0.25),
    "emoji": lambda image: imaugs.overlay_emoji(image, emoji_size=0.4, x_pos=0.3, y_pos=0.3),
    "text": lambda image: imaugs.overlay_text(image, font_size=0.15, x_pos=0.1, y_pos=0.4),
    "stripes": lambda image: imaugs.overlay_stripes(image, line_width=0.3, line_angle=30, line_density=0.3),
    "screenshot": lambda image: imaugs.overlay_onto_screenshot(image),
    "perspective": lambda image: imaugs.perspective_transform(image, sigma=30.0, seed=7),
    "aspect": lambda image: imaugs.change_aspect_ratio(image, ratio=1.6),
    "meme": lambda image: imaugs.meme_format(image, text="LOL", caption_height=max(40, image.height // 3)),
    "pixelate": lambda image: imaugs.pixelization(image, ratio=0.25),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--sources", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    photos = listed(arguments.photos) if arguments.photos.is_file() else held_out(arguments.photos)
    random.Random(arguments.seed).shuffle(photos)
    if len(photos) < 2 * arguments.sources:
        sys.exit(f"{arguments.photos}: {len(photos)} usable photos, too few for {arguments.sources} sources")
    sources, distractors = photos[: arguments.sources], photos[arguments.sources :]
    for kind, chosen in (("sources", sources), ("distractors", distractors)):
        (arguments.out / kind).mkdir(parents=True)
        for photo in chosen:
            shutil.copyfile(photo, arguments.out / kind / flat(photo))
    with open(arguments.out / "truth.tsv", "w", newline="") as file:
        rows = csv.writer(file, delimiter="\t")
        rows.writerow(["copy", "source", "edit"])
        for edit, apply in EDITS.items():
            (arguments.out / "copies" / edit).mkdir(parents=True)
            for photo in sources:
                name = Path(flat(photo)).stem + ".jpg"
                with Image.open(photo) as image:
                    random.seed(f"{edit} {name}")  # AugLy's text is random where no characters are named
                    edited = apply(image.convert("RGB")).convert("RGB")
                edited.save(arguments.out / "copies" / edit / name, "JPEG", quality=30 if edit == "jpeg30" else 90)
                rows.writerow([f"copies/{edit}/{name}", f"sources/{flat(photo)}", edit])
    print(
        f"{len(sources)} sources, {len(sources) * len(EDITS)} copies by {len(EDITS)} edits, {len(distractors)} others"
    )


def held_out(photos: Path) -> list[Path]:
    """Photos of every fourth class, one of each group of candidates for natural near-duplicates."""
    folders = sorted(folder for folder in photos.iterdir() if folder.is_dir())
    repeats = near_duplicates(photos / "NEAR_DUP_CANDIDATES.tsv")
    return [
        photo
        for number, folder in enumerate(folders)
        if number % EVERY == 0 and folder.name not in LEFT_OUT
        for photo in sorted(folder.iterdir())
        if photo.suffix.lower() in SUFFIXES and f"{folder.name}/{photo.name}" not in repeats
    ]


def listed(file: Path) -> list[Path]:
    """The photos that a file names, without what stands behind a tab."""
    return [Path(line.split("\t")[0]) for line in file.read_text().splitlines() if line]


def near_duplicates(table: Path) -> set[str]:
    """The later photo of each pair in a table with the columns file_a and file_b."""
    if not table.exists():
        return set()
    with open(table, newline="") as file:
        return {max(row["file_a"], row["file_b"]) for row in csv.DictReader(file, delimiter="\t")}


def flat(photo: Path) -> str:
    return f"{photo.parent.name}__{photo.name}"


if __name__ == "__main__":
    main()
