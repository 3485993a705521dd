"""Rows across SIMD lanes: a tile of rows is transposed, sorted by a network whose steps run over all lanes at once, and
its running sums are taken over all lanes at once.

Only the order is sorted for: a key is a float with a reward's leading bits, and the player's index in the low bits.
Rewards that agree in the leading bits may come out in the wrong order; those are exchanged afterwards.
"""

import numpy as np

from shapley_kernels.kernels._compile import helper, inlined
from shapley_kernels.kernels._simd import (
    gather,
    lanes,
    larger,
    load,
    scatter,
    smaller,
    splat,
    store,
    transpose_all,
    transpose_from,
    where_at_most,
    zeros,
)
from shapley_kernels.kernels.order._cpu_rows import refuse

TILE = 4
"""Vectors side by side in a tile: enough to hide what a step of the network costs, few enough for the cache."""

EXCHANGES = 4
"""Passes of exchanges after which a row out of order is left to a merge sort."""


def rows_by_network(  # type: ignore[no-untyped-def]
    rewards, bits, mask, v_empty, A, B, C, row_of_count, steps, start, stop, out
):
    """Rows start .. stop of `order`; `bits` are the rewards as integers, `steps` of `fused_network`. Returns the first
    row with a credit that is not finite, or -1."""
    players, size, real = rewards.shape[1], lanes(A), A.dtype.type
    tile = size * min(TILE, (stop - start + size - 1) // size)
    stride = tile + size  # a power of two would alias in the cache
    index = 1
    while index < players:
        index *= 2
    index -= 1  # the bits of a key that hold the player
    key = zeros((players + 1) * stride, bits).reshape((players + 1, stride))
    key[players] = _lowest(bits)
    mask_tile = np.empty((players if mask.size else 0, stride), np.uint8)  # the mask of the tile
    live = zeros(stride, A)
    value, credit = zeros(players * size, A), zeros(players * size if B.size else 0, A)  # [players, lanes] by rank
    a, b = zeros(players * size, A), zeros(players * size if B.size else 0, A)  # A and B of each lane
    starts, places = np.zeros(size, np.int64), np.zeros(size, bits.dtype)
    c, shift, wrong, nonfinite = np.zeros(size, real), np.zeros(size, real), np.zeros(size, real), np.zeros(size, real)
    first_bad, known = -1, False
    for first in range(start, stop, tile):
        width = min(tile, stop - first)
        transpose_all(bits.reshape(-1), first * players, width, players, players, key.reshape(-1), 0, stride)
        if mask.size:
            transpose_all(mask.reshape(-1), first * players, width, players, players, mask_tile.reshape(-1), 0, stride)
        whole = (width + size - 1) // size * size
        for lane in range(width, whole):  # those without a row repeat the last one
            for i in range(players):
                key[i, lane] = key[i, width - 1]
                if mask.size:
                    mask_tile[i, lane] = mask_tile[i, width - 1]
        _make_keys(key, players, mask_tile, mask, whole, index, live)
        sort(key.reshape(-1).view(rewards.dtype), players, stride, steps, whole)
        tile_rewards, tile_out = rewards[first : first + width].reshape(-1), out[first : first + width].reshape(-1)
        for at in range(0, whole, size):
            for lane in range(size):
                places[lane] = min(at + lane, width - 1) * players
            if mask.size or v_empty.size > 1 or not known:
                known = True
                for lane in range(size):
                    row = min(at + lane, width - 1)
                    level = row_of_count[max(1, np.intp(live[row]))]
                    starts[lane] = level * players
                    c[lane] = v_empty[first + row if v_empty.size > 1 else 0]
                    shift[lane] = c[lane] * C[level]
                transpose_from(A.reshape(-1), starts, players, a, size)
                if B.size:
                    transpose_from(B.reshape(-1), starts, players, b, size)
            _look_up(tile_rewards, key, at, index, places, live, mask, value, wrong)
            if wrong.any():
                _settle(key, at, value, wrong)
            _credits(value, key, at, live, mask, c, shift, a, B, b, credit, tile_out, nonfinite)
            for lane in range(min(size, width - at)):
                if nonfinite[lane] != 0:
                    refuse(mask, first + at + lane, out)
                    if first_bad < 0:
                        first_bad = first + at + lane
    return first_bad


@inlined
def _make_keys(key, players, mask_tile, mask, width, index, live):  # type: ignore[no-untyped-def]
    """From bits of floats to keys, which are bits of floats that rise with the rewards, masked players lowest; live =
    how many are live.

    No key is a NaN, infinite or subnormal, whose minima and maxima are not one of the two everywhere.
    """
    kind = key.dtype.type
    unit = kind(0x00800000 if key.itemsize == 4 else 0x0010000000000000)  # the lowest bit of the exponent
    infinity = kind(0x7F800000 if key.itemsize == 4 else 0x7FF0000000000000)
    magnitude = kind(0x7FFFFFFF if key.itemsize == 4 else 0x7FFFFFFFFFFFFFFF)
    highest, lowest = kind(infinity - unit - unit - 1), _lowest(key)
    leading, one = kind(~index), live.dtype.type(1)
    live[:] = 0 if mask.size else players
    for i in range(players):
        player = kind(i)
        for lane in range(width):
            x = key[i, lane]
            size = kind(x & magnitude)
            size = (size if size < highest else highest) + unit
            x = (x & ~magnitude) | size
            if mask.size:
                alive = mask_tile[i, lane] != 0
                live[lane] += one if alive else 0
                x = x if alive else lowest
            key[i, lane] = (x & leading) | player


@inlined
def _lowest(key):  # type: ignore[no-untyped-def]
    """The bits of the lowest float that is finite."""
    return key.dtype.type(-1 - (0x00800000 if key.itemsize == 4 else 0x0010000000000000))


@helper
def sort(keys, players, stride, steps, width):  # type: ignore[no-untyped-def]
    """The steps of `fused_network` on flat keys [players + 1, stride], on whole vectors of lanes. The last row stands
    for players that do not exist: its keys are the lowest."""
    for step in range(len(steps)):
        layers, a, b, apart, beyond = steps[step]
        e, f = min(a, players) * stride, min(a + apart, players) * stride
        i, j = min(b, players) * stride, min(b + beyond, players) * stride
        if layers == 2:
            k, m = min(i, j), max(i, j)
            for lane in range(0, width, lanes(keys)):
                x0, x1 = load(keys, e + lane), load(keys, f + lane)
                y0, y1 = load(keys, i + lane), load(keys, j + lane)
                x0, x1, y0, y1 = _halve(x0, x1, y0, y1)
                x0, x1 = _order(x0, x1)
                y0, y1 = _order(y0, y1)
                store(keys, e + lane, x0)
                store(keys, f + lane, x1)
                store(keys, k + lane, y0)
                store(keys, m + lane, y1)
            continue
        g, h = min(a + 2 * apart, players) * stride, min(a + 3 * apart, players) * stride
        k, m = min(b + 2 * beyond, players) * stride, min(b + 3 * beyond, players) * stride
        first, second, third, fourth = (i, j, k, m) if beyond > 0 else (m, k, j, i)
        for lane in range(0, width, lanes(keys)):
            x0, x1, x2, x3 = load(keys, e + lane), load(keys, f + lane), load(keys, g + lane), load(keys, h + lane)
            y0, y1, y2, y3 = load(keys, i + lane), load(keys, j + lane), load(keys, k + lane), load(keys, m + lane)
            if layers == 0:
                x0, x1, x2, x3, y0, y1, y2, y3 = _sort_eight(x0, x1, x2, x3, y0, y1, y2, y3)
            else:
                x0, x1, y0, y1 = _halve(x0, x1, y0, y1)
                x2, x3, y2, y3 = _halve(x2, x3, y2, y3)
                x0, x1, x2, x3 = _merge_four(x0, x1, x2, x3)
                y0, y1, y2, y3 = _merge_four(y0, y1, y2, y3)
            store(keys, e + lane, x0)
            store(keys, f + lane, x1)
            store(keys, g + lane, x2)
            store(keys, h + lane, x3)
            store(keys, first + lane, y0)
            store(keys, second + lane, y1)
            store(keys, third + lane, y2)
            store(keys, fourth + lane, y3)


@inlined
def _order(x, y):  # type: ignore[no-untyped-def]
    return larger(x, y), smaller(x, y)


@inlined
def _halve(x0, x1, y0, y1):  # type: ignore[no-untyped-def]
    x0, y0 = _order(x0, y0)
    x1, y1 = _order(x1, y1)
    return x0, x1, y0, y1


@inlined
def _merge_four(x0, x1, x2, x3):  # type: ignore[no-untyped-def]
    x0, x1, x2, x3 = _halve(x0, x1, x2, x3)
    x0, x1 = _order(x0, x1)
    x2, x3 = _order(x2, x3)
    return x0, x1, x2, x3


@inlined
def _sort_eight(x0, x1, x2, x3, y0, y1, y2, y3):  # type: ignore[no-untyped-def]
    x0, x1, x2, x3 = _halve(x0, x1, x2, x3)
    y0, y1, y2, y3 = _halve(y0, y1, y2, y3)
    x0, x1, y0, y1 = _halve(x0, x1, y0, y1)
    x2, x3, y2, y3 = _halve(x2, x3, y2, y3)
    x0, x1 = _order(x0, x1)
    x2, x3 = _order(x2, x3)
    y0, y1 = _order(y0, y1)
    y2, y3 = _order(y2, y3)
    x2, x3, y0, y1 = _halve(x2, x3, y0, y1)
    x1, y0 = _order(x1, y0)
    x3, y2 = _order(x3, y2)
    x1, x2 = _order(x1, x2)
    x3, y0 = _order(x3, y0)
    y1, y2 = _order(y1, y2)
    return x0, x1, x2, x3, y0, y1, y2, y3


@inlined
def _look_up(rewards, key, at, index, places, live, mask, value, wrong):  # type: ignore[no-untyped-def]
    """Of a vector of rows: from keys to places in `rewards`, value = the rewards there, -inf for masked players, and
    wrong = 1 for a row out of order."""
    real, size, flat, stride = value.dtype.type, lanes(value), key.reshape(-1), key.shape[1]
    low, origin, alive = splat(key, index), load(places, 0), load(live, at)
    least, unsettled, one = splat(value, real(-np.inf)), splat(value, real(0)), splat(value, real(1))
    upper = splat(value, real(np.inf))
    for t in range(value.size // size):
        place = (load(flat, t * stride + at) & low) + origin
        reward = gather(rewards, place)
        if mask.size:
            reward = where_at_most(splat(value, real(t + 1)), alive, reward, least)
        unsettled = where_at_most(reward, upper, unsettled, one)
        store(flat, t * stride + at, place)
        store(value, t * size, reward)
        upper = reward
    store(wrong, 0, unsettled)


@helper
def _settle(key, at, value, wrong):  # type: ignore[no-untyped-def]
    """Put the players of a vector of rows in order that are almost in order: passes of exchanges from the last to the
    first, and where these do not suffice, a merge sort."""
    real, size, flat, stride = value.dtype.type, lanes(value), key.reshape(-1), key.shape[1]
    players, zero, one = value.size // size, splat(value, real(0)), splat(value, real(1))
    for _ in range(EXCHANGES):
        unsettled, least = zero, splat(value, real(-np.inf))
        lower, behind = load(value, (players - 1) * size), load(flat, (players - 1) * stride + at)
        for t in range(players - 2, -1, -1):
            upper, ahead = load(value, t * size), load(flat, t * stride + at)
            x, place = where_at_most(lower, upper, lower, upper), where_at_most(lower, upper, behind, ahead)
            store(value, (t + 1) * size, x)
            store(flat, (t + 1) * stride + at, place)
            unsettled = where_at_most(least, x, unsettled, one)
            least = x
            lower, behind = where_at_most(lower, upper, upper, lower), where_at_most(lower, upper, ahead, behind)
        store(value, 0, lower)
        store(flat, at, behind)
        store(wrong, 0, where_at_most(least, lower, unsettled, one))
        if not wrong.any():
            return
    for lane in range(size):
        if wrong[lane] != 0:
            _merge_sort(key, at + lane, value, lane)


@helper
def _merge_sort(key, column, value, lane):  # type: ignore[no-untyped-def]
    size, players = lanes(value), value.size // lanes(value)
    reward, place = value.reshape((players, size))[:, lane].copy(), key[:players, column].copy()
    who, merged = np.arange(players), np.empty(players, np.int64)
    width = 1
    while width < players:
        for low in range(0, players, 2 * width):
            i, middle, high = low, min(low + width, players), min(low + 2 * width, players)
            j = middle
            for t in range(low, high):
                left = j >= high or (i < middle and reward[who[i]] >= reward[who[j]])
                merged[t] = who[i if left else j]
                i += left
                j += not left
        who, merged = merged, who
        width *= 2
    for t in range(players):
        value[t * size + lane], key[t, column] = reward[who[t]], place[who[t]]


@inlined
def _credits(value, key, at, live, mask, c, shift, a, B, b, credit, out, nonfinite):  # type: ignore[no-untyped-def]
    """Credits of a vector of rows to their places in `out`; nonfinite [lanes]: 0, or NaN where one is not finite.

    Gaps of tied rewards are 0, and adding 0 keeps their credits bitwise equal.
    """
    real, size, flat, stride = value.dtype.type, lanes(value), key.reshape(-1), key.shape[1]
    zero, alive, constant = splat(value, real(0)), load(live, at), load(shift, 0)
    total, lower, nan_flag = splat(value, -real(0)), load(c, 0), splat(value, real(0))
    for t in range(value.size // size - 1, -1, -1):
        upper = load(value, t * size)
        more = total + (upper - lower) * load(a, t * size)
        share = more + constant
        if mask.size:
            rank = splat(value, real(t + 1))
            total, lower = where_at_most(rank, alive, more, total), where_at_most(rank, alive, upper, lower)
            share = where_at_most(rank, alive, share, zero)
        else:
            total, lower = more, upper
        nan_flag = nan_flag + share * zero
        if B.size:
            store(credit, t * size, share)
        else:
            scatter(out, load(flat, t * stride + at), share)
    if B.size:
        upper, total = load(value, 0), zero
        scatter(out, load(flat, at), load(credit, 0))
        for t in range(1, value.size // size):
            lower = load(value, t * size)
            total = total + (upper - lower) * load(b, t * size - size)
            share = load(credit, t * size) + total
            if mask.size:
                share = where_at_most(splat(value, real(t + 1)), alive, share, zero)
            nan_flag = nan_flag + share * zero
            scatter(out, load(flat, t * stride + at), share)
            upper = lower
    store(nonfinite, 0, nan_flag)
