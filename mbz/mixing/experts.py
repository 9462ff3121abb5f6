"""The contexts that are mixed, one a row: its name, what it hashes, and the sets that use it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbz.mixing import features as f

SETS = ("lean", "middle", "rich", "pixels", "sound")
MOST_FEATURES = 6
SALT = 0x9E3779B1


class Expert(NamedTuple):
    """A context: the hash of some features selects what has been seen there before."""

    name: str
    features: tuple[int, ...]
    sets: str = "r"
    """First letters of the sets that have it."""


EXPERTS = (
    Expert("order 1", (f.C1,), "lmrp"),
    Expert("order 2", (f.ORDER2,), "lmrp"),
    Expert("order 3", (f.ORDER3,), "lmrp"),
    Expert("order 4", (f.ORDER4,), "lmr"),
    Expert("order 6", (f.ORDER6,), "lmr"),
    Expert("word", (f.WORD, f.C1), "lmr"),
    Expert("order 5", (f.ORDER5,), "mr"),
    Expert("order 7", (f.ORDER7,)),
    Expert("word pair", (f.WORD, f.GAP, f.WORD1), "mr"),
    Expert("word triple", (f.WORD, f.WORD1, f.WORD2)),
    Expert("word skip", (f.WORD, f.WORD2)),
    Expert("word and above", (f.WORD, f.ABOVE)),
    Expert("expected", (f.EXPECTED, f.C1), "mr"),
    Expert("skip 1", (f.C2, f.C3)),
    Expert("skip 1 deep", (f.C2, f.C3, f.C4), "lmr"),
    Expert("sparse 1 3", (f.C1, f.C3)),
    Expert("sparse 2 4", (f.C2, f.C4)),
    Expert("skip 2 deep", (f.C3, f.C4, f.C5, f.C6)),
    Expert("kinds", (f.KINDS, f.C1)),
    Expert("shape", (f.SHAPE, f.C1), "mr"),
    Expert("high bits", (f.HIGHS,)),
    Expert("after 1", (f.C1, f.AFTER1), "mr"),
    Expert("after 2", (f.C1, f.C2, f.AFTER2)),
    Expert("after both", (f.AFTER1, f.AFTER2)),
    Expert("above", (f.ABOVE, f.C1, f.FIELD), "mr"),
    Expert("above pair", (f.ABOVE, f.ABOVE_NEXT, f.C1)),
    Expert("above three", (f.ABOVE, f.ABOVE_BEFORE, f.C1, f.C2)),
    Expert("column", (f.COLUMN, f.ABOVE), "mr"),
    Expert("field", (f.FIELD, f.FIELD_START)),
    Expert("field by line", (f.FIELD, f.FIELD_START, f.LINE_START)),
    Expert("line start", (f.LINE_START, f.COLUMN, f.C1)),
    Expert("indent", (f.INDENT, f.C1, f.WORD)),
    Expert("nesting", (f.NEST, f.C1, f.C2)),
    Expert("tag", (f.TAG, f.C1, f.C2), "mr"),
    Expert("key", (f.KEY, f.FIELD_START)),
    Expert("number", (f.NUMBER, f.TAG, f.KEY)),
    Expert("row", (f.ROW1, f.ROW2)),
    Expert("row and last", (f.ROW1, f.C1), "lr"),
    Expert("row around", (f.ROW1, f.ROW_NEXT, f.ROW_BEFORE)),
    Expert("residue", (f.RESIDUE, f.ROW1)),
    Expert("like", (f.LIKE, f.LIKE_NEXT, f.FIELD, f.RELATION), "mr"),
    Expert("like, last", (f.LIKE, f.RELATION, f.C1)),
    Expert("like, text", (f.LIKE, f.FIELD_TEXT, f.FIELD)),
    Expert("field after", (f.FIELD_TEXT, f.FIELD_LAST)),
    Expert("cell", (f.CELL, f.CELL_TEXT)),
    Expert("cell like", (f.CELL_LIKE, f.CELL_LIKE_NEXT, f.CELL, f.CELL_RELATION)),
    Expert("cell after", (f.CELL, f.CELL_LAST, f.CELL_TEXT)),
    Expert("heads", (f.HEAD, f.HEAD1, f.HEAD2, f.FIELD_TEXT)),
    Expert("head", (f.HEAD, f.HEAD1, f.FIELD_TEXT)),
    Expert("key text", (f.KEY, f.TAG, f.FIELD_TEXT)),
    Expert("code", (f.PART, f.CODE, f.C1)),
    Expert("code before", (f.PART, f.CODE, f.CODE1), "mr"),
    Expert("codes before", (f.PART, f.CODE, f.CODE1, f.CODE2, f.CODE3)),
    Expert("instruction", (f.INSTRUCTION, f.PART, f.CODE1), "mr"),
    Expert("instructions", (f.INSTRUCTION, f.PART, f.CODE1, f.CODE2)),
    Expert("address", (f.ADDRESS, f.PART)),
    Expert("template", (f.TEMPLATE,)),
    Expert("template, number", (f.TEMPLATE, f.LINE_SAME, f.LINE_NEXT)),
    Expert("template, above", (f.TEMPLATE, f.SAME)),
    Expert("templates", (f.TEMPLATE, f.TEMPLATE1, f.RELATIONS)),
    Expert("phrase", (f.PHRASE,), "mr"),
    Expert("phrase, number", (f.PHRASE, f.WORDS_SAME, f.WORDS_NEXT)),
    Expert("numbers", (f.SAME, f.NEXT, f.LINE_SAME, f.LINE_NEXT), "mr"),
    Expert("numbers above", (f.SAME, f.NEXT, f.C1)),
    Expert("numbers so far", (f.SAME, f.RELATIONS, f.RANK)),
    Expert("number after line", (f.SAME, f.TEMPLATE1, f.RANK)),
    Expert("left, up", (f.LEFT, f.ROW1, f.CHANNEL), "p"),
    Expert("mean, last", (f.MEAN, f.C1, f.CHANNEL), "p"),
    Expert("error", (f.ERROR, f.C1, f.C2), "p"),
    Expert("guess", (f.GUESS, f.PLACE, f.CHANNEL), "ps"),
    Expert("guess, near", (f.GUESS, f.GUESS_NEAR, f.PLACE), "ps"),
    Expert("guess, last", (f.GUESS, f.C1, f.PLACE), "ps"),
    Expert("guess 1", (f.GUESS1, f.C1, f.PLACE), "ps"),
    Expert("guess 2", (f.GUESS2, f.C1, f.PLACE), "ps"),
    Expert("guess, fine", (f.GUESS_FINE, f.C1, f.PLACE), "ps"),
)


def names_of(use: str) -> list[str]:
    """Names of the experts of a set, in order."""
    return [expert.name for expert in EXPERTS if use[0] in expert.sets]


def recipes(use: str) -> NDArray[np.int64]:
    """Features of the experts of a set, (E, MOST_FEATURES + 1): a salt, then features or zeros.

    Salts are far apart, so that no feature makes up for the difference.

    Raises:
        ValueError: there is no such set.
    """
    if use not in SETS:
        msg = f"no set of experts is called {use!r}; there are {', '.join(SETS)}"
        raise ValueError(msg)
    chosen = [
        ((n + 1) * SALT & 0xFFFFFFFF, *expert.features)
        for n, expert in enumerate(EXPERTS)
        if use[0] in expert.sets
    ]
    return np.array([row + (f.NOTHING,) * (MOST_FEATURES + 1 - len(row)) for row in chosen])
