"""Matrices of slow cases: CI runs the first of each, `make reliability` all."""

from typing import Any

import pytest

__all__ = ["first_of"]


def first_of(*cases: Any) -> list[Any]:
    """Cases for `parametrize`, of which all but the first are marked `matrix`. A case of several values is a tuple."""
    marked = [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.matrix) for case in cases]
    return [cases[0], *marked[1:]]
