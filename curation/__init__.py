"""Curate image datasets for self-supervised learning, and pretrain on them.

See `docs/architecture.md` for the one idea (aligned parts) and the layers.
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("lvd")
