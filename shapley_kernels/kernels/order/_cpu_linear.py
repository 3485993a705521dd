"""Rows whose credits need no order, as every member of a set counts alike: A_k = a - k d and B_k = - k d for k < m.
With the lowest live reward l,

    out_i = a (r_i - l) - d sum_j (r_j - l) + A_m (l - c) + c C

whose parts are no larger than those of the gap form. The sum does not depend on the order of the players: each summand
is first cut in two, so coarsely that both halves add up without rounding.
"""

import numpy as np

from shapley_kernels.kernels._simd import (
    highest,
    lanes,
    larger,
    load,
    load_bytes,
    lowest,
    smaller,
    splat,
    store,
    total,
    where_at_most,
    zeros,
)


def rows_linear(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, A, B, C, row_of_count, eps, players, start, stop, out
):
    """Rows start .. stop of `order`, of at least a vector of players; rewards, mask and out flat. Returns the first row
    with a credit that is not finite, or may not be, or -1.

    eps: of the compute dtype.
    """
    size, real, wide = lanes(A), A.dtype.type, np.float64
    above = zeros(players, A)  # r_i - l, 0 for masked players
    zero, one = splat(A, real(0)), splat(A, real(1))
    most, least = splat(A, real(np.inf)), splat(A, real(-np.inf))
    fresh = zeros(2 * size, A)  # 1, and for the last vector, which overlaps that before, 0 where it does
    fresh[:size] = fresh[2 * size - players % size :] = 1
    first_bad = -1
    for row in range(start, stop):
        first, live = row * players, players
        lows, highs, nan_flag = most, least, zero  # nan_flag: 0, or NaN where a live reward is not finite
        if mask.size:
            live = 0
            for i in range(first, first + players):
                live += mask[i] != 0
        for end in range(size, players + size, size):
            at = first + min(end, players) - size
            x = y = load(rewards, at)
            if mask.size:
                alive = load_bytes(mask, at, A)
                x, y = where_at_most(one, alive, x, most), where_at_most(one, alive, x, least)
                nan_flag = nan_flag + where_at_most(one, alive, load(rewards, at), zero) * zero
            else:
                nan_flag = nan_flag + x * zero
            lows, highs = smaller(lows, x), larger(highs, y)
        low, high = lowest(lows), highest(highs)
        if live == 0:
            low = high = real(0)
        # x + cut - cut is a multiple of the last place of cut, whose significand holds the sum of all of them
        cut = (high - low) * real(2 * players)
        coarse, fine = splat(A, cut), splat(A, cut * real(eps) * real(2 * players))
        sums, rests, bottom = zero, zero, splat(A, low)
        for end in range(size, players + size, size):
            at = min(end, players) - size
            x = load(rewards, first + at) - bottom
            if mask.size:
                x = where_at_most(one, load_bytes(mask, first + at, A), x, zero)
            store(above, at, x)
            x = x * load(fresh, 0 if end <= players else size)
            part = (x + coarse) - coarse
            sums, rests = sums + part, rests + (((x - part) + fine) - fine)
        level = row_of_count[max(1, live)]
        own, last = A[level, max(2, live) - 2], A[level, max(1, live) - 1]
        c = wide(v_empty[row if v_empty.size > 1 else 0])
        rest = wide(last) * (wide(low) - c) + c * wide(C[level])
        if B.size and live > 1:
            others = B[level, live - 2]
            own -= others
            rest += wide(others) / (live - 1) * (wide(total(sums)) + wide(total(rests)))
        shift = real(rest) + total(nan_flag)
        if live and first_bad < 0 and not np.isfinite(shift + own * (high - low)):
            first_bad = row
        own_share, same = splat(A, own), splat(A, shift)
        for end in range(size, players + size, size):
            at = min(end, players) - size
            credit = load(above, at) * own_share + same
            if mask.size:
                credit = where_at_most(one, load_bytes(mask, first + at, A), credit, zero)
            store(out, first + at, credit)
    return first_bad
