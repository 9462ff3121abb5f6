"""LLVM code of the loops of `vectors.py`: what they do with numbers is done with vectors of 16."""

from collections.abc import Callable
from inspect import Parameter, Signature, signature
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from mbz.compiled import FEATURES

WIDTH = 16
_BIT, _ONE, _LONG = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_VOID = ir.VoidType()

# AVX2 has the instruction, too, but it is slow or LLVM takes it apart with addresses of 64 bits.
_GATHERS = "+avx512f" in FEATURES


def _constant(number: int, width: int, kind: Any = _ONE) -> Any:
    return ir.Constant(ir.VectorType(kind, width), [number] * width)


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, name)
    return builder.call(function, arguments)


def _same(builder: Any, number: Any, width: int) -> Any:
    """A vector of the same number."""
    none = _constant(0, width)
    vector = builder.insert_element(none, number, ir.Constant(_ONE, 0))
    return builder.shuffle_vector(vector, vector, none)


class Vector:
    """Numbers of 32 bits, or truth values, with Python's operators."""

    def __init__(self, builder: Any, value: Any, *, is_signed: bool = True) -> None:
        self.builder, self.value, self.is_signed = builder, value, is_signed
        self.width = value.type.count

    def _made(self, value: Any) -> "Vector":
        return Vector(self.builder, value, is_signed=self.is_signed)

    def _value(self, other: Any) -> Any:
        if isinstance(other, Vector):
            return other.value
        return _constant(int(other), self.width)

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
        """See `vectors.where`."""
        like = one if isinstance(one, Vector) else other
        value = self.builder.select(self.value, self._value(one), self._value(other))
        is_signed = like.is_signed if isinstance(like, Vector) else True
        return Vector(self.builder, value, is_signed=is_signed)

    def signed(self) -> "Vector":
        """See `vectors.signed`."""
        return Vector(self.builder, self.value)

    def unsigned(self) -> "Vector":
        """See `vectors.unsigned`."""
        return Vector(self.builder, self.value, is_signed=False)

    def _long(self) -> Any:
        widen = self.builder.sext if self.is_signed else self.builder.zext
        return widen(self.value, ir.VectorType(_LONG, self.width))

    def scaled(self, other: Any, shift: int) -> "Vector":
        """See `vectors.scaled`."""
        builder = self.builder
        if isinstance(other, Vector):
            factor = other._long()  # noqa: SLF001
        else:
            factor = _constant(int(other), self.width, _LONG)
        product = builder.mul(self._long(), factor)
        product = builder.ashr(product, _constant(shift, self.width, _LONG))
        return self._made(builder.trunc(product, self.value.type))

    def wrapped(self, factor: int, more: int) -> "Vector":
        """See `vectors.wrapped`."""
        return self.unsigned() * factor + more


class _Places(ir.instructions.Instruction):  # type: ignore[misc]
    """Addresses of elements, which llvmlite's own instruction knows for single ones only."""

    def __init__(self, builder: Any, data: Any, element: Any, at: Any) -> None:
        kind = ir.VectorType(data.type, at.type.count)
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

    def __init__(self, data: Any, kind: Any, loop: "_Block") -> None:
        self._builder, self._loop = loop.builder, loop
        self._data = loop.builder.bitcast(data, _ONE.as_pointer())
        self._bits = kind.bitwidth
        self._is_signed = kind.signed and kind.bitwidth < 64
        self._element = ir.IntType(kind.bitwidth)
        self._kind = ir.VectorType(_ONE, loop.width)
        self._size = f"v{loop.width}"
        self._align = min(kind.bitwidth // 8, 4)

    def _beside(self) -> Any:
        place = self._builder.gep(self._data, [self._loop.first])
        return self._builder.bitcast(place, self._kind.as_pointer())

    def __getitem__(self, at: Any) -> Vector:
        builder, width = self._builder, self._loop.width
        at = self._loop.as_vector(at)
        if at is self._loop.k and self._bits == 32:
            if self._loop.mask is None:
                value = builder.load(self._beside(), align=4)
            else:
                value = _call(
                    builder, f"llvm.masked.load.{self._size}i32.p0", self._kind, self._beside(),
                    ir.Constant(_ONE, 4), self._loop.mask, _constant(0, width),
                )  # fmt: skip
            return Vector(builder, value, is_signed=self._is_signed)
        # Shorter elements come with what follows them, of longer ones come the low bits.
        value = self._gathered(at.value) if _GATHERS else self._collected(at.value)
        if self._bits < 32:
            unused = _constant(32 - self._bits, width)
            shift = builder.ashr if self._is_signed else builder.lshr
            value = shift(builder.shl(value, unused), unused)
        return Vector(builder, value, is_signed=self._is_signed)

    def _gathered(self, at: Any) -> Any:
        """Words from the places of a vector, by one instruction."""
        places = _Places(self._builder, self._data, self._element, at)
        return _call(
            self._builder, f"llvm.masked.gather.{self._size}i32.{self._size}p0", self._kind, places,
            ir.Constant(_ONE, self._align), _constant(1, self._loop.width, _BIT),
            _constant(0, self._loop.width),
        )  # fmt: skip

    def _collected(self, at: Any) -> Any:
        """Words from the places of a vector, one by one."""
        builder = self._builder
        data = builder.bitcast(self._data, self._element.as_pointer())
        value = ir.Constant(self._kind, ir.Undefined)
        for i in range(self._loop.width):
            number = ir.Constant(_ONE, i)
            place = builder.gep(data, [builder.zext(builder.extract_element(at, number), _LONG)])
            word = builder.load(builder.bitcast(place, _ONE.as_pointer()), align=self._align)
            value = builder.insert_element(value, word, number)
        return value

    def __setitem__(self, at: Any, value: Any) -> None:
        assert self._bits == 32
        builder, mask = self._builder, self._loop.mask
        value, at = self._loop.as_vector(value).value, self._loop.as_vector(at)
        align = ir.Constant(_ONE, 4)
        if at is not self._loop.k:
            places = _Places(builder, self._data, self._element, at.value)
            mask = _constant(1, self._loop.width, _BIT) if mask is None else mask
            name = f"llvm.masked.scatter.{self._size}i32.{self._size}p0"
            _call(builder, name, _VOID, value, places, align, mask)
        elif mask is None:
            builder.store(value, self._beside(), align=4)
        else:
            name = f"llvm.masked.store.{self._size}i32.p0"
            _call(builder, name, _VOID, value, self._beside(), align, mask)


class _Block:
    """Some steps of a loop: the first, all of them, and which there are (None: all)."""

    def __init__(self, builder: Any, first: Any, num: Any, width: int, *, whole: bool) -> None:
        self.builder, self.first, self.width = builder, first, width
        numbers = ir.Constant(ir.VectorType(_ONE, width), list(range(width)))
        k = builder.add(_same(builder, builder.trunc(first, _ONE), width), numbers)
        self.mask = None
        if not whole:
            last = builder.trunc(builder.sub(num, ir.Constant(_LONG, 1)), _ONE)
            last = _same(builder, last, width)
            self.mask = builder.icmp_signed("<=", k, last)
            k = builder.select(self.mask, k, last)  # so that all read what there is
        self.k = Vector(builder, k)

    def as_vector(self, number: Any) -> Vector:
        if isinstance(number, Vector):
            return number
        return Vector(self.builder, _constant(int(number), self.width))

    def total(self, result: Any) -> Any:
        """The sum of what the steps return."""
        if result is None:
            return ir.Constant(_ONE, 0)
        value = self.as_vector(result).value
        if self.mask is not None:
            value = self.builder.select(self.mask, value, _constant(0, self.width))
        return _call(self.builder, f"llvm.vector.reduce.add.v{self.width}i32", _ONE, value)


def loop_of(step: Callable[..., Any], *, whole: bool = False) -> Any:
    """The loop of a step, for numba; `whole`: its length is a multiple of WIDTH."""

    def loop(_context: Any, num: Any, *kinds: Any) -> Any:
        def code(context: Any, builder: Any, typed: Any, values: Any) -> Any:
            num, kinds = values[0], typed.args[1:]
            given = [
                context.make_array(kind)(context, builder, value).data
                if isinstance(kind, types.Array)
                else context.cast(builder, value, kind, types.int32)
                for kind, value in zip(kinds, values[1:], strict=True)
            ]
            sums = cgutils.alloca_once_value(builder, ir.Constant(_ONE, 0))
            builder.store(ir.Constant(_ONE, 0), sums)

            def block(first: Any, width: int) -> None:
                steps = _Block(builder, first, num, width, whole=whole)
                arguments = [
                    _Array(value, kind.dtype, steps)
                    if isinstance(kind, types.Array)
                    else Vector(builder, _same(builder, value, width))
                    for kind, value in zip(kinds, given, strict=True)
                ]
                total = steps.total(step(steps.k, *arguments))
                builder.store(builder.add(builder.load(sums), total), sums)

            zero, width = ir.Constant(_LONG, 0), ir.Constant(_LONG, WIDTH)
            with cgutils.for_range_slice(builder, zero, num, width) as (first, _):
                if whole:
                    block(first, WIDTH)
                else:  # few steps are faster in half a vector
                    left = builder.sub(num, first)
                    many = builder.icmp_signed(">", left, ir.Constant(_LONG, WIDTH // 2))
                    with builder.if_else(many) as (then, otherwise):
                        with then:
                            block(first, WIDTH)
                        with otherwise:
                            block(first, WIDTH // 2)
            return builder.sext(builder.load(sums), _LONG)

        assert all(kind.layout == "C" for kind in kinds if isinstance(kind, types.Array))
        return types.int64(types.int64, *kinds), code

    loop.__name__ = step.__name__
    names = ["_context", "num", *list(signature(step).parameters)[1:]]
    loop.__signature__ = Signature(  # type: ignore[attr-defined]
        [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )
    return intrinsic(loop)


def _place(context: Any, builder: Any, kind: Any, array: Any, at: Any) -> Any:
    return builder.gep(context.make_array(kind)(context, builder, array).data, [at])


@intrinsic
def item(_context: Any, array: Any, at: Any) -> Any:
    """See `vectors.py`."""

    def code(context: Any, builder: Any, typed: Any, values: Any) -> Any:
        return builder.load(_place(context, builder, typed.args[0], *values))

    return array.dtype(array, types.int64), code


@intrinsic
def put(_context: Any, array: Any, at: Any, value: Any) -> Any:
    """See `vectors.py`."""

    def code(context: Any, builder: Any, typed: Any, values: Any) -> Any:
        place = _place(context, builder, typed.args[0], *values[:2])
        builder.store(context.cast(builder, values[2], types.int64, typed.args[0].dtype), place)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), code


@intrinsic
def fetch(_context: Any, array: Any, at: Any) -> Any:
    """See `vectors.py`."""

    def code(context: Any, builder: Any, typed: Any, values: Any) -> Any:
        place = _place(context, builder, typed.args[0], *values)
        place = builder.bitcast(place, ir.IntType(8).as_pointer())
        read, near, kind = (ir.Constant(_ONE, n) for n in (0, 3, 1))
        _call(builder, "llvm.prefetch.p0", _VOID, place, read, near, kind)
        return context.get_dummy_value()

    return types.void(array, types.int64), code
