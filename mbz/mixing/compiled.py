"""How numba compiles this package."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

log = logging.getLogger(__name__)

# Without _nrt, each view of an array counts its references, which takes a third to a half of the
# time. Nothing here allocates, and the caller holds all arrays; numba refuses what would. Calls
# would hand over some 300 words of arrays each, so that all is inlined.
_OPTIONS: dict[str, Any] = {"_nrt": False, "nogil": True, "forceinline": True}

_SOURCES = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()


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
    if not hasattr(entry, "signatures") or entry.signatures:
        return  # runs as Python, or is compiled already
    line = entry.py_func.__code__.co_firstlineno
    pattern = f"{Path(entry.py_func.__code__.co_filename).stem}.{entry.__name__}-{line}.*.nbi"
    kept = entry.stats.cache_path
    if kept is None or not any(Path(kept).glob(pattern)):
        log.warning("compiling the mixing coder for this machine, once: about a minute")
