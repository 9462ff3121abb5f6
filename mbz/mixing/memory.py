"""All that the mixing coder of a block remembers, as arrays (docs/mixing.md, 3).

Shapes: L lanes, E experts, M match models, K inputs of a mixer (a multiple of 16, the rest zero),
S weight sets, F features.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mbz.mixing import features as f
from mbz.mixing import lines, tables
from mbz.mixing.colours import COLOUR_INPUTS
from mbz.mixing.experts import recipes
from mbz.mixing.guesses import Numbers, open_numbers

MATCH_BYTES = (24, 12, 6, 4)
"""Least bytes that each match model wants alike; the first that has a match gives EXPECTED."""

LEAN_MATCH_BYTES = (12, 5)

EXPERT_INPUTS = 4  # the lean set lacks the last one
MATCH_INPUTS = 3
NETWORK_INPUTS = 3

SELECTORS = (256 * 4, 16 * 16, 256 * 8, 256 * 8, 8 * 64, 8 * 512, 256 * 4, 64 * 8, 64 * 8)
"""Weight rows of each weight set of the first layer; `_select` in kernel.py says what of."""

LEAN_SETS, PLAIN_SETS = 3, 8
"""The lean coder has the first ones only, and all but the rich one lack that of machine code."""

FINAL_SELECTORS = (256, 16 * 16, 256, 8 * 64)
"""Weight rows of each weight set of the second layer."""

LEAN_FINALS = 2

MOST_SLOT_BITS = 22
BUCKETS = 46  # of a logit, in calibrations: every 128th from -LIMIT on
COUNTS = 64  # of a slot
REFINED = 32  # entries of a context in the last calibrations: a cache line
REFINED_STEP = 192  # in logit, between two of them

_I32: TypeAlias = NDArray[np.int32]
_I64: TypeAlias = NDArray[np.int64]


class Memory(NamedTuple):
    """See `open_memory`. Adaptive probabilities are 20 bits << 10 | times adapted."""

    squash: _I32
    stretch: NDArray[np.int16]
    next_state: _I32
    rates: _I32
    recipes: _I64  # (7, E)
    options: _I64  # see OPTIONS
    past: NDArray[np.uint8]  # the block's bytes
    starts: _I64  # (L + 1,) positions of the lanes in it
    rows: _I64  # (L, F) features
    after1: _I64  # (256,) bytes seen after a byte
    after2: _I64  # (65536,) and after two
    targets: _I64  # (256 + 65536,) addresses that were called, by last byte and last two
    numerals: _I64  # see `lines.follow`
    slots: NDArray[np.uint32]  # (buckets * 16,)
    hashes: NDArray[np.uint32]  # (L, E)
    at: _I32  # (L, E) bucket in use, by its first slot
    coming: _I32  # (L, E) where the next one should be
    checks: _I32  # (L, E) check wanted there
    found: _I32  # (L, E) check found there
    state_chance: _I32  # (E, 2048) adaptive, by position in the byte and state
    slot_chance: _I32  # (E, COUNTS, BUCKETS) adaptive
    slot_key: _I32  # (L, E) class of the slot's chance
    run_chance: _I32  # (E, 512) adaptive
    run_at: _I32  # (L, E) first bucket of the byte
    run_head: NDArray[np.uint32]  # (L, E) and its head
    run_key: _I32  # (L, E) entry of run_chance in use << 1 | bit expected, or -1
    match_heads: _I32  # (M, 2**bits) position after the last bytes of that hash, 0 for none
    match_chance: _I32  # (M, 1024) adaptive
    match_byte_chance: _I32  # (M, 16 * 8 * 256) adaptive
    match_bytes: _I64  # (M,)
    matches: _I64  # (L, M, 7): position, its lane, length, misses, two entries in use, head
    counts: NDArray[np.uint32]  # (L, 257) running sums of the network's counts of the next byte
    network: _I64  # (L, 4): likeliest byte, its share in 1/16, entry of network_chance in use
    network_chance: _I32  # (8 * 256 * BUCKETS,) adaptive
    seen: _I64  # (L,) experts that know their contexts
    inputs: _I32  # (L, K) logits
    weights: _I32  # (rows of SELECTORS, K) in 1/65536
    chosen: _I64  # (L, S)
    logits: _I32  # (L, 16) outputs of the weight sets, then zeros
    outputs: _I32  # (L, S) their probabilities
    final_weights: _I32  # (rows of FINAL_SELECTORS, 16)
    final_chosen: _I64  # (L, 4)
    final_outputs: _I32  # (L, number of final sets)
    ramp: _I32  # (REFINED,) probabilities that the last calibrations give at first
    refined: NDArray[np.uint16]  # (4, 65536 * REFINED) differences to them, modulo 65536
    refined_at: _I64  # (L, 4)
    partial: _I64  # (L,) bits of the byte so far, after a one
    numbers: Numbers


SAME = (
    "state_chance", "slot_chance", "run_chance", "match_chance", "match_byte_chance",
    "network_chance", "weights", "final_weights",
)  # fmt: skip
"""Arrays that are the same before all blocks of a set of experts for text."""

OPTIONS = ("network", "stride", "inputs", "unit", "fully")
NETWORK, STRIDE, INPUTS, UNIT, FULLY = range(len(OPTIONS))


def open_memory(
    use: str,
    lengths: list[int],
    *,
    network: bool,
    stride: int = 4,
    unit: int = 1,
    phase: int = 0,
    slot_bits: int = 0,
    same: Mapping[str, _I32] | None = None,
) -> Memory:
    """The memory before the first byte of a block.

    Args:
        use: set of experts, one of `experts.SETS`.
        lengths: bytes of the lanes; consecutive pieces of the block, the longer ones first.
        network: whether counts of a network will be given.
        stride: bytes of a record or row of the block, >= 1.
        unit: bytes of a sample or pixel in it, from 1 to stride.
        phase: bytes before the first whole record, below stride.
        slot_bits: log2 of the number of buckets; 0 chooses it from the block size.
        same: the arrays SAME of such a block, to take as they are; None makes new ones.
    """
    size, lanes = sum(lengths), len(lengths)
    chosen = recipes(use)
    match_bytes = LEAN_MATCH_BYTES if use == "lean" else MATCH_BYTES
    experts, models = len(chosen), len(match_bytes)
    numbers = open_numbers(use, size, lanes, stride=stride, unit=unit, phase=-phase % stride)
    number_inputs = 2 * (numbers.guesses.shape[1] + numbers.view_keys.shape[1])
    number_inputs += COLOUR_INPUTS * (numbers.colours.keys.size > 0)
    inputs = 3 if use == "lean" else EXPERT_INPUTS
    num_inputs = experts * inputs + models * MATCH_INPUTS + NETWORK_INPUTS * network + 1
    num_inputs += number_inputs
    width = -(-num_inputs // 16) * 16
    sets = {"lean": LEAN_SETS, "rich": len(SELECTORS)}.get(use, PLAIN_SETS)
    finals = LEAN_FINALS if use == "lean" else len(FINAL_SELECTORS)
    # Half of the most is still enough for the lean set on less than 2 MB, and faster.
    most = MOST_SLOT_BITS - (use == "lean" and size < 1 << 21)
    slot_bits = slot_bits or min(max((size * experts).bit_length(), 12), most)
    rows = np.zeros((lanes, f.WIDTH), np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    rows[:, f.LINE] = rows[:, f.LINE_BEFORE] = starts[:-1]
    options: dict[str, Any] = {"network": network, "stride": stride, "inputs": inputs}
    options["unit"] = unit
    options["fully"] = use in {"middle", "rich"}

    if same is None:
        beside = experts * inputs + models * MATCH_INPUTS if network else None
        guesses = slice(num_inputs - number_inputs, num_inputs, 2)
        weights = _first_weights(sum(SELECTORS[:sets]), experts * inputs, width, beside, guesses)
        same = _first_chances(experts, models) | {
            "weights": weights,
            "final_weights": np.full((sum(FINAL_SELECTORS), 16), 65536 // sets, np.int32),
        }
    return Memory(
        squash=tables.squash_table(),
        stretch=_stretch(),
        next_state=tables.next_state_table().astype(np.int32),
        rates=tables.rate_table(),
        recipes=np.ascontiguousarray(chosen.T),
        options=np.array([options[name] for name in OPTIONS], np.int64),
        past=np.zeros(size + 1, np.uint8),
        starts=starts,
        rows=rows,
        after1=np.zeros(256, np.int64),
        after2=np.zeros(65536, np.int64),
        targets=np.zeros(256 + 65536, np.int64),
        numerals=np.zeros(lines.TABLE, np.int64),
        slots=np.zeros(16 << slot_bits, np.uint32),
        hashes=np.zeros((lanes, experts), np.uint32),
        at=np.zeros((lanes, experts), np.int32),
        coming=np.zeros((lanes, experts), np.int32),
        checks=np.zeros((lanes, experts), np.int32),
        found=np.zeros((lanes, experts), np.int32),
        slot_key=np.zeros((lanes, experts), np.int32),
        run_at=np.zeros((lanes, experts), np.int32),
        run_head=np.zeros((lanes, experts), np.uint32),
        run_key=np.zeros((lanes, experts), np.int32),
        match_heads=np.zeros((models, 1 << min(max(size.bit_length(), 10), 20)), np.int32),
        match_bytes=np.array(match_bytes, np.int64),
        matches=np.zeros((lanes, models, 7), np.int64),
        counts=np.zeros((lanes, 257), np.uint32),
        network=np.zeros((lanes, 4), np.int64),
        seen=np.zeros(lanes, np.int64),
        inputs=np.zeros((lanes, width), np.int32),
        chosen=np.zeros((lanes, sets), np.int64),
        logits=np.zeros((lanes, 16), np.int32),
        outputs=np.zeros((lanes, sets), np.int32),
        final_chosen=np.zeros((lanes, 4), np.int64),
        final_outputs=np.zeros((lanes, finals), np.int32),
        ramp=tables.squash_table()[_refined_logits() + tables.LIMIT],
        refined=np.zeros((4, 65536 * REFINED), np.uint16),
        refined_at=np.zeros((lanes, 4), np.int64),
        partial=np.ones(lanes, np.int64),
        numbers=numbers,
        **same,
    )


@cache
def _stretch() -> NDArray[np.int16]:
    """The table with one more entry, as vectors read an entry with the one after it."""
    return np.append(tables.stretch_table(), np.int16(0))


def _first_chances(experts: int, models: int) -> dict[str, _I32]:
    """What is thought of all contexts at first."""
    ramp = _adaptive(tables.squash_table()[::128])

    def likely(*shape: int) -> _I32:
        return _adaptive(np.full(shape, 49152, np.int32))

    return {
        "state_chance": np.tile(_adaptive(tables.state_chance_table()), (experts, 8)),
        "slot_chance": np.tile(ramp, (experts, COUNTS, 1)),
        "run_chance": likely(experts, 512),
        "match_chance": likely(models, 1024),
        "match_byte_chance": likely(models, 16 * 8 * 256),
        "network_chance": np.tile(ramp, 8 * 256),
    }


def _adaptive(chance: _I32) -> _I32:
    return (chance << 4) << 10


def _refined_logits() -> _I64:
    """Logits of the entries of the last calibrations, within what is possible."""
    logits = (2 * np.arange(REFINED) - REFINED + 1) * (REFINED_STEP // 2)
    return np.clip(logits, -tables.LIMIT, tables.LIMIT)


def _first_weights(rows: int, inputs: int, width: int, network: int | None, guesses: slice) -> _I32:
    """The network's chance or else the mean of the guesses or else of all experts."""
    weights = np.zeros((rows, width), np.int32)
    num = weights[:, guesses].shape[1]
    if num:
        weights[:, guesses] = 65536 // num
    else:
        weights[:, :inputs] = 65536 // inputs
    if network is not None:
        weights[:, network] = 40000
    return weights
