"""Pretrain DINOv2 on shards, an image folder or Parquet files."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curation.dinov2.config import PretrainConfig, load_pretrain_config, parse_pretrain_config
from curation.dinov2.train import Result, replay, train

__all__ = ["pretrain", "replay"]


def pretrain(
    config: str | Path | Mapping[str, Any] | PretrainConfig, *, out: str | os.PathLike[str] | None = None
) -> Result:
    """Pretrain DINOv2 (arXiv 2304.07193, section 4), or go on from the newest checkpoint in the run directory.

    Started by torchrun, all processes train together. A failed step is run again by `pipelines.pretrain.replay(file)`.

    Args:
        config: a YAML file, the same as plain data, or ready settings.
        out: the run directory, in place of the config's.

    Returns:
        The last checkpoint, steps done, images per second, and the kNN accuracy where it is measured.

    Raises:
        ConfigError: a setting is unknown, of the wrong type or contradicts another.
        DatasetError: a dataset is missing, empty or damaged.
        RunError: the run directory is another run's, or a checkpoint in it is damaged.
        LvdError: training failed, as by a loss that is not finite.
    """
    if isinstance(config, Mapping):
        config = parse_pretrain_config(config)
    elif not isinstance(config, PretrainConfig):
        config = load_pretrain_config(config)
    return train(config if out is None else config.model_copy(update={"out": os.fspath(out)}))
