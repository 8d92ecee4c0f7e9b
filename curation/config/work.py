"""Where the work runs, and how it is cut."""

from typing import Literal

from pydantic import Field

from curation.config.base import Settings

__all__ = ["PartsConfig", "RunnerConfig"]


class PartsConfig(Settings):
    """How collections are cut; a run keeps the value that it was made with."""

    rows: int = Field(10_000, ge=1, le=1_000_000)
    """Samples in a part: enough to keep a worker busy for minutes, little enough to redo after a crash. The first parts
    have fewer, from 250 on, so that a small pool keeps all cores busy."""


class RunnerConfig(Settings):
    """Where the work runs. Nothing here changes a single byte of the result."""

    kind: Literal["ray", "processes", "inline"] = "ray"
    """`ray` works on one machine as on many. `processes` are those of this machine alone, ready within a second where
    an embedded Ray takes several. `inline` runs everything in this process: no start-up, one part at a time."""
    workers: int = Field(0, ge=0)
    """Parts in work at once; 0 means one per core (of the cluster, where there is one)."""
    threads: int = Field(1, ge=1)
    """Threads of numerical libraries in each worker. Fixed rather than 'all cores', so that sums are added in the
    same order whatever the number of workers."""
    ray_address: str | None = None
    """Address of a running Ray cluster; None starts an embedded one on loopback."""
