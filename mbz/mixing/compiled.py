"""How numba compiles this package."""

from pathlib import Path

from mbz.compiled import compiler

# Calls would hand over some 300 words of arrays each, so that all is inlined.
_HERE = Path(__file__).parent
function = compiler((*_HERE.glob("*.py"), _HERE.parent / "pointers.py"), forceinline=True)
