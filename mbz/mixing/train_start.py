"""Makes start states of the mixing coder from sample files (docs/mixing.md, 9).

    python -m mbz.mixing.train_start OUT.safetensors PATH... [--sets lean rich] [--pieces N]
    python -m mbz.mixing.train_start models/NAME/start.safetensors PATH... --model models/NAME

The first makes those for blocks without a network, the second those that belong to a model. Short
pieces of the files are coded one after the other. Weights and adaptive chances go from piece
to piece, what is known of the bytes does not. Everything is drawn with a fixed seed.
"""

import argparse
import random
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from mbz import weights, zoo
from mbz.exact import Predictor, open_predictor
from mbz.mixing import SETS, Mixer
from mbz.mixing.experts import names_of
from mbz.mixing.memory import SELECTORS, Memory
from mbz.mixing.start import (
    BASIS_BITS,
    CHANCES,
    FINAL_STEP,
    LOGIT_STEP,
    UNKNOWN,
    Start,
)
from mbz.mixing.tables import stretch_table

RANK = 8
LEAST_SEEN = 3  # an adaptive chance moved less often is as if never

Piece = tuple[NDArray[np.uint8], NDArray[np.uint32] | None]
Tensors = dict[str, NDArray[Any]]


def train(pieces: Sequence[Piece], use: str) -> Tensors:
    """Tensors of the start states of a set.

    Args:
        pieces: bytes (n,), and with a network, in all of them, its counts (n, 256).
        use: set of experts, one of `SETS`.
    """
    before: Memory | None = None
    total, final, num = np.zeros(1, np.int64), np.zeros(1, np.int64), 0
    for n, (data, counts) in enumerate(pieces):
        mixer = Mixer(data.size, use=use, network=counts is not None, start=Start({}, {}))
        memory = mixer.memory
        first = memory.weights[0].copy()
        if before is not None:
            for name in (*CHANCES, "weights", "final_weights"):
                np.copyto(getattr(memory, name), getattr(before, name))
        mixer.score(data[:, None], None if counts is None else counts[:, None])
        before = memory
        if n >= len(pieces) // 3:  # the mean of all that came after the beginning
            total = total + memory.weights
            final = final + memory.final_weights
            num += 1
    assert before is not None
    rows, basis = compact(total // num, (before.weights != first).any(1))
    tensors: Tensors = {
        f"{use}.rows": rows,
        f"{use}.basis": basis,
        f"{use}.final": (final[:, : len(basis)] // num // FINAL_STEP).astype(np.int16),
    }
    for name in CHANCES:
        table = getattr(before, name)
        if name != "network_chance" or pieces[0][1] is not None:
            logits = stretch_table()[np.clip(table >> 14, 1, 65535)] / LOGIT_STEP
            known = np.where((table & 1023) >= LEAST_SEEN, np.rint(logits), UNKNOWN)
            tensors[f"{use}.{name}"] = known.astype(np.int8)
    return tensors


def compact(
    weights: NDArray[np.int64], seen: NDArray[np.bool_]
) -> tuple[NDArray[np.int8], NDArray[np.int32]]:
    """Rows (rows, R) and basis (S, R + 1, K) that give nearly these weights.

    Rows that were never chosen are the mean.
    """
    rows, basis, at = [], [], 0
    for size in SELECTORS:
        if at == len(weights):
            break
        part, known = weights[at : at + size], seen[at : at + size]
        mean = part[known].mean(0) if known.any() else part.mean(0)
        u, s, v = np.linalg.svd(np.where(known[:, None], part - mean, 0), full_matrices=False)
        u, v = u[:, :RANK] * s[:RANK], v[:RANK]
        scale = np.maximum(np.minimum(np.abs(u).max(0), 8 * u.std(0)), 1) / 127
        rows.append(np.rint(np.clip(u / scale, -127, 127)).astype(np.int8))
        vectors = np.rint(v * scale[:, None] * (1 << BASIS_BITS))
        basis.append(np.concatenate([vectors, np.rint(mean)[None]]).astype(np.int32))
        at += size
    return np.concatenate(rows), np.stack(basis)


def pieces_of(paths: Iterable[Path], num: int) -> list[Piece]:
    """Pieces of 1 to 16 KB of files drawn from these files and folders, as many of each path."""
    rng = random.Random(1)  # noqa: S311
    found = [
        sorted(f for f in (path.rglob("*") if path.is_dir() else [path]) if f.is_file())
        for path in paths
    ]
    pieces: list[Piece] = []
    while len(pieces) < num:
        data = rng.choice(found[len(pieces) % len(found)]).read_bytes()
        size = int(1000 * 16 ** rng.random())
        # Beginnings of files are often alike, and short files are only those.
        at = 0 if rng.random() < 0.4 or len(data) <= size else rng.randrange(len(data) - size)
        if at:
            at = data.find(b"\n", at, at + 400) + 1 or at
        if data[at : at + size]:
            pieces.append((np.frombuffer(data[at : at + size], np.uint8), None))
    return pieces


def with_counts(pieces: Iterable[Piece], predictor: Predictor) -> list[Piece]:
    """The same pieces with the counts of a network."""
    found: list[Piece] = []
    for data, _ in pieces:
        predictor.reset(1)
        found.append((data, predictor.score(data[None])[0].astype(np.uint32)))
    return found


def save(path: Path, tensors: Tensors, sets: Iterable[str]) -> None:
    """Writes a file of start states, for `mbz.mixing.start.read`."""
    save_file(tensors, path, {use: "\n".join(names_of(use)) for use in sets})
    path.chmod(0o644)  # safetensors makes files that only their owner may read


def main() -> None:
    """Trains the sets asked for, without a network or beside one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=("lean", "middle", "rich"))
    parser.add_argument("--pieces", type=int, default=900)
    parser.add_argument("--model", help="the network's name or folder")
    parser.add_argument("--device", default="auto", help="where it runs: auto, cpu or cuda")
    args = parser.parse_args()
    pieces = pieces_of(args.paths, args.pieces)
    if args.model:
        model = weights.read(zoo.find(args.model))
        pieces = with_counts(pieces, open_predictor(model, args.device))
    tensors: Tensors = {}
    for use in args.sets:
        tensors |= train(pieces, use)
    save(args.out, tensors, args.sets)


if __name__ == "__main__":
    main()
