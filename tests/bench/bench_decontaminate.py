"""Hides edits of benchmark images in a dataset, decontaminates it, and counts what was found.

    python -m tests.bench.bench_decontaminate DATA [--references 200] [--images 10000] [--set KEY=VALUE] [--keep DIR]

DATA is a folder whose sub-folders are classes of photos. The references are photos of every fourth class (of the names
in order, without background and face classes; those that a descriptor trained here has not seen), and none that
DATA/NEAR_DUP_CANDIDATES.tsv names. Each is hidden in the dataset under 8 light and 8 heavy edits, not as it is. The
rest of the dataset is all other photos, and, to fill it up, pictures made of those: a photo cropped to 60 to 90 % of
its sides and mirrored, or four photos laid side by side. They are no copies of references, but copies of each other,
and they look more alike than photos that were gathered one by one.

Light edits are re-encoding, resizing, crops that keep 80 % of each side, and changes of colour. A false removal is an
image that was not made of any reference; some may be natural duplicates in DATA, so the first are named.
"""

import argparse
import io
import json
import random
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from curation.config import parse_overrides
from pipelines.decontaminate import decontaminate
from pipelines.progress import Terminal

Edit = Callable[[Image.Image], bytes]
LEFT_OUT = ("caltech101__BACKGROUND_Google", "caltech101__Faces", "caltech101__Faces_easy")
PER_SHARD = 500


def jpeg(image: Image.Image, quality: int = 85) -> bytes:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def crop(image: Image.Image, share: float, x: float = 0.5, y: float = 0.5) -> Image.Image:
    """A window of this share of both sides."""
    width, height = (max(1, round(side * share)) for side in image.size)
    left, top = round((image.width - width) * x), round((image.height - height) * y)
    return image.crop((left, top, left + width, top + height))


def scaled(image: Image.Image, factor: float) -> Image.Image:
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))


def framed(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", (round(image.width * 1.6), round(image.height * 1.8)), (32, 34, 40))
    canvas.paste(image, (round(image.width * 0.3), round(image.height * 0.3)))
    return canvas


def written_on(image: Image.Image) -> Image.Image:
    copy = image.copy()
    box = (0, round(image.height * 0.7), image.width, round(image.height * 0.9))
    ImageDraw.Draw(copy).rectangle(box, fill="white")
    ImageDraw.Draw(copy).text((10, box[1] + 5), "what a day it was", fill="black", font_size=image.height * 0.12)
    return copy


LIGHT: dict[str, Edit] = {
    "jpeg 30": lambda image: jpeg(image, 30),
    "webp 50": lambda image: webp(image, 50),
    "half size": lambda image: jpeg(scaled(image, 0.5)),
    "double size": lambda image: jpeg(scaled(image, 2.0)),
    "crop 80 %": lambda image: jpeg(crop(image, 0.8)),
    "crop 80 % in a corner": lambda image: jpeg(crop(image, 0.8, 0.0, 0.0)),
    "brighter": lambda image: jpeg(ImageEnhance.Brightness(image).enhance(1.4)),
    "less colour and contrast": lambda image: jpeg(
        ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(0.4)).enhance(0.7)
    ),
}
HEAVY: dict[str, Edit] = {
    "grey": lambda image: jpeg(ImageOps.grayscale(image)),
    "mirrored": lambda image: jpeg(ImageOps.mirror(image)),
    "crop 50 %": lambda image: jpeg(crop(image, 0.5)),
    "turned by 10 degrees": lambda image: jpeg(image.rotate(10, expand=True)),
    "blurred": lambda image: jpeg(image.filter(ImageFilter.GaussianBlur(3))),
    "in a frame": lambda image: jpeg(framed(image)),
    "written on": lambda image: jpeg(written_on(image)),
    "stretched 1.6 times": lambda image: jpeg(image.resize((round(image.width * 1.6), image.height))),
}


def webp(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--references", type=int, default=200)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--keep", type=Path, help="leave dataset and result in this folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = arguments.keep or Path(scratch)
        planted = plant(arguments.data, root, arguments.references, arguments.images)
        started = time.monotonic()
        decontaminate(
            str(root / "dataset"),
            [str(root / "references")],
            str(root / "out"),
            settings=parse_overrides(arguments.set),
            report=Terminal(),
        )
        seconds = time.monotonic() - started
        evaluate(root / "out", planted, seconds)


def plant(data: Path, root: Path, count: int, images: int) -> dict[str, tuple[str, str]]:
    """Write references and shards; returns shard member -> (reference, edit) of what is hidden."""
    rng = random.Random(0)
    classes = sorted(path.name for path in data.iterdir() if path.is_dir())
    photos = [path for name in classes for path in sorted((data / name).iterdir())]
    alike = near_duplicates(data)
    held_out = {name for name in classes[::4] if name not in LEFT_OUT}
    usable = [path for path in photos if path.parent.name in held_out and key(path) not in alike]
    references = sorted(rng.sample(usable, count))
    (root / "references").mkdir(parents=True)
    for path in references:
        (root / "references" / f"{path.parent.name}-{path.name}").write_bytes(path.read_bytes())
    others = [path for path in photos if path not in set(references)]
    recipes = [(reference, edit) for reference in references for edit in (*LIGHT, *HEAVY)]
    made = images - len(recipes) - len(others)
    assert made >= 0, f"{len(recipes)} edits and {len(others)} photos are more than {images} images"
    work: list[tuple[str, Callable[[], bytes], tuple[str, str] | None]] = []
    for reference, edit in recipes:
        name = f"{reference.parent.name}-{reference.name}"
        work.append(("edit", lambda path=reference, edit=edit: edited(path, edit), (name, edit)))
    work += [("photo", path.read_bytes, None) for path in others]
    work += [("made", lambda at=at: distractor(others, at), None) for at in range(made)]
    rng.shuffle(work)
    print(f"{len(references)} references, {len(recipes)} hidden edits, {len(others)} photos, {made} made of photos")
    return write_shards(root / "dataset", work)


def key(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def near_duplicates(data: Path) -> set[str]:
    lines = (data / "NEAR_DUP_CANDIDATES.tsv").read_text().splitlines()[1:]
    return {name for line in lines for name in line.split("\t")[1:]}


def edited(path: Path, edit: str) -> bytes:
    with Image.open(path) as image:
        return (LIGHT | HEAVY)[edit](image.convert("RGB"))


def distractor(photos: list[Path], number: int) -> bytes:
    rng = random.Random(number + 1)
    if rng.random() < 0.5:
        with Image.open(rng.choice(photos)) as image:
            return jpeg(ImageOps.mirror(crop(image.convert("RGB"), rng.uniform(0.6, 0.9), rng.random(), rng.random())))
    canvas = Image.new("RGB", (400, 400))
    for corner, path in enumerate(rng.sample(photos, 4)):
        with Image.open(path) as image:
            canvas.paste(ImageOps.fit(image.convert("RGB"), (200, 200)), (200 * (corner % 2), 200 * (corner // 2)))
    return jpeg(canvas)


def write_shards(folder: Path, work: list) -> dict[str, tuple[str, str]]:
    folder.mkdir(parents=True)
    planted = {}
    for shard, start in enumerate(range(0, len(work), PER_SHARD)):
        with tarfile.open(folder / f"{shard:04d}.tar", "w") as tar:
            for number, (kind, make, truth) in enumerate(work[start : start + PER_SHARD], start):
                for name, data in ((f"{number:06d}.jpg", make()), (f"{number:06d}.json", json.dumps(kind).encode())):
                    info = tarfile.TarInfo(name)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
                if truth:
                    planted[f"{shard:04d}.tar/{number:06d}.jpg"] = truth
    return planted


def evaluate(out: Path, planted: dict[str, tuple[str, str]], seconds: float) -> None:
    certificate = json.loads((out / "certificate.json").read_text())
    counts = certificate["counts"]
    removed = {item["name"]: item["reference"] for item in certificate["removed"]}
    listed = {name for item in certificate["reference_images"] for name in item["removed"]}
    hidden, result, right = Counter(), Counter(), Counter()
    for name, (reference, edit) in planted.items():
        hidden[edit] += 1
        result[edit] += name in removed
        right[edit] += removed.get(name) == reference
    print(f"\n{'edit':<28} {'hidden':>7} {'result':>7} {'recall':>7} {'of its reference':>17}")
    for group, edits in (("light", LIGHT), ("heavy", HEAVY)):
        for edit in edits:
            print(
                f"{edit:<28} {hidden[edit]:>7} {result[edit]:>7} {result[edit] / hidden[edit]:>7.3f} {right[edit]:>17}"
            )
        total, got = sum(hidden[edit] for edit in edits), sum(result[edit] for edit in edits)
        print(f"{f'all {group} edits':<28} {total:>7} {got:>7} {got / total:>7.3f}\n")
    false = sorted(set(removed) - set(planted))
    print(f"false removals: {len(false)} of {counts['read'] - len(planted):,} images that are no copies {false[:5]}")
    print(f"removed images that the certificate lists with a reference: {len(listed & set(removed))} of {len(removed)}")
    print(f"counts: {counts}")
    print(f"wall time {seconds:.1f} s, {counts['read'] / seconds:.0f} images/s")


if __name__ == "__main__":
    main()
