"""Runs the demo on webs of several seeds at several dedup thresholds, and prints what each reaches.

    python tests/bench/bench_demo_thresholds.py [--seeds 0 1 2 3 4]

Only dedup and what follows it is redone for each threshold.
"""

import argparse
import tempfile
from pathlib import Path

from pipelines.demo.run import demo

THRESHOLDS = ((0.55, 0.40), (0.60, 0.45), (0.65, 0.45), (0.65, 0.50), (0.70, 0.50))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        for seed in arguments.seeds:
            for own, relative in THRESHOLDS:
                settings = {"seed": seed, "dedup.self.threshold": own, "dedup.relative.threshold": relative}
                overrides = [f"{key}={value}" for key, value in {**settings, "runner.kind": "inline"}.items()]
                result = demo(str(Path(scratch) / f"web-{seed}"), overrides=overrides)
                reached = {finding.what: finding for finding in result.findings if finding.target}
                shares = "  ".join(f"{what} {finding.share:7.2%}" for what, finding in reached.items())
                print(f"seed {seed}  self {own:.2f}  relative {relative:.2f}  {shares}", flush=True)


if __name__ == "__main__":
    main()
