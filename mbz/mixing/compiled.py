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

# Calls would hand over some 300 words of arrays each, so that all is inlined.
function = compiler(_SOURCES, forceinline=True)

# But not what takes few arrays and is called from several places: each would be compiled again.
apart = compiler(_SOURCES)
