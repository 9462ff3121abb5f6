"""How numba compiles this package."""

from pathlib import Path
from typing import Any

from mbz.compiled import PART, compiler
from mbz.mixing.vectors import INTERPRETED


def _as_it_is(given: Any) -> Any:  # noqa: ANN401 - a tuple of arrays
    return given


call: Any = None  # where this runs uncompiled there is no code to call
held: Any = _as_it_is
"""Makes of a tuple of arrays what compiled functions take for it."""
if not INTERPRETED:
    from mbz import pointers, records

    call, held = pointers.call, records.Held

_HERE = Path(__file__).parent
_SOURCES = (*_HERE.glob("*.py"), _HERE.parent / "pointers.py", _HERE.parent / "records.py")

function = compiler(_SOURCES)
"""Decorator of a function that Python calls."""

part = compiler(_SOURCES, **PART)
"""Decorator of what only other compiled functions call."""
