"""How numba compiles the exact network's kernels."""

from pathlib import Path

import numba

from mbz.compiled import PART, compiler

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("numba is turned off, and the kernels need it")

_HERE = Path(__file__).parent
_NAMES = (
    "vector_code",
    "vectors",
    "units",
    "powers",
    "rows",
    "attention",
    "kernels",
    "memory",
    "crew",
)
_SHARED = ("pointers", "records")
_SOURCES = [
    *(_HERE / f"{name}.py" for name in _NAMES),
    *(_HERE.parent / f"{name}.py" for name in _SHARED),
]

function = compiler(_SOURCES)
"""Decorator of a function that Python calls, or that is called by its address."""

part = compiler(_SOURCES, **PART)
"""Decorator of what only other compiled functions call."""
