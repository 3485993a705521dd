"""`multilinear` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork.
The node form takes a vector of rows at a time, one per lane."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels._simd import lanes, load, load_bytes, splat, store, transpose_all, where_at_most, zeros

TOGETHER = 4
"""Nodes whose products run side by side, as one has to wait for its last multiplication."""


def run(x: Any, mask: Any, t: Any, weight: Any, sizes: Any, row_of_count: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, x and out in the compute dtype.

    Returns:
        The first row with a non-finite live x, -1 when there is none.
    """
    rows, players = out.shape
    if t is not None:
        return _NODES(rows, players * len(t), t.dtype, x.reshape(-1), mask, t, weight, out)
    return _SIZES(rows, players * players, sizes.dtype, x, mask, sizes, row_of_count, out)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype in dtypes:
        for kernel in (_NODES, _SIZES):
            kernel.ready(np.dtype(dtype).char)


def _nodes(x, mask, t, weight, first, stop, out):  # type: ignore[no-untyped-def]
    players, size, real = out.shape[1], lanes(t), t.dtype.type
    zero, one = splat(t, real(0)), splat(t, real(1))
    own, y, credit = zeros(players * size, t), zeros(players * size, t), zeros(players * size, t)  # [player, lane]
    before, wrong = zeros(players * TOGETHER * size, t), zeros(size, t)
    live = np.ones(players * size, np.uint8)
    first_bad = -1
    for start in range(first, stop, size):
        rows = min(size, stop - start)
        transpose_all(x, start * players, rows, players, players, own, 0, size)
        if mask.size:
            transpose_all(mask.reshape(-1), start * players, rows, players, players, live, 0, size)
        nan_flag = zero  # 0, or NaN in a row with a live x that is not finite
        for at in range(0, players * size, size):
            mine = where_at_most(one, load_bytes(live, at, t), load(own, at), zero)
            nan_flag = nan_flag + mine * zero
            store(own, at, mine)
            store(y, at, one + mine)
            store(credit, at, zero)
        store(wrong, 0, nan_flag)
        for q in range(0, t.size, TOGETHER):
            # those that are missing at the end are the first one, without weight
            b, c, d = min(q + 1, t.size - 1), min(q + 2, t.size - 1), min(q + 3, t.size - 1)
            join0, join1, join2, join3 = splat(t, t[q]), splat(t, t[b]), splat(t, t[c]), splat(t, t[d])
            stay0, stay1, stay2, stay3 = one - join0, one - join1, one - join2, one - join3
            p0, p1, p2, p3 = one, one, one, one
            for i in range(players):
                factor, at = load(y, i * size), i * TOGETHER * size
                store(before, at, p0)
                store(before, at + size, p1)
                store(before, at + 2 * size, p2)
                store(before, at + 3 * size, p3)
                p0, p1 = p0 * (stay0 + join0 * factor), p1 * (stay1 + join1 * factor)
                p2, p3 = p2 * (stay2 + join2 * factor), p3 * (stay3 + join3 * factor)
            p0, p1 = splat(t, weight[q]), splat(t, weight[b] if q + 1 < t.size else real(0))
            p2 = splat(t, weight[c] if q + 2 < t.size else real(0))
            p3 = splat(t, weight[d] if q + 3 < t.size else real(0))
            for i in range(players - 1, -1, -1):
                factor, at = load(y, i * size), i * TOGETHER * size
                two = load(before, at) * p0 + load(before, at + size) * p1
                others = load(before, at + 2 * size) * p2 + load(before, at + 3 * size) * p3
                store(credit, i * size, load(credit, i * size) + (two + others))
                p0, p1 = p0 * (stay0 + join0 * factor), p1 * (stay1 + join1 * factor)
                p2, p3 = p2 * (stay2 + join2 * factor), p3 * (stay3 + join3 * factor)
        for at in range(0, players * size, size):
            mine = load(own, at) * load(credit, at) + nan_flag
            store(credit, at, where_at_most(one, load_bytes(live, at, t), mine, zero))
        transpose_all(credit, 0, players, rows, size, out.reshape(-1), start * players, players)
        for row in range(rows):
            if wrong[row] != 0 and first_bad < 0:
                first_bad = start + row
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


_NODES = Kernel(_nodes, "r1 b2 r1 r1", grain=16)
_SIZES = Kernel(_sizes, "r2 b2 r2 i1")
