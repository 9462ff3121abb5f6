"""Integer products in vector instructions, written as LLVM code for numba.

On x86 each multiply-add takes pairs of int16 to sums in int32 (`vpmaddwd`, which LLVM joins with
the addition where the processor has VNNI); elsewhere the same in plain LLVM. Both are exact: pairs
of products stay below 2**26, and the sums below 2**31.

Shapes: all last axes are multiples of `PAD`, filled up with zeros in the int8 operand.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.registry import cpu_target
from numba.extending import intrinsic

PAD = 32
"""Multiple of int8 weights in a row."""

OUTPUTS = 4
"""Multiple of rows of weights that `dots` multiplies at once."""

_AHEAD = 2048  # bytes between the next rows of weights and those that are fetched meanwhile
_FEATURES = cpu_target.target_context.codegen()._tm_features.split(",")  # noqa: SLF001
_WIDTH = 32 if "+avx512bw" in _FEATURES else 16
_INT8 = ir.VectorType(ir.IntType(8), _WIDTH)
_INT16 = ir.VectorType(ir.IntType(16), _WIDTH)
_INT32 = ir.VectorType(ir.IntType(32), _WIDTH // 2)
_FOUR = ir.VectorType(ir.IntType(32), 4)
_ONE, _LONG = ir.IntType(32), ir.IntType(64)

if _WIDTH == 32:
    _MADD = "llvm.x86.avx512.pmaddw.d.512"
elif "+avx2" in _FEATURES:
    _MADD = "llvm.x86.avx2.pmadd.wd"
else:
    _MADD = ""


def _multiply_add(builder: Any, a: Any, b: Any) -> Any:
    """Sums of two neighbouring products each, from int16 to int32."""
    if _MADD:
        kind = ir.FunctionType(_INT32, [_INT16, _INT16])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, _MADD), [a, b])
    products = []
    for first in (0, 1):
        mask = ir.Constant(ir.VectorType(_ONE, _WIDTH // 2), list(range(first, _WIDTH, 2)))
        halves = [builder.sext(builder.shuffle_vector(x, x, mask), _INT32) for x in (a, b)]
        products.append(builder.mul(*halves))
    return builder.add(*products)


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
    size = kind.element.width // 8 if isinstance(kind, ir.VectorType) else 2
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=size)


def _prefetch(builder: Any, pointer: Any) -> None:
    """Has memory that will be read soon brought near."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), _ONE, _ONE, _ONE])
    read, near, data = (ir.Constant(_ONE, n) for n in (0, 3, 1))
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(function, [pointer, read, near, data])


def _sums(builder: Any, count: int) -> list[Any]:
    """Vectors of int32 that start at zero; LLVM keeps them in registers."""
    zero = ir.Constant(_INT32, None)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(count)]
    for place in sums:
        builder.store(zero, place)
    return sums


def _add_to(builder: Any, place: Any, value: Any) -> None:
    builder.store(builder.add(builder.load(place), value), place)


def _four_totals(builder: Any, vectors: list[Any]) -> Any:
    """The totals of four vectors of int32 as one vector of four."""
    size = _WIDTH // 2

    def joined(a: Any, b: Any, places: list[int]) -> Any:
        """Elements of each quarter of a and b: below 4 of a, from 4 on of b."""
        mask = [q + (n if n < 4 else size + n - 4) for q in range(0, size, 4) for n in places]
        return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(_ONE, size), mask))

    def added(a: Any, b: Any, low: list[int], high: list[int]) -> Any:
        return builder.add(joined(a, b, low), joined(a, b, high))

    a, b, c, d = vectors
    ab, cd = (added(*pair, [0, 4, 1, 5], [2, 6, 3, 7]) for pair in ((a, b), (c, d)))
    total = added(ab, cd, [0, 1, 4, 5], [2, 3, 6, 7])
    while size > 4:
        size //= 2
        halves = [
            ir.Constant(ir.VectorType(_ONE, size), list(range(first, first + size)))
            for first in (0, size)
        ]
        total = builder.add(*(builder.shuffle_vector(total, total, half) for half in halves))
    return total


def _dots(rows: int) -> Any:
    """Makes `dots(q, m, w, n, out, at)`: rows m.. of q (int16) times rows n.. of w (int8).

    Fills `out[m + i, at + j]` (int32) for i < rows and j < OUTPUTS; as many terms as w has columns.
    """
    outputs = OUTPUTS

    def dots(_context: Any, q: Any, m: Any, w: Any, n: Any, out: Any, at: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kinds = signature.args
            left, right, result = (
                _Matrix(context, builder, kinds[i], arguments[i]) for i in (0, 2, 4)
            )
            m, n, at = (arguments[i] for i in (1, 3, 5))
            zero, step = ir.Constant(_LONG, 0), ir.Constant(_LONG, _WIDTH)
            sums = _sums(builder, rows * outputs)
            left_at = [left.at(m, i, zero) for i in range(rows)]
            right_at = [right.at(n, j, zero) for j in range(outputs)]
            # Rows of w follow each other in memory, so this is in the next ones; past the end of w
            # it does no harm.
            four = builder.mul(right.sizes[1], ir.Constant(_LONG, outputs))
            ahead = builder.add(four, ir.Constant(_LONG, _AHEAD))
            with cgutils.for_range_slice(builder, zero, right.sizes[1], step) as (k, _):
                a = [_load(builder, builder.gep(p, [k]), _INT16) for p in left_at]
                for j in range(outputs):
                    b = _load(builder, builder.gep(right_at[j], [k]), _INT8)
                    b = builder.sext(b, _INT16)
                    _prefetch(builder, builder.gep(right_at[j], [builder.add(k, ahead)]))
                    for i in range(rows):
                        _add_to(builder, sums[i * outputs + j], _multiply_add(builder, a[i], b))
            for i in range(rows):
                row = [builder.load(place) for place in sums[i * outputs : (i + 1) * outputs]]
                place = builder.bitcast(result.at(m, i, at), _FOUR.as_pointer())
                builder.store(_four_totals(builder, row), place, align=4)
            return context.get_dummy_value()

        return types.void(q, types.intp, w, types.intp, out, types.intp), code

    return intrinsic(dots)


def _weigh(rows: int) -> Any:
    """Makes `weigh(p, r, j, v, first, pairs, out, e)`, which adds weighted values to sums.

    For i < rows and PAD columns from e on, adds to `out[r + i, e + ..]` (int32) the values of
    `pairs` pairs of slots, from pair `first` of v (pairs, width, 2) int8 on, times the weights
    p (int16) at `p[r + i, j]` and on.
    """
    blocks = 2 * PAD // _WIDTH

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
            sums = _sums(builder, rows * blocks)
            all_same = ir.Constant(ir.VectorType(_ONE, _WIDTH // 2), [0] * (_WIDTH // 2))
            weights_at = [weights.at(r, i, j) for i in range(rows)]
            with cgutils.for_range_slice(builder, zero, pairs, one) as (k, _):
                shares = []
                for place in weights_at:
                    both = _load(builder, builder.gep(place, [builder.mul(k, two)]), _ONE)
                    vector = builder.insert_element(
                        ir.Constant(_INT32, None), both, ir.Constant(_ONE, 0)
                    )
                    vector = builder.shuffle_vector(vector, vector, all_same)
                    shares.append(builder.bitcast(vector, _INT16))
                at = values.at(builder.add(first, k), 0, builder.mul(e, two))
                for c in range(blocks):
                    value = _load(builder, builder.gep(at, [ir.Constant(_LONG, c * _WIDTH)]), _INT8)
                    value = builder.sext(value, _INT16)
                    for i in range(rows):
                        product = _multiply_add(builder, shares[i], value)
                        _add_to(builder, sums[i * blocks + c], product)
            for i in range(rows):
                for c in range(blocks):
                    column = builder.add(e, ir.Constant(_LONG, c * _WIDTH // 2))
                    place = builder.bitcast(result.at(r, i, column), _INT32.as_pointer())
                    total = builder.add(
                        builder.load(place, align=4), builder.load(sums[i * blocks + c])
                    )
                    builder.store(total, place, align=4)
            return context.get_dummy_value()

        index = types.intp
        return types.void(p, index, index, v, index, index, out, index), code

    return intrinsic(weigh)


dots_1, dots_2 = _dots(1), _dots(2)
weigh_1, weigh_2 = _weigh(1), _weigh(2)


def _bit_cast(result: Any, argument: Any, kind: Any) -> Any:
    """Makes a function that takes the bits of a number for another type."""

    def cast(_context: Any, _x: Any) -> Any:
        def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], kind)

        return result(argument), code

    return intrinsic(cast)


bits: Any = _bit_cast(types.int32, types.float32, _ONE)
unbits: Any = _bit_cast(types.float32, types.int32, ir.FloatType())
