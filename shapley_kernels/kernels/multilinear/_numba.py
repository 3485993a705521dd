"""`multilinear` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork.
The node form handles LANES rows at a time, one per SIMD lane."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._marshal import Kernel

LANES = 16
"""Rows that advance together in the node form."""


def run(x: Any, mask: Any, t: Any, weight: Any, sizes: Any, row_of_count: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, x and out in the compute dtype.

    Returns:
        The first row with a non-finite live x, -1 when there is none.
    """
    rows, players = x.shape
    if t is not None:
        return _NODES(rows, players * len(t), t.dtype, x, mask, t, weight, out)
    return _SIZES(rows, players * players, sizes.dtype, x, mask, sizes, row_of_count, out)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype in dtypes:
        for kernel in (_NODES, _SIZES):
            kernel.ready(np.dtype(dtype).char)


def _nodes(x, mask, t, weight, first, stop, out):  # type: ignore[no-untyped-def]
    players = x.shape[1]
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    y = np.empty((players, LANES), x.dtype)
    before = np.empty((players, LANES), x.dtype)
    credit = np.empty((players, LANES), x.dtype)
    product = np.empty(LANES, x.dtype)
    first_bad = -1
    for start in range(first, stop, LANES):
        lanes = min(LANES, stop - start)
        for lane in range(lanes):
            b = start + lane
            for i in range(players):
                y[i, lane] = one + x[b, i] if mask.size == 0 or mask[b, i] else one
                credit[i, lane] = zero
        for q in range(len(t)):
            join, stay, w = t[q], one - t[q], weight[q]
            product[:lanes] = one
            for i in range(players):
                for lane in range(lanes):
                    before[i, lane] = product[lane]
                    product[lane] *= stay + join * y[i, lane]
            product[:lanes] = w
            for i in range(players - 1, -1, -1):
                for lane in range(lanes):
                    credit[i, lane] += before[i, lane] * product[lane]
                    product[lane] *= stay + join * y[i, lane]
        for lane in range(lanes):
            b = start + lane
            usable = True
            for i in range(players):
                usable &= np.isfinite(y[i, lane])
            if not usable and first_bad < 0:
                first_bad = b
            for i in range(players):
                if mask.size and not mask[b, i]:
                    out[b, i] = zero
                else:
                    out[b, i] = x[b, i] * credit[i, lane] if usable else np.nan
    return first_bad


def _sizes(x, mask, sizes, row_of_count, first, stop, out):  # type: ignore[no-untyped-def]
    players = x.shape[1]
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    y = np.empty(players, x.dtype)  # of the live players
    who = np.empty(players, np.int64)
    means = np.empty((players + 1, players + 1), x.dtype)  # [k, a]: over the coalitions of a of the first k
    rest = np.empty(players + 1, x.dtype)  # what means[k, a] contributes to the result when the players after i joined
    first_bad = -1
    for b in range(first, stop):
        live = 0
        usable = True
        for i in range(players):
            out[b, i] = zero
            if mask.size == 0 or mask[b, i]:
                usable &= np.isfinite(x[b, i])
                y[live] = one + x[b, i]
                who[live] = i
                live += 1
        if not usable:
            for i in range(live):
                out[b, who[i]] = np.nan
            if first_bad < 0:
                first_bad = b
            continue
        means[0, 0] = one
        for k in range(1, live):
            size = x.dtype.type(k)
            factor = y[k - 1] / size
            means[k, 0] = one
            for a in range(1, k):
                means[k, a] = (size - x.dtype.type(a)) / size * means[k - 1, a] + (
                    x.dtype.type(a) * factor * means[k - 1, a - 1]
                )
            means[k, k] = y[k - 1] * means[k - 1, k - 1]
        for a in range(live):
            rest[a] = sizes[row_of_count[live], a]
        for k in range(live - 1, -1, -1):  # the player after the first k
            credit = zero
            for a in range(k + 1):
                credit += means[k, a] * rest[a]
            out[b, who[k]] = x[b, who[k]] * credit
            if k > 0:
                size = x.dtype.type(k)
                factor = y[k] / size
                for a in range(k):
                    rest[a] = (size - x.dtype.type(a)) / size * rest[a] + x.dtype.type(a + 1) * factor * rest[a + 1]
    return first_bad


_NODES = Kernel(_nodes, "r2 b2 r1 r1", grain=LANES)
_SIZES = Kernel(_sizes, "r2 b2 r2 i1")
