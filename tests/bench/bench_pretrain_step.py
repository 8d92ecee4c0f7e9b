"""Time of a training step against the official SSLMetaArch, in turn (A B B A), one thread, one process.

    OMP_NUM_THREADS=1 python -m tests.bench.bench_pretrain_step CHECKOUT [--precision bf16] [--drop-path 0.3]

CHECKOUT is a clone of github.com/facebookresearch/dinov2; its imports (omegaconf, fvcore) must be installed. Same
weights' shapes, crops, heads, precision and optimizer settings on both sides: ViT-S/14, 2x98 + 8x42, batch 4, untied
heads of 4,096 prototypes, Sinkhorn-Knopp. A step is losses, gradients, clipping, AdamW and the teacher's update.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import nn

from curation.dinov2.batch import Batch
from curation.dinov2.config import PretrainConfig
from curation.dinov2.model import build_model, drop_rates
from curation.dinov2.objective import Objective
from curation.dinov2.optimizer import apply_settings, build_optimizer, clip_norm, parameter_groups
from curation.dinov2.schedules import Settings
from tests.dinov2.golden import make

IMAGES, LOCAL_VIEWS, GLOBAL, LOCAL, PATCH = 4, 8, 98, 42, 14
HEAD = {"prototypes": 4096, "hidden": 2048, "layers": 3}
SETTINGS = Settings(lr=1e-4, last_layer_lr=1e-4, weight_decay=0.04, momentum=0.994, temperature=0.05)


def batch() -> Batch:
    """Random pixels, half of the crops masked by about 30 %."""
    g = torch.Generator().manual_seed(0)
    masks = torch.rand(2, IMAGES, (GLOBAL // PATCH) ** 2, generator=g) < 0.3
    masks[:, ::2] = False
    return Batch(
        torch.randn(2, IMAGES, 3, GLOBAL, GLOBAL, generator=g),
        torch.randn(LOCAL_VIEWS, IMAGES, 3, LOCAL, LOCAL, generator=g),
        masks,
    )


def ours(precision: str, drop_path: float) -> Callable[[], None]:
    """A step of this project's trainer."""
    torch.manual_seed(0)
    config = PretrainConfig(
        model={"arch": "vits", "patch": PATCH, "drop_path": drop_path},
        crops={"global_size": GLOBAL, "local_size": LOCAL, "local_count": LOCAL_VIEWS},
        dino_head=HEAD | {"bottleneck": 384},
        ibot_head=HEAD | {"bottleneck": 256},
        loss={"centering": "sinkhorn_knopp"},
    )
    model = build_model(config)
    optimizer = build_optimizer(
        parameter_groups(model.student, layerwise_decay=0.9, patch_embed_lr=0.2), config.optim.betas
    )
    objective = Objective(model, config.loss, drop_rates=drop_rates(config.model, 12), bf16=precision == "bf16")
    data, generator = batch(), torch.Generator().manual_seed(0)

    def step() -> None:
        apply_settings(optimizer, SETTINGS)
        optimizer.zero_grad(set_to_none=True)
        objective.forward_backward(data, SETTINGS.temperature, generator)
        for part in model.student.children():
            clip_norm(part.parameters(), 3.0)
        optimizer.step()
        model.update_teacher(SETTINGS.momentum)

    return step


def official(precision: str, drop_path: float) -> Callable[[], None]:
    """A step of the official trainer."""
    from dinov2.configs import dinov2_default_config
    from dinov2.train.ssl_meta_arch import SSLMetaArch
    from dinov2.train.train import apply_optim_scheduler
    from omegaconf import OmegaConf

    torch.manual_seed(0)
    head = {"head_n_prototypes": 4096}
    changes = {
        "student": {"arch": "vit_small", "patch_size": PATCH, "drop_path_rate": drop_path},
        "dino": head | {"head_bottleneck_dim": 384},
        "ibot": head | {"separate_head": True},
        "train": {"centering": "sinkhorn_knopp"},
        "crops": {"global_crops_size": GLOBAL, "local_crops_size": LOCAL, "local_crops_number": LOCAL_VIEWS},
        "compute_precision": {"grad_scaler": False},
    }
    model = SSLMetaArch(OmegaConf.merge(OmegaConf.create(dinov2_default_config), changes))
    model.need_to_synchronize_fsdp_streams = False
    model.teacher.load_state_dict(model.student.state_dict())
    model.train()
    optimizer = torch.optim.AdamW(model.get_params_groups(), betas=(0.9, 0.999))
    data = batch()
    masks = data.masks.flatten(0, 1)
    collated = {
        "collated_global_crops": data.globals_.flatten(0, 1),
        "collated_local_crops": data.locals_.flatten(0, 1),
        "collated_masks": masks,
        "mask_indices_list": masks.flatten().nonzero().flatten(),
        "masks_weight": (1 / masks.sum(-1).clamp(min=1.0)).unsqueeze(-1).expand_as(masks)[masks],
        "upperbound": int(masks.sum()),
    }

    def step() -> None:
        apply_optim_scheduler(optimizer, SETTINGS.lr, SETTINGS.weight_decay, SETTINGS.last_layer_lr)
        optimizer.zero_grad(set_to_none=True)
        count = torch.full((1,), int(masks.sum()), dtype=torch.long)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            model.forward_backward(collated | {"n_masked_patches": count}, teacher_temp=SETTINGS.temperature)
        for part in model.student.values():
            nn.utils.clip_grad_norm_(part.parameters(), 3.0)
        optimizer.step()
        with torch.no_grad():
            mine, other = list(model.student.parameters()), list(model.teacher.parameters())
            torch._foreach_mul_(other, SETTINGS.momentum)
            torch._foreach_add_(other, mine, alpha=1 - SETTINGS.momentum)

    return step


def main() -> None:
    """Print both medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--drop-path", type=float, default=0.0)
    parser.add_argument("--rounds", type=int, default=8)
    arguments = parser.parse_args()
    sys.path.insert(0, arguments.checkout)
    torch.set_num_threads(1)
    make.stand_in()
    steps = {"lvd": ours, "official": official}
    runs = {name: make_step(arguments.precision, arguments.drop_path) for name, make_step in steps.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(arguments.rounds + 2):
        for name in ("lvd", "official", "official", "lvd"):
            start = time.perf_counter()
            runs[name]()
            if round_ >= 2:
                times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    print(f"{arguments.precision}, drop path {arguments.drop_path}, {2 * arguments.rounds} steps each")
    for name, seconds in medians.items():
        print(f"  {name:10s} {1000 * seconds:8.1f} ms")
    print(f"  ratio      {medians['lvd'] / medians['official']:8.3f}")


if __name__ == "__main__":
    main()
