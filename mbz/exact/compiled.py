"""How numba compiles the exact network's kernels."""

from pathlib import Path
from typing import Any

import numba

from mbz.compiled import OPTIONS, compiler

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("numba is turned off, and the kernels need it")

_NAMES = ("vectors", "kernels", "memory", "crew", "../pointers", "../records")
function = compiler(Path(__file__).parent / f"{name}.py" for name in _NAMES)
"""Decorator of a function."""

part: Any = numba.njit(forceinline=True, **OPTIONS)
"""Decorator of a piece of one."""
