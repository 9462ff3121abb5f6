"""Sums per document and per group."""

import numpy as np
import pytest

from mbz.scoring import Piece
from mbz.scoring.tally import SPAN, Score, groups, total


def scored(name: str, bits: np.ndarray, cut: int = 700) -> Score:
    score = Score(name)
    for i in range(0, len(bits), cut):
        part = bits[i : i + cut].astype(np.float32)
        score.add(Piece(0, np.zeros(len(part), np.uint8), part, 0))
    score.finish()
    return score


def test_best_and_worst_are_of_whole_kilobytes():
    bits = np.repeat([3.0, 1.0, 5.0, 9.0], [SPAN, SPAN, SPAN, 10])
    score = scored("a", bits)
    assert (score.best, score.worst) == (1, 5)
    assert score.bytes == 3 * SPAN + 10
    assert score.bits == bits.sum()
    short = scored("b", np.array([1.0, 2.0]))
    assert (short.best, short.worst) == (1.5, 1.5)


def test_a_total_is_no_mean_of_means():
    both = total([scored("a", np.full(900, 1.0)), scored("b", np.full(100, 11.0))])
    assert both.bpb == pytest.approx(2.0)
    assert both.files == 2


def test_nothing_has_no_bits_per_byte():
    assert total([Score("empty")]).to_dict()["bpb"] is None


def test_groups():
    names = ["x/a.txt", "x/b.TXT", "y/c.tar.gz", "y/d"]
    scores = [scored(name, np.ones(3)) for name in names]
    assert [(g.name, g.files) for g in groups(scores, "ext")] == [
        ("(none)", 1),
        (".gz", 1),
        (".txt", 2),
    ]
    assert [(g.name, g.bytes) for g in groups(scores, "folder")] == [("x", 6), ("y", 6)]
