"""What precision and compilation are worth to a network on this machine's CPU: images per CPU second on one core.

    python -m tests.bench.bench_embed_ways [--model vit_small_patch16_224 ...] [--images 8] [--rounds 4]

Pixels are ready and weights random. Ways are timed in turn, A B C C B A, by CPU time, medians. Compilation is by
torch.compile's default, its seconds apart.
"""

import argparse
import statistics
import time

import timm
import torch

MODELS = ("vit_small_patch16_224", "resnet50")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=list(MODELS), help="timm architectures")
    parser.add_argument("--images", type=int, default=8, help="in a batch")
    parser.add_argument("--rounds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, batches of {options.images}, one core\n")
    print(f"{'model':<26}{'way':<10}{'per CPU s':>10}{'fp32 = 1':>10}{'largest difference':>20}{'compiled in':>13}")
    for name in options.model:
        compare(name, options.images, options.rounds)


def compare(name: str, images: int, rounds: int) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=0).eval().requires_grad_(False).to(memory_format=torch.channels_last)
    pixels = torch.randn(images, 3, 224, 224).to(memory_format=torch.channels_last)
    compiled = torch.compile(model)
    ways = {"fp32": (model, False), "bf16": (model, True), "compiled": (compiled, False)}
    times: dict[str, list[float]] = {way: [] for way in ways}
    with torch.inference_mode():
        started = time.perf_counter()
        compiled(pixels)
        compiling = time.perf_counter() - started
        expected = unit(model(pixels))
        difference = {}
        for way in [*ways, *reversed(ways)] * rounds:
            network, is_half = ways[way]
            with torch.autocast("cpu", torch.bfloat16, enabled=is_half):
                started = time.process_time()
                result = network(pixels)
                times[way].append(time.process_time() - started)
            difference[way] = float((unit(result) - expected).abs().max())
    rates = {way: images / statistics.median(seconds) for way, seconds in times.items()}
    for way, rate in rates.items():
        seconds = f"{compiling:.0f} s" if way == "compiled" else ""
        ratio = rate / rates["fp32"]
        print(f"{name:<26}{way:<10}{rate:>10.2f}{ratio:>10.2f}{difference[way]:>20.1e}{seconds:>13}", flush=True)


def unit(vectors: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(vectors.float(), dim=1)


if __name__ == "__main__":
    main()
