"""Fused kernels of the exact network for the CPU, compiled by numba.

numba neither fuses `a * b + c` nor replaces divisions unless asked to (fastmath is off), and all
floats here are float32, so each operation rounds once, as docs/exact.md says. Products of int32
are cast back at once: numba would go on in int64, which costs four times the time.

Shapes: B lanes, S positions, M = B * S rows in that order, D width, A = (H + 2G) * E, F hidden
width, H query heads, G key heads, R = H / G, E head width.
"""

import numba
import numpy as np
from numba import prange

from mbz.exact import fixed

ROOT_SHIFT = 23 - fixed.ROOT_BITS
ROOT_BASE = 127 << fixed.ROOT_BITS
SMALLEST, STEP = fixed.SMALLEST, fixed.STEP
FULL = np.float32(127)
ATTENTION_SUM = np.float32(fixed.ATTENTION_SUM)
ZERO = np.float32(0)

inline = numba.njit(inline="always")
# The cache goes beside this file, or to the user's cache folder where that cannot be written.
kernel = numba.njit(cache=True, parallel=True, error_model="numpy")


@inline
def _quantise(x, q):
    """2.1 and 2.2: integers of the row x into q; its largest magnitude and sum of squares."""
    # Magnitudes compare as their bits do, and a maximum of integers becomes vector code.
    bits = x.view(np.int32)
    top = np.int32(0)
    for i in range(x.size):
        top = max(top, np.int32(bits[i] & np.int32(0x7FFFFFFF)))
    bits = np.empty(1, np.int32)
    bits[0] = top
    largest = max(bits.view(np.float32)[0], SMALLEST)
    inverse = FULL / largest
    total = np.int32(0)
    for i in range(x.size):
        n = np.int32(np.rint(x[i] * inverse))
        q[i] = n
        total = np.int32(total + np.int32(n * n))
    return largest, np.float32(max(total, np.int32(1)))


@inline
def _root(squares, table, bits):
    """2.3, with a one-element buffer to see the bits of a float32."""
    bits[0] = squares
    return table[(bits.view(np.int32)[0] >> ROOT_SHIFT) - ROOT_BASE]


@inline
def _head(sums, scale, y):
    """2.4, the part after the product, for one head."""
    for i in range(y.size):
        y[i] = np.float32(sums[i]) * scale[i]


@inline
def _rotated(sums, scale, cos, sin, y):
    """2.4 and 2.5 for one head."""
    half = cos.size
    for i in range(half):
        a = np.float32(sums[i]) * scale[i]
        b = np.float32(sums[half + i]) * scale[half + i]
        y[i] = a * cos[i] - b * sin[i]
        y[half + i] = b * cos[i] + a * sin[i]


@kernel
def attend(
    sums_MA, scale_A, rotary, sharpness_H, value_scale, t, keys, key_roots, values, roots, table,
    out_MD, q_MD, factor_M,
):  # fmt: skip
    """3.2 and the quantisation after it; t is the position of each lane's first row."""
    lanes, groups, ring, width = keys.shape
    count = sums_MA.shape[0] // lanes
    heads = sharpness_H.size
    shared, window, last = heads // groups, ring // 2, np.float32(table.size - 1)
    for task in prange(lanes * groups):
        b, g = task // groups, task % groups
        bits = np.empty(1, np.float32)
        y = np.empty(width, np.float32)
        q = np.empty((shared, width), np.int16)
        v = np.empty(width, np.int8)
        q_root = np.empty(shared, np.float32)
        scores = np.empty(ring, np.float32)
        total_E = np.empty(width, np.int32)
        for s in range(count):
            m, position = b * count + s, t + s
            slot = position % ring
            cos, sin = rotary[0, slot], rotary[1, slot]
            at = (heads + g) * width
            _rotated(sums_MA[m, at : at + width], scale_A[at : at + width], cos, sin, y)
            _, squares = _quantise(y, keys[b, g, slot])
            key_roots[b, g, slot] = _root(squares, roots, bits)
            at += groups * width
            _head(sums_MA[m, at : at + width], scale_A[at : at + width], y)
            _, squares = _quantise(y, v)
            v_root = _root(squares, roots, bits) * value_scale
            for i in range(width):
                n = np.rint(np.float32(v[i]) * v_root)
                values[b, g, slot, i] = np.int8(min(max(n, -FULL), FULL))
            for r in range(shared):
                at = (g * shared + r) * width
                _rotated(sums_MA[m, at : at + width], scale_A[at : at + width], cos, sin, y)
                _, squares = _quantise(y, q[r])
                q_root[r] = _root(squares, roots, bits) * sharpness_H[g * shared + r]
            # The slots to see: the own half up to the own slot, and the other half if it is past.
            own = slot // window * window
            seen = slot + 1 - own
            other = window - own
            visible = seen + (window if position >= window else 0)
            for r in range(shared):
                largest = np.float32(-np.inf)
                for j in range(visible):
                    n = own + j if j < seen else other + j - seen
                    dot = np.int32(0)
                    for i in range(width):
                        dot = np.int32(
                            dot + np.int32(np.int32(q[r, i]) * np.int32(keys[b, g, n, i]))
                        )
                    scores[j] = (np.float32(dot) * q_root[r]) * key_roots[b, g, n]
                    largest = max(largest, scores[j])
                total = np.int32(0)
                for j in range(visible):
                    n = np.int32(min(np.rint(largest - scores[j]), last))
                    scores[j] = table[n]
                    total += np.int32(table[n])
                share = ATTENTION_SUM / np.float32(total)
                total_E[:] = 0
                for j in range(visible):
                    p = np.int32(np.floor(scores[j] * share))
                    if p:
                        n = own + j if j < seen else other + j - seen
                        for i in range(width):
                            product = np.int32(p * np.int32(values[b, g, n, i]))
                            total_E[i] = np.int32(total_E[i] + product)
                at = (g * shared + r) * width
                for i in range(width):
                    out_MD[m, at + i] = np.float32(total_E[i])
    for m in prange(out_MD.shape[0]):
        largest, _ = _quantise(out_MD[m], q_MD[m])
        factor_M[m] = largest * STEP


@kernel
def add(x_MD, sums_MD, scale_D, factor_M, q_MD, squares_M):
    """3.3: adds a product to the residual rows, and quantises them for the next matrix."""
    for m in prange(x_MD.shape[0]):
        x, sums, factor = x_MD[m], sums_MD[m], factor_M[m]
        for i in range(x.size):
            x[i] += (np.float32(sums[i]) * scale_D[i]) * factor
        _, squares_M[m] = _quantise(x, q_MD[m])


@kernel
def relu_squared(sums_MF, scale_F, squares_M, q_MF, factor_M):
    """3.3: the hidden rows of the MLP, quantised, and the factor of what comes out of it."""
    for m in prange(sums_MF.shape[0]):
        sums = sums_MF[m]
        hidden = np.empty(sums.size, np.float32)
        for i in range(sums.size):
            u = max(np.float32(sums[i]) * scale_F[i], ZERO)
            hidden[i] = u * u
        largest, _ = _quantise(hidden, q_MF[m])
        factor_M[m] = (largest * STEP) / squares_M[m]


@kernel
def quantise_rows(x_MD, q_MD, squares_M):
    """2.1 and 2.2 for all rows."""
    for m in prange(x_MD.shape[0]):
        _, squares_M[m] = _quantise(x_MD[m], q_MD[m])
