"""`table` on the CPU: a vector of coalition tables at a time, one per lane, in blocks of the first players that stay in
the L1 cache. Compiled without the GIL, so it may be called from many threads at once and after a fork."""

from functools import lru_cache
from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper, inlined
from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels._simd import BITS, lanes, load, splat, store, transpose_all, zeros

BLOCK_BITS = 8
"""The first 8 players are served in blocks of 2^8 coalitions, in lanes; the others between blocks."""

FEWEST_BITS = 4
"""Of a block, which is filled up with zeros: its players are taken in fours."""


def run(values: Any, mask: Any, weights: Any, row_of_count: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, values and out in the compute dtype.

    Returns:
        The first row with a non-finite live entry, -1 when there is none.
    """
    rows, players = out.shape
    steps = players << max(0, players - 1)
    fours = _fours(max(FEWEST_BITS, min(players, BLOCK_BITS)), BITS // 8 // weights.itemsize)
    return _KERNEL(rows, steps, weights.dtype, values.reshape(-1), mask, weights, row_of_count, fours, out)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernel ready for these compute dtypes."""
    for dtype in dtypes:
        _KERNEL.ready(np.dtype(dtype).char)


@lru_cache
def _fours(bits: int, lanes: int) -> np.ndarray:
    """[fours, 1 + coalitions, 2]: of four players of a block, the first and how far each stands from the one before;
    then, of each coalition without them, its place and its size, times `lanes`. All players are in a four."""
    fours = np.zeros((2 if bits > 4 else 1, 1 + (1 << bits - 4), 2), np.int64)
    for first, four in zip((0, bits - 4), fours, strict=False):
        others = [s for s in range(1 << bits) if not s >> first & 15]
        four[0] = first, lanes << first
        four[1:] = lanes * np.array([others, [s.bit_count() for s in others]]).T
    fours.flags.writeable = False
    return fours


def _table(values, mask, weights, row_of_count, fours, start, stop, out):  # type: ignore[no-untyped-def]
    players, size, real = out.shape[1], lanes(weights), weights.dtype.type
    low = FEWEST_BITS + fours[len(fours) - 1, 0, 0]
    width = 1 << low
    table = zeros(width * size, weights)  # [coalition, lane]
    weight = zeros((low + 1) * size, weights)  # [players in the coalition, lane]
    credit = zeros(max(players, low) * size, weights)  # [player, lane]
    check, live = zeros(size, weights), np.zeros(size, np.int64)
    if players <= low:
        known, first_bad = -1, -1
        for first in range(start, stop, size):
            rows = min(size, stop - first)
            if mask.size:
                for row in range(rows):
                    live[row] = _packed(values, (first + row) << players, mask[first + row], table, row, size, width)
            else:
                live[:] = players
                whole = 1 << players
                transpose_all(values, first << players, rows, whole, whole, table, 0, size)
            if mask.size or known < 0:
                known = players
                for row in range(size):
                    _set_weights(weights[row_of_count[live[row]]], 0, live[row], weight, row, size)
            _credits(table, weight, fours, credit)
            nan_flag = load(credit, 0) * splat(weights, real(0))  # 0, or not in a row with a credit that is not finite
            for i in range(1, players):
                nan_flag = nan_flag + load(credit, i * size) * splat(weights, real(0))
            store(check, 0, nan_flag)
            if mask.size == 0:
                transpose_all(credit, 0, players, rows, size, out.reshape(-1), first * players, players)
            for row in range(rows):
                if mask.size or check[row] != 0:
                    bad = _written(credit, row, size, mask, first + row, out)
                    first_bad = first + row if bad and first_bad < 0 else first_bad
        return first_bad
    packed = zeros(1 << max(players, low), weights)
    inside = np.zeros(width, np.int64)  # players in a coalition of the block
    for x in range(1, width):
        inside[x] = inside[x >> 1] + (x & 1)
    across = np.zeros((players + 1, width), real)  # [players outside the block, coalition in it]
    partial = np.zeros((players, players + 1), real)
    first_bad = -1
    everybody = np.ones(0 if mask.size else players, np.uint8)
    for row in range(start, stop):
        present = mask[row] if mask.size else everybody
        count = _packed(values, row << players, present, packed, 0, 1, width)
        of_size, bits = weights[row_of_count[count]], max(count, low)
        for first in range(0, 1 << (bits - low), size):
            blocks = min(size, (1 << (bits - low)) - first)
            transpose_all(packed, first << low, blocks, width, width, table, 0, size)
            for lane in range(blocks):
                _set_weights(of_size, _ones(first + lane), count, weight, lane, size)
            _credits(table, weight, fours, credit)
            for i in range(low):
                for lane in range(blocks):
                    credit[i * size] = _into_tree(credit[i * size + lane], partial, i, first + lane)
                partial[i, players] = credit[i * size]
        for outside in range(bits - low):
            for x in range(width):
                s = outside + inside[x]
                across[outside, x] = of_size[s] if s < count else 0
        for i in range(low, bits):
            bit, leaf = i - low, 0
            for block in range(1 << (bits - low)):
                if block >> bit & 1 == 0:
                    at = block << low
                    gain = _gain_between(packed, at, at + (width << bit), across[_ones(block)], table)
                    partial[i, players] = _into_tree(gain, partial, i, leaf)
                    leaf += 1
        for i in range(bits):
            credit[i * size] = partial[i, players]
        if _written(credit, 0, size, mask, row, out) and first_bad < 0:
            first_bad = row
    return first_bad


@helper
def _packed(values, at, present, table, to, stride, width):  # type: ignore[no-untyped-def]
    """table[to + x * stride] of the live players alone, and zeros up to `width`; their number is returned."""
    live, everybody = 0, 0
    for i in range(present.size):
        live += present[i]
        everybody |= np.int64(present[i]) << i
    coalition = 0
    for x in range(1 << live):
        table[to + x * stride] = values[at + coalition]
        coalition = (coalition - everybody) & everybody
    for x in range(1 << live, width):
        table[to + x * stride] = 0
    return live


@helper
def _ones(x):  # type: ignore[no-untyped-def]
    """Bits of x that are 1."""
    count = 0
    while x:
        x &= x - 1
        count += 1
    return count


@helper
def _set_weights(of_size, outside, live, weight, lane, size):  # type: ignore[no-untyped-def]
    """weight[s, lane], of coalitions of s players in a block and `outside` others."""
    for s in range(weight.size // size):
        weight[s * size + lane] = of_size[outside + s] if outside + s < live else 0


@inlined
def _eight(x, y, w):  # type: ignore[no-untyped-def]
    """Differences of a player of a four, who joins coalitions x of 0, 1, 2 or 3 of the others, which makes them y,
    under the weights w of their sizes."""
    one, two = (y[1] - x[1]) + (y[2] - x[2]) + (y[3] - x[3]), (y[4] - x[4]) + (y[5] - x[5]) + (y[6] - x[6])
    return ((y[0] - x[0]) * w[0] + (y[7] - x[7]) * w[3]) + (one * w[1] + two * w[2])


@helper
def _credits(table, weight, fours, credit):  # type: ignore[no-untyped-def]
    """credit[i, lane] of the players of a block. Four of them, p, q, r and t, at a time, from the 16 coalitions that
    they make with some others, each of which is loaded once; sums of eight differences are added up in fours, one after
    the other, and these in fours again."""
    size, count = lanes(table), fours.shape[1] - 1
    for four in range(len(fours)):
        to, P = fours[four, 0, 0] * size, fours[four, 0, 1]  # P, Q, R: how far the coalitions with p, q, r are
        Q, R = 2 * P, 4 * P
        a0 = b0 = c0 = d0 = a1 = b1 = c1 = d1 = load(credit, 0)
        for first in range(0, count, 4):
            for k in range(min(4, count)):
                s, w = fours[four, np.uintp(1 + first + k), 0], fours[four, np.uintp(1 + first + k), 1]
                w0, w1 = load(weight, w), load(weight, w + size)
                w2, w3 = load(weight, w + 2 * size), load(weight, w + 3 * size)
                v = w0, w1, w2, w3
                n, p, q, pq = load(table, s), load(table, s + P), load(table, s + Q), load(table, s + P + Q)
                s += R
                r, pr, qr, pqr = load(table, s), load(table, s + P), load(table, s + Q), load(table, s + P + Q)
                s += R
                t, pt, qt, pqt = load(table, s), load(table, s + P), load(table, s + Q), load(table, s + P + Q)
                s += R
                rt, prt, qrt, pqrt = load(table, s), load(table, s + P), load(table, s + Q), load(table, s + P + Q)
                a = _eight((n, q, r, t, qr, qt, rt, qrt), (p, pq, pr, pt, pqr, pqt, prt, pqrt), v)
                b = _eight((n, p, r, t, pr, pt, rt, prt), (q, pq, qr, qt, pqr, pqt, qrt, pqrt), v)
                c = _eight((n, p, q, t, pq, pt, qt, pqt), (r, pr, qr, rt, pqr, prt, qrt, pqrt), v)
                d = _eight((n, p, q, r, pq, pr, qr, pqr), (t, pt, qt, rt, pqt, prt, qrt, pqrt), v)
                a1, b1, c1, d1 = (a1 + a, b1 + b, c1 + c, d1 + d) if k else (a, b, c, d)
            a0, b0, c0, d0 = (a0 + a1, b0 + b1, c0 + c1, d0 + d1) if first else (a1, b1, c1, d1)
        store(credit, to, a0)
        store(credit, to + size, b0)
        store(credit, to + 2 * size, c0)
        store(credit, to + 3 * size, d0)


@helper
def _gain_between(v, without, joined, weight, scratch):  # type: ignore[no-untyped-def]
    """The sum of the weighted differences between two blocks."""
    size, width = lanes(v), weight.size
    for x in range(0, width, size):
        store(scratch, x, (load(v, joined + x) - load(v, without + x)) * load(weight, x))
    half = width >> 1
    while half >= size:
        for x in range(0, half, size):
            store(scratch, x, load(scratch, x) + load(scratch, half + x))
        half >>= 1
    while half > 0:
        for x in range(half):
            scratch[x] += scratch[half + x]
        half >>= 1
    return scratch[0]


@helper
def _into_tree(leaf, waiting, player, count):  # type: ignore[no-untyped-def]
    """The sum of 2^h leaves that ends with this one, `count` before it; waiting[player, h] is a sum of 2^h that waits
    for its neighbour."""
    height = 0
    while count >> height & 1:
        leaf += waiting[player, height]
        height += 1
    waiting[player, height] = leaf
    return leaf


@helper
def _written(credit, lane, size, mask, row, out):  # type: ignore[no-untyped-def]
    """Write the credits of a row, those of its live players one after the other. Returns whether one is not finite."""
    live, usable = 0, True
    for i in range(out.shape[1]):
        out[row, i] = 0
        if mask.size == 0 or mask[row, i]:
            out[row, i] = credit[live * size + lane]
            usable &= np.isfinite(out[row, i])
            live += 1
    for i in range(out.shape[1]):
        if not usable and (mask.size == 0 or mask[row, i]):
            out[row, i] = np.nan
    return not usable


_KERNEL = Kernel(_table, "r1 b2 r2 i1 l3")
