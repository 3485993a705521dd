"""`pairwise` on the CPU: of few players a vector of rows at a time, one per lane; of many one row after the other.
Compiled without the GIL, so it may be called from many threads at once and after a fork."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._marshal import Kernel, in_one_part
from shapley_kernels.kernels._simd import (
    BITS,
    aligned,
    from_lanes,
    lanes,
    load,
    marked,
    splat,
    store,
    to_lanes,
    total,
    where_at_most,
    with_changes,
)

MOST_IN_LANES = 16
"""The most players of rows that are taken a vector at a time: their pairs have to stay in the cache. One more is enough
for a vector of one row."""


def run(w: Any, values: Any, mask: Any, own: Any, pair: Any, row_of_count: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, w, values and out in the compute dtype.

    Returns:
        The first row with a live value or pair that is not finite, or with two live pairs w_ij and w_ji that differ;
        -1 when there is none.
    """
    rows, players = out.shape
    size = BITS // 8 // own.itemsize
    if players <= MOST_IN_LANES:
        kernel, vectors = _IN_LANES, _vectors(players)
    else:
        kernel, vectors = _IN_ROWS, 2 * size + 3 * (-(-players // size))

    def scratch(*_: int) -> tuple[Any]:
        return (np.zeros((vectors + 1) * size, own.dtype),)

    flat_values = None if values is None else values.reshape(-1)
    arrays = w.reshape(-1), flat_values, mask, own, pair, row_of_count, out.reshape(-1)
    return kernel(rows, players * players // 2, own.dtype, *arrays, scratch=scratch)


def bound(shape: tuple[int, int], own: Any, pair: Any, row_of_count: Any) -> Any:
    """`run` of small calls of few players on these tables, as work(w, values, mask, out) that has nothing left to
    choose, and whose rows may have several axes; None for others."""
    rows, players = shape
    if not 0 < players <= MOST_IN_LANES or not in_one_part(rows, players * players):
        return None
    kernel, (_, nothing, nobody, *_) = _IN_LANES.ready(own.dtype.char)  # type: ignore[misc]
    size = (_vectors(players) + 1) * BITS // 8 // own.itemsize

    def work(w: Any, values: Any, mask: Any, out: Any) -> int:
        a = nothing if values is None else values.reshape(-1)
        live, room = nobody if mask is None else mask.view(np.uint8).reshape(shape), np.zeros(size, own.dtype)
        return kernel(w.reshape(-1), a, live, own, pair, row_of_count, room, 0, rows, out.reshape(-1))

    return work


def _vectors(players: int) -> int:
    """That rows in lanes are worked out in."""
    return players * players + 3 * players + 3


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype in dtypes:
        for kernel in (_IN_LANES, _IN_ROWS):
            kernel.ready(np.dtype(dtype).char)


def _pairwise_in_lanes(w, values, mask, own, pair, row_of_count, work, start, stop, out):  # type: ignore[no-untyped-def]
    players, size, real = row_of_count.size - 1, lanes(own), own.dtype.type
    zero, one = splat(own, real(0)), splat(own, real(1))
    pairs, every = players * players, players * size
    x = aligned(work)  # [player, player, lane]
    a = x + pairs * size  # [player, lane], as live and credit
    live, credit = a + every, a + 2 * every
    scale_own = credit + every
    scale_pair, first_bad = scale_own + size, -1
    for first in range(start, stop, size):
        rows = min(size, stop - first)
        to_lanes(w, first * pairs, rows, pairs, pairs, work, x)
        if values.size:
            to_lanes(values, first * players, rows, players, players, work, a)
        if mask.size or first == start:
            for row in range(size):
                count = 0
                for i in range(players):
                    present = np.int64(mask.size == 0 or mask[first + min(row, rows - 1), i] != 0)
                    work[live + i * size + row] = present
                    count += present
                level = row_of_count[count]
                work[scale_own + row], work[scale_pair + row] = own[level], pair[level]
        for i in range(0, every if mask.size else 0, size):
            mine, at = load(work, live + i), x + i * players
            store(work, a + i, where_at_most(one, mine, load(work, a + i), zero))
            for j in range(0, every, size):
                both = mine * load(work, live + j)
                store(work, at + j, where_at_most(one, both, load(work, at + j), zero))
        # bits that are 0, but in rows that are not symmetric; and 0, but NaN in rows with a credit that is not finite
        differ, nan_flag = zero, zero
        for i in range(players):
            at, added = x + i * every, zero
            for j in range(0, i * size, size):
                weight = load(work, at + j)
                added = added + weight
                differ = with_changes(differ, weight, load(work, x + j * players + i * size))
            for j in range((i + 1) * size, every, size):
                added = added + load(work, at + j)
            share = load(work, scale_pair) * added + load(work, scale_own) * load(work, a + i * size)
            share = where_at_most(one, load(work, live + i * size), share, zero)
            nan_flag = nan_flag + share * zero
            store(work, credit + i * size, share)
        from_lanes(work, credit, rows, players, out, first * players, players)
        suspects = marked(with_changes(differ, nan_flag, zero))
        for row in range(rows if suspects else 0):
            if suspects >> row & 1 and _refused(w, mask, first + row, players, out) and first_bad < 0:
                first_bad = first + row
    return first_bad


def _pairwise_in_rows(w, values, mask, own, pair, row_of_count, work, start, stop, out):  # type: ignore[no-untyped-def]
    """Of w, what stands above the diagonal is added up, by rows and by columns, and the other half is looked at in the
    same pass, block by block: every number is read once."""
    players, size, real = row_of_count.size - 1, lanes(own), own.dtype.type
    zero, one = splat(own, real(0)), splat(own, real(1))
    mirrored = aligned(work)  # [row, lane] of a block, as sums
    sums, whole = mirrored + size * size, -(-players // size) * size
    of_rows = sums + size * size  # [player], as those behind it
    of_columns, place, first_bad = of_rows + whole, of_rows + 2 * whole, -1
    for b in range(start, stop):
        for i in range(of_columns, place, size):
            store(work, i, zero)
        differ, live = zero, 0
        for i in range(players):
            present = np.int64(mask.size == 0 or mask[b, i] != 0)
            work[place + i] = (i + 1) * present  # 0 of masked players
            live += present
        for i in range(0, players, size):
            k = min(i, players - size)  # the last block overlaps that before
            for row in range(size):
                store(work, sums + row * size, zero)
            for j in range(i, players, size):
                m = min(j, players - size)
                to_lanes(w, (b * players + m) * players + k, size, size, players, work, mirrored)
                column, at = load(work, of_columns + m), (b * players + k) * players + m
                if mask.size == 0 and i < m == j:
                    for row in range(size):
                        x = load(w, at + row * players)
                        differ = with_changes(differ, x, load(work, mirrored + row * size))
                        column = column + x
                        store(work, sums + row * size, load(work, sums + row * size) + x)
                    store(work, of_columns + m, column)
                    continue
                for row in range(i - k, size):
                    if work[place + k + row] != 0:
                        beyond, where = splat(own, real(max(j, k + row + 1) + 1)), load(work, place + m)
                        x = where_at_most(beyond, where, load(w, at + row * players), zero)
                        y = where_at_most(beyond, where, load(work, mirrored + row * size), zero)
                        differ = with_changes(differ, x, y)
                        column = column + x
                        store(work, sums + row * size, load(work, sums + row * size) + x)
                store(work, of_columns + m, column)
            for row in range(i - k, size):
                work[of_rows + k + row] = total(load(work, sums + row * size))
        level, nan_flag = row_of_count[live], zero  # 0, or NaN where a credit is not finite
        for i in range(0, players, size):
            k = min(i, players - size)
            share = splat(own, pair[level]) * (load(work, of_rows + k) + load(work, of_columns + k))
            if values.size:
                share = share + splat(own, own[level]) * load(values, b * players + k)
            share = where_at_most(one, load(work, place + k), share, zero)
            nan_flag = nan_flag + share * zero
            store(out, b * players + k, share)
        suspect = marked(with_changes(differ, nan_flag, zero))
        if suspect and _refused(w, mask, b, players, out) and first_bad < 0:
            first_bad = b
    return first_bad


@helper
def _refused(w, mask, b, players, out):  # type: ignore[no-untyped-def]
    """Whether row b, some bits of which differ from those across the diagonal, or with a credit that is not finite, is
    really not symmetric or not finite; if not finite, its live players get NaN."""
    symmetric, finite = True, True
    for i in range(players):
        if mask.size == 0 or mask[b, i]:
            finite &= np.isfinite(out[b * players + i])
            for j in range(players):
                if j != i and (mask.size == 0 or mask[b, j]):
                    x = w[(b * players + i) * players + j]
                    finite &= np.isfinite(x)
                    symmetric &= x == w[(b * players + j) * players + i]
    for i in range(players):
        if not finite and (mask.size == 0 or mask[b, i]):
            out[b * players + i] = np.nan
    return not (symmetric and finite)


_IN_LANES = Kernel(_pairwise_in_lanes, "r1 r1 b2 r1 r1 i1 R1", "r1", grain=16)
_IN_ROWS = Kernel(_pairwise_in_rows, "r1 r1 b2 r1 r1 i1 R1", "r1")
