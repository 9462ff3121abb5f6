"""Weights of softmax in vectors are the entries of their tables."""

import numpy as np
import pytest

from mbz.exact import fixed
from mbz.exact.compiled import function
from mbz.exact.powers import packed_powers, weights_at


@function
def replaced(places, table):
    return weights_at(places, table)


@pytest.mark.parametrize("table", [fixed.attention_table(), fixed.output_table()])
def test_every_entry(table):
    places = np.arange(-(-table.size // 16) * 16, dtype=np.int32) % table.size
    expected = table.astype(np.int64)[places]
    assert replaced(places, packed_powers(table)) == expected.sum()
    np.testing.assert_array_equal(places, expected)
