"""Start states: what the mixing coder of a block knows before its first byte (docs/mixing.md, 9).

`train_start.py` makes them. A file holds integers, with the names of the experts that they belong
to: one that is not among them begins as if there were no file. What is known beside a network is
known apart, as the weights are other ones.

Shapes: E experts of a set, S weight sets, R rank, J inputs an expert, K inputs of a mixer.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from mbz.errors import MbzError
from mbz.mixing import tables
from mbz.mixing.experts import names_of
from mbz.mixing.memory import INPUTS, NETWORK, SELECTORS, Memory

CHANCES: Final = ("state_chance", "slot_chance", "run_chance", "match_chance", "network_chance")
"""Tables of adaptive chances; the first three by expert."""

PER_EXPERT: Final = 3
UNKNOWN: Final = -128  # in a table: as if there were no file
LOGIT_STEP: Final = 24
COUNT: Final = 24  # how often a chance of the file counts as adapted
BASIS_BITS: Final = 8
FINAL_STEP: Final = 16


@dataclass(frozen=True, eq=False)
class Start:
    """What a file holds.

    For each set of experts X that it is for, by `key_of`: X.state_chance (E, 2048), X.slot_chance
    (E, 64, 46), X.run_chance (E, 512), X.match_chance (M, 1024) and, with a network,
    X.network_chance, all of them logits in LOGIT_STEP as int8; X.rows (weight rows, R) int8 and
    X.basis (S, R + 1, K) int32, the last one the mean of a weight set; X.final (rows, S) int16, in
    FINAL_STEP.
    """

    tensors: dict[str, NDArray[np.integer]]
    experts: dict[str, list[str]]
    """The names of the experts of each set, by the same keys."""


def key_of(use: str, *, network: bool) -> str:
    """What a file calls a set of experts, alone or beside a network."""
    return f"{use}+network" if network else use


def read(path: Path) -> Start:
    """Reads a file of start states.

    Raises:
        MbzError: it cannot be read, or holds something else.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            experts = {use: names.split("\n") for use, names in file.metadata().items()}
    except Exception as error:  # safetensors has errors of many kinds
        raise MbzError(f"{path} holds no start states of the mixing coder ({error})") from error
    return Start(tensors, experts)


@cache
def shipped() -> Start:
    """The start states that come with the program."""
    with as_file(files("mbz.mixing") / "start.safetensors") as path:
        return read(path)


def begin_with(start: Start, memory: Memory, use: str) -> None:
    """Writes the start states of a set into a memory that has seen nothing, if there are any."""
    key = key_of(use, network=bool(memory.options[NETWORK]))
    if key not in start.experts:
        return
    old, names = start.experts[key], names_of(use)
    pairs = [(e, old.index(name)) for e, name in enumerate(names) if name in old]
    for n, name in enumerate(CHANCES):
        if f"{key}.{name}" not in start.tensors:
            continue
        (values, known), chances = _chances(start, f"{key}.{name}"), getattr(memory, name)
        if n < PER_EXPERT:
            for e, at in pairs:
                np.copyto(chances[e], values[at], where=known[at])
        else:
            np.copyto(chances, values, where=known)
    weights = _weights(start, key)
    if old == names:
        memory.weights[:, : weights.shape[1]] = weights
    else:
        _begin_some_weights(weights, memory, pairs, len(old), len(names))
    final = start.tensors[f"{key}.final"].astype(np.int32) * FINAL_STEP
    memory.final_weights[:, : final.shape[1]] = final


@cache
def _chances(start: Start, name: str) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The adaptive chances of a table, and which of them the file knows."""
    logits = start.tensors[name]
    known = np.maximum(logits.astype(np.int64) * LOGIT_STEP, -tables.LIMIT)
    values = tables.squash_table()[known + tables.LIMIT] << 14 | COUNT
    return values, logits > UNKNOWN


def _begin_some_weights(
    weights: NDArray[np.int32], memory: Memory, pairs: list[tuple[int, int]], old: int, new: int
) -> None:
    """Copies the weights of the experts that the file knows, and those after all experts."""
    inputs = int(memory.options[INPUTS])
    for j in range(inputs):
        for e, at in pairs:
            memory.weights[:, j * new + e] = weights[:, j * old + at]
    others = min(weights.shape[1] - inputs * old, memory.weights.shape[1] - inputs * new)
    memory.weights[:, inputs * new :][:, :others] = weights[:, inputs * old :][:, :others]


@cache
def _weights(start: Start, key: str) -> NDArray[np.int32]:
    """Weights (rows, K) of a set; nobody writes to them."""
    rows, basis = start.tensors[f"{key}.rows"], start.tensors[f"{key}.basis"]
    parts, at = [], 0
    for size, vectors in zip(SELECTORS, basis, strict=False):
        # Whole numbers far below 2**53, so that float64 is exact in any order, and fast.
        moved = rows[at : at + size].astype(np.float64) @ vectors[:-1].astype(np.float64)
        parts.append((moved.astype(np.int64) >> BASIS_BITS).astype(np.int32) + vectors[-1])
        at += size
    weights: NDArray[np.int32] = np.concatenate(parts)
    return weights.clip(-(1 << 19), (1 << 19) - 1)
