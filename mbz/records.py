"""Tuples of arrays for numba's functions: one pointer to where all the arrays are written down.

By itself numba takes a tuple apart into some eight words an array, so that each function which
hands it on has hundreds of arguments: nearly all that was compiled were those. From behind a
pointer a function reads the words of the arrays that it uses. They never change, and LLVM is told
so: it reads them where it likes, past any write, and again rather than keep them.

Functions are written for the tuples, and run as they stand where numba is turned off.
"""

import hashlib
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    intrinsic,
    lower_getattr_generic,
    models,
    register_model,
    unbox,
)
from numba.np.numpy_support import from_dtype
from numpy.typing import NDArray

_LONG = ir.IntType(64)


class Record(types.Type):
    """Numba's type of the pointer.

    Attributes:
        fields: types of the arrays, or of tuples within, in order.
        places: number of the first word of each.
        size: number of words: of an array, where it lies, its size and shape.
    """

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        """Takes the name of the tuple, and the types."""
        self.fields = fields
        self.places: dict[str, int] = {}
        self.size = 0
        for field, kind in fields.items():
            self.places[field] = self.size
            self.size += kind.size if isinstance(kind, Record) else 2 + kind.ndim
        # Numba tells types apart by their names, and names functions by the types they take.
        held = ",".join(f"{field}:{kind}" for field, kind in fields.items())
        super().__init__(f"{name}.{hashlib.sha256(held.encode()).hexdigest()[:16]}")


@register_model(Record)
class _Model(models.OpaqueModel):
    """A pointer to bytes."""


@infer_getattr
class _Fields(AttributeTemplate):
    key = Record
    generic_resolve: Any = lambda _self, record, name: record.fields.get(name)


def _field(context: Any, builder: Any, record: Any, pointer: Any, name: str) -> Any:
    """Reads an array; of a tuple within, the pointer."""
    kind = record.fields[name]
    first = builder.bitcast(pointer, _LONG.as_pointer())
    first = builder.gep(first, [ir.Constant(_LONG, record.places[name])], inbounds=True)
    if isinstance(kind, Record):
        return builder.bitcast(first, pointer.type)
    unchanging = builder.module.add_metadata([])

    def word(number: int, form: Any = _LONG) -> Any:
        at = builder.gep(first, [ir.Constant(_LONG, number)], inbounds=True)
        value = builder.load(builder.bitcast(at, form.as_pointer()))
        value.set_metadata("invariant.load", unchanging)
        return value

    form, model = context.get_value_type(kind), context.data_model_manager[kind]
    at = {part: model.get_field_position(part) for part in ("data", "nitems", "itemsize")}
    shapes, strides = (model.get_field_position(part) for part in ("shape", "strides"))
    item = ir.Constant(_LONG, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    shape = [word(2 + axis) for axis in range(kind.ndim)]
    array = ir.Constant(form, None)  # nobody counts references
    array = builder.insert_value(array, word(0, form.elements[at["data"]]), at["data"])
    array = builder.insert_value(array, word(1), at["nitems"])
    array = builder.insert_value(array, item, at["itemsize"])
    stride = item
    for axis in reversed(range(kind.ndim)):
        array = builder.insert_value(array, shape[axis], (shapes, axis))
        array = builder.insert_value(array, stride, (strides, axis))
        stride = builder.mul(stride, shape[axis]) if axis else stride
    return array


def _taken(record: Any, held: Any, c: Any) -> Any:
    """From Python's `Held` to the pointer."""
    number = c.pyapi.object_getattr_string(held, "address")
    address = c.pyapi.long_as_longlong(number)
    c.pyapi.decref(number)
    made: Any = NativeValue
    return made(c.builder.inttoptr(address, c.context.get_value_type(record)))


_lower: Any = lower_getattr_generic
_unbox: Any = unbox
_lower(Record)(_field)
_unbox(Record)(_taken)


def at_address(record: Record) -> Any:
    """Makes a function that takes an address for such a pointer."""

    def read(_context: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(record))

        return record(address), code

    return intrinsic(read)


@cache
def array_kind(dtype: np.dtype[Any], axes: int, *, is_constant: bool = False) -> Any:
    """Numba's type of contiguous arrays."""
    return types.Array(from_dtype(dtype), axes, "C", readonly=is_constant)


@cache
def _record(name: str, fields: tuple[tuple[str, Any], ...]) -> Record:
    return Record(name, dict(fields))


class Held:
    """A tuple of contiguous arrays, and of such tuples, written down for compiled functions.

    A tuple within may be held already, so that its many arrays are looked at once.

    Attributes:
        given: the tuple.
        kind: numba's type of the pointer.
        words: what is written down.
        address: where it points, as long as this lives.
    """

    def __init__(self, given: Any) -> None:
        """Takes the tuple; it keeps its arrays, which may change."""
        self.given = given
        self.words: list[int] = []
        self.kind = self._numba_type_ = _written(given, self.words)
        self._memory = np.array(self.words, np.uint64)
        self.address: int = self._memory.ctypes.data


def _written(given: Any, words: list[int]) -> Record:
    """Appends the words of a tuple; returns its type."""
    if isinstance(given, Held):
        words += given.words
        return given.kind
    kinds = [
        _noted(value, words) if isinstance(value, np.ndarray) else _written(value, words)
        for value in given
    ]
    return _record(type(given).__name__, tuple(zip(given._fields, kinds, strict=True)))


def _noted(array: NDArray[Any], words: list[int]) -> Any:
    assert array.flags.c_contiguous
    words += (array.ctypes.data, array.size, *array.shape)
    return array_kind(array.dtype, array.ndim, is_constant=not array.flags.writeable)
