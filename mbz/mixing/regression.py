"""Weights that predict a number from others, fitted to the recent past by least squares.

Sums of products fade by 1 / 2**fade a step. Their normal equations are solved by a factorisation
L D L' in fixed point: `_FINE` fractional bits for L and the weights, at most 2**_TOP for the sums.
"""

from mbz.mixing.compiled import part

_FINE = 22
_TOP = 30
_MOST = 1 << 27  # of an entry of L: 32; products with sums stay within 2**57, and 32 of them fit
_HEAVIEST = 1 << 26  # of a weight: 16


@part
def guess(weights, values, size):
    """The number that the first `size` values predict, in 1/2**22; values within +-2**17."""
    total = 0
    for k in range(size):
        total += weights[k] * values[k]
    return total


@part
def gather(sums, values, size, fine, fade):
    """Takes a step: values (size + 1,) with the number itself as the last, sums (W, W), W > size.

    Products are kept with `fine` fractional bits; a product times 2**(fine + fade) fits in 62 bits.
    """
    for i in range(size + 1):
        v = values[i] << fine
        for j in range(i + 1):
            sums[i, j] += v * values[j] - (sums[i, j] >> fade)


@part
def solve(sums, weights, lower, scaled, size, ridge):
    """Weights (size,) in 1/2**22 from the sums; lower, scaled (W, W) and W > size are scratch.

    The ridge is added to the square of each value.
    """
    most = 1
    for i in range(size):
        most = max(most, sums[i, i])
    down = 0
    while most >> down >= 1 << _TOP - 1:
        down += 1
    least = (most >> down >> 18) + (ridge >> down) + 1
    for i in range(size + 1):
        for j in range(i + 1):
            # What the first j numbers do not explain of the product of i and j.
            total = 0
            for k in range(j):
                total += lower[i, k] * scaled[j, k]
            rest = (sums[i, j] >> down) - (total >> _FINE)
            rest = min(max(rest, -(1 << _TOP)), 1 << _TOP)  # rounding may have led astray
            if i == j:
                scaled[i, i] = max(rest + (rest >> 10), 0) + least
            else:
                scaled[i, j] = rest
                lower[i, j] = min(max((rest << _FINE) // scaled[j, j], -_MOST), _MOST)
    for i in range(size - 1, -1, -1):
        total = lower[size, i] << _FINE
        for k in range(i + 1, size):
            total -= lower[k, i] * weights[k]
        weights[i] = min(max(total >> _FINE, -_HEAVIEST), _HEAVIEST)
