"""Weights of softmax by distance to the largest score (docs/exact.md, 2.6 and 2.7), for numba.

A table holds powers of two, rounded, that halve every OCTAVE entries. AVX-512 has instructions that
take entries of an octave from registers; shifted and rounded they are all the others.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from mbz.exact.fixed import OCTAVE
from mbz.exact.vector_code import INT32, LONG, ONE, SIZE, call, load

_FINER = 8
"""Bits that an octave's entries have beyond those of the table."""

_IN_REGISTERS = SIZE == 16
_PERMUTE = "llvm.x86.avx512.vpermi2var.d.512"


def packed_powers(table: NDArray[np.float32]) -> NDArray[np.int32]:
    """A table of `fixed` as `weights_at` takes it."""
    entries = table.astype(np.int64)
    if not _IN_REGISTERS:
        return entries.astype(np.int32)
    octaves = (entries.size - 1) // OCTAVE
    shifts = np.arange(octaves)[:, None] + _FINER
    rounded = entries[:-1].reshape(octaves, OCTAVE)
    # All numbers that are rounded to the entry, for all octaves at once; any of them will do.
    fine = ((rounded << shifts) - (1 << shifts - 1)).max(0)
    assert (fine + (1 << shifts - 1) >> shifts == rounded).all()
    return np.append(fine, entries.size - 1).astype(np.int32)


def _weights_at(_context: Any, places: Any, table: Any) -> Any:
    """`weights_at(places, table)` makes entries of a table of their places; returns the sum.

    As many int32 as fill vectors, each a place in the table of `fixed` that was packed.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, entries = (
            context.make_array(kind)(context, builder, value)
            for kind, value in zip(signature.args, arguments, strict=True)
        )
        zero, size = ir.Constant(LONG, 0), ir.Constant(LONG, SIZE if _IN_REGISTERS else 1)
        total = cgutils.alloca_once_value(
            builder, ir.Constant(INT32 if _IN_REGISTERS else ONE, None)
        )
        look = _from_registers(builder, entries.data) if _IN_REGISTERS else None
        (num,) = cgutils.unpack_tuple(builder, array.shape)
        with cgutils.for_range_slice(builder, zero, num, size) as (k, _):
            place = builder.gep(array.data, [k])
            if look is not None:
                value = look(load(builder, place, INT32))
                builder.store(value, builder.bitcast(place, INT32.as_pointer()), align=4)
            else:
                value = builder.load(
                    builder.gep(entries.data, [builder.sext(builder.load(place), LONG)])
                )
                builder.store(value, place)
            builder.store(builder.add(builder.load(total), value), total)
        value = builder.load(total)
        if _IN_REGISTERS:
            value = call(builder, "llvm.vector.reduce.add.v16i32", [value], ONE)
        return value

    return types.int32(places, table), code


def _from_registers(builder: Any, entries: Any) -> Any:
    """A function from a vector of places to one of entries."""

    def at(number: int) -> Any:
        return builder.gep(entries, [ir.Constant(LONG, number)])

    def same(number: int) -> Any:
        return ir.Constant(INT32, [number] * SIZE)

    octave = [load(builder, at(i), INT32) for i in range(0, OCTAVE, SIZE)]
    last = load(builder, at(OCTAVE), ONE)
    last = builder.insert_element(same(0), last, ir.Constant(ONE, 0))
    last = builder.shuffle_vector(last, last, same(0))

    def look(place: Any) -> Any:
        within = builder.and_(place, same(OCTAVE - 1))
        low, high = (call(builder, _PERMUTE, [octave[i], within, octave[i + 1]]) for i in (0, 2))
        fine = builder.select(builder.icmp_unsigned("<", within, same(2 * SIZE)), low, high)
        shift = builder.add(builder.lshr(place, same(OCTAVE.bit_length() - 1)), same(_FINER))
        half = builder.shl(same(1), builder.sub(shift, same(1)))
        entry = builder.lshr(builder.add(fine, half), shift)
        return builder.select(builder.icmp_signed("==", place, last), same(0), entry)

    return look


weights_at: Any = intrinsic(_weights_at)
