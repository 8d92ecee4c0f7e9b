"""The config files that travel with lvd: opened by name wherever it is installed."""

from pathlib import Path
from typing import Literal

__all__ = ["config_file", "shipped_configs"]

Job = Literal["curate", "pretrain"]

FOLDER = Path(__file__).parent / "configs"
"""In a checkout a link to the top-level folder; in a wheel, copies."""


def shipped_configs(job: Job) -> list[str]:
    """Names of the configs that lvd ships for a job, sorted."""
    return sorted(path.stem for path in (FOLDER / job).glob("*.yaml"))


def config_file(path: str | Path, job: Job) -> Path:
    """The path itself if a file is there; else the shipped config of that name, if there is one.

    Args:
        path: a YAML file; or a shipped config, as `lvd142m` or `configs/curate/lvd142m.yaml`.
    """
    given = Path(path)
    if (given.exists() and not given.is_dir()) or given.parent not in (Path(), Path("configs", job)):
        return given
    shipped = FOLDER / job / f"{given.name.removesuffix('.yaml')}.yaml"
    return shipped if shipped.is_file() else given
