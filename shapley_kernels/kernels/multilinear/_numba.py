"""`multilinear` on the CPU: compiled without the GIL, so it may be called from many threads at once and after a fork.
Nodes are taken for a vector of rows at a time, one per lane: of few players in registers, of many from both ends."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import inlined
from shapley_kernels.kernels._lanes import first_bad_of, without_masked
from shapley_kernels.kernels._marshal import Kernel, first_not_finite
from shapley_kernels.kernels._simd import (
    BITS,
    aligned,
    from_lanes,
    lanes,
    larger,
    load,
    marked,
    smaller,
    splat,
    store,
    to_lanes,
    where_at_most,
)
from shapley_kernels.kernels.multilinear._cpu_few import FEW, of_few

TOGETHER = 4
"""Nodes of many players whose products run side by side, as one has to wait for its last multiplication."""

IN_CACHE = 64
"""The most players whose factors are kept beside the products for the way back: they fit in the L1 cache."""

EVERY = 8
"""Players after which it is looked whether products still matter."""

_POWERS = {
    char: np.array([2.0**shift, 2.0**-shift, 2.0 ** (shift + np.finfo(char).minexp)], char)
    for char, shift in (("f", 56), ("d", 500))
}
"""By compute dtype what products of chances start with, so that those that matter are no subnormal numbers, which
processors are slow with; what undoes that; and below what one does not matter, since without it that is less than the
smallest normal number. A sum of the largest at 2^15 nodes is in the range."""


def run(
    p: Any, mask: Any, t: Any, weight: Any, sizes: Any, row_of_count: Any, out: Any, *, form: str | None = None
) -> int:
    """See the package docstring; numpy arrays, p and out in the compute dtype.

    Args:
        form: "chances": look whether p are.

    Returns:
        The first row with a live credit that is not finite, or may not be, or, of chances, one outside [0, 1]; -1 when
        there is none.
    """
    (rows, players), chances = out.shape, int(form == "chances")
    if t is None:

        def in_places(*_: int) -> tuple[Any, Any]:
            return np.empty((players + 1) * (players + 3), sizes.dtype), np.empty(players, np.int64)

        arrays = p, mask, sizes, row_of_count, chances, out
        bad = _SIZES(rows, players * players, sizes.dtype, *arrays, scratch=in_places)
        return bad if bad >= 0 else first_not_finite(out)

    few, size = players <= FEW, BITS // 8 // t.itemsize

    def scratch(*_: int) -> tuple[Any]:
        return (np.zeros((1 + (2 * FEW if few else (3 + 2 * TOGETHER) * players)) * size, t.dtype),)

    live = None if mask is None else mask.astype(t.dtype).reshape(-1)
    powers = () if few else (_POWERS[t.dtype.char],)
    arrays = p.reshape(-1), live, t, weight, *powers, players, chances, out.reshape(-1)
    kernel, steps = (_FEW, FEW) if few else (_MANY, players)
    return kernel(rows, steps * len(t), t.dtype, *arrays, scratch=scratch)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype in dtypes:
        for kernel in (_FEW, _MANY, _SIZES):
            kernel.ready(np.dtype(dtype).char)


def _nodes_of_few(p, live, t, weight, players, chances, work, first, stop, out):  # type: ignore[no-untyped-def]
    size, own, first_bad = lanes(t), aligned(work), -1
    credit = own + FEW * size  # [player, lane], as own
    for start in range(first, stop, size):
        rows = min(size, stop - start)
        to_lanes(p, start * players, rows, players, players, work, own)
        if live.size:
            without_masked(live, start, rows, players, work, own, credit)
        wrong = of_few(work, own, credit, t, weight, chances)
        from_lanes(work, credit, rows, players, out, start * players, players)
        if wrong:
            first_bad = first_bad_of(wrong, live, start, rows, players, out, first_bad)
    return first_bad


def _nodes_of_many(p, live, t, weight, powers, players, chances, work, first, stop, out):  # type: ignore[no-untyped-def]
    size, real = lanes(t), t.dtype.type
    zero, one, less = splat(t, real(0)), splat(t, real(1)), splat(t, powers[1])
    every = players * size
    own = aligned(work)  # [player, lane], as those behind it
    y, credit, before = own + every, own + 2 * every, own + 3 * every
    factors_kept = players <= IN_CACHE
    stride = (2 if factors_kept else 1) * TOGETHER * size
    unit, most = real(1), real(0)  # a power of two by which weights are at most 1, and the largest above 1/2
    for q in range(t.size):
        most = max(most, abs(weight[q]))
    while most * unit > 1 and unit > powers[1] * powers[1]:
        unit *= real(0.5)
    while most * unit <= 0.5 and unit < powers[0]:
        unit *= real(2)
    # large weights let smaller products matter
    matters = powers[2] * max(min(unit, real(1)), powers[1])
    first_bad = -1
    for start in range(first, stop, size):
        rows = min(size, stop - start)
        to_lanes(p, start * players, rows, players, players, work, own)
        if live.size:
            without_masked(live, start, rows, players, work, own, y)
        nan_flag = zero  # 0, or NaN in a row with a live p that is not finite
        highest, low, high = zero, one, zero
        for at in range(0, every, size):
            mine = load(work, own + at)
            others = one - mine
            nan_flag, highest = nan_flag + mine * zero, larger(highest, others)
            low, high = smaller(mine, low), larger(mine, high)
            store(work, y + at, others)
            store(work, credit + at, zero)
        # rows whose products grow start with 1, and go to the end
        begin, undo = where_at_most(highest, one, splat(t, powers[0]), one), where_at_most(highest, one, less, one)
        least, back = where_at_most(highest, one, splat(t, matters), zero), undo * splat(t, 1 / unit)
        for q in range(0, t.size, TOGETHER):
            # those that are missing at the end are the first one, without weight
            b, c, d = min(q + 1, t.size - 1), min(q + 2, t.size - 1), min(q + 3, t.size - 1)
            join0, join1, join2, join3 = splat(t, t[q]), splat(t, t[b]), splat(t, t[c]), splat(t, t[d])
            stay0, stay1, stay2, stay3 = one - join0, one - join1, one - join2, one - join3
            p0, p1, p2, p3 = begin, begin, begin, begin
            for i in range(players):
                factor, at = load(work, y + i * size), before + i * stride
                f0, f1, f2, f3 = (
                    stay0 + join0 * factor,
                    stay1 + join1 * factor,
                    stay2 + join2 * factor,
                    stay3 + join3 * factor,
                )
                store(work, at, p0)
                store(work, at + size, p1)
                store(work, at + 2 * size, p2)
                store(work, at + 3 * size, p3)
                if factors_kept:
                    store(work, at + 4 * size, f0)
                    store(work, at + 5 * size, f1)
                    store(work, at + 6 * size, f2)
                    store(work, at + 7 * size, f3)
                p0, p1, p2, p3 = p0 * f0, p1 * f1, p2 * f2, p3 * f3
                if i % EVERY == EVERY - 1:
                    p0, p1 = where_at_most(least, p0, p0, zero), where_at_most(least, p1, p1, zero)
                    p2, p3 = where_at_most(least, p2, p2, zero), where_at_most(least, p3, p3, zero)
            p0, p1 = (
                begin * splat(t, weight[q] * unit),
                begin * splat(t, weight[b] * unit if q + 1 < t.size else real(0)),
            )
            p2 = begin * splat(t, weight[c] * unit if q + 2 < t.size else real(0))
            p3 = begin * splat(t, weight[d] * unit if q + 3 < t.size else real(0))
            for i in range(players - 1, -1, -1):
                at = before + i * stride
                two = load(work, at) * p0 + load(work, at + size) * p1
                others = load(work, at + 2 * size) * p2 + load(work, at + 3 * size) * p3
                store(work, credit + i * size, load(work, credit + i * size) + (two + others))
                if factors_kept:
                    f0, f1 = load(work, at + 4 * size), load(work, at + 5 * size)
                    f2, f3 = load(work, at + 6 * size), load(work, at + 7 * size)
                else:
                    factor = load(work, y + i * size)
                    f0, f1 = stay0 + join0 * factor, stay1 + join1 * factor
                    f2, f3 = stay2 + join2 * factor, stay3 + join3 * factor
                p0, p1, p2, p3 = p0 * f0, p1 * f1, p2 * f2, p3 * f3
                if i % EVERY == 0:
                    p0, p1 = _some(least, p0, zero), _some(least, p1, zero)
                    p2, p3 = _some(least, p2, zero), _some(least, p3, zero)
        everything = zero  # not finite where a credit is not, and hardly ever else
        for at in range(0, every, size):
            share = load(work, own + at) * (load(work, credit + at) * undo * back) + nan_flag
            everything = everything + share
            store(work, credit + at, share)
        from_lanes(work, credit, rows, players, out, start * players, players)
        wrong = marked(everything * zero + zero)
        if chances:
            wrong |= marked(where_at_most(zero, low, where_at_most(high, one, zero, one), one))
        if wrong:
            first_bad = first_bad_of(wrong, live, start, rows, players, out, first_bad)
    return first_bad


@inlined
def _some(least, x, zero):  # type: ignore[no-untyped-def]
    """x where |x| is not below `least`, else 0."""
    return where_at_most(least, larger(x, zero - x), x, zero)


def _sizes(p, mask, sizes, row_of_count, chances, work, who, first, stop, out):  # type: ignore[no-untyped-def]
    players, width = p.shape[1], p.shape[1] + 1
    one = p.dtype.type(1)
    zero = p.dtype.type(0)
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
                usable &= np.isfinite(p[b, i])
                if chances and first_bad < 0 and not zero <= p[b, i] <= one:
                    first_bad = b
                work[y + live] = one - p[b, i]
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
            size, last, now = p.dtype.type(k), means + (k - 1) * width, means + k * width
            factor = work[y + k - 1] / size
            work[now] = one
            for a in range(1, k):
                work[now + a] = (size - p.dtype.type(a)) / size * work[last + a] + (
                    p.dtype.type(a) * factor * work[last + a - 1]
                )
            work[now + k] = work[y + k - 1] * work[last + k - 1]
        for a in range(live):
            work[rest + a] = sizes[row_of_count[live], a]
        for k in range(live - 1, -1, -1):  # the player after the first k
            credit = zero
            for a in range(k + 1):
                credit += work[means + k * width + a] * work[rest + a]
            out[b, who[k]] = p[b, who[k]] * credit
            if k > 0:
                size = p.dtype.type(k)
                factor = work[y + k] / size
                for a in range(rest, rest + k):
                    step = p.dtype.type(a - rest)
                    work[a] = (size - step) / size * work[a] + (step + one) * factor * work[a + 1]
    return first_bad


_FEW = Kernel(_nodes_of_few, "r1 r1 r1 r1 l l R1", "r1", grain=16)
_MANY = Kernel(_nodes_of_many, "r1 r1 r1 r1 r1 l l R1", "r1", grain=16)
_SIZES = Kernel(_sizes, "r2 b2 r2 i1 l R1 L1")
