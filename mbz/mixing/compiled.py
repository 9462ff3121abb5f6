"""How numba compiles this package."""

from pathlib import Path
from typing import Any

from mbz.compiled import compiler

call: Any
held: Any
try:
    from mbz.pointers import call
    from mbz.records import Held as held
except ImportError:  # where this runs uncompiled there is no code to call
    call, held = None, lambda given: given

_HERE = Path(__file__).parent
_SOURCES = (*_HERE.glob("*.py"), _HERE.parent / "pointers.py", _HERE.parent / "records.py")

function = compiler(_SOURCES)
"""Decorator of a function that Python calls."""

part = compiler(_SOURCES, no_cpython_wrapper=True, no_cfunc_wrapper=True)
"""Decorator of what only other compiled functions call."""
