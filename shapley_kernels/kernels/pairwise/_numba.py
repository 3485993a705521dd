"""`pairwise` on the CPU: of few players a vector of rows at a time, one per lane; of many one row after the other.
Compiled without the GIL, so it may be called from many threads at once and after a fork."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper, inlined
from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels._simd import (
    lanes,
    load,
    splat,
    store,
    total,
    transpose_all,
    where_at_most,
    zeros,
)

IN_LANES = 16
"""The most players of rows that are taken a vector at a time: their pairs have to stay in the cache. One more is enough
for a vector of one row."""


def run(w: Any, values: Any, mask: Any, own: Any, pair: Any, row_of_count: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, w, values and out in the compute dtype.

    Returns:
        The first row with a live value or pair that is not finite, or with two live pairs w_ij and w_ji that differ;
        -1 when there is none.
    """
    rows, players = out.shape
    return _KERNEL(rows, players * players // 2, own.dtype, w.reshape(-1), values, mask, own, pair, row_of_count, out)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernel ready for these compute dtypes."""
    for dtype in dtypes:
        _KERNEL.ready(np.dtype(dtype).char)


def _pairwise(w, values, mask, own, pair, row_of_count, start, stop, out):  # type: ignore[no-untyped-def]
    if out.shape[1] <= IN_LANES:
        return _in_lanes(w, values, mask, own, pair, row_of_count, start, stop, out)
    return _in_rows(w, values, mask, own, pair, row_of_count, start, stop, out)


@helper
def _in_lanes(w, values, mask, own, pair, row_of_count, start, stop, out):  # type: ignore[no-untyped-def]
    players, size, real = out.shape[1], lanes(own), own.dtype.type
    zero, one = splat(own, real(0)), splat(own, real(1))
    x, a = zeros(players * players * size, own), zeros(players * size, own)  # [player, player, lane], [player, lane]
    live, credit = zeros(players * size, own), zeros(players * size, own)
    scale_own, scale_pair, flags = zeros(size, own), zeros(size, own), zeros(2 * size, own)
    known, first_bad = False, -1
    for first in range(start, stop, size):
        rows = min(size, stop - first)
        transpose_all(w, first * players * players, rows, players * players, players * players, x, 0, size)
        if values.size:
            transpose_all(values.reshape(-1), first * players, rows, players, players, a, 0, size)
        if mask.size or not known:
            known = True
            live[:] = 1
            for row in range(size):
                count = players
                for i in range(players if mask.size and row < rows else 0):
                    live[i * size + row] = mask[first + row, i]
                    count -= 1 - mask[first + row, i]
                scale_own[row], scale_pair[row] = own[row_of_count[count]], pair[row_of_count[count]]
        wrong = zero  # 0, or NaN in a row with a credit that is not finite
        differ = zero  # 0, or more in a row that is not symmetric
        for i in range(players):
            added = zero
            for j in range(players):
                if j != i:
                    both = load(live, i * size) * load(live, j * size)
                    weight = where_at_most(one, both, load(x, (i * players + j) * size), zero)
                    added = added + weight
                    if j < i:
                        mirrored = where_at_most(one, both, load(x, (j * players + i) * size), zero)
                        differ = differ + _differ(weight, mirrored, zero, one)
            share = load(scale_pair, 0) * added + load(scale_own, 0) * load(a, i * size)
            share = where_at_most(one, load(live, i * size), share, zero)
            wrong = wrong + share * zero
            store(credit, i * size, share)
        store(flags, 0, wrong)
        store(flags, size, differ)
        transpose_all(credit, 0, players, rows, size, out.reshape(-1), first * players, players)
        for row in range(rows):
            if flags[row] != 0:
                _refuse(mask, first + row, out)
            if (flags[row] != 0 or flags[size + row] != 0) and first_bad < 0:
                first_bad = first + row
    return first_bad


@helper
def _in_rows(w, values, mask, own, pair, row_of_count, start, stop, out):  # type: ignore[no-untyped-def]
    """Of w, what stands above the diagonal is added up, by rows and by columns, and the other half is looked at in the
    same pass, block by block: every number is read once."""
    players, size, real = out.shape[1], lanes(own), own.dtype.type
    zero, one = splat(own, real(0)), splat(own, real(1))
    place, alive = zeros(players, own), zeros(players, own)
    of_rows, of_columns = zeros(players, own), zeros(players, own)
    sums, mirrored = zeros(size * size, own), zeros(size * size, own)
    for i in range(players):
        place[i], alive[i] = i, 1
    first_bad = -1
    for b in range(start, stop):
        of_columns[:] = 0
        differ, nan_flag, live = zero, zero, 0  # nan_flag: 0, or NaN where a pair of the other half is not finite
        for i in range(players):
            if mask.size:
                alive[i] = mask[b, i]
            live += 1 if mask.size == 0 else mask[b, i]
        for i in range(0, players, size):
            k = min(i, players - size)  # the last block overlaps that before
            sums[:] = 0
            for j in range(i, players, size):
                m = min(j, players - size)
                transpose_all(w, (b * players + m) * players + k, size, size, players, mirrored, 0, size)
                column = load(of_columns, m)
                for row in range(i - k, size):
                    if mask.size == 0 or mask[b, k + row]:
                        beyond, where = splat(own, real(max(j, k + row + 1))), load(place, m)
                        x = where_at_most(beyond, where, load(w, (b * players + k + row) * players + m), zero)
                        y = where_at_most(beyond, where, load(mirrored, row * size), zero)
                        if mask.size:
                            x = where_at_most(one, load(alive, m), x, zero)
                            y = where_at_most(one, load(alive, m), y, zero)
                        differ, nan_flag = differ + _differ(x, y, zero, one), nan_flag + y * zero
                        column = column + x
                        store(sums, row * size, load(sums, row * size) + x)
                store(of_columns, m, column)
            for row in range(i - k, size):
                of_rows[k + row] = total(load(sums, row * size))
        level = row_of_count[live]
        usable = total(nan_flag) == 0
        for i in range(players):
            out[b, i] = 0
            if mask.size == 0 or mask[b, i]:
                credit = pair[level] * (of_rows[i] + of_columns[i])
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


_KERNEL = Kernel(_pairwise, "r1 r2 b2 r1 r1 i1")
