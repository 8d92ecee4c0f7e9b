"""kNN accuracy over a pretraining run, against the untrained network and raw pixels.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_pretrain_learning FOLDER OUT [--set optim.epochs=16 ...]

FOLDER has a sub-folder per class. Of each class at most --per-class images are taken; every second one (by name) is
held out: never trained on, only asked about. Of every fifth class nothing is trained on. The other images become
shards, without labels, for --config; for the evaluation each class's first half is the bank. OUT is left with the run.
"""

import argparse
import io
import json
import math
import tarfile
from pathlib import Path

from PIL import Image

from curation.dinov2.config import load_pretrain_config
from curation.dinov2.score import score
from curation.dinov2.train import train

SHORT_SIDE = 160
UNSEEN = 5
"""Every such class is left out of training."""


def prepare(folder: Path, out: Path, per_class: int) -> None:
    """Write OUT/labelled and OUT/unseen (all chosen images) and OUT/shards (those that are trained on)."""
    shards = out / "shards"
    shards.mkdir(parents=True)
    count = 0
    with tarfile.open(shards / "shard-000000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for place, sub in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
            seen = place % UNSEEN != UNSEEN - 1
            images = sorted(path for path in sub.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
            for number, path in enumerate(images[:per_class]):
                content = small(path)
                target = out / ("labelled" if seen else "unseen") / sub.name / f"{number:06d}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                if seen and number % 2 == 0:
                    member = tarfile.TarInfo(f"{count:09d}.jpg")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                    count += 1
    manifest = {"format": "lvd-shards/1", "shards": [{"name": "shard-000000.tar", "samples": count}], "samples": count}
    (shards / "manifest.json").write_text(json.dumps(manifest))


def small(path: Path) -> bytes:
    """The image as JPEG with a shorter side of 160."""
    image = Image.open(path).convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    buffer = io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale))).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def main() -> None:
    """Train, then print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--config", default="configs/pretrain/small_cpu.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    out = arguments.out
    prepare(arguments.folder, out, arguments.per_class)
    fixed = [
        f"out={out / 'run'}",
        f"data.sources=[{{path: {out / 'shards'}}}]",
        f"evaluate.data={out / 'labelled'}",
    ]
    config = load_pretrain_config(arguments.config, [*fixed, *arguments.overrides])
    result = train(config)
    print_curve(out, math.log(config.dino_head.prototypes))
    for name in ("labelled", "unseen"):
        scores = score(result.checkpoint, out / name, neighbours=20, image_size=config.evaluate.image_size)
        kind = "classes trained on" if name == "labelled" else "other classes"
        print(
            f"{kind}: {scores.pixels.classes} classes, bank {scores.pixels.bank}, {scores.pixels.queries} held out: "
            f"kNN trained {scores.trained.accuracy:.3f}, untrained {scores.untrained.accuracy:.3f}, "
            f"pixels {scores.pixels.accuracy:.3f}"
        )
    print(f"{result.images_per_second:.1f} images/s")


def print_curve(out: Path, plateau: float) -> None:
    """Step, loss, entropies and kNN, from the log."""
    print(f"step   DINO loss (plateau {plateau:.3f})   iBOT   entropy: target   mean   kNN   rankme")
    loss: dict[str, float] = {}
    health: dict[str, float] = {}
    for line in map(json.loads, (out / "run" / "log.jsonl").read_text().splitlines()):
        loss = line if "loss/total" in line else loss
        health = line if "health/rankme" in line else health
        if "evaluate/accuracy" in line:
            entropies = [health.get(f"health/{name}_entropy", math.nan) for name in ("target", "prototype")]
            dino = loss.get("loss/dino_local", math.nan) + loss.get("loss/dino_global", math.nan)
            print(
                f"{line['step']:5d}  {dino:.3f}  {loss.get('loss/ibot', math.nan):.3f}  {entropies[0]:.3f}  "
                f"{entropies[1]:.3f}  {line['evaluate/accuracy']:.3f}  {line['evaluate/rankme']:.1f}"
            )


if __name__ == "__main__":
    main()
