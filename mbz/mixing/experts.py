"""The contexts that are mixed, one a row: its name, what it hashes, and the sets that use it."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mbz.mixing import features as f

SETS = ("lean", "middle", "rich")
MOST_FEATURES = 6


class Expert(NamedTuple):
    """A context: the hash of some features selects what has been seen there before."""

    name: str
    features: tuple[int, ...]
    first: str = "rich"
    """The smallest set that has it; larger sets have it too."""


EXPERTS = (
    Expert("order 1", (f.C1,), "lean"),
    Expert("order 2", (f.ORDER2,), "lean"),
    Expert("order 3", (f.ORDER3,), "lean"),
    Expert("order 4", (f.ORDER4,), "lean"),
    Expert("order 6", (f.ORDER6,), "lean"),
    Expert("word", (f.WORD, f.C1), "lean"),
    Expert("order 5", (f.ORDER5,), "middle"),
    Expert("order 7", (f.ORDER7,), "rich"),
    Expert("word pair", (f.WORD, f.GAP, f.WORD1), "middle"),
    Expert("word triple", (f.WORD, f.WORD1, f.WORD2), "rich"),
    Expert("word skip", (f.WORD, f.WORD2), "rich"),
    Expert("word and above", (f.WORD, f.ABOVE), "rich"),
    Expert("expected", (f.EXPECTED, f.C1), "middle"),
    Expert("skip 1", (f.C2, f.C3), "rich"),
    Expert("skip 1 deep", (f.C2, f.C3, f.C4), "middle"),
    Expert("sparse 1 3", (f.C1, f.C3), "rich"),
    Expert("sparse 2 4", (f.C2, f.C4), "rich"),
    Expert("skip 2 deep", (f.C3, f.C4, f.C5, f.C6), "rich"),
    Expert("kinds", (f.KINDS, f.C1), "rich"),
    Expert("shape", (f.SHAPE, f.C1), "middle"),
    Expert("high bits", (f.HIGHS,), "rich"),
    Expert("after 1", (f.C1, f.AFTER1), "middle"),
    Expert("after 2", (f.C1, f.C2, f.AFTER2), "rich"),
    Expert("after both", (f.AFTER1, f.AFTER2), "rich"),
    Expert("above", (f.ABOVE, f.C1, f.FIELD), "middle"),
    Expert("above pair", (f.ABOVE, f.ABOVE_NEXT, f.C1), "rich"),
    Expert("above three", (f.ABOVE, f.ABOVE_BEFORE, f.C1, f.C2), "rich"),
    Expert("column", (f.COLUMN, f.ABOVE), "middle"),
    Expert("field", (f.FIELD, f.FIELD_START), "rich"),
    Expert("field by line", (f.FIELD, f.FIELD_START, f.LINE_START), "rich"),
    Expert("line start", (f.LINE_START, f.COLUMN, f.C1), "rich"),
    Expert("indent", (f.INDENT, f.C1, f.WORD), "rich"),
    Expert("nesting", (f.NEST, f.C1, f.C2), "rich"),
    Expert("tag", (f.TAG, f.C1, f.C2), "middle"),
    Expert("key", (f.KEY, f.FIELD_START), "rich"),
    Expert("number", (f.NUMBER, f.TAG, f.KEY), "rich"),
    Expert("row", (f.ROW1, f.ROW2), "rich"),
    Expert("row and last", (f.ROW1, f.C1), "rich"),
    Expert("row around", (f.ROW1, f.ROW_NEXT, f.ROW_BEFORE), "rich"),
    Expert("residue", (f.RESIDUE, f.ROW1), "rich"),
)


def recipes(use: str) -> NDArray[np.int64]:
    """Features of the experts of a set, (E, MOST_FEATURES + 1): a salt, then features or zeros.

    Raises:
        ValueError: there is no such set.
    """
    if use not in SETS:
        msg = f"no set of experts is called {use!r}; there are {', '.join(SETS)}"
        raise ValueError(msg)
    chosen = [
        (n + 1, *expert.features)
        for n, expert in enumerate(EXPERTS)
        if SETS.index(expert.first) <= SETS.index(use)
    ]
    return np.array([row + (f.NOTHING,) * (MOST_FEATURES + 1 - len(row)) for row in chosen])
