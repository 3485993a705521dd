"""`swap` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork."""

from math import inf
from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels.swap import KINDS

SUFFIX = KINDS.index("suffix")


def run(x: Any, count: Any, weights: Any, empty: Any, order: Any, starts: Any, mix: Any, kind: int, out: Any) -> int:
    """See the package docstring; numpy arrays, floats in the compute dtype.

    Returns:
        -1: nobody looks for numbers that are not finite.
    """
    groups = len(starts) - 1
    steps = (len(x) // max(1, groups)) ** 2 * x.shape[1] * x.shape[2]
    return _KERNEL(groups, steps, x.dtype, x, count, weights, empty, order, starts, mix, kind, out)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernel ready for these compute dtypes."""
    for dtype in dtypes:
        _KERNEL.ready(np.dtype(dtype).char)


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
        credit = out.dtype.type(0)
        if k < places:
            if mix.size == 0:
                credit = sums[k, i]
            else:
                for j in range(k, places):
                    credit += mix[j, k] * sums[j, i]
        out[k] = credit / others


def _swap(x, count, weights, empty, order, starts, mix, kind, begin, end, out):  # type: ignore[no-untyped-def]
    places, topics = x.shape[1] + 1, x.shape[2]
    largest = 0
    for g in range(begin, end):
        largest = max(largest, starts[g + 1] - starts[g])
    heads, tails = np.empty((topics, places, largest), x.dtype), np.empty((topics, places, largest), x.dtype)
    total, w = np.empty((topics, largest), x.dtype), np.empty((topics, largest), x.dtype)
    sums, c = np.empty((places, largest), x.dtype), np.empty(largest, x.dtype)
    for g in range(begin, end):
        first, size = starts[g], starts[g + 1] - starts[g]
        for i in range(size):
            row = order[first + i] if order.size else first + i
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
            row = order[first + i] if order.size else first + i
            _write(sums, i, count[row] + 1 if kind == SUFFIX else count[row], max(size - 1, 1), mix, out[row])
    return -1


_KERNEL = Kernel(_swap, "r3 i1 r2 r1 l1 l1 r2 l")
