"""Sums of products over the numbers around a pixel: rows above, faded, and this one so far.

A regression fitted to what is near in both directions guesses better than one fitted to what came
last. Each column keeps its products, faded from row to row; a window over the columns around moves
along by adding one and taking one off. Products are packed: i, j at i (i + 1) / 2 + j.
"""

import numpy as np

from mbz.mixing.compiled import part
from mbz.mixing.guesses import AROUND, CHANNELS, COLUMNS, DOWN, FADE, RADIUS, RING, ROW, SIZE

PRODUCT = 10  # fractional bits of products: of bytes, so that those of a column are below 2**31


@part
def products_around(n, lane, g, at, channel, sums):
    """Moves the window of guess g to number `at`; its sums as regression.py wants them."""
    a, radius = n.plans[g, AROUND], n.plans[g, RADIUS]
    channels, row = n.options[CHANNELS], n.options[ROW]
    column, columns = at % row // channels, (row - channel + channels - 1) // channels
    size = n.plans[g, SIZE] + 1
    window, so_far = n.windows[lane, a, channel], n.so_far[lane, a, channel]
    if column == 0:
        for each in range(max(columns - radius - 1, 0), columns):
            _fold(n, lane, g, channel, each)
        for k in range(size * (size + 1) // 2):
            window[k] = 0
            so_far[k] = 0
        for each in range(min(radius, columns)):
            _slide(n, lane, g, channel, each, 1)
    if column + radius < columns:
        _slide(n, lane, g, channel, column + radius, 1)
    if column > radius:
        _slide(n, lane, g, channel, column - radius - 1, -1)
        _fold(n, lane, g, channel, column - radius - 1)
    k = 0
    for i in range(size):
        for j in range(i + 1):
            sums[i, j] = window[k] + so_far[k]
            k += 1


@part
def _first(n, g, channel, column):
    """Where the products of a column begin."""
    size = n.plans[g, SIZE] + 1
    return n.plans[g, COLUMNS] + (column * n.options[CHANNELS] + channel) * (size * (size + 1) // 2)


@part
def _slide(n, lane, g, channel, column, sign):
    """Adds a column to the window, or takes it off."""
    size = n.plans[g, SIZE] + 1
    first = _first(n, g, channel, column)
    window, products = n.windows[lane, n.plans[g, AROUND], channel], n.columns[lane]
    for k in range(size * (size + 1) // 2):
        window[k] += sign * np.int64(products[first + k])


@part
def _fold(n, lane, g, channel, column):
    """Takes what came in this row into the products of its column, once the window is past it."""
    a, down = n.plans[g, AROUND], n.plans[g, DOWN]
    size = n.plans[g, SIZE] + 1
    values = n.ring[lane, a, channel, column % RING]
    if values[size] != column + 1:
        return  # the lane began later
    values[size] = 0
    products = n.columns[lane]
    k = _first(n, g, channel, column)
    for i in range(size):
        v = values[i] << PRODUCT
        for j in range(i + 1):
            old = np.int64(products[k])
            products[k] = np.int32(old - (old >> down) + v * values[j])
            k += 1


@part
def note_products(n, lane, g, at, channel, values):
    """After a number: its differences and itself, the last of values."""
    a, fade = n.plans[g, AROUND], n.plans[g, FADE]
    size = n.plans[g, SIZE] + 1
    column = at % n.options[ROW] // n.options[CHANNELS]
    kept, so_far = n.ring[lane, a, channel, column % RING], n.so_far[lane, a, channel]
    k = 0
    for i in range(size):
        kept[i] = values[i]
        v = values[i] << PRODUCT
        for j in range(i + 1):
            so_far[k] += v * values[j] - (so_far[k] >> fade)
            k += 1
    kept[size] = column + 1
