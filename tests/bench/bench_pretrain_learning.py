"""kNN accuracy over a pretraining run, against the untrained network and raw pixels.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_pretrain_learning FOLDER OUT [--set optim.epochs=16 ...] [--table]

FOLDER has a sub-folder per class. Of every fifth class nothing is trained on; of the others every fourth image (by
name) is held out. All other images become shards, without labels, for --config. Held-out images are asked about with
each class's first, fifth ... image as the bank; of the classes that nothing was trained on, half is the bank, half is
asked about. Features are of the teacher: its class token, the mean of its patches, both, and all patches one after
another, which keep the layout as pixels do. OUT is left with the run; the same command goes on with it, and --table
only prints what its checkpoints reached.
"""

import argparse
import io
import json
import tarfile
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from curation.dinov2.batch import normalise
from curation.dinov2.config import PretrainConfig, load_pretrain_config
from curation.dinov2.export import load_checkpoint_backbone
from curation.dinov2.knn import LabelledImages, pixel_features, read_labelled
from curation.dinov2.model import build_backbone
from curation.dinov2.train import train
from curation.dinov2.vit import VisionTransformer
from curation.evaluation.knn import knn_accuracy

SHORT_SIDE = 96
HELD_OUT = 4
"""Every such image of a class that is trained on is not."""
UNSEEN = 5
"""Every such class is left out of training."""


def prepare(folder: Path, out: Path) -> None:
    """Write OUT/shards (what is trained on), and OUT/labelled and OUT/unseen, where bank and queries take turns."""
    shards = out / "shards"
    shards.mkdir(parents=True)
    count = 0
    with tarfile.open(shards / "shard-000000.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
        for place, sub in enumerate(sorted(path for path in folder.iterdir() if path.is_dir())):
            seen = place % UNSEEN != UNSEEN - 1
            images = sorted(path for path in sub.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
            for number, path in enumerate(images):
                content = small(path)
                held_out = number % HELD_OUT == HELD_OUT - 1
                if not seen or held_out or number % HELD_OUT == 0:
                    target = out / ("labelled" if seen else "unseen") / sub.name / f"{number:06d}.jpg"
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(content)
                if seen and not held_out:
                    member = tarfile.TarInfo(f"{count:09d}.jpg")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
                    count += 1
    manifest = {"format": "lvd-shards/1", "shards": [{"name": "shard-000000.tar", "samples": count}], "samples": count}
    (shards / "manifest.json").write_text(json.dumps(manifest))


def small(path: Path) -> bytes:
    """The image as JPEG with a shorter side of 96."""
    image = Image.open(path).convert("RGB")
    scale = SHORT_SIDE / min(image.size)
    buffer = io.BytesIO()
    image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC).save(
        buffer, "JPEG", quality=92
    )
    return buffer.getvalue()


def main() -> None:
    """Train, then print the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--config", default="configs/pretrain/small_photos.yaml")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    out = arguments.out
    if not (out / "shards" / "manifest.json").exists():
        prepare(arguments.folder, out)
    fixed = [
        f"out={out / 'run'}",
        f"data.sources=[{{path: {out / 'shards'}}}]",
        f"evaluate.data={out / 'labelled'}",
    ]
    config = load_pretrain_config(arguments.config, [*fixed, *arguments.overrides])
    if not arguments.table:
        print(f"{train(config).images_per_second:.1f} images/s")
    print_table(out, config)


def print_table(out: Path, config: PretrainConfig) -> None:
    """Losses and accuracies of every checkpoint that is left, and of what they have to beat."""
    sets = {}
    for name, kind in (("labelled", "held-out images of classes trained on"), ("unseen", "other classes")):
        images = sets[name] = read_labelled(str(out / name), config.evaluate, max_pixels=config.data.max_pixels)
        print(f"{name}: {kind}; {images.classes} classes, bank {images.bank}, {len(images.labels) - images.bank} asked")
    log = map(json.loads, (out / "run" / "log.jsonl").read_text().splitlines())
    losses = {line["step"]: line for line in log if "loss/total" in line}
    poolings = ("class", "mean", "both", "all")
    print(f"{'step':>6} {'DINO':>6} {'iBOT':>6}  " + "  ".join(f"{n}: {', '.join(poolings)}" for n in sets))
    torch.manual_seed(config.seed)
    fresh = build_backbone(config.model, config.crops.global_size)
    print(f"{0:6d} {'':>13}  " + "  ".join(row(fresh, images) for images in sets.values()))
    for path in sorted((out / "run" / "checkpoints").glob("step-*.pt")):
        step = int(path.stem.removeprefix("step-"))
        line = losses[max(known for known in losses if known < step)]
        dino = line["loss/dino_local"] + line["loss/dino_global"]
        accuracies = "  ".join(row(load_checkpoint_backbone(path)[0], images) for images in sets.values())
        print(f"{step:6d} {dino:6.3f} {line['loss/ibot']:6.3f}  {accuracies}", flush=True)
    for name, images in sets.items():
        print(f"pixels, {name}: {accuracy(pixel_features(normalise(images.pixels)), images):.3f}")


def row(backbone: VisionTransformer, images: LabelledImages) -> str:
    """Accuracies by pooling."""
    return "  ".join(f"{accuracy(result, images):.3f}" for result in tokens(backbone, images.pixels).values())


def accuracy(features: Tensor, images: LabelledImages) -> float:
    """kNN as in DINO's evaluation, k = 20."""
    return knn_accuracy(features, images.labels, images.bank, neighbours=20, temperature=0.07)


@torch.inference_mode()
def tokens(backbone: VisionTransformer, pixels: Tensor) -> dict[str, Tensor]:
    """Features of uint8 images `(B, 3, S, S)` by how tokens are pooled."""
    outputs = [backbone.eval().features(normalise(piece)) for piece in torch.split(pixels, 128)]
    classes = functional.normalize(torch.cat([output.cls for output in outputs]), dim=1)
    patches = torch.cat([output.patches for output in outputs])
    mean = functional.normalize(patches.mean(dim=1), dim=1)
    in_place = functional.normalize(patches, dim=2).flatten(1)
    return {"class": classes, "mean": mean, "both": torch.cat([classes, mean], dim=1), "all": in_place}


if __name__ == "__main__":
    main()
