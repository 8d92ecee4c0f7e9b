"""Images per second, share of the device's peak and peak memory of training steps on data that is there already.

    python -m tests.bench.bench_pretrain_throughput --arch vitl --batch 32 --peak-tflops 989 --compile

The LVD-142M recipe (2x224 + 8x98, untied heads of 131,072 prototypes, Sinkhorn-Knopp, drop path 0.4) on the GPU if
there is one. Floating-point operations are counted by torch for one step: matrix products and attention, nothing
else.
--peak-tflops is the device's dense bf16 peak (989 for an H100 or H200, 312 for an A100).
"""

import argparse
import statistics
import time

import torch
from torch.utils.flop_counter import FlopCounterMode

from curation.dinov2.batch import Batch
from curation.dinov2.config import PretrainConfig
from curation.dinov2.train import Trainer

HEAD = {"prototypes": 131072}


def batch(config: PretrainConfig, device: torch.device) -> Batch:
    """Noise, half of the crops masked by 30 %."""
    crops, images = config.crops, config.optim.batch_size
    masks = torch.rand(2, images, (crops.global_size // config.model.patch) ** 2) < 0.3
    masks[:, ::2] = False

    def pixels(views: int, size: int) -> torch.Tensor:
        return torch.randint(0, 256, (views, images, 3, size, size), dtype=torch.uint8, device=device)

    return Batch(pixels(2, crops.global_size), pixels(crops.local_count, crops.local_size), masks)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=["vits", "vitb", "vitl", "vitg"], default="vits")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--peak-tflops", type=float, default=None)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    config = PretrainConfig.model_validate(
        {
            "precision": arguments.precision,
            "compile": arguments.compile,
            "model": {
                "arch": arguments.arch,
                "patch": 14,
                "drop_path": 0.4,
                "ffn": "swiglu" if arguments.arch in ("vitl", "vitg") else "mlp",
            },
            "crops": {"local_size": 98},
            "dino_head": HEAD | {"bottleneck": 384},
            "ibot_head": HEAD | {"bottleneck": 256},
            "loss": {"centering": "sinkhorn_knopp"},
            "optim": {"batch_size": arguments.batch, "accumulate": arguments.accumulate},
        }
    )
    torch.set_float32_matmul_precision("high")
    trainer, data = Trainer(config, device), batch(config, device)
    with FlopCounterMode(display=False) as counter:
        trainer.step(data, 0)
    seconds = []
    for step in range(1, arguments.steps + 4):
        start = time.perf_counter()
        trainer.step(data, step)
        if device.type == "cuda":
            torch.cuda.synchronize()
        if step > 3:
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    operations = counter.get_total_flops()
    print(f"{arguments.arch}/14 {arguments.precision} batch {arguments.batch} compile {arguments.compile} on {device}")
    print(f"  {arguments.batch / median:10.1f} images/s, {1000 * median:.1f} ms a step")
    print(f"  {operations / median / 1e12:10.2f} TFLOP/s")
    if arguments.peak_tflops:
        print(f"  {operations / median / 1e12 / arguments.peak_tflops:10.1%} of the peak")
    if device.type == "cuda":
        print(f"  {torch.cuda.max_memory_allocated() / 2**30:10.1f} GiB peak memory")


if __name__ == "__main__":
    main()
