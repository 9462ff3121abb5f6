"""What shows the bits: colours, surprises, arrays and pictures."""

import io
import re

import numpy as np
import pytest

from mbz.scoring import Piece
from mbz.scoring import heatmap as heatmaps
from mbz.scoring.heatmap import Album, page
from mbz.scoring.per_byte import Writer
from mbz.scoring.plot import Profile, draw
from mbz.scoring.surprises import LENGTH, WARM, Surprises
from mbz.scoring.tally import SPAN, Score


def piece(data: bytes, bits: np.ndarray | float, place: int = 0, document: int = 0) -> Piece:
    full = np.broadcast_to(np.float32(bits), len(data)).copy()
    return Piece(document, np.frombuffer(data, np.uint8), full, place)


def picture(data: bytes, bits: np.ndarray | float) -> list[list[tuple]]:
    album = Album()
    for i in range(0, len(data), 7):
        part = data[i : i + 7]
        some = bits[i : i + 7] if isinstance(bits, np.ndarray) else bits
        album.add("x", piece(part, some))
    return [list(map(tuple, line)) for line in album.pictures[0].lines()]


def test_text_reads_as_it_is_with_the_bits_of_characters():
    bits = np.array([0, 0, 5, 5, 0, 0, 0, 20])  # both bytes of the umlaut count: 10
    lines = picture("ab\u00e4c\nd<".encode(), bits)
    assert lines == [
        [("ab", 0), ("\u00e4", 10), ("c\N{NOT SIGN}", 0)],
        [("d", 0), ("<", 11)],
    ]


def test_other_bytes_are_a_hex_view():
    [first, second] = picture(bytes([0, 255, 65]) * 6, 2.0)
    text = "".join(run[0] for run in first)
    assert text.startswith("00000000  00 ff 41 00 ")
    assert text.endswith("  ..A..A..A..A..A.    2.00")
    assert second[0] == ("00000010  ", None)
    assert len("".join(run[0] for run in second)) == len(text)


def test_a_character_that_is_cut_off_does_not_make_text_binary():
    assert picture("abc\u20ac".encode()[:-1], 1.0) == [[("abc", 4)]]


def test_the_page_shows_names_and_bytes_as_text(monkeypatch):
    monkeypatch.setattr(heatmaps, "MOST", 5)
    album = Album()
    album.add("<a>", piece(b"<b>&", 3.0))
    album.add("later", piece(b"xyz", 1.0, document=1))
    album.add("gone", piece(b"xyz", 1.0, document=2))
    album.drop(2)
    shown = page(album.pictures.values())
    assert "<h2>&lt;a&gt;</h2>" in shown
    assert "&lt;b&gt;&amp;</span>" in shown
    assert ">x</span>" in shown
    assert "... and 2 bytes more" in shown
    assert "gone" not in shown
    assert not re.search(r"(src|href|@import|url)\b", shown)  # needs no other file


def test_surprises_are_the_worst_places_in_order():
    bits = np.ones(2000, np.float32)
    bits[:10] = 50  # the start of a window does not count
    bits[WARM + 3 * LENGTH] = 99
    bits[WARM + 9 * LENGTH :][:LENGTH] = 4
    found = Surprises(2)
    found.add(piece(bytes(1000), bits[:1000]))
    found.add(piece(bytes(1000), bits[1000:], place=1000))
    assert [place.offset for place in found.places()] == [WARM + 9 * LENGTH, WARM + 3 * LENGTH]
    assert found.places()[0].bpb == pytest.approx(4)
    found.drop(0)
    assert found.places() == []


def test_bits_as_an_array():
    file = io.BytesIO()
    writer = Writer(file)
    writer.add(piece(bytes(3), 1.5))
    writer.add(piece(bytes(2), np.array([2, 3])))
    writer.finish()
    file.seek(0)
    assert np.load(file, allow_pickle=False).tolist() == [1.5, 1.5, 1.5, 2, 3]
    dropped = io.BytesIO()
    writer = Writer(dropped)
    writer.add(piece(bytes(3), 1.5))
    writer.drop(0)
    writer.finish()
    dropped.seek(0)
    assert np.load(dropped, allow_pickle=False).size == 0


def test_profiles_along_a_document_and_by_place():
    profile = Profile()
    bits = np.repeat([1.0, 2.0, 4.0], [SPAN, SPAN, 10]).astype(np.float32)
    for start in range(0, bits.size, 600):
        profile.add(piece(bytes(bits[start : start + 600].size), bits[start : start + 600]))
    assert profile.curve(0).tolist() == [1, 2, 4]
    assert profile.counts[:4].tolist() == [4] * 4
    known, means = profile.by_place()
    assert known[0] == 0
    assert means[0] == pytest.approx((1 + 1 + 2 + 2) / 4)


def test_a_picture_is_drawn():
    pytest.importorskip("matplotlib")
    profile, score = Profile(), Score("a")
    profile.add(piece(bytes(3000), 2.0))
    score.add(piece(bytes(3000), 2.0))
    score.finish()
    file = io.BytesIO()
    draw(profile, {0: score}, file)
    assert file.getvalue().startswith(b"\x89PNG")
