"""`swap` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork."""

from functools import lru_cache
from math import inf
from typing import Any

import numba
import numpy as np

from shapley_kernels.kernels._compile import REAL, compiled, helper, read, written
from shapley_kernels.kernels._threads import over_rows
from shapley_kernels.kernels.swap import KINDS

SUFFIX = KINDS.index("suffix")

THREADED = 1 << 18
"""Maxima that are worth a thread: 0.2 ms or more."""


def run(x: Any, count: Any, weights: Any, empty: Any, order: Any, starts: Any, mix: Any, kind: int, out: Any) -> int:
    """See the package docstring; numpy arrays, floats in the compute dtype.

    Returns:
        -1: nobody looks for numbers that are not finite.
    """
    kernel, groups = _kernel(x.dtype.char), len(starts) - 1
    order = np.arange(len(x)) if order is None else order
    group = len(x) // max(1, groups) * x.shape[1] * x.shape[2] * (len(x) // max(1, groups))

    def work(first: int, last: int) -> int:
        return kernel(x, count, weights, empty, order, starts[first : last + 1], mix, kind, out)

    return over_rows(work, groups, 1, -(-THREADED // max(1, group)))


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these dtypes."""
    for dtype in dtypes:
        _kernel(np.dtype(dtype).char)


@lru_cache
def _kernel(dtype: str) -> Any:
    real = REAL[dtype]
    signature = numba.int64(
        read(real, 3),
        read(numba.int32, 1),
        read(real, 2),
        read(real, 1),
        *[read(numba.int64, 1)] * 2,
        read(real, 2),
        numba.int64,
        written(real, 2),
    )
    return compiled(_swap, signature)


# the rollouts of a group stand side by side, so that the innermost loops run over them, without a sum in them


@helper
def _fill(x, n, kind, i, heads, tails):  # type: ignore[no-untyped-def]
    """For rollout i of n candidates, by topic and place: the best of what it keeps of its own when that place is
    exchanged, and of what it gives to others there."""
    for t in range(heads.shape[0]):
        best = -inf
        for k in range(heads.shape[1]):
            heads[t, k, i] = best
            if k < n:
                best = max(best, x[k, t])
        best = -inf
        for k in range(heads.shape[1] - 1, -1, -1):
            if kind == SUFFIX:
                best = max(best, x[k, t]) if k < n else best
                tails[t, k, i] = best
            else:
                tails[t, k, i] = x[k, t] if k < n else -inf
                heads[t, k, i] = max(heads[t, k, i], best)
                best = max(best, x[k, t]) if k < n else best


@helper
def _add(size, head, tail, total, weights, empty, sums):  # type: ignore[no-untyped-def]
    """For one topic and place, adds to each rollout what its own set, worth total, is worth above the sets mixed with
    each of the group; with itself it is 0."""
    for h in range(size):
        best_of_h = tail[h]
        for i in range(size):
            at = np.uintp(i)
            best = max(head[at], best_of_h)
            sums[at] += weights[at] * (total[at] - (empty[at] if best == -inf else best))


@helper
def _write(sums, i, places, others, mix, out):  # type: ignore[no-untyped-def]
    for k in range(len(out)):
        found = out.dtype.type(0)
        if k < places:
            if mix.size == 0:
                found = sums[k, i]
            else:
                for j in range(k, places):
                    found += mix[j, k] * sums[j, i]
        out[k] = found / others


def _swap(x, count, weights, empty, order, starts, mix, kind, out):  # type: ignore[no-untyped-def]
    places, topics = x.shape[1] + 1, x.shape[2]
    largest = 0
    for g in range(len(starts) - 1):
        largest = max(largest, starts[g + 1] - starts[g])
    heads, tails = np.empty((topics, places, largest), x.dtype), np.empty((topics, places, largest), x.dtype)
    total, w = np.empty((topics, largest), x.dtype), np.empty((topics, largest), x.dtype)
    sums, c = np.empty((places, largest), x.dtype), np.empty(largest, x.dtype)
    for g in range(len(starts) - 1):
        first, size = starts[g], starts[g + 1] - starts[g]
        for i in range(size):
            row = order[first + i]
            _fill(x[row], count[row], kind, i, heads, tails)
            c[i] = empty[row if len(empty) > 1 else 0]
            for t in range(topics):
                w[t, i] = weights[row if len(weights) > 1 else 0, t]
                best = heads[t, places - 1, i]
                total[t, i] = c[i] if best == -inf else best
        sums[:] = 0.0
        for t in range(topics):
            for k in range(places):
                _add(size, heads[t, k], tails[t, k], total[t], w[t], c, sums[k])
        for i in range(size):
            row = order[first + i]
            _write(sums, i, count[row] + 1 if kind == SUFFIX else count[row], max(size - 1, 1), mix, out[row])
    return -1
