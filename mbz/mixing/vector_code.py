"""LLVM code of the loops of `vectors.py`: what they do with numbers is done with vectors of 16."""

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

WIDTH = 16
_BIT, _ONE, _LONG = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_ONES, _LONGS = ir.VectorType(_ONE, WIDTH), ir.VectorType(_LONG, WIDTH)
_ALL = ir.Constant(ir.VectorType(_BIT, WIDTH), [1] * WIDTH)


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, arguments)


def _same(builder: Any, number: Any) -> Any:
    """A vector of the same number."""
    vector = builder.insert_element(ir.Constant(_ONES, None), number, ir.Constant(_ONE, 0))
    return builder.shuffle_vector(vector, vector, ir.Constant(_ONES, [0] * WIDTH))


class Vector:
    """Sixteen numbers of 32 bits, or truth values, with Python's operators."""

    def __init__(self, builder: Any, value: Any, *, is_signed: bool = True) -> None:
        self.builder, self.value, self.is_signed = builder, value, is_signed

    def _made(self, value: Any) -> "Vector":
        return Vector(self.builder, value, is_signed=self.is_signed)

    def _value(self, other: Any) -> Any:
        if isinstance(other, Vector):
            return other.value
        return ir.Constant(_ONES, [int(other)] * WIDTH)

    def __add__(self, other: Any) -> "Vector":
        return self._made(self.builder.add(self.value, self._value(other)))

    def __sub__(self, other: Any) -> "Vector":
        return self._made(self.builder.sub(self.value, self._value(other)))

    def __rsub__(self, other: Any) -> "Vector":
        return self._made(self.builder.sub(self._value(other), self.value))

    def __neg__(self) -> "Vector":
        return 0 - self

    def __mul__(self, other: Any) -> "Vector":
        return self._made(self.builder.mul(self.value, self._value(other)))

    def __and__(self, other: Any) -> "Vector":
        return self._made(self.builder.and_(self.value, self._value(other)))

    def __or__(self, other: Any) -> "Vector":
        return self._made(self.builder.or_(self.value, self._value(other)))

    def __xor__(self, other: Any) -> "Vector":
        return self._made(self.builder.xor(self.value, self._value(other)))

    __radd__, __rmul__, __rand__, __ror__ = __add__, __mul__, __and__, __or__

    def __lshift__(self, other: Any) -> "Vector":
        return self._made(self.builder.shl(self.value, self._value(other)))

    def __rshift__(self, other: Any) -> "Vector":
        shift = self.builder.ashr if self.is_signed else self.builder.lshr
        return self._made(shift(self.value, self._value(other)))

    def _compared(self, how: str, other: Any) -> "Vector":
        compare = self.builder.icmp_signed if self.is_signed else self.builder.icmp_unsigned
        return self._made(compare(how, self.value, self._value(other)))

    def __eq__(self, other: object) -> "Vector":  # type: ignore[override]
        return self._compared("==", other)

    def __ne__(self, other: object) -> "Vector":  # type: ignore[override]
        return self._compared("!=", other)

    def __lt__(self, other: Any) -> "Vector":
        return self._compared("<", other)

    def __gt__(self, other: Any) -> "Vector":
        return self._compared(">", other)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("a loop cannot branch on its numbers; use `where`")

    def chosen(self, one: Any, other: Any) -> "Vector":
        like = one if isinstance(one, Vector) else other
        value = self.builder.select(self.value, self._value(one), self._value(other))
        is_signed = like.is_signed if isinstance(like, Vector) else True
        return Vector(self.builder, value, is_signed=is_signed)

    def signed(self) -> "Vector":
        return Vector(self.builder, self.value)

    def unsigned(self) -> "Vector":
        return Vector(self.builder, self.value, is_signed=False)

    def _long(self) -> Any:
        widen = self.builder.sext if self.is_signed else self.builder.zext
        return widen(self.value, _LONGS)

    def scaled(self, other: Any, shift: int) -> "Vector":
        builder = self.builder
        if isinstance(other, Vector):
            factor = other._long()  # noqa: SLF001
        else:
            factor = ir.Constant(_LONGS, [int(other)] * WIDTH)
        product = builder.mul(self._long(), factor)
        product = builder.ashr(product, ir.Constant(_LONGS, [shift] * WIDTH))
        return self._made(builder.trunc(product, _ONES))

    def wrapped(self, factor: int, more: int) -> "Vector":
        return self.unsigned() * factor + more


class _Places(ir.instructions.Instruction):
    """Addresses of elements, which llvmlite's own instruction knows for single ones only."""

    def __init__(self, builder: Any, data: Any, element: Any, at: Any) -> None:
        kind = ir.VectorType(data.type, WIDTH)
        name = builder.function.scope.deduplicate("places")
        super().__init__(builder.block, kind, "getelementptr", [data, at], name=name)
        self._element = element
        builder._insert(self)  # noqa: SLF001

    def descr(self, buf: list[str]) -> None:
        data, at = self.operands
        buf.append(
            f"getelementptr {self._element}, {data.type} {data.get_reference()}, "
            f"{at.type} {at.get_reference()}\n"
        )


class _Array:
    """An array argument; elements at k itself lie side by side, others anywhere."""

    def __init__(self, builder: Any, data: Any, kind: Any, loop: "_Loop") -> None:
        self._builder, self._loop = builder, loop
        self._data = builder.bitcast(data, _ONE.as_pointer())
        self._is_signed = kind.signed and kind.bitwidth < 64
        self._bits = kind.bitwidth
        self._element = ir.IntType(kind.bitwidth)

    def _beside(self) -> Any:
        place = self._builder.gep(self._data, [self._loop.first])
        return self._builder.bitcast(place, _ONES.as_pointer())

    def __getitem__(self, at: Any) -> Vector:
        builder = self._builder
        at = self._loop.as_vector(at)
        if at is self._loop.k and self._bits == 32:
            if self._loop.mask is None:
                value = builder.load(self._beside(), align=4)
            else:
                none = ir.Constant(_ONES, None)
                value = _call(
                    builder, "llvm.masked.load.v16i32.p0", _ONES, self._beside(),
                    ir.Constant(_ONE, 4), self._loop.mask, none,
                )  # fmt: skip
            return Vector(builder, value, is_signed=self._is_signed)
        # Shorter elements come with what follows them, of longer ones come the low bits.
        places = _Places(builder, self._data, self._element, at.value)
        value = _call(
            builder, "llvm.masked.gather.v16i32.v16p0", _ONES, places,
            ir.Constant(_ONE, min(self._bits // 8, 4)), _ALL, ir.Constant(_ONES, None),
        )  # fmt: skip
        if self._bits < 32:
            unused = ir.Constant(_ONES, [32 - self._bits] * WIDTH)
            shift = builder.ashr if self._is_signed else builder.lshr
            value = shift(builder.shl(value, unused), unused)
        return Vector(builder, value, is_signed=self._is_signed)

    def __setitem__(self, at: Any, value: Any) -> None:
        assert self._bits == 32
        builder = self._builder
        value = self._loop.as_vector(value).value
        at = self._loop.as_vector(at)
        mask = self._loop.mask
        align = ir.Constant(_ONE, 4)
        if at is not self._loop.k:
            places = _Places(builder, self._data, self._element, at.value)
            mask = _ALL if mask is None else mask
            name = "llvm.masked.scatter.v16i32.v16p0"
            _call(builder, name, ir.VoidType(), value, places, align, mask)
        elif mask is None:
            builder.store(value, self._beside(), align=4)
        else:
            name = "llvm.masked.store.v16i32.p0"
            _call(builder, name, ir.VoidType(), value, self._beside(), align, mask)


class _Loop:
    """A block of steps: the first, all of them, and which there are (None: all)."""

    def __init__(self, builder: Any, first: Any, num: Any, *, whole: bool) -> None:
        self.builder, self.first = builder, first
        numbers = ir.Constant(_ONES, list(range(WIDTH)))
        k = builder.add(_same(builder, builder.trunc(first, _ONE)), numbers)
        self.mask = None
        if not whole:
            last = _same(builder, builder.trunc(builder.sub(num, ir.Constant(_LONG, 1)), _ONE))
            self.mask = builder.icmp_signed("<=", k, last)
            k = builder.select(self.mask, k, last)  # so that all read what there is
        self.k = Vector(builder, k)

    def as_vector(self, number: Any) -> Vector:
        if isinstance(number, Vector):
            return number
        return Vector(self.builder, ir.Constant(_ONES, [int(number)] * WIDTH))


def loop_of(step: Callable[..., Any], *, whole: bool = False) -> Any:
    """The loop of a step, for numba; `whole`: its length is a multiple of WIDTH."""

    def loop(_context: Any, num: Any, *kinds: Any) -> Any:
        def code(context: Any, builder: Any, typed: Any, values: Any) -> Any:
            zero, width = ir.Constant(_LONG, 0), ir.Constant(_LONG, WIDTH)
            given = []
            for kind, value in zip(typed.args[1:], values[1:], strict=True):
                if isinstance(kind, types.Array):
                    assert kind.layout == "C"
                    given.append(context.make_array(kind)(context, builder, value).data)
                else:
                    number = context.cast(builder, value, kind, types.int32)
                    given.append(Vector(builder, _same(builder, number)))
            sums = cgutils.alloca_once_value(builder, ir.Constant(_ONES, None))
            builder.store(ir.Constant(_ONES, None), sums)
            with cgutils.for_range_slice(builder, zero, values[0], width) as (first, _):
                block = _Loop(builder, first, values[0], whole=whole)
                arguments = [
                    _Array(builder, value, kind.dtype, block)
                    if isinstance(kind, types.Array)
                    else value
                    for kind, value in zip(typed.args[1:], given, strict=True)
                ]
                result = step(block.k, *arguments)
                if result is not None:
                    value = block.as_vector(result).value
                    if block.mask is not None:
                        value = builder.select(block.mask, value, ir.Constant(_ONES, None))
                    builder.store(builder.add(builder.load(sums), value), sums)
            name = "llvm.vector.reduce.add.v16i32"
            total = _call(builder, name, _ONE, builder.load(sums))
            return builder.sext(total, _LONG)

        return types.int64(types.int64, *kinds), code

    loop.__name__ = step.__name__
    names = ["_context", "num", *list(signature(step).parameters)[1:]]
    loop.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    return intrinsic(loop)


@intrinsic
def fetch(_context: Any, array: Any, at: Any) -> Any:
    """Has the line of array[at] brought near; see `vectors.py`."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        place = builder.gep(data, [arguments[1]])
        place = builder.bitcast(place, ir.IntType(8).as_pointer())
        read, near, kind = (ir.Constant(_ONE, n) for n in (0, 3, 1))
        _call(builder, "llvm.prefetch.p0", ir.VoidType(), place, read, near, kind)
        return context.get_dummy_value()

    return types.void(array, types.int64), code
