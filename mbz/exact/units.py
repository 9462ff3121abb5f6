"""Products with the hidden units of a row that are not zero, in vector instructions for numba.

Hidden rows are squares, so never negative, and half to nearly all of the units are zero.
`unit_dots` takes the columns of those that are not, four at a time, whose bytes it brings together;
two products of a byte up to 127 and a signed one stay within int16 (`vpmaddubsw`), four below
2**17. Where VNNI takes all of them faster than that, `dots` does.
"""

import sys
from collections.abc import Sequence
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
    LONG,
    ONE,
    SIZE,
    Matrix,
    add_quads,
    call,
    load,
    multiply_add,
    prefetch,
    put_down,
    spread,
    sum_of_products,
    sums_at_zero,
)

SPAN = 64
"""Outputs of a hidden unit that lie side by side, in a cache line."""

TOGETHER = 4
"""Hidden units taken at once."""

MARKED = 64
"""Bytes that `nonzero` looks at."""

DENSE_ROWS, DENSE_FROM = (3, 6) if HAS_VNNI else (1 << 30, 1)
"""From how many rows on, and from which part of the units on, all of them are faster."""

_BYTE = ir.IntType(8)
_QUADS = ir.VectorType(_BYTE, 4 * SIZE)
_MADD = {16: "llvm.x86.avx512.pmaddubs.w.512", 8: "llvm.x86.avx2.pmadd.ub.sw", 4: ""}[SIZE]


def packed_units(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Matrices (.., N, F) by hidden unit, filled up with zeros: (.., spans, F, SPAN).

    The bytes of a vector are in the order in which `_interleaved` makes columns in order of them.
    """
    num, units = weight.shape[-2:]
    w = np.pad(weight, [*[(0, 0)] * (weight.ndim - 2), (0, -num % SPAN), (0, 0)])
    vectors, lanes = w.shape[-2] // (4 * SIZE), SIZE // 4  # of 16 bytes
    w = w.reshape(*w.shape[:-2], vectors, 4, lanes, 4, units).swapaxes(-4, -3)
    return np.ascontiguousarray(w.reshape(*weight.shape[:-2], -1, SPAN, units).swapaxes(-2, -1))


def _interleaved(builder: Any, rows: list[Any]) -> list[Any]:
    """Of four vectors of bytes, four with one byte of each in every word, by lanes of 16 bytes."""

    def woven(pair: Sequence[Any], size: int) -> list[Any]:
        kind = ir.VectorType(ir.IntType(8 * size), 4 * SIZE // size)
        a, b = (builder.bitcast(one, kind) for one in pair)
        lane, half = 16 // size, 8 // size
        masks = [
            [
                at + part * half + i // 2 + i % 2 * kind.count
                for at in range(0, kind.count, lane)
                for i in range(lane)
            ]
            for part in (0, 1)
        ]
        words = ir.VectorType(ONE, kind.count)
        return [builder.shuffle_vector(a, b, ir.Constant(words, mask)) for mask in masks]

    first, second = woven(rows[:2], 1), woven(rows[2:], 1)
    quads = [word for pair in zip(first, second, strict=True) for word in woven(pair, 2)]
    return [builder.bitcast(quad, _QUADS) for quad in quads]


def _add_products(builder: Any, place: Any, a: Any, b: Any) -> None:
    """Adds to sums in memory four products each of bytes up to 127, in words a, and signed ones."""
    total = builder.load(place)
    if HAS_VNNI:
        total = add_quads(builder, total, a, b)
    elif _MADD:
        pairs = call(builder, _MADD, [builder.bitcast(a, _QUADS), b], INT16)
        ones = ir.Constant(INT16, [1] * 2 * SIZE)
        total = builder.add(total, multiply_add(builder, pairs, ones))
    else:
        products = sum_of_products(builder, builder.bitcast(a, _QUADS), b, 4)
        total = builder.add(total, products)
    builder.store(total, place)


def _unit_dots(
    _context: Any, values: Any, places: Any, m: Any, count: Any, w: Any, n: Any, out: Any
) -> Any:
    """`unit_dots(values, places, m, count, w, n, out)`: hidden row m times span n of w.

    Fills `out[m, SPAN * n + j]` (int32) for j < SPAN. What is not zero of the row: `values[m, i]`
    (uint8) for i < count, and `places[m, i]` (int32), where its unit is in a span. Zeros follow, as
    `TOGETHER` are read at once.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        left, where, right, result = (
            Matrix(context, builder, kinds[i], arguments[i]) for i in (0, 1, 4, 6)
        )
        m, count, n = (arguments[i] for i in (2, 3, 5))
        zero, size = ir.Constant(LONG, 0), SPAN // SIZE
        sums = sums_at_zero(builder, size)
        row, of_row = left.at(m, 0, zero), where.at(m, 0, zero)
        span, following = right.at(n, 0, zero), right.at(n, 1, zero)
        step = ir.Constant(LONG, TOGETHER)
        with cgutils.for_range_slice(builder, zero, count, step) as (c, _):
            a = spread(builder, builder.gep(row, [c]))
            starts = []
            for i in range(TOGETHER):
                place = builder.gep(of_row, [builder.add(c, ir.Constant(LONG, i))])
                starts.append(builder.zext(builder.load(place), LONG))
                prefetch(builder, builder.gep(following, [starts[i]]), SPAN)
            for j in range(0, size, 4):
                at = ir.Constant(LONG, j * SIZE)
                rows = [
                    load(builder, builder.gep(span, [builder.add(start, at)]), _QUADS)
                    for start in starts
                ]
                for i, quad in enumerate(_interleaved(builder, rows)):
                    _add_products(builder, sums[j + i], a, quad)
        first = builder.mul(n, ir.Constant(LONG, SPAN))
        put_down(builder, sums, result.at(m, 0, first))
        return context.get_dummy_value()

    index = types.intp
    return types.void(values, places, index, index, w, index, out), code


def _nonzero(_context: Any, q: Any, first: Any) -> Any:
    """`nonzero(q, first)`: bits that say which of MARKED bytes from `q[first]` are not zero."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        kind = ir.VectorType(_BYTE, MARKED)
        some = load(builder, builder.gep(data, [arguments[1]]), kind)
        marks = builder.bitcast(builder.icmp_unsigned("!=", some, ir.Constant(kind, None)), LONG)
        if sys.byteorder == "big":
            marks = builder.bitreverse(marks)
        return marks

    return types.int64(q, types.intp), code


def _population(_context: Any, marks: Any) -> Any:
    """`population(marks)`: how many bits are set."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(marks), code


def _lowest(_context: Any, marks: Any) -> Any:
    """`lowest(marks)`: the number of the lowest bit that is set, of at least one."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(marks), code


unit_dots: Any = intrinsic(_unit_dots)
nonzero: Any = intrinsic(_nonzero)
population: Any = intrinsic(_population)
lowest: Any = intrinsic(_lowest)
