"""Rows across SIMD lanes: a tile of rows is transposed, sorted by a network whose steps run over all lanes at once, and
finished row by row.

Only the order is sorted for: a key holds a reward's leading bits, mapped to an integer that falls as the reward rises,
and the player's index in the low bits. Rewards that agree in the leading bits may come out in the wrong order; the scan
sees it and sorts such a row to the end.
"""

import numpy as np

from shapley_kernels.kernels._compile import helper

PADDING = 16
"""Elements between the rows of a tile beside its lanes: strides of a power of two would alias in the cache."""

MOVES = 8
"""Moves per player after which an insertion sort gives up for a merge sort."""


def lanes(players: int) -> int:
    """Rows in a tile: so many that the keys stay in the cache."""
    return int(np.clip(8192 // max(1, players) // 16 * 16, 64, 256))


def rows_by_network(  # type: ignore[no-untyped-def]
    rewards, bits, mask, v_empty, inside, outside, empty, level_of, steps, tile, start, stop, out
):
    """Rows start .. stop of `order`; `bits` are the rewards as integers, `steps` the network, `tile` the rows in a
    tile. Returns the first row with a number that is not finite, or -1."""
    players = rewards.shape[1]
    index = 1
    while index < players:
        index *= 2
    index -= 1  # the bits of a key that hold the player
    key = np.empty((players, tile + PADDING), bits.dtype)  # [players, lanes]
    live = np.empty(tile, np.int64)
    odd = np.empty(tile, bits.dtype)
    first_bad = -1
    for b in range(start, stop, tile):
        width = min(tile, stop - b)
        _load(bits, mask, b, width, key, live)
        _make_keys(key, width, index, odd)
        for lane in range(width):
            if live[lane] and odd[lane] != players - live[lane]:
                live[lane] = -1
        _sort(key, steps, width)
        bad = scan(rewards, mask, v_empty, inside, outside, empty, level_of, b, width, key, index, live, out)
        if bad >= 0 and first_bad < 0:
            first_bad = bad
    return first_bad


@helper
def _load(bits, mask, b, width, key, live):  # type: ignore[no-untyped-def]
    """key = transposed bits of the tile, all ones (a NaN) at masked players; live = number of live players."""
    players = bits.shape[1]
    if mask is None:
        for lane in range(width):
            live[lane] = players
            for i in range(players):
                key[i, lane] = bits[b + lane, i]
    else:
        for lane in range(width):
            n = 0
            for i in range(players):
                here = np.int64(mask[b + lane, i])
                key[i, lane] = bits[b + lane, i] | (here - 1)  # no branch on the mask: it cannot be predicted
                n += here
            live[lane] = n


@helper
def _make_keys(key, width, index, odd):  # type: ignore[no-untyped-def]
    """From bits of floats to keys that rise as the rewards fall, masked players last; odd = how many are not finite,
    masked ones included."""
    exponent = key.dtype.type(0x7F800000 if key.itemsize == 4 else 0x7FF0000000000000)
    sign = 8 * key.itemsize - 1
    magnitude = key.dtype.type(0x7FFFFFFF if key.itemsize == 4 else 0x7FFFFFFFFFFFFFFF)
    leading = key.dtype.type(~index)
    one, none = key.dtype.type(1), key.dtype.type(0)
    for lane in range(width):
        odd[lane] = none
    for i in range(key.shape[0]):
        player = key.dtype.type(i)
        for lane in range(width):
            x = key[i, lane]
            odd[lane] += one if (x & exponent) == exponent else none
            rising = x ^ ((x >> sign) & magnitude)  # of a negative number, more magnitude is less
            key[i, lane] = (~rising & leading) | player


@helper
def _sort(key, steps, width):  # type: ignore[no-untyped-def]
    for step in range(len(steps)):
        i, j = steps[step, 0], steps[step, 1]
        for lane in range(width):
            x, y = key[i, lane], key[j, lane]
            key[i, lane] = x if x < y else y
            key[j, lane] = y if x < y else x


@helper
def scan(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, inside, outside, empty, level_of, first, width, ranks, index, live, out
):
    """Credits of the rows first .. first + width, whose players are ranked, best first, masked ones last: rank t of row
    first + lane has player ranks[t, lane] & index. live [width]: number of live players, -1 in a row with a number
    that is not finite. A row out of order is sorted to the end. Returns the first bad row, or -1."""
    players = rewards.shape[1]
    zero = rewards.dtype.type(0)
    first_bad = -1
    for lane in range(width):
        b = first + lane
        c = v_empty[b if v_empty.size > 1 else 0]
        n = live[lane]
        if n == 0:
            for i in range(players):
                out[b, i] = zero
            continue
        if n < 0 or not np.isfinite(c):
            _refuse(mask, b, out)
            if first_bad < 0:
                first_bad = b
            continue
        level = level_of[n]
        shift = c * empty[level]
        # gaps of tied rewards are 0, and adding 0 keeps their credits bitwise equal
        while True:
            i = np.uint32(ranks[n - 1, lane] & index)
            lower = rewards[b, i]
            total = (lower - c) * inside[level, n - 1]
            out[b, i] = total + shift
            falls = True
            for t in range(n - 2, -1, -1):
                i = np.uint32(ranks[t, lane] & index)
                r = rewards[b, i]
                falls &= r >= lower
                total += (r - lower) * inside[level, t]
                lower = r
                out[b, i] = total + shift
            if falls:
                break
            _sort_exactly(rewards, b, ranks, lane, index, n)
        if outside is not None:
            total = zero
            upper = lower  # the best
            for t in range(1, n):
                i = np.uint32(ranks[t, lane] & index)
                r = rewards[b, i]
                total += (upper - r) * outside[level, t - 1]
                upper = r
                out[b, i] += total
        for t in range(n, players):
            out[b, np.uint32(ranks[t, lane] & index)] = zero
    return first_bad


@helper
def _refuse(mask, b, out):  # type: ignore[no-untyped-def]
    """NaN for the live players of row b, 0 for the others."""
    for i in range(out.shape[1]):
        out[b, i] = np.nan if mask is None or mask[b, i] else 0


@helper
def _sort_exactly(rewards, b, ranks, lane, index, live):  # type: ignore[no-untyped-def]
    """Sort row b, which is almost sorted: insertions, and where these are too many, a merge sort."""
    moves = MOVES * live
    before = rewards[b, ranks[0, lane] & index]
    for t in range(1, live):
        player = ranks[t, lane] & index
        r = rewards[b, player]
        if r <= before:
            before = r
            continue
        u = t - 1
        while u >= 0 and rewards[b, ranks[u, lane] & index] < r:
            ranks[u + 1, lane] = ranks[u, lane]
            u -= 1
        ranks[u + 1, lane] = player
        moves -= t - 1 - u
        if moves < 0:
            _merge_sort(rewards, b, ranks, lane, index, live)
            return


@helper
def _merge_sort(rewards, b, ranks, lane, index, live):  # type: ignore[no-untyped-def]
    who, merged = np.empty(live, np.int64), np.empty(live, np.int64)
    for t in range(live):
        who[t] = ranks[t, lane] & index
    width = 1
    while width < live:
        for low in range(0, live, 2 * width):
            i, middle, high = low, min(low + width, live), min(low + 2 * width, live)
            j = middle
            for t in range(low, high):
                left = j >= high or (i < middle and rewards[b, who[i]] >= rewards[b, who[j]])
                merged[t] = who[i if left else j]
                i += left
                j += not left
        who, merged = merged, who
        width *= 2
    for t in range(live):
        ranks[t, lane] = who[t]
