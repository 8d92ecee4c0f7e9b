"""Every example runs from any folder, against an installed lvd, and prints what it did."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
LAST_LINES = {
    "curate_from_python.py": "8 images in shards, the first is shard-000000.tar/000000000000.jpg of ",
    "decontaminate_from_python.py": "clean: astronaut-edited.jpg, camera.png, coffee-edited.jpg, coins.png, moon.png, ",
    "dedup_vectors.py": "row 0 is a copy of row 100",
    "embed_and_cluster.py": "crop ",
    "find_copies_in_a_folder.py": "coffee-small.jpg = coffee.png: similarity 0.",
    "pretrain_a_tiny_model.py": "tiny.safetensors: 264 KiB for timm",
    "read_shards_in_torch.py": "the samples are those of the sixth batch: True",
}


def test_all_examples_are_run():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(LAST_LINES)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAST_LINES)
def test_an_example_runs_from_another_folder(name, tmp_path):
    done = subprocess.run([sys.executable, EXAMPLES / name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout.splitlines()[-1].startswith(LAST_LINES[name])
    assert list(tmp_path.iterdir()) == []
