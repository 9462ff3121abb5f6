"""Integer products in vector instructions, written as LLVM code for numba.

On x86 with VNNI each multiply-add takes four products of an unsigned and a signed byte to sums in
int32 (`vpdpbusd`): the left operand is raised by `OFFSET`, and the sums start at what that adds,
taken off. Elsewhere it takes two of int16, on x86 by `vpmaddwd`. All are exact: four products stay
below 2**17, pairs below 2**26, and the sums below 2**31.

The right operand of `dots` lies in blocks of `OUTPUTS` columns, (blocks, `HEAD` + groups, OUTPUTS *
GROUP) int8: after the first sums come, for GROUP terms at a time, those of all columns, so that
reading goes straight on. `packed` lays out a matrix like that.
"""

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from mbz.exact.vector_code import (
    HAS_VNNI,
    INT16,
    INT32,
    LONG,
    ONE,
    SIZE,
    Matrix,
    add_quads,
    load,
    multiply_add,
    prefetch,
    put_down,
    spread,
    sums_at_zero,
)

GROUP = 4 if HAS_VNNI else 2
"""Terms that are multiplied and added at once."""

OFFSET = 128 if HAS_VNNI else 0
"""What the left operand of `dots` is raised by."""

HEAD = 1 if HAS_VNNI else 0
"""Rows of a block before the first terms."""

LEFT = np.uint8 if HAS_VNNI else np.int16
"""The type of the left operand."""

OUTPUTS = 4 * SIZE
"""Columns of a block, and columns that `weigh` adds to at once."""

MOST = 4 if SIZE == 16 else 2
"""Most rows at once: what registers hold."""

WEIGHED, SHARE = GROUP, np.uint8 if HAS_VNNI else np.int16
"""Slots whose values lie side by side, and the type of their weights, or of half of each."""

_BYTES = ir.VectorType(ir.IntType(8), GROUP * SIZE)


def packed(weight: NDArray[np.int8], offset: int = OFFSET) -> NDArray[np.int8]:
    """Matrices (.., N, K) in blocks, filled up with zeros: (.., blocks, HEAD + groups, ..).

    offset: what the left operand is raised by.
    """
    num, terms = weight.shape[-2:]
    more = [(0, 0)] * (weight.ndim - 2)
    w = np.pad(weight, [*more, (0, -num % OUTPUTS), (0, -terms % GROUP)])
    w = w.reshape(*w.shape[:-2], -1, OUTPUTS, w.shape[-1] // GROUP, GROUP)
    blocks = w.swapaxes(-3, -2).reshape(*w.shape[:-3], w.shape[-2], OUTPUTS * GROUP)
    if not HEAD:
        return np.ascontiguousarray(blocks)
    first = -offset * w.sum((-1, -2), dtype=np.int32)
    return np.concatenate([first.view(np.int8)[..., None, :], blocks], -2)


def _add_products(builder: Any, place: Any, a: Any, b: Any) -> None:
    """Adds to sums in memory the products of groups of the left operand and the right one's."""
    total = builder.load(place)
    if HAS_VNNI:
        total = add_quads(builder, total, a, b)
    else:
        wide = builder.sext(b, INT16)
        total = builder.add(total, multiply_add(builder, builder.bitcast(a, INT16), wide))
    builder.store(total, place)


def _dots(rows: int) -> Any:
    """Makes `dots(q, m, w, n, out, at)`: rows m.. of q (`LEFT`) times block n of w.

    Fills `out[m + i, at + j]` (int32) for i < rows and j < OUTPUTS; as many terms as w has groups.
    """

    def dots(_context: Any, q: Any, m: Any, w: Any, n: Any, out: Any, at: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = signature.args
            left, right, result = (
                Matrix(context, builder, kinds[i], arguments[i]) for i in (0, 2, 4)
            )
            m, n, at = (arguments[i] for i in (1, 3, 5))
            zero, one = ir.Constant(LONG, 0), ir.Constant(LONG, 1)
            sums = sums_at_zero(builder, 4 * rows)
            block = right.at(n, 0, zero)
            if HEAD:
                for j in range(4):
                    place = builder.gep(block, [ir.Constant(LONG, 4 * SIZE * j)])
                    first = load(builder, place, INT32)
                    for i in range(rows):
                        builder.store(first, sums[4 * i + j])
            left_at = [left.at(m, i, zero) for i in range(rows)]
            # Blocks follow each other in memory; past the last it does no harm.
            following = right.at(n, 1, zero)
            groups = builder.sub(right.sizes[1], ir.Constant(LONG, HEAD))
            with cgutils.for_range_slice(builder, zero, groups, one) as (k, _):
                start = builder.mul(k, ir.Constant(LONG, GROUP))
                a = [spread(builder, builder.gep(p, [start])) for p in left_at]
                row = builder.mul(
                    builder.add(k, ir.Constant(LONG, HEAD)), ir.Constant(LONG, OUTPUTS * GROUP)
                )
                prefetch(builder, builder.gep(following, [row]), 4 * SIZE * GROUP)
                for j in range(4):
                    place = builder.add(row, ir.Constant(LONG, j * SIZE * GROUP))
                    b = load(builder, builder.gep(block, [place]), _BYTES)
                    for i in range(rows):
                        _add_products(builder, sums[4 * i + j], a[i], b)
            for i in range(rows):
                put_down(builder, sums[4 * i : 4 * i + 4], result.at(m, i, at))
            return context.get_dummy_value()

        return types.void(q, types.intp, w, types.intp, out, types.intp), code

    return intrinsic(dots)


def _weigh(rows: int) -> Any:
    """Makes `weigh(p, high, r, j, v, first, count, out, e)`: adds weighted values to sums.

    For i < rows and OUTPUTS columns from e on, adds to `out[r + i, e + ..]` (int32) the values of
    `count` rows of v, from row `first` on, times their weights from `p[r + i, j]` on. A row of v
    (int16) holds, for each column, the bytes of WEIGHED slots. Weights are int16 in p or, with
    VNNI, their low bytes in p and the high ones in `high`.
    """

    def weigh(
        _context: Any, p: Any, high: Any, r: Any, j: Any, v: Any, first: Any, count: Any, out: Any,
        e: Any,
    ) -> Any:  # fmt: skip
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = signature.args
            weights, highs, values, result = (
                Matrix(context, builder, kinds[i], arguments[i]) for i in (0, 1, 4, 7)
            )
            r, j, first, count, e = (arguments[i] for i in (2, 3, 5, 6, 8))
            zero, one, slots = (ir.Constant(LONG, n) for n in (0, 1, WEIGHED))
            sums = sums_at_zero(builder, 4 * rows)
            weights_at = [weights.at(r, i, j) for i in range(rows)]
            highs_at = [highs.at(r, i, j) for i in range(rows)]
            column = builder.mul(e, ir.Constant(LONG, WEIGHED // 2))
            beside = [ir.Constant(LONG, c * SIZE * WEIGHED // 2) for c in range(4)]
            with cgutils.for_range_slice(builder, zero, count, one) as (k, _):
                at = values.at(builder.add(first, k), 0, column)
                bytes_ = [load(builder, builder.gep(at, [by]), _BYTES) for by in beside]
                slot = builder.mul(k, slots)
                for i in range(rows):
                    share = spread(builder, builder.gep(weights_at[i], [slot]))
                    for c in range(4):
                        _add_products(builder, sums[4 * i + c], share, bytes_[c])
                if HAS_VNNI:
                    _weigh_high(builder, [builder.gep(h, [slot]) for h in highs_at], bytes_, sums)
            for i in range(rows):
                for c in range(4):
                    column = builder.add(e, ir.Constant(LONG, c * SIZE))
                    place = builder.bitcast(result.at(r, i, column), INT32.as_pointer())
                    total = builder.add(builder.load(place, align=4), builder.load(sums[4 * i + c]))
                    builder.store(total, place, align=4)
            return context.get_dummy_value()

        index = types.intp
        return types.void(p, high, index, index, v, index, index, out, index), code

    return intrinsic(weigh)


def _weigh_high(builder: Any, highs: list[Any], values: list[Any], sums: list[Any]) -> None:
    """Adds values times the high bytes of weights, which are nearly always zero."""
    words = [load(builder, high, ONE) for high in highs]
    some = functools.reduce(builder.or_, words)
    with builder.if_then(builder.icmp_unsigned("!=", some, ir.Constant(ONE, 0)), likely=False):
        for i, high in enumerate(highs):
            share = spread(builder, high)
            for c, value in enumerate(values):
                product = add_quads(builder, ir.Constant(INT32, None), share, value)
                product = builder.shl(product, ir.Constant(INT32, [8] * SIZE))
                place = sums[4 * i + c]
                builder.store(builder.add(builder.load(place), product), place)


def _put(_context: Any, q: Any, block: Any, column: Any) -> Any:
    """`put(q, block, column)` makes the row q, of the left kind, a column of a block."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        source = context.make_array(kinds[0])(context, builder, arguments[0])
        target = Matrix(context, builder, kinds[1], arguments[1])
        part = ir.VectorType(ir.IntType(8 if HAS_VNNI else 16), GROUP)
        bytes_ = ir.VectorType(ir.IntType(8), GROUP)
        zero, one, group = (ir.Constant(LONG, n) for n in (0, 1, GROUP))
        at = builder.mul(arguments[2], group)
        groups = builder.sub(target.sizes[0], ir.Constant(LONG, HEAD))
        with cgutils.for_range_slice(builder, zero, groups, one) as (k, _):
            value = load(builder, builder.gep(source.data, [builder.mul(k, group)]), part)
            if OFFSET:  # taking it off flips the highest bit
                value = builder.xor(value, ir.Constant(part, [OFFSET] * GROUP))
            else:
                value = builder.trunc(value, bytes_)
            place = builder.bitcast(target.at(k, HEAD, at), bytes_.as_pointer())
            builder.store(value, place, align=1)
        return context.get_dummy_value()

    return types.void(q, block, types.intp), code


put: Any = intrinsic(_put)
dots_1, dots_2, dots_3, dots_4 = (_dots(rows) for rows in (1, 2, 3, 4))
weigh_1, weigh_2, weigh_3, weigh_4 = (_weigh(rows) for rows in (1, 2, 3, 4))


def _bit_cast(result: Any, argument: Any, kind: Any) -> Any:
    """Makes a function that takes the bits of a number for another type."""

    def cast(_context: Any, _x: Any) -> Any:
        def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], kind)

        return result(argument), code

    return intrinsic(cast)


bits: Any = _bit_cast(types.int32, types.float32, ONE)
unbits: Any = _bit_cast(types.float32, types.int32, ir.FloatType())
