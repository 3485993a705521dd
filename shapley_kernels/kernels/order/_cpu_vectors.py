"""Rows up to a middling length: a vector of rows at a time, one per lane, with loops over the players.

    out_i = sum_k (s_k - s_{k+1}) (A_k if s_k <= x_i else B_k) + c C,      s = x sorted, best first, s_{n+1} = c

takes players^2 comparisons of whole vectors, and neither an order of the players nor a number looked up. One machine
code serves all numbers of players, which is what a call pays that is too small to compile another for.
"""

import numpy as np

from shapley_kernels.kernels._simd import (
    BLOCK,
    lanes,
    larger,
    load,
    load_bytes,
    smaller,
    splat,
    store,
    transpose,
    where_at_most,
    zeros,
)

TOGETHER = 4
"""Players whose sums run side by side, as one has to wait for its last addition."""


def rows_in_vectors(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, A, B, C, row_of_count, network, players, ascending, start, stop, out
):
    """Rows start .. stop of `order`, rewards, mask and out flat; `network` as of `_sorting_networks`. Returns the first
    row with a credit that is not finite, or may not be, or -1.

    ascending: in which order a player's levels are added up, 1: from the best on, else from the last.
    """
    size, real = lanes(A), A.dtype.type
    whole = players * size
    scratch = zeros(6 * (whole + TOGETHER * size), A).reshape((6, whole + TOGETHER * size))
    x, s, g, h, a, b = scratch[0], scratch[1], scratch[2], scratch[3], scratch[4], scratch[5]  # [players, lanes]
    alive = np.zeros(whole + TOGETHER * size if mask.size else 0, np.uint8)
    c, shift = np.zeros(size, real), np.zeros(size, real)
    zero, one, least = splat(A, real(0)), splat(A, real(1)), splat(A, real(-np.inf))
    nothing = splat(A, -real(0)) if ascending else zero  # of a sum
    everybody = splat(A, real(players))
    blocks, first_bad, known = players >= BLOCK, -1, False
    for first in range(start, stop, size):
        rows = min(size, stop - first)
        if blocks and rows == size:
            for row in range(0, size, BLOCK):
                for j in range(0, players, BLOCK):
                    k = min(j, players - BLOCK)  # the last block overlaps that before
                    transpose(rewards, (first + row) * players + k, players, x, k * size + row, size)
                    if mask.size:
                        transpose(mask, (first + row) * players + k, players, alive, k * size + row, size)
        else:
            for row in range(rows):
                for k in range(players):
                    at = np.uintp((first + row) * players + k)
                    x[np.uintp(k * size + row)] = rewards[at]
                    if mask.size:
                        alive[np.uintp(k * size + row)] = mask[at]

        live, nan_flag = everybody, nothing  # nan_flag: 0, or NaN in a row with a reward that is not finite
        if mask.size:
            live = zero
        for at in range(0, whole, size):
            reward = load(x, at)
            if mask.size:
                is_live = load_bytes(alive, at, A)
                live = live + is_live
                nan_flag = nan_flag + where_at_most(one, is_live, reward, zero) * zero
                reward = where_at_most(one, is_live, reward, least)
            else:
                nan_flag = nan_flag + reward * zero
            store(s, at, reward)
        for step in range(len(network)):
            i, j = network[step, 0] * size, network[step, 1] * size
            upper, lower = load(s, i), load(s, j)
            store(s, i, larger(upper, lower))
            store(s, j, smaller(upper, lower))

        if mask.size or v_empty.size > 1 or not known:
            known = True
            store(shift, 0, live)
            for row in range(rows):
                count = np.intp(shift[row])
                level = row_of_count[max(1, count)]
                c[row] = v_empty[first + row if v_empty.size > 1 else 0]
                shift[row] = c[row] * C[level]
                for k in range(players):
                    if k == count and ascending:
                        level = row_of_count[players]
                    a[k * size + row] = A[level, k]
                    if B.size:
                        b[k * size + row] = B[level, k]
        end = load(c, 0)
        constant = load(shift, 0) + (nan_flag + end * zero)
        lower = end
        for k in range(players - 1, -1, -1):
            reward = load(s, k * size)
            if mask.size:  # the gaps of masked players are 0
                reward = where_at_most(splat(A, real(k + 1)), live, reward, end)
                store(s, k * size, reward)
            gap = reward - lower
            store(g, k * size, gap * load(a, k * size))
            if B.size:
                store(h, k * size, gap * load(b, k * size))
            lower = reward

        nan_flag = zero  # 0, or NaN in a row with a credit that is not finite
        for at in range(0, whole, TOGETHER * size):
            x0, x1, x2, x3 = load(x, at), load(x, at + size), load(x, at + 2 * size), load(x, at + 3 * size)
            t0, t1, t2, t3 = nothing, nothing, nothing, nothing
            for k in range(players):
                to = k * size if ascending else whole - size - k * size
                level, gain, loss = load(s, to), load(g, to), zero
                if B.size:
                    loss = load(h, to)
                t0 = t0 + where_at_most(level, x0, gain, loss)
                t1 = t1 + where_at_most(level, x1, gain, loss)
                t2 = t2 + where_at_most(level, x2, gain, loss)
                t3 = t3 + where_at_most(level, x3, gain, loss)
            t0, t1, t2, t3 = t0 + constant, t1 + constant, t2 + constant, t3 + constant
            if mask.size:
                t0 = where_at_most(one, load_bytes(alive, at, A), t0, zero)
                t1 = where_at_most(one, load_bytes(alive, at + size, A), t1, zero)
                t2 = where_at_most(one, load_bytes(alive, at + 2 * size, A), t2, zero)
                t3 = where_at_most(one, load_bytes(alive, at + 3 * size, A), t3, zero)
            store(x, at, t0)
            store(x, at + size, t1)
            store(x, at + 2 * size, t2)
            store(x, at + 3 * size, t3)
            nan_flag = nan_flag + ((t0 + t1) + (t2 + t3)) * zero
        store(s, 0, nan_flag)
        for row in range(rows):
            if s[row] != 0 and first_bad < 0:
                first_bad = first + row
        if blocks and rows == size:
            for row in range(0, size, BLOCK):
                for j in range(0, players, BLOCK):
                    k = min(j, players - BLOCK)
                    transpose(x, k * size + row, size, out, (first + row) * players + k, players)
        else:
            for row in range(rows):
                for k in range(players):
                    out[np.uintp((first + row) * players + k)] = x[np.uintp(k * size + row)]
    return first_bad
