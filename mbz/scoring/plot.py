"""Draws scores: along the files, by what is known before, and over files. Needs matplotlib."""

from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from mbz.scoring import Piece
from mbz.scoring.tally import SPAN, Score

CURVES = 8  # files that are drawn along their bytes, the largest ones


class Profile:
    """Sums of bits by place; a number for each SPAN bytes of the documents is kept."""

    def __init__(self) -> None:
        self.along: dict[int, list[float]] = {}  # sums of spans of each document, the last in part
        self.sizes: dict[int, int] = {}
        self.bits = np.zeros(0)  # by the number of bytes known before
        self.counts = np.zeros(0, np.int64)

    def add(self, piece: Piece) -> None:
        """Takes the next piece of a document."""
        start = self.sizes.get(piece.document, 0)
        self.sizes[piece.document] = start + piece.bits.size
        spans = (start + np.arange(piece.bits.size)) // SPAN
        sums = np.bincount(spans - start // SPAN, weights=piece.bits)
        along = self.along.setdefault(piece.document, [])
        if start % SPAN:
            along[-1] += sums[0]
        along.extend(sums[1 if start % SPAN else 0 :].tolist())
        end = piece.place + piece.bits.size
        if end > len(self.bits):
            self.bits = np.pad(self.bits, (0, end - len(self.bits)))
            self.counts = np.pad(self.counts, (0, end - len(self.counts)))
        self.bits[piece.place : end] += piece.bits
        self.counts[piece.place : end] += 1

    def drop(self, document: int) -> None:
        """Forgets how a document went that could not be read to its end."""
        self.along.pop(document, None)

    def curve(self, document: int) -> NDArray[np.float64]:
        """Bits per byte of each span of a document."""
        size = self.sizes[document]
        lengths = np.diff([*range(0, size, SPAN), size])
        return np.array(self.along[document]) / lengths

    def by_place(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Bytes known before, four steps to each doubling, and bits per byte there."""
        edges = np.unique(np.r_[0, np.round(2 ** np.arange(0, 31, 0.25))].astype(np.int64))
        edges = edges[edges < len(self.bits)]
        counts = np.add.reduceat(self.counts, edges)
        known = counts > 0
        bits = np.add.reduceat(self.bits, edges)[known] / counts[known]
        return edges[known].astype(np.float64), bits


def draw(profile: Profile, scores: dict[int, Score], file: BinaryIO) -> None:
    """Writes a PNG: three pictures beside each other.

    Args:
        profile: of the documents.
        scores: of each, by number.
        file: where to.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - an extra

    figure = Figure(figsize=(15, 4.5), layout="constrained")
    along, places, files = figure.subplots(1, 3)
    largest = sorted(profile.along, key=lambda number: -profile.sizes[number])[:CURVES]
    for number in sorted(largest):
        curve = profile.curve(number)
        name = Path(scores[number].name).name
        along.plot(np.arange(len(curve)) * SPAN, curve, label=name, linewidth=1)
    along.set(xlabel="byte of the file", ylabel="bits per byte", ylim=(0, None))
    if largest:
        along.legend(fontsize="small")
    if len(profile.bits):
        known, bits = profile.by_place()
        places.plot(known + 1, bits, ".-")
    places.set(xlabel="bytes known before, plus 1", ylabel="bits per byte", xscale="log")
    files.hist([score.bpb for score in scores.values() if score.bytes], bins=30)
    files.set(xlabel="bits per byte of a file", ylabel="files")
    for axes in (along, places, files):
        axes.grid(alpha=0.3)
    figure.savefig(file, format="png", dpi=120)
