"""Makes start states of the mixing coder from sample files (docs/mixing.md, 9).

    python -m mbz.mixing.train_start OUT.safetensors PATH... [--sets lean rich+network]

Short pieces of the files are coded one after the other, alone and beside the network of the level
that has the set. Weights and adaptive chances go from piece to piece, what is known of the bytes
does not. The files are those that `mbz train` holds out of these paths: a network is surer of what
it was trained on than it should be. Everything is drawn with a fixed seed. Sets that are not asked
for stay as they are in OUT.
"""

import argparse
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from mbz import weights, zoo
from mbz.exact import Predictor, open_predictor
from mbz.levels import LEVELS
from mbz.mixing import Mixer
from mbz.mixing.experts import names_of
from mbz.mixing.memory import SELECTORS, Memory
from mbz.mixing.start import (
    BASIS_BITS,
    CHANCES,
    FINAL_STEP,
    LOGIT_STEP,
    UNKNOWN,
    Start,
    key_of,
    read,
)
from mbz.mixing.tables import stretch_table
from mbz.training import data

RANK = 8
LEAST_SEEN = 3  # an adaptive chance moved less often is as if never

Tensors = dict[str, NDArray[Any]]

NETWORKS = {level.experts: level.model for level in LEVELS if level.model}
"""The network that takes part beside a set of experts."""

KEYS = [key_of(use, network=network) for use in NETWORKS for network in (False, True)]


def train(
    pieces: Sequence[NDArray[np.uint8]], use: str, predictor: Predictor | None = None
) -> Tensors:
    """Tensors of the start states of a set.

    Args:
        pieces: bytes, each (n,).
        use: set of experts, one of `mbz.mixing.SETS`.
        predictor: the network beside it, if any.
    """
    key = key_of(use, network=predictor is not None)
    before: Memory | None = None
    total, final, num = np.zeros(1, np.int64), np.zeros(1, np.int64), 0
    for n, piece in enumerate(pieces):
        counts = None
        if predictor is not None:
            predictor.reset(1)
            counts = predictor.score(piece[None])[0].astype(np.uint32)[:, None]
        mixer = Mixer(piece.size, use=use, network=counts is not None, start=Start({}, {}))
        memory = mixer.memory
        first = memory.weights[0].copy()
        if before is not None:
            for name in (*CHANCES, "weights", "final_weights"):
                np.copyto(getattr(memory, name), getattr(before, name))
        mixer.score(piece[:, None], counts)
        before = memory
        if n >= len(pieces) // 3:  # the mean of all that came after the beginning
            total = total + memory.weights
            final = final + memory.final_weights
            num += 1
    assert before is not None
    rows, basis = compact(total // num, (before.weights != first).any(1))
    tensors: Tensors = {
        f"{key}.rows": rows,
        f"{key}.basis": basis,
        f"{key}.final": (final[:, : len(basis)] // num // FINAL_STEP).astype(np.int16),
    }
    for name in CHANCES:
        table = getattr(before, name)
        if name != "network_chance" or predictor is not None:
            logits = stretch_table()[np.clip(table >> 14, 1, 65535)] / LOGIT_STEP
            known = np.where((table & 1023) >= LEAST_SEEN, np.rint(logits), UNKNOWN)
            tensors[f"{key}.{name}"] = known.astype(np.int8)
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


def pieces_of(corpus: data.Corpus, num: int) -> list[NDArray[np.uint8]]:
    """Pieces of 1 to 16 KB drawn from files, as many of each source."""
    rng = random.Random(1)  # noqa: S311
    starts = corpus.starts.tolist()
    files = np.stack([corpus.starts, np.append(corpus.starts[1:], corpus.size)], 1)
    of_file = np.searchsorted(corpus.sources, starts, side="right")
    sources = [files[of_file == source].tolist() for source in np.unique(of_file)]
    pieces: list[NDArray[np.uint8]] = []
    while len(pieces) < num:
        start, end = rng.choice(sources[len(pieces) % len(sources)])
        size = min(int(1000 * 16 ** rng.random()), end - start)
        # Beginnings of files are often alike, and short files are only those.
        at = start if rng.random() < 0.4 else rng.randint(start, end - size)
        piece = corpus.gather(np.array([at]), size)[0]
        if at > start:
            piece = piece[piece[:400].tobytes().find(b"\n") + 1 :]
        if piece.size:
            pieces.append(piece)
    return pieces


def save(path: Path, tensors: Tensors, experts: Mapping[str, Sequence[str]]) -> None:
    """Writes a file of start states, for `mbz.mixing.start.read`."""
    save_file(tensors, path, {key: "\n".join(names) for key, names in experts.items()})
    path.chmod(0o644)  # safetensors makes files that only their owner may read


def main() -> None:
    """Trains the sets asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("paths", type=Path, nargs="+")
    parser.add_argument("--sets", nargs="+", choices=KEYS, default=KEYS)
    parser.add_argument("--pieces", type=int, default=350)
    parser.add_argument("--held-out", type=float, default=0.005, help="share of the files")
    parser.add_argument("--device", default="auto", help="of the networks: auto, cpu or cuda")
    args = parser.parse_args()
    pieces = pieces_of(data.load(args.paths, args.held_out).validation, args.pieces)
    old = read(args.out) if args.out.exists() else Start({}, {})
    tensors, experts = dict(old.tensors), dict(old.experts)
    for key in args.sets:
        use = key.partition("+")[0]
        predictor = None
        if key != use:
            model = weights.read(zoo.find(NETWORKS[use]))
            predictor = open_predictor(model, args.device)
        tensors |= train(pieces, use, predictor)
        experts[key] = names_of(use)
        save(args.out, tensors, experts)


if __name__ == "__main__":
    main()
