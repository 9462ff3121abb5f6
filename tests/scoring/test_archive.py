"""Scores as an archive has them: against archives."""

import io
from pathlib import Path

import numpy as np
import pytest
from stub_predictor import StubPredictor

from mbz import codec
from mbz.payload import encode
from mbz.scoring import Document, score
from mbz.scoring.archive import ArchiveScorer

TEXT = Path(__file__).parents[1].joinpath("samples", "data.json").read_bytes()


@pytest.mark.parametrize(("experts", "network"), [(None, True), ("lean", True), ("lean", False)])
def test_bits_are_those_of_the_archive(experts, network):
    predictor = StubPredictor() if network else None
    scorer = ArchiveScorer(predictor, experts, 1000)
    [piece] = score([Document("x", len(TEXT), lambda: io.BytesIO(TEXT))], scorer)
    coding = codec.coding_of(
        TEXT, predictor=predictor, experts=experts, lanes=None, lane_bytes=scorer.lane_bytes
    )
    assert coding.lanes == (12 if network else 1)
    code = encode(TEXT, coding, predictor, lambda _: None)
    assert piece.bits.shape == (len(TEXT),)
    assert -8 < 8 * len(code) - piece.bits.sum() < 16 + 1e-3 * 8 * len(code)
    if not experts:
        assert 8 * len(code) == pytest.approx(piece.bits.sum(), rel=1e-3)


def test_lanes_put_bits_where_their_bytes_are():
    data = bytes([0] * 50 + [7] + [0] * 50)  # 7 comes as a surprise, in the second of three lanes
    scorer = ArchiveScorer(StubPredictor(), None, 40)
    [piece] = score([Document("x", len(data), lambda: io.BytesIO(data))], scorer)
    assert np.argsort(piece.bits)[-1] == 50
