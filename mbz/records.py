"""Tuples of arrays as numba's functions take them: one pointer to where the arrays are written down.

Numba itself takes a tuple of arrays apart into some eight words an array, and each function that
hands it on is compiled with hundreds of arguments: most of the time went into those. From behind a
pointer a function reads the words of the arrays that it uses. They never change, which LLVM is
told, so that it reads them where it likes, past any write.

Code that uses them is written for the tuples, and runs as it stands where numba is turned off.
"""

import hashlib
from functools import lru_cache
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


class Record(types.Type):  # type: ignore[misc]
    """Numba's type of the pointer.

    Attributes:
        fields: types of the tuple's arrays, or `Record` for tuples within, by name; in order.
        size: number of words.
    """

    def __init__(self, name: str, fields: dict[str, types.Type]) -> None:
        """The name is the tuple's; numba tells types apart by it and what it holds."""
        self.fields = fields
        self.places: dict[str, int] = {}
        self.size = 0
        for field, kind in fields.items():
            self.places[field] = self.size
            self.size += kind.size if isinstance(kind, Record) else 2 + kind.ndim
        held = ",".join(f"{field}:{kind}" for field, kind in fields.items())
        # A digest, as functions are named by the types that they take.
        super().__init__(f"{name}.{hashlib.sha256(held.encode()).hexdigest()[:8]}")


@register_model(Record)
class _Model(models.OpaqueModel):  # type: ignore[misc]
    """A pointer to bytes."""


@infer_getattr
class _Fields(AttributeTemplate):  # type: ignore[misc]
    key = Record

    def generic_resolve(self, record: Record, name: str) -> Any:
        return record.fields.get(name)


@lower_getattr_generic(Record)
def _field(context: Any, builder: Any, record: Record, pointer: Any, name: str) -> Any:
    words = builder.bitcast(pointer, _LONG.as_pointer())
    kind, place = record.fields[name], record.places[name]
    if isinstance(kind, Record):
        inner = builder.gep(words, [ir.Constant(_LONG, place)], inbounds=True)
        return builder.bitcast(inner, pointer.type)
    unchanging = builder.module.add_metadata([])

    def word(number: int, form: Any = _LONG) -> Any:
        at = builder.gep(words, [ir.Constant(_LONG, place + number)], inbounds=True)
        value = builder.load(builder.bitcast(at, form.as_pointer()))
        value.set_metadata("invariant.load", unchanging)
        return value

    form, model = context.get_value_type(kind), context.data_model_manager[kind]
    places = {part: model.get_field_position(part) for part in model._fields}  # noqa: SLF001
    item = ir.Constant(_LONG, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    shape = [word(2 + axis) for axis in range(kind.ndim)]
    stride = item
    value = ir.Constant(form, None)  # nobody counts references
    data = word(0, form.elements[places["data"]])
    nitems = word(1) if kind.ndim > 1 else shape[0]
    for part, number in (("data", data), ("nitems", nitems), ("itemsize", item)):
        value = builder.insert_value(value, number, places[part])
    for axis in reversed(range(kind.ndim)):
        value = builder.insert_value(value, shape[axis], (places["shape"], axis))
        value = builder.insert_value(value, stride, (places["strides"], axis))
        if axis:
            stride = builder.mul(stride, shape[axis])
    return value


@unbox(Record)
def _taken(_record: Any, held: Any, c: Any) -> Any:
    number = c.pyapi.object_getattr_string(held, "address")
    address = c.pyapi.long_as_longlong(number)
    c.pyapi.decref(number)
    return NativeValue(c.builder.inttoptr(address, c.context.get_value_type(_record)))


def at_address(record: Record) -> Any:
    """Makes a function that takes an address for such a pointer."""

    def read(_context: Any, address: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(record))

        return record(address), code

    return intrinsic(read)


@lru_cache(maxsize=None)
def array_kind(dtype: np.dtype[Any], axes: int, is_constant: bool = False) -> types.Array:  # noqa: FBT001, FBT002
    """Numba's type of contiguous arrays."""
    return types.Array(from_dtype(dtype), axes, "C", readonly=is_constant)


@lru_cache(maxsize=None)
def _record(name: str, fields: tuple[tuple[str, types.Type], ...]) -> Record:
    return Record(name, dict(fields))


class Held:
    """A tuple of contiguous arrays, and of such tuples, written down for compiled functions.

    Attributes:
        given: the tuple.
        kind: numba's type of it.
        address: where it is written down, as long as this lives.
    """

    def __init__(self, given: Any) -> None:
        """Writes it down; replacing one of its arrays later is of no effect."""
        self.given = given
        words: list[int] = []
        self.kind = _written(given, words)
        self._words = np.array(words, np.uint64)
        self.address: int = self._words.ctypes.data

    @property
    def _numba_type_(self) -> Record:
        return self.kind


def _written(given: Any, words: list[int]) -> Record:
    """Appends the words of a tuple; returns its type."""
    fields: list[tuple[str, types.Type]] = []
    for name, value in zip(given._fields, given, strict=True):
        if isinstance(value, np.ndarray):
            fields.append((name, _noted(value, words)))
        else:
            fields.append((name, _written(value, words)))
    return _record(type(given).__name__, tuple(fields))


def _noted(array: NDArray[Any], words: list[int]) -> types.Array:
    flags = array.flags
    assert flags.c_contiguous
    words += (array.__array_interface__["data"][0], array.size, *array.shape)
    return array_kind(array.dtype, array.ndim, not flags.writeable)
