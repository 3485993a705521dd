"""`multilinear` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork.
The node form takes a vector of rows at a time, one per lane."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels._simd import BITS, aligned, lanes, load, splat, store, transpose_all, where_at_most

TOGETHER = 4
"""Nodes whose products run side by side, as one has to wait for its last multiplication."""


def run(x: Any, mask: Any, t: Any, weight: Any, sizes: Any, row_of_count: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, x and out in the compute dtype.

    Returns:
        The first row with a non-finite live x, -1 when there is none.
    """
    rows, players = out.shape
    if t is None:

        def in_places(*_: int) -> tuple[Any, Any]:
            return np.empty((players + 1) * (players + 3), sizes.dtype), np.empty(players, np.int64)

        arrays = x, mask, sizes, row_of_count, out
        return _SIZES(rows, players * players, sizes.dtype, *arrays, scratch=in_places)

    def scratch(*_: int) -> tuple[Any]:
        return (np.zeros(((4 + TOGETHER) * players + 2) * BITS // 8 // t.itemsize, t.dtype),)

    live = None if mask is None else mask.astype(t.dtype).reshape(-1)
    arrays = x.reshape(-1), live, t, weight, out
    return _NODES(rows, players * len(t), t.dtype, *arrays, scratch=scratch)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype in dtypes:
        for kernel in (_NODES, _SIZES):
            kernel.ready(np.dtype(dtype).char)


def _nodes(x, live, t, weight, work, first, stop, out):  # type: ignore[no-untyped-def]
    players, size, real = out.shape[1], lanes(t), t.dtype.type
    zero, one = splat(t, real(0)), splat(t, real(1))
    every = players * size
    own = aligned(work)  # [player, lane], as those behind it
    here, y, credit, before = own + every, own + 2 * every, own + 3 * every, own + 4 * every
    wrong = before + TOGETHER * every
    for at in range(here, y, size):
        store(work, at, one)
    first_bad = -1
    for start in range(first, stop, size):
        rows = min(size, stop - start)
        transpose_all(x, start * players, rows, players, players, work, own, size)
        if live.size:
            transpose_all(live, start * players, rows, players, players, work, here, size)
        nan_flag = zero  # 0, or NaN in a row with a live x that is not finite
        for at in range(0, every, size):
            mine = where_at_most(one, load(work, here + at), load(work, own + at), zero)
            nan_flag = nan_flag + mine * zero
            store(work, own + at, mine)
            store(work, y + at, one + mine)
            store(work, credit + at, zero)
        store(work, wrong, nan_flag)
        for q in range(0, t.size, TOGETHER):
            # those that are missing at the end are the first one, without weight
            b, c, d = min(q + 1, t.size - 1), min(q + 2, t.size - 1), min(q + 3, t.size - 1)
            join0, join1, join2, join3 = splat(t, t[q]), splat(t, t[b]), splat(t, t[c]), splat(t, t[d])
            stay0, stay1, stay2, stay3 = one - join0, one - join1, one - join2, one - join3
            p0, p1, p2, p3 = one, one, one, one
            for i in range(players):
                factor, at = load(work, y + i * size), before + i * TOGETHER * size
                store(work, at, p0)
                store(work, at + size, p1)
                store(work, at + 2 * size, p2)
                store(work, at + 3 * size, p3)
                p0, p1 = p0 * (stay0 + join0 * factor), p1 * (stay1 + join1 * factor)
                p2, p3 = p2 * (stay2 + join2 * factor), p3 * (stay3 + join3 * factor)
            p0, p1 = splat(t, weight[q]), splat(t, weight[b] if q + 1 < t.size else real(0))
            p2 = splat(t, weight[c] if q + 2 < t.size else real(0))
            p3 = splat(t, weight[d] if q + 3 < t.size else real(0))
            for i in range(players - 1, -1, -1):
                factor, at = load(work, y + i * size), before + i * TOGETHER * size
                two = load(work, at) * p0 + load(work, at + size) * p1
                others = load(work, at + 2 * size) * p2 + load(work, at + 3 * size) * p3
                store(work, credit + i * size, load(work, credit + i * size) + (two + others))
                p0, p1 = p0 * (stay0 + join0 * factor), p1 * (stay1 + join1 * factor)
                p2, p3 = p2 * (stay2 + join2 * factor), p3 * (stay3 + join3 * factor)
        for at in range(0, every, size):
            mine = load(work, own + at) * load(work, credit + at) + nan_flag
            store(work, credit + at, where_at_most(one, load(work, here + at), mine, zero))
        transpose_all(work, credit, players, rows, size, out.reshape(-1), start * players, players)
        for row in range(rows):
            if work[wrong + row] != 0 and first_bad < 0:
                first_bad = start + row
    return first_bad


def _sizes(x, mask, sizes, row_of_count, work, who, first, stop, out):  # type: ignore[no-untyped-def]
    players, width = x.shape[1], x.shape[1] + 1
    one = x.dtype.type(1)
    zero = x.dtype.type(0)
    y = 0  # of the live players
    rest = width  # [a]: what means[k, a] contributes to the result when the players after i joined
    means = 2 * width  # [k, a]: over the coalitions of a of the first k
    first_bad = -1
    for b in range(first, stop):
        live = 0
        usable = True
        for i in range(players):
            out[b, i] = zero
            if mask.size == 0 or mask[b, i]:
                usable &= np.isfinite(x[b, i])
                work[y + live] = one + x[b, i]
                who[live] = i
                live += 1
        if not usable:
            for i in range(live):
                out[b, who[i]] = np.nan
            if first_bad < 0:
                first_bad = b
            continue
        work[means] = one
        for k in range(1, live):
            size, last, now = x.dtype.type(k), means + (k - 1) * width, means + k * width
            factor = work[y + k - 1] / size
            work[now] = one
            for a in range(1, k):
                work[now + a] = (size - x.dtype.type(a)) / size * work[last + a] + (
                    x.dtype.type(a) * factor * work[last + a - 1]
                )
            work[now + k] = work[y + k - 1] * work[last + k - 1]
        for a in range(live):
            work[rest + a] = sizes[row_of_count[live], a]
        for k in range(live - 1, -1, -1):  # the player after the first k
            credit = zero
            for a in range(k + 1):
                credit += work[means + k * width + a] * work[rest + a]
            out[b, who[k]] = x[b, who[k]] * credit
            if k > 0:
                size = x.dtype.type(k)
                factor = work[y + k] / size
                for a in range(rest, rest + k):
                    step = x.dtype.type(a - rest)
                    work[a] = (size - step) / size * work[a] + (step + one) * factor * work[a + 1]
    return first_bad


_NODES = Kernel(_nodes, "r1 r1 r1 r1 R1", grain=16)
_SIZES = Kernel(_sizes, "r2 b2 r2 i1 R1 L1")
