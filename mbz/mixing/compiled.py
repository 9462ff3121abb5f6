"""How numba compiles this package."""

from pathlib import Path
from typing import Any

from mbz.compiled import compiler

call: Any
try:
    from mbz.pointers import call
except ImportError:  # where this runs uncompiled there is no code to call
    call = None

# Calls would hand over some 300 words of arrays each, so that all is inlined.
_HERE = Path(__file__).parent
function = compiler((*_HERE.glob("*.py"), _HERE.parent / "pointers.py"), forceinline=True)
