"""Runs the demo on webs of several seeds at several values of `dedup.probability`, and prints what each reaches.

    python tests/bench/bench_demo_thresholds.py [--seeds 0 1 2 3 4]

Which further pairs are looked at, dedup and what follows it are redone for each; what was seen of a pair is kept.
"""

import argparse
import tempfile
from pathlib import Path

from pipelines.demo.run import demo

PROBABILITIES = (0.5, 0.8, 0.9, 0.95, 0.98)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for seed in arguments.seeds:
            for probability in PROBABILITIES:
                settings = {"seed": seed, "dedup.probability": probability, "dedup.max_share": 1}
                overrides = [f"{key}={value}" for key, value in {**settings, "runner.kind": "inline"}.items()]
                result = demo(str(Path(scratch) / f"web-{seed}"), overrides=overrides)
                reached = {finding.what: finding for finding in result.findings if finding.target}
                shares = "  ".join(f"{what} {finding.share:7.2%}" for what, finding in reached.items())
                print(f"seed {seed}  probability {probability:.2f}  {shares}", flush=True)


if __name__ == "__main__":
    main()
