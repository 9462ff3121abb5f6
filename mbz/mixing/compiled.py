"""How numba compiles this package."""

from pathlib import Path
from typing import Any

from mbz.compiled import PART, compiler
from mbz.mixing.vectors import INTERPRETED


def _as_it_is(given: Any) -> Any:  # noqa: ANN401 - a tuple of arrays
    return given


# Where this runs uncompiled there is no code to call, nor another thread to share with.
call: Any = None
poke: Any = None
offer: Any = None
taken: Any = None
reach: Any = None
AHEAD = KNOWN = 0
held: Any = _as_it_is
"""Makes of a tuple of arrays what compiled functions take for it."""
if not INTERPRETED:
    from mbz import pointers, records
    from mbz.exact import crew

    call, poke, held = pointers.call, pointers.poke, records.Held
    offer, taken, reach = crew.offer, crew.taken, crew.reach
    AHEAD, KNOWN = crew.AHEAD, crew.KNOWN

_HERE = Path(__file__).parent
_OTHERS = ("pointers.py", "records.py", "exact/crew.py", "exact/compiled.py")
_SOURCES = (*_HERE.glob("*.py"), *(_HERE.parent / name for name in _OTHERS))

function = compiler(_SOURCES)
"""Decorator of a function that Python calls."""

part = compiler(_SOURCES, **PART)
"""Decorator of what only other compiled functions call."""
