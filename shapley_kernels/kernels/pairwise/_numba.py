"""`pairwise` on the CPU: of few players a vector of rows at a time, one per lane; of many one row after the other.
Compiled without the GIL, so it may be called from many threads at once and after a fork."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper, inlined
from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels._simd import BITS, aligned, lanes, load, splat, store, total, transpose_all, where_at_most

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
        kernel, vectors = _IN_LANES, players * players + 3 * players + 3
    else:
        kernel, vectors = _IN_ROWS, 2 * size + 4 * (-(-players // size))

    def scratch(*_: int) -> tuple[Any]:
        return (np.zeros((vectors + 1) * size, own.dtype),)

    arrays = w.reshape(-1), values, mask, own, pair, row_of_count, out
    return kernel(rows, players * players // 2, own.dtype, *arrays, scratch=scratch)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready for these compute dtypes."""
    for dtype in dtypes:
        for kernel in (_IN_LANES, _IN_ROWS):
            kernel.ready(np.dtype(dtype).char)


def _pairwise_in_lanes(w, values, mask, own, pair, row_of_count, work, start, stop, out):  # type: ignore[no-untyped-def]
    players, size, real = out.shape[1], lanes(own), own.dtype.type
    zero, one = splat(own, real(0)), splat(own, real(1))
    x = aligned(work)  # [player, player, lane]
    a = x + players * players * size  # [player, lane], as live and credit
    live, credit = a + players * size, a + 2 * players * size
    scale_own = credit + players * size
    scale_pair, wrong = scale_own + size, scale_own + 2 * size
    known, first_bad = False, -1
    for first in range(start, stop, size):
        rows = min(size, stop - first)
        transpose_all(w, first * players * players, rows, players * players, players * players, work, x, size)
        if values.size:
            transpose_all(values.reshape(-1), first * players, rows, players, players, work, a, size)
        if mask.size or not known:
            known = True
            for row in range(size):
                count = players
                for i in range(players):
                    absent = mask.size and row < rows and mask[first + row, i] == 0
                    work[live + i * size + row] = 0 if absent else 1
                    count -= 1 if absent else 0
                level = row_of_count[count]
                work[scale_own + row], work[scale_pair + row] = own[level], pair[level]
        nan_flag = zero  # 0, or NaN in a row with a credit that is not finite
        differ = zero  # 0, or more in a row that is not symmetric
        for i in range(players):
            added = zero
            for j in range(players):
                if j != i:
                    both = load(work, live + i * size) * load(work, live + j * size)
                    weight = where_at_most(one, both, load(work, x + (i * players + j) * size), zero)
                    added = added + weight
                    if j < i:
                        mirrored = where_at_most(one, both, load(work, x + (j * players + i) * size), zero)
                        differ = differ + _differ(weight, mirrored, zero, one)
            share = load(work, scale_pair) * added + load(work, scale_own) * load(work, a + i * size)
            share = where_at_most(one, load(work, live + i * size), share, zero)
            nan_flag = nan_flag + share * zero
            store(work, credit + i * size, share)
        store(work, wrong, nan_flag + differ)
        for row in range(rows):
            for i in range(players):
                out[first + row, i] = work[credit + i * size + row]
            if work[wrong + row] != 0:
                if np.isnan(work[wrong + row]):
                    _refuse(mask, first + row, out)
                if first_bad < 0:
                    first_bad = first + row
    return first_bad


def _pairwise_in_rows(w, values, mask, own, pair, row_of_count, work, start, stop, out):  # type: ignore[no-untyped-def]
    """Of w, what stands above the diagonal is added up, by rows and by columns, and the other half is looked at in the
    same pass, block by block: every number is read once."""
    players, size, real = out.shape[1], lanes(own), own.dtype.type
    zero, one = splat(own, real(0)), splat(own, real(1))
    mirrored = aligned(work)  # [row, lane] of a block, as sums
    sums, whole = mirrored + size * size, -(-players // size) * size
    of_rows = sums + size * size  # [player], as those behind it
    of_columns, place, alive = of_rows + whole, of_rows + 2 * whole, of_rows + 3 * whole
    for i in range(players):
        work[place + i], work[alive + i] = i, 1
    first_bad = -1
    for b in range(start, stop):
        for i in range(of_columns, place, size):
            store(work, i, zero)
        differ, nan_flag, live = zero, zero, 0  # nan_flag: 0, or NaN where a pair of the other half is not finite
        for i in range(players):
            if mask.size:
                work[alive + i] = mask[b, i]
            live += 1 if mask.size == 0 else mask[b, i]
        for i in range(0, players, size):
            k = min(i, players - size)  # the last block overlaps that before
            for row in range(size):
                store(work, sums + row * size, zero)
            for j in range(i, players, size):
                m = min(j, players - size)
                transpose_all(w, (b * players + m) * players + k, size, size, players, work, mirrored, size)
                column = load(work, of_columns + m)
                for row in range(i - k, size):
                    if mask.size == 0 or mask[b, k + row]:
                        beyond, where = splat(own, real(max(j, k + row + 1))), load(work, place + m)
                        x = where_at_most(beyond, where, load(w, (b * players + k + row) * players + m), zero)
                        y = where_at_most(beyond, where, load(work, mirrored + row * size), zero)
                        if mask.size:
                            x = where_at_most(one, load(work, alive + m), x, zero)
                            y = where_at_most(one, load(work, alive + m), y, zero)
                        differ, nan_flag = differ + _differ(x, y, zero, one), nan_flag + y * zero
                        column = column + x
                        store(work, sums + row * size, load(work, sums + row * size) + x)
                store(work, of_columns + m, column)
            for row in range(i - k, size):
                work[of_rows + k + row] = total(load(work, sums + row * size))
        level = row_of_count[live]
        usable = total(nan_flag) == 0
        for i in range(players):
            out[b, i] = 0
            if mask.size == 0 or mask[b, i]:
                credit = pair[level] * (work[of_rows + i] + work[of_columns + i])
                if values.size:
                    credit += own[level] * values[b, i]
                usable &= np.isfinite(credit)
                out[b, i] = credit
        if not usable:
            _refuse(mask, b, out)
        if not (usable and total(differ) == 0) and first_bad < 0:
            first_bad = b
    return first_bad


@inlined
def _differ(x, y, zero, one):  # type: ignore[no-untyped-def]
    """1 where x and y are not equal, or one of them is NaN, else 0."""
    return where_at_most(x, y, where_at_most(y, x, zero, one), one)


@helper
def _refuse(mask, b, out):  # type: ignore[no-untyped-def]
    """NaN for the live players of row b."""
    for i in range(out.shape[1]):
        if mask.size == 0 or mask[b, i]:
            out[b, i] = np.nan


_IN_LANES = Kernel(_pairwise_in_lanes, "r1 r2 b2 r1 r1 i1 R1")
_IN_ROWS = Kernel(_pairwise_in_rows, "r1 r2 b2 r1 r1 i1 R1")
