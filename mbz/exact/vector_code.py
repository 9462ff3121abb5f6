"""What the vector instructions of `vectors.py` and `units.py` are made of: LLVM code for numba."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from mbz.compiled import FEATURES

SIZE = 16 if "+avx512bw" in FEATURES else 8 if "+avx2" in FEATURES else 4
"""Sums of 32 bits in a vector."""

HAS_VNNI = f"+{'avx512vnni' if SIZE == 16 else 'avxvnni'}" in FEATURES

ONE, LONG = ir.IntType(32), ir.IntType(64)
INT32 = ir.VectorType(ONE, SIZE)
INT16 = ir.VectorType(ir.IntType(16), 2 * SIZE)

_DOT = f"llvm.x86.avx512.vpdpbusd.{32 * SIZE}"
_MADD = {16: "llvm.x86.avx512.pmaddw.d.512", 8: "llvm.x86.avx2.pmadd.wd", 4: ""}[SIZE]
_LINE = 64  # bytes of a cache line


def call(builder: Any, name: str, arguments: list[Any], result: Any = INT32) -> Any:
    """What an instruction makes of vectors."""
    kind = ir.FunctionType(result, [x.type for x in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def add_quads(builder: Any, total: Any, a: Any, b: Any) -> Any:
    """With VNNI: sums, and four products each of unsigned bytes in words a and signed ones."""
    return call(builder, _DOT, [total, a, builder.bitcast(b, INT32)])


def multiply_add(builder: Any, a: Any, b: Any) -> Any:
    """Sums of two neighbouring products each, from int16 to int32."""
    if _MADD:
        return call(builder, _MADD, [a, b])
    return sum_of_products(builder, a, b, 2)


def sum_of_products(builder: Any, a: Any, b: Any, group: int) -> Any:
    """Sums of `group` neighbouring products each, of signed numbers, to int32."""
    total = ir.Constant(INT32, None)
    for first in range(group):
        mask = ir.Constant(INT32, list(range(first, group * SIZE, group)))
        terms = [builder.sext(builder.shuffle_vector(x, x, mask), INT32) for x in (a, b)]
        total = builder.add(total, builder.mul(*terms))
    return total


class Matrix:
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


def load(builder: Any, pointer: Any, kind: Any) -> Any:
    """A vector from anywhere in memory."""
    size = kind.element.width // 8 if isinstance(kind, ir.VectorType) else 1
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=size)


def spread(builder: Any, pointer: Any) -> Any:
    """Four bytes of memory in all places of a vector."""
    vector = ir.Constant(INT32, None)
    vector = builder.insert_element(vector, load(builder, pointer, ONE), ir.Constant(ONE, 0))
    return builder.shuffle_vector(vector, vector, ir.Constant(INT32, [0] * SIZE))


def prefetch(builder: Any, pointer: Any, size: int) -> None:
    """Has memory that will be read soon brought near, each cache line once."""
    kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), ONE, ONE, ONE])
    read, near, data = (ir.Constant(ONE, n) for n in (0, 2, 1))
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    for at in range(0, size, _LINE):
        builder.call(function, [builder.gep(pointer, [ir.Constant(LONG, at)]), read, near, data])


def sums_at_zero(builder: Any, count: int) -> list[Any]:
    """Vectors of int32 that start at zero; LLVM keeps them in registers."""
    zero = ir.Constant(INT32, None)
    sums = [cgutils.alloca_once_value(builder, zero) for _ in range(count)]
    for place in sums:
        builder.store(zero, place)
    return sums


def put_down(builder: Any, sums: list[Any], place: Any) -> None:
    """Stores sums from a place in memory on."""
    for j, total in enumerate(sums):
        at = builder.gep(place, [ir.Constant(LONG, j * SIZE)])
        builder.store(builder.load(total), builder.bitcast(at, INT32.as_pointer()), align=4)
