"""The core works without what only an extra installs, and says in one line which extra is missing."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTRAS = {
    "crawl": ["ada_url", "aiohttp", "brotli", "fastwarc", "protego", "resiliparse", "selectolax", "uvloop", "yarl"],
    "train": ["tensorboard", "wandb"],
    "s3": ["s3fs"],
    "gcs": ["gcsfs"],
}
"""The modules that each extra brings."""
CORE_ONLY = [module for modules in EXTRAS.values() for module in modules]
CORE_ONLY += ["datasets", "matplotlib", "transformers", "warcio", "webdataset"]
RUN = """
import sys
sys.modules.update(dict.fromkeys({blocked!r}))
sys.argv = ["lvd", *{arguments!r}]
from pipelines.cli import main
main()
"""


def core_lvd(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command line where no extra is installed, from a folder outside the repository."""
    code = RUN.format(blocked=CORE_ONLY, arguments=[str(argument) for argument in arguments])
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_the_core_curates_a_folder(dataset, tmp_path):
    (tmp_path / "pool").mkdir()
    for name in ("c0/000.jpg", "c1/001.jpg", "c2/002.jpg", "c3/003.jpg", "copies/exact-0.jpg", "leaks/0.jpg"):
        shutil.copy(dataset.pool / name, tmp_path / "pool" / name.replace("/", "-"))
    done = core_lvd(
        *("curate", "--pool", "pool", "--seed", dataset.seeds, "--against", dataset.reference, "--out", "run"),
        *("--set", "runner.kind=inline", "--set", "quality.on=[]"),
        *("--set", "safety.nsfw=off", "--set", "safety.faces=keep"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "shards" / "manifest.json").is_file()
    asked = core_lvd("why", "run", "copies-exact-0.jpg", cwd=tmp_path)
    assert asked.returncode == 0
    assert "dropped by dedup: copy" in asked.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("curate", "--pool", "urls.txt", "--seed", "seeds", "--out", "run", "--set", "runner.kind=inline"), "URLs"),
        (("demo",), "lvd demo"),
    ],
)
def test_without_the_crawl_extra_urls_are_one_line_that_names_it(dataset, tmp_path, arguments, line):
    (tmp_path / "urls.txt").write_text("http://a.example/x.jpg\n")
    (tmp_path / "seeds").symlink_to(dataset.seeds)
    done = core_lvd(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert re.fullmatch(rf"lvd: {line}: needs \w+, which is not installed; run `pip install 'lvd\[crawl\]'`", last)
    assert "Traceback" not in done.stderr


def test_no_extra_brings_another_build_of_faiss_or_onnxruntime_and_all_is_all_that_go_together():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = {extra: {_name(text) for text in texts} for extra, texts in project["optional-dependencies"].items()}
    core = {_name(text) for text in project["dependencies"]}
    assert {"faiss-cpu", "onnxruntime"} <= core
    assert not {"faiss-gpu", "onnxruntime-gpu", "opencv-python"} & core.union(*required.values())
    assert required.keys() == {"all", "crawl", "dev", "gcs", "gpu", "s3", "train"}
    assert project["optional-dependencies"]["all"] == ["lvd[crawl,train,s3,gcs]"]
    for extra, modules in EXTRAS.items():
        assert {module.replace("_", "-") for module in modules} <= required[extra]
        assert not {module.replace("_", "-") for module in modules} & core


def _name(requirement: str) -> str:
    return re.split(r"[ ;<>=\[!]", requirement)[0].lower()
