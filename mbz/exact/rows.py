"""Rows of the exact network: integers and roots of them, and products with a matrix.

Every operation on floats here is of float32 and rounds once, as docs/exact.md says; section numbers
are in the docstrings. Products of int32 are cast back at once: numba would go on in int64, which
costs four times the time. Left operands are raised by OFFSET, and right ones lie in blocks
(`vectors.py`).
"""

import numpy as np

from mbz.exact import fixed
from mbz.exact.compiled import function, part
from mbz.exact.units import MARKED, SPAN, TOGETHER, lowest, nonzero, population, unit_dots
from mbz.exact.vectors import MOST, OFFSET, OUTPUTS, bits, dots_1, dots_2, dots_3, dots_4, unbits

ROOT_SHIFT = 23 - fixed.ROOT_BITS
ROOT_BASE = 127 << fixed.ROOT_BITS
SMALLEST = fixed.SMALLEST
FULL = np.float32(127)


@part
def quantise(x, size, q, offset):
    """2.1 and 2.2: integers of x[:size] into q, raised; largest magnitude, sum of squares."""
    # Magnitudes compare as their bits do, and a maximum of integers becomes vector code.
    top = np.int32(0)
    for i in range(size):
        top = max(top, np.int32(bits(x[i]) & np.int32(0x7FFFFFFF)))
    largest = max(unbits(top), SMALLEST)
    inverse = FULL / largest
    total = np.int32(0)
    for i in range(size):
        n = np.int32(np.rint(x[i] * inverse))
        q[i] = np.int32(n + np.int32(offset))
        total = np.int32(total + np.int32(n * n))
    return largest, np.float32(max(total, np.int32(1)))


@part
def _marks(q, first, size):
    """Bits that say which integers of a hidden row, from the first on, are not zero."""
    marks, left = nonzero(q, first), size - first
    return marks if left >= MARKED else marks & ((1 << left) - 1)


@part
def active_units(q, rows, size):
    """How many integers of hidden rows are not zero."""
    count = 0
    for m in range(rows):
        for first in range(0, size, MARKED):
            count += population(_marks(q[m], first, size))
    return count


@part
def list_units(q, size, values, places):
    """What is not zero of a hidden row, for `unit_dots`; returns how many."""
    count = 0
    for first in range(0, size, MARKED):
        marks = _marks(q, first, size)
        while marks:
            unit = first + lowest(marks)
            values[count], places[count] = q[unit], unit * SPAN
            count += 1
            marks &= marks - 1
    for i in range(count, count + TOGETHER - 1):
        values[i], places[i] = 0, 0
    return count


@part
def root_of(squares, table):
    """2.3."""
    return table[(bits(squares) >> ROOT_SHIFT) - ROOT_BASE]


@part
def ordered(x):
    """Bits that compare as integers as the floats do; undoes itself, of bits."""
    n = bits(x)
    return np.int32(n ^ np.int32((n >> np.int32(31)) & np.int32(0x7FFFFFFF)))


@part
def unordered(n):
    """The float of such bits."""
    return unbits(np.int32(n ^ np.int32((n >> np.int32(31)) & np.int32(0x7FFFFFFF))))


@part
def times(q, rows, w, n, sums, at):
    """Sums of products of the rows of q with block n of w, into sums[:, at:]."""
    m = 0
    while m + MOST <= rows:
        if MOST == 4:
            dots_4(q, m, w, n, sums, at)
        else:
            dots_2(q, m, w, n, sums, at)
        m += MOST
    if rows - m == 3:
        dots_3(q, m, w, n, sums, at)
    elif rows - m == 2:
        dots_2(q, m, w, n, sums, at)
    elif rows - m == 1:
        dots_1(q, m, w, n, sums, at)


@function
def product(q, rows, w, sums):
    """Sums of products of the rows of q with all columns of w."""
    for n in range(w.shape[0]):
        times(q, rows, w, n, sums, n * OUTPUTS)


@function
def hidden_product(q, rows, w, values, places, counts, sums):
    """`product` of hidden rows with a matrix by hidden unit; lists of units are scratch."""
    for m in range(rows):
        counts[m] = list_units(q[m], w.shape[1], values[m], places[m])
    for n in range(w.shape[0]):
        for m in range(rows):
            unit_dots(values, places, m, counts[m], w, n, sums)


@part
def add(x, z, scale, rows):
    """3.3: adds a product to the residual rows, and quantises them for the next matrix."""
    width = x.shape[1]
    for m in range(rows):
        row, sums, factor = x[m], z.sums[m], z.factor[m]
        for i in range(width):
            row[i] += (np.float32(sums[i]) * scale[i]) * factor
        _, z.squares[m] = quantise(row, width, z.q[m], OFFSET)
