"""Integer products in vector instructions, written as LLVM code for numba.

On x86 with VNNI each multiply-add takes four products of an unsigned and a signed byte to sums in
int32 (`vpdpbusd`): the left operand is raised by `OFFSET`, and the sums start at what that adds,
taken off. Elsewhere it takes two of int16, on x86 by `vpmaddwd`. All are exact: four products stay
below 2**17, pairs below 2**26, and the sums below 2**31.

The right operand of `dots` lies in blocks of `OUTPUTS` columns, (blocks, `HEAD` + groups, OUTPUTS *
GROUP) int8: after the first sums come, for GROUP terms at a time, those of all columns, so that
reading goes straight on. `packed` lays out a matrix like that.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

_FEATURES = cpu_target.target_context.codegen()._tm_features.split(",")  # noqa: SLF001
_SIZE = 16 if "+avx512bw" in _FEATURES else 8 if "+avx2" in _FEATURES else 4
_HAS_VNNI = f"+{'avx512vnni' if _SIZE == 16 else 'avxvnni'}" in _FEATURES

GROUP = 4 if _HAS_VNNI else 2
"""Terms that are multiplied and added at once."""

OFFSET = 128 if _HAS_VNNI else 0
"""What the left operand of `dots` is raised by."""

HEAD = 1 if _HAS_VNNI else 0
"""Rows of a block before the first terms."""

LEFT = np.uint8 if _HAS_VNNI else np.int16
"""The type of the left operand."""

OUTPUTS = 4 * _SIZE
"""Columns of a block, and columns that `weigh` adds to at once."""

MOST = 4 if _SIZE == 16 else 2
"""Most rows at once: what registers hold."""

_LINE = 64  # bytes of a cache line

_ONE, _LONG = ir.IntType(32), ir.IntType(64)
_INT32 = ir.VectorType(_ONE, _SIZE)
_INT16 = ir.VectorType(ir.IntType(16), 2 * _SIZE)
_PAIRS = ir.VectorType(ir.IntType(8), 2 * _SIZE)
_BYTES = ir.VectorType(ir.IntType(8), GROUP * _SIZE)
_MADD = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd", 4: ""}[_SIZE]
_DOT = f"llvm.x86.avx512.vpdpbusd.{32 * _SIZE}"


def packed(weight: NDArray[np.int8]) -> NDArray[np.int8]:
    """Matrices (.., N, K) in blocks, filled up with zeros: (.., blocks, HEAD + groups, ..)."""
    num, terms = weight.shape[-2:]
    more = [(0, 0)] * (weight.ndim - 2)
    w = np.pad(weight, [*more, (0, -num % OUTPUTS), (0, -terms % GROUP)])
    w = w.reshape(*w.shape[:-2], -1, OUTPUTS, w.shape[-1] // GROUP, GROUP)
    blocks = w.swapaxes(-3, -2).reshape(*w.shape[:-3], w.shape[-2], OUTPUTS * GROUP)
    if not HEAD:
        return np.ascontiguousarray(blocks)
    first = -OFFSET * w.sum((-1, -2), dtype=np.int32)
    return np.concatenate([first.view(np.int8)[..., None, :], blocks], -2)


def _call(builder: Any, name: str, arguments: list[Any]) -> Any:
    kind = ir.FunctionType(_INT32, [x.type for x in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _multiply_add(builder: Any, a: Any, b: Any) -> Any:
    """Sums of two neighbouring products each, from int16 to int32."""
    if _MADD:
        return _call(builder, _MADD, [a, b])
    products = []
    for first in (0, 1):
        mask = ir.Constant(ir.VectorType(_ONE, _SIZE), list(range(first, 2 * _SIZE, 2)))
        halves = [builder.sext(builder.shuffle_vector(x, x, mask), _INT32) for x in (a, b)]
        products.append(builder.mul(*halves))
    return builder.add(*products)


def _add_products(builder: Any, place: Any, a: Any, b: Any) -> None:
    """Adds to sums in memory the products of groups of the left operand and the right one's."""
    total = builder.load(place)
    if _HAS_VNNI:
        total = _call(builder, _DOT, [total, a, builder.bitcast(b, _INT32)])
    else:
        wide = builder.sext(b, _INT16)
        total = builder.add(total, _multiply_add(builder, builder.bitcast(a, _INT16), wide))
    builder.store(total, place)


class _Matrix:
    """An array argument as a pointer with the lengths of its rows."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        array = context.make_array(kind)(context, builder, value)
        self.builder, self.data = builder, array.data
        self.sizes = cgutils.unpack_tuple(builder, array.shape)

    def at(self, row: Any, offset: int, column: Any) -> Any:
        """Pointer to an element; a third axis belongs to the row."""
        builder = self.builder
        width = self.sizes[1]
        for size in self.sizes[2:]:
            width = builder.mul(width, size)
        start = builder.mul(builder.add(row, ir.Constant(row.type, offset)), width)
        return builder.gep(self.data, [builder.add(start, column)])


def _load(builder: Any, pointer: Any, kind: Any) -> Any:
    size = kind.element.width // 8 if isinstance(kind, ir.VectorType) else 1
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=size)


def _spread(builder: Any, pointer: Any) -> Any:
    """Four bytes of memory in all places of a vector."""
    vector = ir.Constant(_INT32, None)
    vector = builder.insert_element(vector, _load(builder, pointer, _ONE), ir.Constant(_ONE, 0))
    return builder.shuffle_vector(vector, vector, ir.Constant(_INT32, [0] * _SIZE))


def _prefetch(builder: Any, pointer: Any, size: int) -> None:
    """Has memory that will be read soon brought near, each cache line once."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _ONE, _ONE, _ONE])
    read, near, data = (ir.Constant(_ONE, n) for n in (0, 2, 1))
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    for at in range(0, size, _LINE):
        builder.call(function, [builder.gep(pointer, [ir.Constant(_LONG, at)]), read, near, data])


def _sums(builder: Any, count: int) -> list[Any]:
    """Vectors of int32 that start at zero; LLVM keeps them in registers."""
    zero = ir.Constant(_INT32, None)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(count)]
    for place in sums:
        builder.store(zero, place)
    return sums


def _dots(rows: int) -> Any:
    """Makes `dots(q, m, w, n, out, at)`: rows m.. of q (`LEFT`) times block n of w.

    Fills `out[m + i, at + j]` (int32) for i < rows and j < OUTPUTS; as many terms as w has groups.
    """

    def dots(_context: Any, q: Any, m: Any, w: Any, n: Any, out: Any, at: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = signature.args
            left, right, result = (
                _Matrix(context, builder, kinds[i], arguments[i]) for i in (0, 2, 4)
            )
            m, n, at = (arguments[i] for i in (1, 3, 5))
            zero, one = ir.Constant(_LONG, 0), ir.Constant(_LONG, 1)
            sums = _sums(builder, 4 * rows)
            block = right.at(n, 0, zero)
            if HEAD:
                for j in range(4):
                    place = builder.gep(block, [ir.Constant(_LONG, 4 * _SIZE * j)])
                    first = _load(builder, place, _INT32)
                    for i in range(rows):
                        builder.store(first, sums[4 * i + j])
            left_at = [left.at(m, i, zero) for i in range(rows)]
            # Blocks follow each other in memory; past the last it does no harm.
            following = right.at(n, 1, zero)
            groups = builder.sub(right.sizes[1], ir.Constant(_LONG, HEAD))
            with cgutils.for_range_slice(builder, zero, groups, one) as (k, _):
                start = builder.mul(k, ir.Constant(_LONG, GROUP))
                a = [_spread(builder, builder.gep(p, [start])) for p in left_at]
                row = builder.mul(
                    builder.add(k, ir.Constant(_LONG, HEAD)), ir.Constant(_LONG, OUTPUTS * GROUP)
                )
                _prefetch(builder, builder.gep(following, [row]), 4 * _SIZE * GROUP)
                for j in range(4):
                    place = builder.add(row, ir.Constant(_LONG, j * _SIZE * GROUP))
                    b = _load(builder, builder.gep(block, [place]), _BYTES)
                    for i in range(rows):
                        _add_products(builder, sums[4 * i + j], a[i], b)
            for i in range(rows):
                for j in range(4):
                    place = result.at(m, i, builder.add(at, ir.Constant(_LONG, j * _SIZE)))
                    place = builder.bitcast(place, _INT32.as_pointer())
                    builder.store(builder.load(sums[4 * i + j]), place, align=4)
            return context.get_dummy_value()

        return types.void(q, types.intp, w, types.intp, out, types.intp), code

    return intrinsic(dots)


def _weigh(rows: int) -> Any:
    """Makes `weigh(p, r, j, v, first, pairs, out, e)`, which adds weighted values to sums.

    For i < rows and OUTPUTS columns from e on, adds to `out[r + i, e + ..]` (int32) the values of
    `pairs` pairs of slots, from pair `first` on of v (pairs, width) int16, which holds two bytes
    each, times the weights p (int16) at `p[r + i, j]` and on.
    """

    def weigh(
        _context: Any, p: Any, r: Any, j: Any, v: Any, first: Any, pairs: Any, out: Any, e: Any
    ) -> Any:  # fmt: skip
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = signature.args
            weights, values, result = (
                _Matrix(context, builder, kinds[i], arguments[i]) for i in (0, 3, 6)
            )
            r, j, first, pairs, e = (arguments[i] for i in (1, 2, 4, 5, 7))
            zero, one, two = (ir.Constant(_LONG, n) for n in range(3))
            sums = _sums(builder, 4 * rows)
            weights_at = [weights.at(r, i, j) for i in range(rows)]
            with cgutils.for_range_slice(builder, zero, pairs, one) as (k, _):
                shares = [
                    builder.bitcast(
                        _spread(builder, builder.gep(place, [builder.mul(k, two)])), _INT16
                    )
                    for place in weights_at
                ]
                at = values.at(builder.add(first, k), 0, e)
                for c in range(4):
                    place = builder.gep(at, [ir.Constant(_LONG, c * _SIZE)])
                    value = builder.sext(_load(builder, place, _PAIRS), _INT16)
                    for i in range(rows):
                        total = sums[4 * i + c]
                        product = _multiply_add(builder, shares[i], value)
                        builder.store(builder.add(builder.load(total), product), total)
            for i in range(rows):
                for c in range(4):
                    column = builder.add(e, ir.Constant(_LONG, c * _SIZE))
                    place = builder.bitcast(result.at(r, i, column), _INT32.as_pointer())
                    total = builder.add(builder.load(place, align=4), builder.load(sums[4 * i + c]))
                    builder.store(total, place, align=4)
            return context.get_dummy_value()

        index = types.intp
        return types.void(p, index, index, v, index, index, out, index), code

    return intrinsic(weigh)


def _put(_context: Any, q: Any, block: Any, column: Any) -> Any:
    """`put(q, block, column)` makes the row q, of the left kind, a column of a block."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        source = context.make_array(kinds[0])(context, builder, arguments[0])
        target = _Matrix(context, builder, kinds[1], arguments[1])
        part = ir.VectorType(ir.IntType(8 if _HAS_VNNI else 16), GROUP)
        bytes_ = ir.VectorType(ir.IntType(8), GROUP)
        zero, one, group = (ir.Constant(_LONG, n) for n in (0, 1, GROUP))
        at = builder.mul(arguments[2], group)
        groups = builder.sub(target.sizes[0], ir.Constant(_LONG, HEAD))
        with cgutils.for_range_slice(builder, zero, groups, one) as (k, _):
            value = _load(builder, builder.gep(source.data, [builder.mul(k, group)]), part)
            if OFFSET:  # taking it off flips the highest bit
                value = builder.xor(value, ir.Constant(part, [OFFSET] * GROUP))
            else:
                value = builder.trunc(value, bytes_)
            place = builder.bitcast(target.at(k, HEAD, at), bytes_.as_pointer())
            builder.store(value, place, align=1)
        return context.get_dummy_value()

    return types.void(q, block, types.intp), code


def _entry(_context: Any, table: Any, index: Any) -> Any:
    """`entry(table, index)` without a look whether it counts from the end, which vectors can do."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load(builder.gep(array.data, [builder.sext(arguments[1], _LONG)]))

    return table.dtype(table, types.int32), code


put: Any = intrinsic(_put)
entry: Any = intrinsic(_entry)
dots_1, dots_2, dots_3, dots_4 = (_dots(rows) for rows in (1, 2, 3, 4))
weigh_1, weigh_2, weigh_3, weigh_4 = (_weigh(rows) for rows in (1, 2, 3, 4))


def _bit_cast(result: Any, argument: Any, kind: Any) -> Any:
    """Makes a function that takes the bits of a number for another type."""

    def cast(_context: Any, _x: Any) -> Any:
        def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], kind)

        return result(argument), code

    return intrinsic(cast)


bits: Any = _bit_cast(types.int32, types.float32, _ONE)
unbits: Any = _bit_cast(types.float32, types.int32, ir.FloatType())
