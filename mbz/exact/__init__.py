"""Exact inference: integer next-byte counts that are equal on every machine (docs/exact.md).

A `Predictor` is what the coder sees of a model. `open_predictor` picks the fastest backend whose
self-test passes; `reference.py` is the definition that every backend must equal bit for bit.
"""

import ctypes
import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mbz.errors import ModelError
from mbz.exact.fixed import COUNT_SUM
from mbz.steps import Steps
from mbz.weights import Weights

__all__ = [
    "COUNT_SUM",
    "Interval",
    "Predictor",
    "Resident",
    "Shareable",
    "Stepping",
    "Wide",
    "has_driver",
    "open_predictor",
]

log = logging.getLogger(__name__)


class Predictor(Protocol):
    """Next-byte counts for B independent byte streams ("lanes") that advance together.

    Counts are integers >= 0 held in float32, and each row of 256 sums to `COUNT_SUM` = 2**24 - 256.
    Byte v then has probability (counts[v] + 1) / 2**24.

    Attributes:
        most_lanes: lanes that a block may have, for the memory that they take.
    """

    most_lanes: int

    def reset(self, lanes: int) -> None:
        """Forgets everything and starts `lanes` >= 1 empty streams."""

    def counts(self) -> NDArray[np.float32]:
        """Counts of the next byte of each lane, shape (B, 256); may be called only once a byte."""

    def push(self, symbols_B: NDArray[np.uint8]) -> None:
        """Appends one byte to each lane; `counts` must have been called before."""

    def score(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Appends S >= 1 bytes to each lane and returns the counts before each, (B, S, 256).

        Equal bit for bit to S rounds of `counts` and `push`, for any split into calls.
        """


@runtime_checkable
class Stepping(Predictor, Protocol):
    """A predictor that compiled code can step, without Python in between."""

    def stepping(self) -> AbstractContextManager[Steps]:
        """Starts to step after `reset`; nothing else may be called until the end."""


@runtime_checkable
class Interval(Predictor, Protocol):
    """A predictor that can keep all counts but those of known bytes to itself."""

    def intervals(self, symbols_BS: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """Like `score`, but returns where the share of each byte starts and its size, (B, S, 2).

        The share of byte v is counts[v] + 1, and follows those of the bytes below v.
        """


@runtime_checkable
class Shareable(Predictor, Protocol):
    """A predictor whose weights others can use at the same time.

    Attributes:
        threads: CPU threads that it uses.
    """

    threads: int

    def apart(self, threads: int = 1) -> "Predictor":
        """Another predictor of the same weights, on so many threads."""


@runtime_checkable
class Wide(Predictor, Protocol):
    """A predictor that takes hardly longer for many lanes than for few.

    Attributes:
        lanes_at_once: lanes to give it if there are as many; they may be those of several blocks.
    """

    lanes_at_once: int


@runtime_checkable
class Resident(Wide, Protocol):
    """A predictor on a device of torch, whose counts, in tensors, may stay there.

    Attributes:
        device: the device.
        rows: positions in all lanes that one call of `score_there` takes.
    """

    device: Any
    rows: int

    def counts_there(self) -> Any:  # noqa: ANN401 - a tensor
        """Like `counts`; the caller waits for the device every 64 calls."""

    def push_there(self, symbols_B: Any) -> None:  # noqa: ANN401 - a tensor
        """Like `push`, of int64, with `counts_there`."""

    def score_there(self, symbols_BS: NDArray[np.uint8]) -> Any:  # noqa: ANN401 - a tensor
        """Like `score`."""


def open_predictor(weights: Weights, device: str = "auto", threads: int | None = None) -> Predictor:
    """The fastest predictor of `weights` that passes the model's self-test.

    Args:
        weights: the model.
        device: "cuda", "cpu", or "auto" for CUDA where there is one.
        threads: most CPU threads; None means one for each core that this process may use.

    Raises:
        ValueError: no such device here.
        ModelError: no backend passes the self-test, so the model is damaged.
    """
    from mbz.exact.selftest import digest  # noqa: PLC0415  (it imports this module)

    if device not in ("auto", "cpu", "cuda"):
        msg = f"device must be auto, cpu or cuda, not {device}"
        raise ValueError(msg)
    for predictor in _candidates(weights, device, threads):
        if digest(predictor) == weights.golden:
            log.debug("predictor: %s", type(predictor).__name__)
            return predictor
        log.warning("%s fails the self-test of model %s", type(predictor).__name__, weights.name)
    msg = f"model {weights.name} fails its self-test; its weights are damaged"
    raise ModelError(msg)


def _candidates(weights: Weights, device: str, threads: int | None) -> Iterator[Predictor]:
    """Predictors from the fastest to the reference, which needs numpy alone."""
    from mbz.exact.reference import ReferencePredictor  # noqa: PLC0415

    if device == "cuda" or (device == "auto" and has_driver()):
        yield from _open_in_torch(weights, device)
    try:
        from mbz.exact.compiled_backend import CompiledPredictor  # noqa: PLC0415
    except ImportError as error:
        log.info("going on without compiled kernels, slower (%s)", error)
        yield from _open_in_torch(weights, "cpu")
    else:
        yield CompiledPredictor(weights.config, weights.tensors, threads)
    yield ReferencePredictor(weights.config, weights.tensors)


def _open_in_torch(weights: Weights, device: str) -> Iterator[Predictor]:
    """The predictors of torch; none without torch, or where "auto" finds no CUDA device."""
    try:
        from mbz.exact.torch_open import open_on  # noqa: PLC0415
    except ImportError as error:
        log.info("going on without torch (%s)", error)
        if device == "cuda":
            msg = "device cuda needs torch, which is not installed"
            raise ValueError(msg) from error
        return
    yield from open_on(weights.config, weights.tensors, device)


def has_driver() -> bool:
    """Whether there may be a CUDA device, found out without torch, whose import takes seconds."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True
