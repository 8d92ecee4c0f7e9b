"""Pretrain DINOv2 on shards, an image folder or Parquet files."""

from collections.abc import Iterable
from pathlib import Path

from curation.dinov2.config import PretrainConfig, load_pretrain_config
from curation.dinov2.train import Result, replay, train

__all__ = ["pretrain", "replay"]


def pretrain(config: str | Path | PretrainConfig, overrides: Iterable[str] = (), *, out: str | None = None) -> Result:
    """Train to the end of `config`, going on from the newest checkpoint in its directory if there is one.

    `config` is a file or ready settings; `overrides` are `a.b=value`, as after `--set`; `out` replaces the config's.
    Started by torchrun, all processes train together. A failed step is run again by `replay(file)`.

    Raises:
        LvdError: see its subclasses.
    """
    if isinstance(config, PretrainConfig):
        settings = config.model_copy(update={"out": out}) if out else config
    else:
        settings = load_pretrain_config(config, [*overrides, *([f"out={out}"] if out else [])])
    return train(settings)
