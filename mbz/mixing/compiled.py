"""How numba compiles this package."""

from typing import Any

import numba

# Without the option, each view of an array counts its references, which takes a third to a half of
# the time. Nothing here allocates, and the caller holds all arrays; numba refuses what would.
_OPTIONS: dict[str, Any] = {"cache": True, "_nrt": False, "nogil": True, "forceinline": True}
function: Any = numba.njit(**_OPTIONS)
"""Decorator; the cache goes beside the source, or to the user's folder if that is read-only."""
