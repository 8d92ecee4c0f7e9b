"""Small synthetic pictures, a dataset of them with planted faults, and a finished run over it."""

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_limits

from curation.config import Config, parse_config
from curation.run.directory import Run

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test asks the network for anything
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--shared-data", type=Path, metavar="PATH", help="a folder of data sets; tests of them are skipped without"
    )


@pytest.fixture
def shared_data(request: pytest.FixtureRequest) -> Path:
    """The folder that `--shared-data` names; without it there is nothing to test."""
    folder: Path | None = request.config.getoption("--shared-data")
    if folder is None:
        pytest.skip("needs --shared-data PATH")
    assert folder.is_dir(), f"--shared-data {folder}: is no folder"
    return folder


Photo = Callable[..., Image.Image]
Jpeg = Callable[..., bytes]
Configure = Callable[..., Config]
Snapshot = Callable[[Path], dict[str, tuple[int, str]]]


def _photo(number: int, concept: int = 0, width: int = 96, height: int = 80) -> Image.Image:
    """A random texture around its concept's colour: alike in colour within a concept, alike in layout to none."""
    rng = np.random.default_rng([number, concept])
    colour = np.random.default_rng(1000 + concept).integers(40, 215, 3)
    coarse = (rng.integers(-110, 111, (9, 9, 3)) + colour).clip(0, 255).astype(np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    return Image.fromarray((smooth + rng.integers(-6, 7, smooth.shape)).clip(0, 255).astype(np.uint8))


def _encoded(image: Image.Image, format: str = "JPEG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **({"quality": 90} if format == "JPEG" else {}) | options)
    return buffer.getvalue()


@dataclass(frozen=True)
class Dataset:
    """Folders of pictures, and what was planted in the pool: file names by kind, each with the name it copies."""

    pool: Path
    seeds: Path
    reference: Path
    planted: Mapping[str, Mapping[str, str]]
    bad: Mapping[str, str]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Steps take one core here, as tests share the machine: two threads on a busy core are five times as slow."""
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        for module in ("worker", "inline", "processes", "on_ray"):
            patch.setattr(f"curation.engine.runner.{module}.cores", lambda: 1)
        yield


@pytest.fixture(scope="session")
def photo() -> Photo:
    return _photo


@pytest.fixture(scope="session")
def encoded() -> Jpeg:
    return _encoded


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """100 clean photos of 4 concepts, copies of some, copies of reference images, and files that are no use."""
    root = tmp_path_factory.mktemp("dataset")
    pool: dict[str, bytes] = {}
    for number in range(100):
        pool[f"c{number % 4}/{number:03d}.jpg"] = _encoded(_photo(number, number % 4))
    clean = list(pool)
    planted: dict[str, dict[str, str]] = {"exact": {}, "encoded": {}, "resized": {}, "leak": {}}
    for number, original in enumerate(clean[:6]):
        pool[f"copies/exact-{number}.jpg"] = pool[original]
        planted["exact"][f"copies/exact-{number}.jpg"] = original
    for number, original in enumerate(clean[10:16]):
        image = Image.open(io.BytesIO(pool[original]))
        pool[f"copies/encoded-{number}.jpg"] = _encoded(image, quality=70)
        planted["encoded"][f"copies/encoded-{number}.jpg"] = original
    for number, original in enumerate(clean[20:26]):
        image = Image.open(io.BytesIO(pool[original])).resize((72, 60), Image.Resampling.LANCZOS)
        pool[f"copies/resized-{number}.png"] = _encoded(image, "PNG")
        planted["resized"][f"copies/resized-{number}.png"] = original
    reference = {f"test-{number}.jpg": _encoded(_photo(2000 + number, number % 4)) for number in range(5)}
    for number, (name, data) in enumerate(reference.items()):
        pool[f"leaks/{number}.jpg"] = _encoded(Image.open(io.BytesIO(data)), quality=80)
        planted["leak"][f"leaks/{number}.jpg"] = name
    bad = {
        "bad/small.jpg": ("too_small", _encoded(_photo(1, width=20, height=40))),
        "bad/truncated.jpg": ("truncated", pool[clean[50]][:-900]),
        "bad/garbage.jpg": ("not_an_image", b"<html>not found</html>"),
        "bad/empty.jpg": ("empty_body", b""),
    }
    pool |= {name: data for name, (_, data) in bad.items()}
    seeds = {f"{number}.jpg": _encoded(_photo(1000 + number, number % 2)) for number in range(8)}
    for folder, files in (("pool", pool), ("seeds", seeds), ("reference", reference)):
        for name, data in files.items():
            path = root / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    reasons = {name: reason for name, (reason, _) in bad.items()}
    return Dataset(root / "pool", root / "seeds", root / "reference", planted, reasons)


@pytest.fixture(scope="session")
def configure(dataset: Dataset) -> Configure:
    """A config over the dataset, run in this process, with any top-level settings changed."""

    def configure(**changes: Any) -> Config:
        values = {
            "pool": [str(dataset.pool)],
            "seeds": [{"name": "seeds", "data": str(dataset.seeds), "as_is": True}],
            "references": [{"name": "test", "data": str(dataset.reference)}],
            "parts": {"rows": 40},
            "runner": {"kind": "inline"},
            "copy_descriptors": {"model": "classical/hog-colour-4x4"},  # quicker to fit than 8x8
            "embed": {"model": "classical/hog-colour-1x1"},  # textures have no layout
            "export": {"samples_per_shard": 20},
            "quality": {"on": []},  # random textures are neither photos nor safe from false alarms
            "safety": {"nsfw": "off", "faces": "keep"},
        }
        # By similarity alone: random textures of 96 pixels have no points to speak of.
        plain = {"verify": "off", "grouping": "components", "max_share": 1.0, "max_group": 1.0}
        return parse_config(values | changes | {"dedup": {**plain, **changes.get("dedup", {})}})

    return configure


@pytest.fixture(scope="session")
def _finished(configure: Configure, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipelines.curate import curate

    root = tmp_path_factory.mktemp("finished") / "run"
    curate(configure(), str(root))
    return root


@pytest.fixture
def finished(_finished: Path, tmp_path: Path) -> Path:
    """A finished run over the dataset, this test's own copy."""
    return shutil.copytree(_finished, tmp_path / "run")


@pytest.fixture(scope="session")
def finished_run(_finished: Path) -> Run:
    """The finished run itself, to be read only."""
    return Run.load(str(_finished))


@pytest.fixture(scope="session")
def snapshot() -> Snapshot:
    """Every file below a folder but a run's log: when it was written, and a digest of its bytes."""

    def snapshot(root: Path) -> dict[str, tuple[int, str]]:
        files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != "log.txt")
        return {
            str(path.relative_to(root)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in files
        }

    return snapshot


@pytest.fixture(scope="session")
def shards_of() -> Callable[[Path], dict[str, bytes]]:
    """The bytes of a run's shards and manifest."""
    return lambda root: {path.name: path.read_bytes() for path in sorted((root / "shards").iterdir())}


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str


@pytest.fixture
def lvd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """The command line, run in this process."""

    def lvd(*arguments: object) -> Answer:
        from pipelines.cli import main

        monkeypatch.setattr(sys, "argv", ["lvd", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main()
        captured = capsys.readouterr()
        return Answer(int(exited.value.code or 0), captured.out, captured.err)

    return lvd


@pytest.fixture(scope="session")
def small_classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `config.json` and random weights of a model with the classes NSFW and SFW, as timm saves one."""
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("classifier")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model: Any = timm.create_model("test_resnet", pretrained=False, num_classes=2)
        torch.nn.init.normal_(model.get_classifier().weight)
    save_file(model.state_dict(), folder / "model.safetensors")
    data = {"input_size": [3, 160, 160], "crop_pct": 0.95, "mean": [0.5] * 3, "std": [0.5] * 3}
    layers = {"num_classes": 2, "first_conv": "conv1.0", "classifier": "fc"}
    config = {"architecture": "test_resnet", "num_classes": 2, "label_names": ["NSFW", "SFW"]}
    (folder / "config.json").write_text(json.dumps(config | {"pretrained_cfg": data | layers}))
    return folder


@pytest.fixture
def clustered() -> Callable[..., Any]:
    """Draws unit vectors around centres, fp16."""

    def draw(count: int, dim: int = 16, centres: int = 5, spread: float = 0.5, seed: int = 0) -> Any:
        means = np.random.default_rng(99).normal(size=(centres, dim))
        rng = np.random.default_rng(seed)
        made = means[rng.integers(0, centres, count)] + spread * rng.normal(size=(count, dim))
        return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)

    return draw
