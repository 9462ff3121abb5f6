"""How numba compiles this package."""

from pathlib import Path

from mbz.compiled import compiler

# Calls would hand over some 300 words of arrays each, so that all is inlined.
function = compiler(Path(__file__).parent.glob("*.py"), forceinline=True)
