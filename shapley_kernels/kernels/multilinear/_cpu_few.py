"""Credits of few players by nodes, a vector of rows at a time: all in registers, without loops but that over the nodes.

Written in instructions of LLVM, as what numba compiles takes milliseconds for each statement; and once more in numpy,
which says what they do and runs under NUMBA_DISABLE_JIT=1.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, config
from numba.extending import intrinsic

from shapley_kernels.kernels._simd import Vector

FEW = 8
"""Players, some of which may have p = 0. A power of two."""


def _of_few(typing: Any, work: Any, own: Any, credit: Any, t: Any, weight: Any, chances: Any) -> Any:
    vector = Vector(work.dtype)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, own, credit, *nodes, chances = arguments
        kind, index = context.get_value_type(vector), ir.IntType(32)
        data = context.make_array(work)(context, builder, array).data
        t_array, weights = (
            context.make_array(x)(context, builder, node) for x, node in zip((t, weight), nodes, strict=True)
        )
        zero, one = (ir.Constant(kind, [x] * vector.lanes) for x in (0.0, 1.0))

        def place(first: Any, player: int) -> Any:
            at = builder.add(first, first.type(player * vector.lanes))
            return builder.bitcast(builder.gep(data, [at]), kind.as_pointer())

        def splat(array: Any, at: Any) -> Any:
            number = builder.load(builder.gep(array.data, [at]))
            first = builder.insert_element(ir.Constant(kind, ir.Undefined), number, index(0))
            return builder.shuffle_vector(first, first, ir.Constant(ir.VectorType(index, vector.lanes), None))

        align = work.dtype.bitwidth // 8
        p = [builder.load(place(own, i), align=align) for i in range(FEW)]
        y, sums = [builder.fsub(one, x) for x in p], [cgutils.alloca_once_value(builder, zero) for _ in p]
        with cgutils.for_range(builder, t_array.nitems) as node:
            join = splat(t_array, node.index)
            stay = builder.fsub(one, join)
            factors = [builder.fadd(stay, builder.fmul(join, x)) for x in y]
            for total, product in zip(sums, _of_others(builder.fmul, factors, splat(weights, node.index)), strict=True):
                builder.store(builder.fadd(builder.load(total), product), total)
        nan_flag, low, high = zero, one, zero  # nan_flag: 0, or NaN in a row with a p that is not finite
        for x in p:
            nan_flag = builder.fadd(nan_flag, builder.fmul(x, zero))
            low = builder.select(builder.fcmp_ordered("<", x, low), x, low)
            high = builder.select(builder.fcmp_ordered(">", x, high), x, high)
        everything = zero  # not finite where a credit is not, and hardly ever else
        for i, (x, total) in enumerate(zip(p, sums, strict=True)):
            credits = builder.fadd(builder.fmul(x, builder.load(total)), nan_flag)
            everything = builder.fadd(everything, credits)
            builder.store(credits, place(credit, i), align=align)
        outside = builder.or_(builder.fcmp_ordered("<", low, zero), builder.fcmp_ordered(">", high, one))
        wrong, outside = (
            builder.zext(builder.bitcast(x, ir.IntType(vector.lanes)), ir.IntType(64))
            for x in (builder.fcmp_unordered("!=", builder.fmul(everything, zero), zero), outside)
        )
        look = builder.icmp_signed("!=", chances, chances.type(0))
        return builder.or_(wrong, builder.select(look, outside, wrong))

    return numba.intp(work, own, credit, t, weight, chances), generate


def _product(multiply: Any, factors: list[Any]) -> Any:
    half = len(factors) // 2
    return multiply(_product(multiply, factors[:half]), _product(multiply, factors[half:])) if half else factors[0]


def _of_others(multiply: Any, factors: list[Any], outside: Any) -> list[Any]:
    """For each factor the product of `outside` and all others, half by half. What is asked for twice, the compiler
    computes once."""
    half = len(factors) // 2
    if not half:
        return [outside]
    low, high = factors[:half], factors[half:]
    with_high, with_low = (multiply(outside, _product(multiply, part)) for part in (high, low))
    return _of_others(multiply, low, with_high) + _of_others(multiply, high, with_low)


def _of_few_in_numpy(work: Any, own: int, credit: int, t: Any, weight: Any, chances: int) -> int:
    """work[credit + i, lane] = p_i sum_q weight_q prod_{j != i} (1 - t_q + t_q (1 - p_j)), p = work[own + i, lane], in
    whole vectors for i < FEW; NaN in lanes with a p that is not finite. The bits of lanes are set in what is returned
    whose credits are not finite, or do not add up, and of chances with one outside [0, 1]."""
    size = 64 // work.itemsize
    p, one = work[own : own + FEW * size].reshape(FEW, size), work.dtype.type(1)
    y, total = one - p, np.zeros_like(p)
    for join, w in zip(t, weight, strict=True):
        factors = list((one - join) + join * y)
        total += np.array(_of_others(np.multiply, factors, np.full(size, w)))
    nan_flag = (p * 0).sum(0)
    credits = p * total + nan_flag
    work[credit : credit + FEW * size] = credits.reshape(-1)
    wrong = (credits.sum(0) * 0 != 0) | (chances & ((p < 0) | (p > 1)).any(0))
    return sum(1 << lane for lane in np.flatnonzero(wrong).tolist())


of_few = _of_few_in_numpy if getattr(config, "DISABLE_JIT", 0) else intrinsic(_of_few)
