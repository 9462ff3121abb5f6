"""How numba compiles this package."""

from pathlib import Path
from typing import Any

from mbz.compiled import compiler

call: Any
try:
    from mbz.pointers import call
except ImportError:  # where this runs uncompiled there is no code to call
    call = None

_HERE = Path(__file__).parent
_SOURCES = (*_HERE.glob("*.py"), _HERE.parent / "pointers.py")

# Calls would hand over some 300 words of arrays each, so that all is inlined.
function = compiler(_SOURCES, forceinline=True)

# But not what takes few arrays and is called from several places: each would be compiled again.
apart = compiler(_SOURCES)
