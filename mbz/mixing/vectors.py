"""Loops whose steps are done 16 at a time, in vector instructions where numba compiles them.

A loop is written as what is done for one number k, with Python's operators and the functions here.
Compiled, it is traced once with vectors of 16 in place of numbers (`vector_code.py`). As it stands
it goes through k one by one, in blocks of 16: writes wait for the end of their block, as in vectors
all have read before one writes. Of two writes to one place the later one counts.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import numba
import numpy as np

WIDTH = 16

INTERPRETED = bool(getattr(getattr(numba, "config", None), "DISABLE_JIT", True))
"""Whether all runs as it stands, without numba."""


class _Late:
    """An array whose elements, counted through all its axes, change when `write` is called."""

    def __init__(self, array: Any) -> None:
        self._flat = array.reshape(-1)
        self._waiting: list[tuple[int, Any]] = []

    def __getitem__(self, at: int) -> Any:
        return self._flat[at]

    def __setitem__(self, at: int, value: Any) -> None:
        self._waiting.append((at, value))

    def write(self) -> None:
        for at, value in self._waiting:
            self._flat[at] = value
        self._waiting.clear()


def _in_blocks(step: Callable[..., Any]) -> Callable[..., int]:
    @wraps(step)
    def loop(num: int, *arguments: Any) -> int:
        given = [_Late(a) if isinstance(a, np.ndarray) else int(a) for a in arguments]
        total = 0
        for first in range(0, num, WIDTH):
            for k in range(first, min(first + WIDTH, num)):
                total += int(step(k, *given) or 0)
            for late in given:
                if isinstance(late, _Late):
                    late.write()
        return total

    return loop


def each(step: Callable[..., Any]) -> Callable[..., int]:
    """Makes `loop(num, *arguments)`, which calls `step(k, *arguments)` for all k < num.

    It returns the sum of what the calls return, in int32. Arguments are contiguous arrays of
    integers, whose elements are counted through all axes, and integers that fit in int32. Numbers
    are int32, or uint32 where they come from arrays of that type, and shift accordingly.
    """
    return _in_blocks(step) if INTERPRETED else vector_code.loop_of(step)


def each_of_whole(step: Callable[..., Any]) -> Callable[..., int]:
    """As `each`, for numbers of steps that are multiples of 16."""
    return _in_blocks(step) if INTERPRETED else vector_code.loop_of(step, whole=True)


def where(condition: Any, one: Any, other: Any) -> Any:
    """The one number where the condition holds, else the other."""
    if hasattr(condition, "chosen"):
        return condition.chosen(one, other)
    return one if condition else other


def least(a: Any, b: Any) -> Any:
    """The lesser number."""
    return where(a < b, a, b)


def most(a: Any, b: Any) -> Any:
    """The greater number."""
    return where(a > b, a, b)


def scaled(a: Any, b: Any, shift: int) -> Any:
    """The low 32 bits of a * b >> shift, or more of them; the product fits in 63."""
    if hasattr(a, "scaled"):
        return a.scaled(b, shift)
    return int(a) * int(b) >> shift


def signed(a: Any) -> Any:
    """A number below 2**31 as int32."""
    return a.signed() if hasattr(a, "signed") else np.int32(a)


def unsigned(a: Any) -> Any:
    """A number of at least 0 as uint32."""
    return a.unsigned() if hasattr(a, "unsigned") else np.uint32(a)


def wrapped(a: Any, factor: int, more: int) -> Any:
    """(a * factor + more) modulo 2**32, as uint32."""
    if hasattr(a, "wrapped"):
        return a.wrapped(factor, more)
    return np.uint32((int(a) * factor + more) & 0xFFFFFFFF)


def _item(array: Any, at: int) -> Any:
    """An element, counted through all axes; `at` is that of one, which is not checked."""
    return array.reshape(-1)[at]


def _put(array: Any, at: int, value: int) -> None:
    """Sets an element, counted through all axes."""
    array.reshape(-1)[at] = value


def _fetch(array: Any, at: int) -> None:
    """Has memory brought near that will be read soon: an element, counted through all axes."""


item: Any = _item
put: Any = _put
fetch: Any = _fetch
if not INTERPRETED:
    from mbz.mixing import vector_code

    item, put, fetch = vector_code.item, vector_code.put, vector_code.fetch
