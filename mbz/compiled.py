"""How numba compiles kernels: without references, locks or fast mathematics, and kept for later.

numba neither fuses `a * b + c` nor replaces divisions unless asked to (fastmath is off), so each
operation on floats rounds once, as docs/exact.md says.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numba
from numba.core.registry import cpu_target

log = logging.getLogger(__name__)

OPTIONS: dict[str, Any] = {"_nrt": False, "nogil": True, "error_model": "numpy"}
"""Without _nrt, each view of an array counts its references, which takes a third to a half of the
time. So nothing allocates, and the caller holds all arrays; numba refuses what would."""

FEATURES: list[str] = cpu_target.target_context.codegen()._tm_features.split(",")  # noqa: SLF001
"""What the processor can do, by LLVM's names, or what numba is told that it can."""

PART = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Options of what only other compiled functions call."""


def compiler(sources: Iterable[Path], **options: bool) -> Callable[[Callable[..., Any]], Any]:
    """A decorator of functions that numba compiles.

    What was compiled is kept beside the source, or in the user's cache folder.

    Args:
        sources: all files that the functions are made of.
        options: for numba, besides `OPTIONS`.
    """
    all_options: dict[str, Any] = OPTIONS | options
    files = sorted({*sources, Path(__file__)})
    stamp = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    def function(python: Callable[..., Any]) -> Any:  # noqa: ANN401 - a compiled function
        try:
            compiled: Any = numba.njit(cache=True, **all_options)(python)
        except RuntimeError:  # neither place can be written to
            return numba.njit(**all_options)(python)
        if cache := getattr(compiled, "_cache", None):  # none where numba is turned off
            # By itself numba looks at the one file only, and goes on with old code of others.
            cache._cache_file._source_stamp = stamp  # noqa: SLF001
            compiled.compile = _without_literals(compiled.compile)
            cache.load_overload = _loading(cache)
        return compiled

    return function


def _loading(cache: Any) -> Callable[..., Any]:  # noqa: ANN401 - numba's cache of a function
    """Loads what is kept, without the half a second in which numba learns all it can compile."""

    def load_overload(kinds: Any, context: Any) -> Any:  # noqa: ANN401 - numba's own types
        with cache._guard_against_spurious_io_errors():  # noqa: SLF001
            return cache._load_overload(kinds, context)  # noqa: SLF001

    return load_overload


def _without_literals(compile_: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Compiles for integers where numba would for each literal again, to code that is no faster."""
    unliteral: Any = numba.types.unliteral

    def compiled(kinds: Any) -> Any:  # noqa: ANN401 - numba's signature, or a tuple of types
        if isinstance(kinds, tuple):
            kinds = tuple(map(unliteral, kinds))
        return compile_(kinds)

    return compiled


def announce(entry: Any, name: str) -> None:  # noqa: ANN401 - a compiled function
    """Says that calling `entry` will take a while, if it has not been compiled on this machine."""
    if not hasattr(entry, "signatures") or entry.signatures:
        return  # runs as Python, or is compiled already
    code = entry.py_func.__code__
    pattern = f"{Path(code.co_filename).stem}.{entry.__name__}-{code.co_firstlineno}.*.nbi"
    kept = entry.stats.cache_path
    if kept is None or not any(Path(kept).glob(pattern)):
        log.warning("compiling %s for this machine, once: about half a minute", name)
