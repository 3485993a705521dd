"""`table` on the CPU: one row at a time, compiled without the GIL, so it may be called from many threads at once and
after a fork."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._marshal import Kernel

BLOCK_BITS = 8
"""Coalitions are taken in blocks of 2^8, which stay in the L1 cache for all players."""


def run(values: Any, mask: Any, weights: Any, row_of_count: Any, out: Any) -> int:
    """See the package docstring; numpy arrays, values and out in the compute dtype.

    Returns:
        The first row with a non-finite live entry, -1 when there is none.
    """
    rows, players = out.shape
    steps = players << max(0, players - 1)
    return _KERNEL(rows, steps, weights.dtype, values, mask, weights, row_of_count, BLOCK_BITS, out)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernel ready for these compute dtypes."""
    for dtype in dtypes:
        _KERNEL.ready(np.dtype(dtype).char)


def _table(values, mask, weights, row_of_count, block_bits, start, stop, out):  # type: ignore[no-untyped-def]
    players = out.shape[1]
    zero = values.dtype.type(0)
    who = np.arange(players)
    credit = np.empty(players, values.dtype)
    packed = np.empty(1 << players, values.dtype)
    count = np.zeros(1 << block_bits, np.int64)  # players in a coalition of the block
    for x in range(1, 1 << block_bits):
        count[x] = count[x >> 1] + (x & 1)
    weight = np.zeros((players + 1, 1 << block_bits), values.dtype)
    local = np.empty(2 << block_bits, values.dtype)
    gain = np.empty(1 << block_bits, values.dtype)
    partial = np.empty((players, players + 1), values.dtype)
    prepared = -1  # live count that `weight` is for
    first_bad = -1
    for b in range(start, stop):
        live, everybody = players, (1 << players) - 1
        if mask.size:
            live, everybody = 0, 0
            for i in range(players):
                out[b, i] = zero
                if mask[b, i]:
                    who[live] = i
                    live += 1
                    everybody |= 1 << i
        if live == 0:
            continue
        if live != prepared:
            prepared = live
            low = min(live, block_bits)
            for outside in range(live - low + 1):
                for x in range(1 << low):
                    size = outside + count[x]
                    weight[outside, x] = weights[row_of_count[live], size] if size < live else zero
        coalition = 0
        for x in range(1 << live):  # the table of the live players alone
            packed[x] = values[b, coalition]
            coalition = (coalition - everybody) & everybody
        _row(packed, live, weight, block_bits, local, gain, partial, credit)
        usable = True
        for t in range(live):
            usable &= np.isfinite(credit[t])
        for t in range(live):
            out[b, who[t]] = credit[t] if usable else np.nan
        if not usable and first_bad < 0:
            first_bad = b
    return first_bad


@helper
def _row(v, n, weight, block_bits, local, gain, partial, credit):  # type: ignore[no-untyped-def]
    """credit [n] of the table v [2^n]; weight [players outside the block, place in the block]."""
    low = min(n, block_bits)
    width = 1 << low
    swap = low // 2  # players below it are served from the block turned around, where neighbours are far enough apart
    for block in range(1 << (n - low)):
        outside = 0
        for i in range(n - low):
            outside += block >> i & 1
        start = block << low
        _copy_and_turn(v, start, low, swap, local)
        for i in range(n):
            length, leaf = width >> 1, block
            if i < low:  # the weights are the same in the turned block: they depend on the number of players alone
                turned = i < swap
                _gains_within(local, width * turned, weight, outside, i + (low - swap) * turned, low, gain)
            else:
                bit = i - low
                if block >> bit & 1:
                    continue
                _gains(v, start, start + (width << bit), weight, outside, width, gain)
                length, leaf = width, block & ((1 << bit) - 1) | (block >> (bit + 1) << bit)
            credit[i] = _into_tree(_total(gain, length), partial, i, leaf)


# Indices below are unsigned: numba makes a signed one wrap around at the end of the array, and then does not vectorise.


@helper
def _copy_and_turn(v, start, low, swap, local):  # type: ignore[no-untyped-def]
    """The block, and behind it the block with its lower `swap` players put above the others."""
    start, swap, rest = np.uint64(start), np.uint64(swap), np.uint64(low - swap)
    width = np.uint64(1) << np.uint64(low)
    for i in range(np.uint64(1) << rest):
        for j in range(np.uint64(1) << swap):
            x = v[start + (i << swap) + j]
            local[(i << swap) + j] = x
            local[width + (j << rest) + i] = x


@helper
def _gains_within(v, start, weight, outside, player, low, gain):  # type: ignore[no-untyped-def]
    """Weighted gains of a player in the block at `start`, half as many as coalitions in it."""
    start, outside, bit = np.uint64(start), np.uint64(outside), np.uint64(player)
    one = np.uint64(1)
    step = one << bit
    for group in range(one << (np.uint64(low) - bit - one)):
        first, to = group << (bit + one), group << bit
        for x in range(step):
            change = v[start + first + step + x] - v[start + first + x]
            gain[to + x] = weight[outside, first + x] * change


@helper
def _gains(v, without, joined, weight, outside, width, gain):  # type: ignore[no-untyped-def]
    """Weighted gains between the blocks at `without` and `joined`."""
    without, joined, outside = np.uint64(without), np.uint64(joined), np.uint64(outside)
    for x in range(np.uint64(width)):
        gain[x] = weight[outside, x] * (v[joined + x] - v[without + x])


@helper
def _total(x, width):  # type: ignore[no-untyped-def]
    """Sum of x[:width], a power of two, in a tree."""
    half = np.uint64(width) >> np.uint64(1)
    while half > 0:
        for t in range(half):
            x[t] += x[half + t]
        half >>= np.uint64(1)
    return x[0]


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


_KERNEL = Kernel(_table, "r2 b2 r2 i1 l")
