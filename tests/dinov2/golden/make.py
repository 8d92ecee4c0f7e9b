"""Make official.json: run a checkout of github.com/facebookresearch/dinov2 on the problems of problem.py.

    python -m tests.dinov2.golden.make CHECKOUT > tests/dinov2/golden/official.json

needs torch, omegaconf and fvcore. The checkout runs as it is, on the CPU in float64, one process: float32 would write
the order in which this CPU adds into the file. What it expects and a CPU does not have is stood in for here: xFormers'
block-diagonal attention by one attention call per group of equal lengths, FSDP's clipping and parameter lists by the
plain ones, `.cuda()` by nothing.
"""

import json
import os
import random
import sys
import types

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional

from tests.dinov2.golden import problem


class BlockDiagonalMask:
    """Lengths of sequences laid end to end."""

    def __init__(self, lengths: list[int]) -> None:
        self.lengths = lengths
        self._batch_sizes: list[int] | None = None

    @classmethod
    def from_seqlens(cls, lengths: list[int]) -> "BlockDiagonalMask":
        return cls(lengths)

    @classmethod
    def from_tensor_list(cls, tensors: list[Tensor]) -> tuple["BlockDiagonalMask", Tensor]:
        mask = cls([x.shape[1] for x in tensors for _ in range(x.shape[0])])
        mask._batch_sizes = [x.shape[0] for x in tensors]
        return mask, torch.cat([x.reshape(1, -1, *x.shape[2:]) for x in tensors], dim=1)

    def groups(self) -> list[tuple[int, int]]:
        sizes = self._batch_sizes or [1] * len(self.lengths)
        firsts = np.cumsum([0, *sizes[:-1]])
        return [(size, self.lengths[first]) for size, first in zip(sizes, firsts, strict=True)]

    def split(self, x: Tensor) -> list[Tensor]:
        pieces = x.split([size * length for size, length in self.groups()], dim=1)
        return [p.reshape(size, length, *x.shape[2:]) for p, (size, length) in zip(pieces, self.groups(), strict=True)]


def attention(q: Tensor, k: Tensor, v: Tensor, attn_bias: BlockDiagonalMask | None = None) -> Tensor:
    parts = zip(*[[x] if attn_bias is None else attn_bias.split(x) for x in (q, k, v)], strict=True)
    outs = [functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in part)) for part in parts]
    if attn_bias is None:
        return outs[0].transpose(1, 2)
    return torch.cat([out.transpose(1, 2).reshape(1, -1, *q.shape[2:]) for out in outs], dim=1)


class SwiGLU(nn.Module):
    def __init__(self, in_features: int, hidden_features: int, out_features: int, bias: bool = True) -> None:
        super().__init__()
        self.w12 = nn.Linear(in_features, 2 * hidden_features, bias=bias)
        self.w3 = nn.Linear(hidden_features, out_features, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.w12(x).chunk(2, dim=-1)
        return self.w3(functional.silu(a) * b)


def scaled_index_add(x: Tensor, index: Tensor, source: Tensor, scaling: Tensor, alpha: float) -> Tensor:
    rows = (source * scaling).flatten(1)
    return torch.index_add(x.flatten(1), 0, index, rows.to(x.dtype), alpha=alpha).view_as(x)


def stand_in() -> None:
    """Give the checkout what it imports."""
    ops = types.ModuleType("xformers.ops")
    ops.fmha = types.SimpleNamespace(BlockDiagonalMask=BlockDiagonalMask)
    ops.memory_efficient_attention = attention
    ops.unbind = torch.unbind
    ops.SwiGLU = SwiGLU
    ops.scaled_index_add = scaled_index_add
    ops.index_select_cat = lambda xs, ids: torch.cat([x[i].flatten() for x, i in zip(xs, ids, strict=True)])
    sys.modules["xformers"] = types.ModuleType("xformers")
    sys.modules["xformers.ops"] = ops
    Tensor.cuda = lambda self, *_, **__: self
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT="29511", RANK="0", WORLD_SIZE="1")
    dist.init_process_group("gloo")


def build(case: problem.Case) -> nn.Module:
    """The official SSLMetaArch with the problem's weights."""
    from dinov2.configs import dinov2_default_config
    from dinov2.layers import MemEffAttention
    from dinov2.layers import NestedTensorBlock as Block
    from dinov2.models import vision_transformer as vits
    from dinov2.train.ssl_meta_arch import SSLMetaArch
    from omegaconf import OmegaConf

    def tiny(patch_size: int = 14, **kwargs: object) -> nn.Module:
        def block(**options: object) -> nn.Module:
            return Block(attn_class=MemEffAttention, **options)

        return vits.DinoVisionTransformer(
            patch_size=patch_size,
            embed_dim=problem.WIDTH,
            depth=problem.DEPTH,
            num_heads=problem.HEADS,
            mlp_ratio=4,
            block_fn=block,
            **kwargs,
        )

    vits.tiny_vit = tiny
    changes = {
        "student": {
            "arch": "tiny_vit",
            "patch_size": problem.PATCH,
            "drop_path_rate": 0.0,
            "layerscale": 0.5,
            "ffn_layer": case.ffn,
            "num_register_tokens": case.registers,
        },
        "dino": _head(problem.DINO_HEAD) | {"koleo_loss_weight": problem.LOSS_WEIGHTS["koleo"]},
        "ibot": _head(problem.IBOT_HEAD)
        | {"separate_head": not case.tied, "loss_weight": problem.LOSS_WEIGHTS["ibot"]},
        "train": {"centering": case.centering},
        "optim": {
            "layerwise_decay": problem.LAYERWISE_DECAY,
            "patch_embed_lr_mult": problem.PATCH_EMBED_LR,
        },
        "crops": {
            "global_crops_size": problem.GLOBAL,
            "local_crops_size": problem.LOCAL,
            "local_crops_number": problem.LOCAL_VIEWS,
        },
        "compute_precision": {"grad_scaler": False},
    }
    model = SSLMetaArch(OmegaConf.merge(OmegaConf.create(dinov2_default_config), changes))
    model.need_to_synchronize_fsdp_streams = False
    for owner in ("student", "teacher"):
        module = getattr(model, owner)
        module.load_state_dict({k: problem.weight(owner, k, v) for k, v in module.state_dict().items()})
    model.train()
    return model


def _head(head: dict[str, int]) -> dict[str, int]:
    return {
        "head_n_prototypes": head["prototypes"],
        "head_hidden_dim": head["hidden"],
        "head_bottleneck_dim": head["bottleneck"],
        "head_nlayers": head["layers"],
    }


def batch(step: int) -> dict[str, object]:
    """A collated batch as the official loader would hand it over."""
    globals_, locals_ = problem.crops(step)
    masks = problem.masks(step)
    indices = masks.flatten().nonzero().flatten()
    weights = (1 / masks.sum(-1).clamp(min=1.0)).unsqueeze(-1).expand_as(masks)[masks]
    return {
        "collated_global_crops": globals_,
        "collated_local_crops": locals_,
        "collated_masks": masks,
        "mask_indices_list": indices,
        "masks_weight": weights,
        "upperbound": len(indices) + 3,
        "n_masked_patches": torch.full((1,), len(indices), dtype=torch.long),
    }


def run(case: problem.Case) -> list[dict[str, float]]:
    """Losses, gradient norms and weights of each optimizer step, in the order of the official loop."""
    from dinov2.train.train import apply_optim_scheduler

    model = build(case)
    optimizer = torch.optim.AdamW(model.get_params_groups(), betas=(0.9, 0.999))
    lines = []
    for step in range(problem.STEPS):
        values = problem.settings(step)
        apply_optim_scheduler(optimizer, values["lr"], values["weight_decay"], values["last_layer_lr"])
        optimizer.zero_grad(set_to_none=True)
        losses = model.forward_backward(batch(step), teacher_temp=values["temperature"])
        line = {name: float(loss) for name, loss in losses.items()}
        for name, part in model.student.items():
            line[f"grad_norm.{name}"] = float(nn.utils.clip_grad_norm_(part.parameters(), problem.CLIP))
        optimizer.step()
        with torch.no_grad():
            for name, part in model.student.items():
                for mine, other in zip(part.parameters(), model.teacher[name].parameters(), strict=True):
                    other.mul_(values["momentum"]).add_(mine, alpha=1 - values["momentum"])
                line[f"student_norm.{name}"] = _norm(part)
                line[f"teacher_norm.{name}"] = _norm(model.teacher[name])
        lines.append(line)
    return lines


def _norm(module: nn.Module) -> float:
    return float(torch.cat([p.detach().double().flatten() for p in module.parameters()]).norm())


def features(case: problem.Case) -> dict[str, list[float]]:
    """First class-token features of the teacher, on the own and on another grid."""
    model = build(case)
    globals_, locals_ = problem.crops(0)
    with torch.no_grad():
        return {
            name: model.teacher["backbone"](x[:2])[:, :4].flatten().tolist()
            for name, x in (("own_grid", globals_), ("other_grid", locals_))
        }


def seeded_masks() -> list[str]:
    """Masks of the official collation after `random.seed(0)`, one hex string per crop of 16 on a 7x7 grid."""
    from dinov2.data import MaskingGenerator, collate_data_and_cast

    random.seed(0)
    generator = MaskingGenerator(input_size=(7, 7), max_num_patches=0.5 * 98 // 14 * 98 // 14)
    pixel = torch.zeros(3, 1, 1)
    samples = [({"global_crops": [pixel, pixel], "local_crops": [pixel]}, None)] * 8
    made = collate_data_and_cast(samples, (0.1, 0.5), 0.5, torch.float32, n_tokens=49, mask_generator=generator)
    return [np.packbits(mask.numpy()).tobytes().hex() for mask in made["collated_masks"]]


def schedules() -> dict[str, list[float]]:
    """The official schedules of a short run."""
    from dinov2.utils.utils import CosineScheduler

    lr = CosineScheduler(2e-3, 1e-6, 40, warmup_iters=8, start_warmup_value=0)
    temperature = CosineScheduler(0.07, 0.07, 12, warmup_iters=12, start_warmup_value=0.04)
    momentum = CosineScheduler(0.992, 1, 40)
    return {
        "lr": [float(lr[i]) for i in range(42)],
        "temperature": [float(temperature[i]) for i in range(42)],
        "momentum": [float(momentum[i]) for i in range(42)],
    }


def main(checkout: str) -> None:
    """Print the golden file."""
    sys.path.insert(0, checkout)
    torch.manual_seed(0)
    stand_in()
    with problem.precision(torch.float64):
        steps = {case.name: run(case) for case in problem.CASES}
        found = {case.name: features(case) for case in problem.CASES}
    result = {
        "made_by": "tests/dinov2/golden/make.py, official code at commit b8931f7, torch " + torch.__version__,
        "steps": steps,
        "features": found,
        "masks": seeded_masks(),
        "schedules": schedules(),
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
