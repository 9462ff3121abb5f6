"""The CUDA source of mixing, and how it finds a block's memory.

The files beside this one are put together, after the constants of the Python modules that define
what they do, so that each number stands in one place.
"""

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mbz.mixing import contexts, experts, features, lines, machine, matches, memory, mixers, tables
from mbz.mixing.bits import BitDecoder
from mbz.mixing.kernel import FINAL_OFFSETS, OFFSETS
from mbz.mixing.memory import (
    EXPERT_INPUTS,
    FULLY,
    INPUTS,
    STRIDE,
    UNIT,
    Memory,
    open_memory,
)

__all__ = ["EMPTY", "OWN", "more_of", "numbers_of", "pack", "scratch_of", "source", "tables_of"]

FILES: Final = (
    "base.cuh", "observe.cuh", "machine.cuh", "lines.cuh", "matches.cuh", "experts.cuh",
    "mixers.cuh", "kernel.cu",
)  # fmt: skip
_MOST_EXPERTS: Final = 127  # for the hash table of buckets

TABLES: Final[dict[str, NDArray[Any]]] = {
    "kinds": features._KINDS,  # noqa: SLF001 - what of a module's own tables the kernel reads
    "traits": machine._TRAITS,  # noqa: SLF001
    "is_prefix": machine._IS_PREFIX.view(np.uint8),  # noqa: SLF001
    "powers": lines.POWERS,
}
SHARED: Final = ("squash", "stretch", "next_state", "rates", "recipes", "match_bytes", "ramp")
"""Arrays of a memory that nobody writes to."""

OWN: Final = (
    "past", "starts", "rows", "after1", "after2", "targets", "numerals", "slots", "hashes",
    "state_chance", "slot_chance", "slot_key", "run_chance", "match_heads", "match_chance",
    "match_byte_chance", "matches", "counts", "network_chance", "weights", "final_weights",
    "refined",
)  # fmt: skip
"""Arrays of a memory that each block has for itself."""

NUMBERS: Final = (
    "lanes", "lanes_in_last", "first_lane", "steps", "experts", "models", "width", "sets", "finals",
    "full", "fully", "stride", "unit", "buckets", "heads", "table", "code_size",
)  # fmt: skip

EMPTY: Final = (
    "past", "after1", "after2", "targets", "numerals", "slots", "match_heads", "matches", "refined",
)  # fmt: skip
"""Those that hold zeros at first."""

_TYPES = {
    "uint8": "unsigned char", "uint16": "unsigned short", "int16": "short", "int32": "int",
    "uint32": "u32", "int64": "i64",
}  # fmt: skip


def _constants() -> dict[str, int]:
    found = {
        "MOST_FEATURES": experts.MOST_FEATURES,
        "LIMIT": tables.LIMIT,
        **{
            name: getattr(memory, name) for name in ("BUCKETS", "COUNTS", "REFINED", "REFINED_STEP")
        },
        **{f"OFFSET_{n}": at for n, at in enumerate(OFFSETS)},
        **{f"FINAL_OFFSET_{n}": at for n, at in enumerate(FINAL_OFFSETS)},
    }
    for letter, module in zip(
        "FNXACR", (features, lines, machine, matches, contexts, mixers), strict=True
    ):
        for name, value in vars(module).items():
            if name.isupper() and not name.startswith("_") and isinstance(value, int):
                found[f"{letter}_{name}"] = value
    return found


def tables_of(memory: Memory) -> dict[str, NDArray[Any]]:
    """The arrays that blocks of one kind share."""
    return {**TABLES, **{name: getattr(memory, name) for name in SHARED}}


@cache
def _pointers() -> dict[str, np.dtype[Any]]:
    sample = open_memory("lean", [1], network=True)
    found = {name: array.dtype for name, array in tables_of(sample).items()}
    found |= {name: getattr(sample, name).dtype for name in OWN}
    return found | {name: array.dtype for name, array in more_of(sample, BitDecoder(b"")).items()}


def source() -> str:
    """All of it; the compiler is to define THREADS, of a block."""
    lines_ = ["typedef long long i64;", "typedef unsigned u32;", "typedef unsigned long long u64;"]
    lines_ += [f"#define {name} {value}" for name, value in _constants().items()]
    lines_ += ["struct Memory {"]
    lines_ += [f"  {_TYPES[kind.name]}* {name};" for name, kind in _pointers().items()]
    lines_ += [f"  int {', '.join(NUMBERS)};", "};"]
    folder = files("mbz.mixing.cuda")
    return "\n".join([*lines_, *((folder / name).read_text("utf-8") for name in FILES)])


def pack(addresses: Mapping[str, int], numbers: Mapping[str, int]) -> bytes:
    """A `Memory` of the source, from where its arrays are, and its numbers."""
    words = np.array([addresses[name] for name in _pointers()], np.int64)
    more = [numbers[name] for name in NUMBERS] + [0] * (len(NUMBERS) % 2)
    return words.tobytes() + np.array(more, np.int32).tobytes()


def more_of(memory: Memory, decoder: BitDecoder) -> dict[str, NDArray[Any]]:
    """The arrays of a block that its memory has not.

    Heads of matches before they change (L, M); calls, noted: of lanes, see machine.cuh and
    lines.cuh; the code and its decoder.
    """
    lanes, models = memory.matches.shape[:2]
    return {
        "candidates": np.zeros((lanes, models), np.int32),
        "calls": np.zeros((lanes, 2), np.int64),
        "noted": np.zeros((lanes, 10), np.int64),
        "code": np.append(decoder.source, np.uint8(0)),
        "coder": decoder.coder,
    }


def numbers_of(memory: Memory, first_lane: int, code_size: int) -> dict[str, int]:
    """The numbers of a block; its lanes are those from `first_lane` on of all blocks."""
    lengths = np.diff(memory.starts)
    assert memory.at.shape[1] <= _MOST_EXPERTS
    options = memory.options.tolist()
    return {
        "lanes": lengths.size,
        "lanes_in_last": int((lengths == lengths[0]).sum()),
        "first_lane": first_lane,
        "steps": int(lengths[0]),
        "experts": memory.at.shape[1],
        "models": memory.matches.shape[1],
        "width": memory.inputs.shape[1],
        "sets": memory.chosen.shape[1],
        "finals": memory.final_outputs.shape[1],
        "full": int(options[INPUTS] == EXPERT_INPUTS),
        "fully": options[FULLY],
        "stride": options[STRIDE],
        "unit": options[UNIT],
        "buckets": memory.slots.size >> 4,
        "heads": memory.match_heads.shape[1],
        "table": 1 << (2 * memory.at.size - 1).bit_length(),
        "code_size": code_size,
    }


def scratch_of(memory: Memory) -> int:
    """Bytes of shared memory that `code` takes for a block, see `Bit`."""
    n = numbers_of(memory, 0, 0)
    of_lane = n["width"] + 2 * n["sets"] + 16 + 3 * 4 + n["models"] + 8 + 8 + 8 * n["experts"]
    return 4 * (of_lane * n["lanes"] + n["table"] + 4)
