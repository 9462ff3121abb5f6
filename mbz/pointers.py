"""Addresses in numba's functions: calls of what knows nothing of the caller, words of threads."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_LONG, _NONE = ir.IntType(64), ir.VoidType()


def address_of(function: Any, *kinds: types.Type) -> int:
    """Where the code of a function of these types is, or of one integer; compiles it."""
    result = function.get_compile_result(types.none(*kinds or (types.intp,)))
    address: int = result.library.get_pointer_to_function(result.fndesc.llvm_cfunc_wrapper_name)
    return address


def _word(result: Any, count: int, build: Callable[..., Any]) -> Any:
    """Makes a function of `count` integers, of which the first is the address of a word."""

    def body(signature: Any) -> Any:
        def code(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], _LONG.as_pointer())
            made = build(builder, pointer, *arguments[1:])
            return context.get_dummy_value() if result is types.void else made

        return signature, code

    if count == 1:
        return intrinsic(lambda _context, a: body(result(types.intp)))
    return intrinsic(lambda _context, a, b: body(result(types.intp, types.intp)))


def _called(builder: Any, pointer: Any, argument: Any) -> None:
    kind = ir.FunctionType(_NONE, [_LONG])
    builder.call(builder.bitcast(pointer, kind.as_pointer()), [argument])


def _called_with(_context: Any, function: Any, arguments: Any) -> Any:
    """`call_with(function, arguments)` runs the code at an address with a tuple of arguments."""

    def code(context: Any, builder: Any, _signature: Any, given: Any) -> Any:
        values = [builder.extract_value(given[1], i) for i in range(len(arguments.types))]
        kind = ir.FunctionType(context.get_value_type(types.none), [v.type for v in values])
        builder.call(builder.inttoptr(given[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(function, arguments), code


def _paused(builder: Any, _pointer: Any) -> None:
    """Tells the processor that a loop only waits."""
    if "x86_64" in builder.module.triple:
        kind, name = ir.FunctionType(_NONE, []), "llvm.x86.sse2.pause"
        builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])  # type: ignore[no-untyped-call]


call_with: Any = intrinsic(_called_with)
call: Any = _word(types.void, 2, _called)
"""`call(function, argument)`: runs the code at an address."""
peek: Any = _word(types.intp, 1, lambda b, p: b.load_atomic(p, "acquire", 8))
poke: Any = _word(types.void, 2, lambda b, p, value: b.store_atomic(value, p, "seq_cst", 8))
add: Any = _word(types.intp, 2, lambda b, p, value: b.atomic_rmw("add", p, value, "seq_cst"))
"""`add(address, number)`: adds to a word that threads share, and returns what it was."""
pause: Any = _word(types.void, 1, _paused)
