"""The loops over credits of `group_norm` on the CPU, in instructions of LLVM, as what numba compiles takes milliseconds
for each statement. Written once more in numpy, which says what they do and runs under NUMBA_DISABLE_JIT=1.

Numbers come as float32, or, where `double` is 1, as float64 that is seen as twice as many float32: so one machine code
serves both dtypes, and nothing is copied to float64 before.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import intrinsic

TOGETHER = 4
"""Sums that run side by side, as one has to wait for its last addition: number i goes to sum i mod 4, and those behind
the last four to the first."""

_DOUBLE, _BYTE, _WORD = ir.DoubleType(), ir.IntType(8), ir.IntType(64)
_VECTOR = ir.VectorType(_DOUBLE, TOGETHER)


def _calls(result: Any, body: Callable[..., Any], *kinds: Any) -> Any:
    """What an intrinsic returns that calls a function of LLVM: body(builder, *arguments), arrays as pointers, null if
    they have no elements. It is not inlined, as each copy would take as long to compile."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        given = []
        for kind, value in zip(kinds, values, strict=True):
            if isinstance(kind, numba.types.Array):
                array = context.make_array(kind)(context, builder, value)
                some = builder.icmp_signed("!=", array.nitems, array.nitems.type(0))
                value = builder.select(some, array.data, array.data.type(None))
            given.append(value)
        function_type = ir.FunctionType(context.get_value_type(result), [x.type for x in given])
        function = cgutils.get_or_insert_function(builder.module, function_type, body.__name__)
        if function.is_declaration:
            function.linkage = "internal"
            function.attributes.add("noinline")
            inside = ir.IRBuilder(function.append_basic_block())
            inside.ret(body(inside, *function.args))
        return builder.call(function, given)

    return result(*kinds), generate


def _pack(builder: Any, credits: Any, count: Any, double: Any, x: Any, mask: Any, first: Any, numbers: Any) -> Any:
    place, yes = cgutils.alloca_once_value(builder, count), cgutils.alloca_once_value(builder, _BYTE(1))
    masked = _given(builder, mask)
    flags = builder.select(masked, mask, yes)

    def put(source: Any, i: Any) -> None:
        at, k = builder.load(place), builder.add(first, i)
        builder.store(_double(builder, builder.load(builder.gep(source, [k]))), builder.gep(credits, [at]))
        flag = builder.load(builder.gep(flags, [builder.select(masked, k, _WORD(0))]))
        is_live = builder.icmp_unsigned("!=", flag, _BYTE(0))
        builder.store(builder.add(at, builder.zext(is_live, at.type)), place)

    _over(builder, double, numbers, put, x)
    return builder.load(place)


def _sums(builder: Any, credits: Any, count: Any, origin: Any, mean: Any) -> Any:
    index = ir.IntType(32)
    totals = [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * TOGETHER)) for _ in range(2)]

    def add(at: Any, kind: Any, spread: Callable[[Any], Any]) -> None:
        """What numbers from a place on are above origin and mean, and its squares, to as many sums."""
        numbers = builder.load(builder.bitcast(builder.gep(credits, [at]), kind.as_pointer()), align=8)
        above = builder.fsub(builder.fsub(numbers, spread(origin)), spread(mean))
        for total, x in zip(totals, (above, builder.fmul(above, above)), strict=True):
            place = builder.bitcast(total, kind.as_pointer())
            builder.store(builder.fadd(builder.load(place), x), place)

    def splat(x: Any) -> Any:
        first = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), x, index(0))
        return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(index, TOGETHER), None))

    fours = builder.sdiv(count, _WORD(TOGETHER))
    with cgutils.for_range(builder, fours) as loop:
        add(builder.mul(loop.index, _WORD(TOGETHER)), _VECTOR, splat)
    with cgutils.for_range(builder, count, builder.mul(fours, _WORD(TOGETHER))) as loop:
        add(loop.index, _DOUBLE, lambda x: x)
    found = ir.Constant(ir.ArrayType(_DOUBLE, 2), ir.Undefined)
    for i, total in enumerate(totals):
        a, b, c, d = (builder.extract_element(builder.load(total), index(lane)) for lane in range(TOGETHER))
        found = builder.insert_value(found, builder.fadd(builder.fadd(a, b), builder.fadd(c, d)), i)
    return found


def _write(
    builder: Any,
    double: Any,
    out: Any,
    x: Any,
    mask: Any,
    first: Any,
    numbers: Any,
    origin: Any,
    middle: Any,
    over: Any,
) -> Any:
    def store(target: Any, k: Any, number: Any) -> None:
        kind = target.type.pointee
        builder.store(number if kind == _DOUBLE else builder.fptrunc(number, kind), builder.gep(target, [k]))

    def normalise(target: Any, source: Any, i: Any) -> None:
        k = builder.add(first, i)
        number = _double(builder, builder.load(builder.gep(source, [k])))
        above = builder.fsub(builder.fsub(number, origin), middle)
        store(target, k, builder.fadd(builder.fdiv(above, over), _DOUBLE(0.0)))  # no negative zeros

    def blank(target: Any, i: Any) -> None:
        k = builder.add(first, i)
        masked = builder.icmp_unsigned("==", builder.load(builder.gep(mask, [k])), _BYTE(0))
        with builder.if_then(masked):
            store(target, k, _DOUBLE(0.0))

    _over(builder, double, numbers, normalise, out, x)
    with builder.if_then(_given(builder, mask)):
        _over(builder, double, numbers, blank, out)
    return numbers


def _given(builder: Any, pointer: Any) -> Any:
    return builder.icmp_unsigned("!=", pointer, pointer.type(None))


def _over(builder: Any, double: Any, count: Any, body: Callable[..., None], *arrays: Any) -> None:
    """body(*arrays, i) for i < count, on pointers to float64 or float32."""
    with builder.if_else(builder.icmp_signed("!=", double, _WORD(0))) as branches:
        for branch, kind in zip(branches, (_DOUBLE, ir.FloatType()), strict=True):
            with branch:
                pointers = [builder.bitcast(x, kind.as_pointer()) for x in arrays]
                with cgutils.for_range(builder, count) as loop:
                    body(*pointers, loop.index)


def _double(builder: Any, x: Any) -> Any:
    return x if x.type == _DOUBLE else builder.fpext(x, _DOUBLE)


def _seen(x: Any, double: int) -> Any:
    return x.view(np.float64) if double else x


def _pack_in_numpy(credits: Any, count: int, double: int, x: Any, mask: Any, first: int, numbers: int) -> int:
    """Live numbers from `first` on to `credits`, from its place `count` on; returns where they end."""
    part = slice(first, first + numbers)
    live = _seen(x, double)[part][mask[part] != 0 if mask.size else slice(None)]
    credits[count : count + len(live)] = live
    return count + len(live)


def _sums_in_numpy(credits: Any, count: int, origin: float, mean: float) -> tuple[float, float]:
    """Of the first `count` numbers: the sum of what they are above origin and mean, and of its squares."""
    above = credits[:count] - origin - mean
    found = []
    for x in (above, above * above):
        totals, fours = np.zeros(TOGETHER), count // TOGETHER * TOGETHER
        for four in x[:fours].reshape(-1, TOGETHER):
            totals += four
        for number in x[fours:]:
            totals[0] += number
        found.append(float((totals[0] + totals[1]) + (totals[2] + totals[3])))
    return found[0], found[1]


def _write_in_numpy(
    double: int, out: Any, x: Any, mask: Any, first: int, numbers: int, origin: float, middle: float, over: float
) -> None:
    """(x - origin - middle) / over, 0 where masked, in double precision, to the same places of `out`."""
    part = slice(first, first + numbers)
    advantages = (_seen(x, double)[part].astype(np.float64) - origin - middle) / over + 0.0
    _seen(out, double)[part] = np.where(mask[part] != 0, advantages, 0.0) if mask.size else advantages


# explicit parameters, which numba counts


def _pack_call(typing: Any, credits: Any, count: Any, double: Any, x: Any, mask: Any, first: Any, many: Any) -> Any:
    return _calls(numba.intp, _pack, credits, count, double, x, mask, first, many)


def _sums_call(typing: Any, credits: Any, count: Any, origin: Any, mean: Any) -> Any:
    return _calls(numba.types.UniTuple(numba.float64, 2), _sums, credits, count, origin, mean)


def _write_call(
    typing: Any, double: Any, out: Any, x: Any, mask: Any, at: Any, many: Any, origin: Any, mid: Any, by: Any
) -> Any:
    return _calls(numba.intp, _write, double, out, x, mask, at, many, origin, mid, by)


_PYTHON = bool(getattr(numba.config, "DISABLE_JIT", 0))
pack = _pack_in_numpy if _PYTHON else intrinsic(_pack_call)
sums = _sums_in_numpy if _PYTHON else intrinsic(_sums_call)
write = _write_in_numpy if _PYTHON else intrinsic(_write_call)
