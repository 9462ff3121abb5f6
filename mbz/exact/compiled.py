"""How numba compiles the exact network's kernels: without references, locks or fast mathematics.

numba neither fuses `a * b + c` nor replaces divisions unless asked to (fastmath is off), so each
operation on floats rounds once, as docs/exact.md says.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

log = logging.getLogger(__name__)

if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
    raise ImportError("numba is turned off, and the kernels need it")

# Without _nrt, each view of an array counts its references, which takes longer than the short rows
# of a head. So nothing here allocates, and the caller holds all arrays.
_OPTIONS: dict[str, Any] = {"_nrt": False, "nogil": True, "error_model": "numpy"}

_SOURCES = hashlib.sha256(
    b"".join((Path(__file__).parent / f"{name}.py").read_bytes() for name in ("vectors", "kernels"))
).hexdigest()

part: Any = numba.njit(forceinline=True, **_OPTIONS)
"""Decorator of a piece of a function."""


def function(python: Callable[..., Any]) -> Any:  # noqa: ANN401 - a compiled function
    """Decorator; what was compiled is kept beside the source, or in the user's cache folder."""
    try:
        compiled: Any = numba.njit(cache=True, **_OPTIONS)(python)
    except RuntimeError:  # neither place can be written to
        return numba.njit(**_OPTIONS)(python)
    if cache := getattr(compiled, "_cache", None):  # none where numba is turned off
        # By itself numba looks at the one file only, and goes on with old code of others.
        cache._cache_file._source_stamp = _SOURCES  # noqa: SLF001
    return compiled


def announce(entry: Any) -> None:  # noqa: ANN401 - a compiled function
    """Says that calling `entry` will take a while, if it has not been compiled on this machine."""
    code = entry.py_func.__code__
    pattern = f"{Path(code.co_filename).stem}.{entry.__name__}-{code.co_firstlineno}.*.nbi"
    kept = entry.stats.cache_path
    if not entry.signatures and (kept is None or not any(Path(kept).glob(pattern))):
        log.warning("compiling the network's kernels for this machine, once: about a minute")
