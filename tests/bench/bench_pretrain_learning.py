"""kNN accuracy over a pretraining run, against the untrained network and raw pixels.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_pretrain_learning FOLDER OUT [--set optim.epochs=16 ...]

FOLDER has a sub-folder per class. Of each class at most --per-class images are taken; every second one (by name) is
held out: never trained on, only asked about. The others become shards, without labels, for
configs/pretrain/vits14_demo.yaml; for the evaluation they are the bank. OUT is left with the run.
"""

import argparse
import io
import json
import tarfile
from pathlib import Path

import torch
from PIL import Image

from curation.dinov2.config import EvaluateConfig, load_pretrain_config
from curation.dinov2.export import load_checkpoint_backbone
from curation.dinov2.knn import evaluate_features, pixel_features, read_labelled
from curation.dinov2.train import train

SHORT_SIDE = 160


def prepare(folder: Path, out: Path, per_class: int) -> None:
    """Write OUT/labelled (all chosen images) and OUT/shards (those that are not held out)."""
    shards = out / "shards"
    shards.mkdir(parents=True)
    count = 0
    with tarfile.open(shards / "shard-000000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for sub in sorted(path for path in folder.iterdir() if path.is_dir()):
            images = sorted(path for path in sub.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
            for number, path in enumerate(images[:per_class]):
                content = small(path)
                target = out / "labelled" / sub.name / f"{number:06d}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
                if number % 2 == 0:
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
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    out = arguments.out
    prepare(arguments.folder, out, arguments.per_class)
    fixed = [
        f"out={out / 'run'}",
        f"data.sources=[{{path: {out / 'shards'}}}]",
        f"evaluate.data={out / 'labelled'}",
    ]
    config = load_pretrain_config("configs/pretrain/vits14_demo.yaml", [*fixed, *arguments.overrides])
    result = train(config)
    settings = EvaluateConfig(image_size=config.evaluate.image_size)
    images = read_labelled(str(out / "labelled"), settings, max_pixels=config.data.max_pixels)
    pixels = evaluate_features(pixel_features, images, settings, torch.device("cpu"))
    trained, _ = load_checkpoint_backbone(result.checkpoint)
    final = evaluate_features(trained, images, settings, torch.device("cpu"))
    print(f"{pixels.classes} classes, {pixels.bank} images trained on, {pixels.queries} held out")
    print(f"pixels  kNN {pixels.accuracy:.3f}")
    for line in map(json.loads, (out / "run" / "log.jsonl").read_text().splitlines()):
        if "evaluate/accuracy" in line:
            print(f"step {line['step']:5d}  kNN {line['evaluate/accuracy']:.3f}  rankme {line['evaluate/rankme']:.1f}")
    print(f"final   kNN {final.accuracy:.3f}, {result.images_per_second:.1f} images/s")


if __name__ == "__main__":
    main()
