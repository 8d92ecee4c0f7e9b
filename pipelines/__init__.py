"""One file per job, readable from top to bottom, and the command line over them.

`from pipelines import curate, decontaminate, dedup, evaluate, export, fingerprints, pretrain` is their Python API
(`docs/python.md`); a job is loaded when it is first asked for.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.curate import curate
    from pipelines.decontaminate import decontaminate
    from pipelines.dedup import dedup
    from pipelines.evaluate import evaluate
    from pipelines.export import export
    from pipelines.fingerprints import fingerprints
    from pipelines.pretrain import pretrain

__all__ = ["curate", "decontaminate", "dedup", "evaluate", "export", "fingerprints", "pretrain"]


class _Jobs(ModuleType):
    """A job lies in a file of its own name; that file's module must never take the place of the function."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in __all__ and isinstance(value, ModuleType)):
            super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
        job = getattr(import_module(f"pipelines.{name}"), name)
        setattr(self, name, job)
        return job

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *__all__})


sys.modules[__name__].__class__ = _Jobs
