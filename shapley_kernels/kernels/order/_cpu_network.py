"""Rows across SIMD lanes: a tile of rows is transposed, sorted by a network whose steps run over all lanes at once, and
its running sums are taken over all lanes at once.

Only the order is sorted for: a key is a float with a reward's leading bits, and the player's index in the low bits.
Rewards that agree in the leading bits may come out in the wrong order; a negative gap shows it, and such a row is
sorted to the end.
"""

import numpy as np

from shapley_kernels.kernels._compile import helper, inlined
from shapley_kernels.kernels._simd import lanes, larger, load, smaller, splat, store, transpose_all, transpose_from
from shapley_kernels.kernels.order._cpu_rows import refuse

PADDING = 16
"""Elements between the rows of a tile beside its lanes: strides of a power of two would alias in the cache."""

CHUNK = 128
"""Ranks whose rewards are looked up row after row, so that they stay in the cache."""

MOVES = 8
"""Moves per player after which an insertion sort gives up for a merge sort."""


def rows_by_network(  # type: ignore[no-untyped-def]
    rewards, bits, mask, v_empty, A, B, C, row_of_count, steps, tile, start, stop, out
):
    """Rows start .. stop of `order`; `bits` are the rewards as integers, `steps` of `fused_network`, `tile` the
    most rows in a tile. Returns the first row with a credit that is not finite, or -1."""
    players, tile = rewards.shape[1], min(tile, stop - start)
    stride = tile + PADDING
    index = 1
    while index < players:
        index *= 2
    index -= 1  # the bits of a key that hold the player
    key = np.empty((players, stride), bits.dtype)
    here = np.empty((players if mask.size else 0, stride), np.uint8)  # the mask of the tile
    live, odd = np.empty(tile, bits.dtype), np.empty(tile, bits.dtype)
    first_bad = -1
    for b in range(start, stop, tile):
        width = min(tile, stop - b)
        transpose_all(bits.reshape(-1), b * players, width, players, players, key.reshape(-1), 0, stride)
        if mask.size:
            transpose_all(mask.reshape(-1), b * players, width, players, players, here.reshape(-1), 0, stride)
        _make_keys(key, here, mask, width, index, live, odd)
        sort(key.reshape(-1).view(rewards.dtype), stride, steps, width)
        bad = _credits(rewards, mask, v_empty, A, B, C, row_of_count, b, width, key, index, live, odd, out)
        if bad >= 0 and first_bad < 0:
            first_bad = bad
    return first_bad


@helper
def _make_keys(key, here, mask, width, index, live, odd):  # type: ignore[no-untyped-def]
    """From bits of floats to keys, which are bits of floats that rise with the rewards, masked players lowest; live,
    odd = how many are live, and of these not finite.

    No key is a NaN, infinite or subnormal, whose minima and maxima are not one of the two everywhere.
    """
    kind = key.dtype.type
    unit = kind(0x00800000 if key.itemsize == 4 else 0x0010000000000000)  # the lowest bit of the exponent
    none_finite = kind(0x7F800000 if key.itemsize == 4 else 0x7FF0000000000000)
    magnitude = kind(0x7FFFFFFF if key.itemsize == 4 else 0x7FFFFFFFFFFFFFFF)
    lowest, highest = kind(none_finite - 1), kind(none_finite - unit - 1)
    leading, one, zero = kind(~index), kind(1), kind(0)
    for lane in range(width):
        odd[lane] = zero
        live[lane] = zero if mask.size else key.shape[0]
    for i in range(key.shape[0]):
        player = kind(i)
        if mask.size:
            for lane in range(width):
                alive = kind(here[i, lane])
                live[lane] += alive
                key[i, lane] |= alive - one  # all ones, a NaN, where masked
        for lane in range(width):
            x = key[i, lane]
            size = kind(x & magnitude)
            finite = size < none_finite
            odd[lane] += zero if finite else one
            above = kind(size + unit)
            above = above if above < highest else highest
            above = above if finite else lowest
            key[i, lane] = ((x ^ size) | above) & leading | player
    for lane in range(width):
        odd[lane] -= key.shape[0] - live[lane]  # masked ones


@helper
def sort(keys, stride, steps, width):  # type: ignore[no-untyped-def]
    """The steps of `fused_network` on flat keys [players, stride], on whole vectors of lanes."""
    for step in range(len(steps)):
        a, b, c, d = steps[step, 0] * stride, steps[step, 1] * stride, steps[step, 2] * stride, steps[step, 3] * stride
        if b < 0:
            for lane in range(0, width, lanes(keys)):
                x, z = load(keys, a + lane), load(keys, c + lane)
                store(keys, a + lane, larger(x, z))
                store(keys, c + lane, smaller(x, z))
        else:
            first, last = min(c, d), max(c, d)
            for lane in range(0, width, lanes(keys)):
                x, y, z, w = load(keys, a + lane), load(keys, b + lane), load(keys, c + lane), load(keys, d + lane)
                x, z = larger(x, z), smaller(x, z)
                y, w = larger(y, w), smaller(y, w)
                store(keys, a + lane, larger(x, y))
                store(keys, b + lane, smaller(x, y))
                store(keys, first + lane, larger(z, w))
                store(keys, last + lane, smaller(z, w))


@helper
def _credits(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, A, B, C, row_of_count, first, width, ranks, index, live, odd, out
):
    """Credits of the rows first .. first + width, whose players are ranked, best first, masked ones last: rank t of row
    first + lane has player ranks[t, lane] & index. A row out of order is sorted to the end.

    live, odd [width]: number of live players, and of those that are not finite.

    Returns the first bad row, or -1.
    """
    size = lanes(rewards)
    players = ranks.shape[0]
    room, starts = np.zeros((4, players * size), rewards.dtype), np.zeros(size, np.int64)
    value, credit, a, b = room[0], room[1], room[2], room[3]  # [players, lanes] by rank; a, b: A and B
    constants = np.zeros((5, size), rewards.dtype)
    gap, c, shift, bottom = constants[0], constants[1], constants[2], constants[3]  # bottom: A of the last live player
    strange = constants[4]  # 0, or NaN where a credit is not finite
    first_bad = -1
    for start in range(0, width, size):
        rows = min(size, width - start)
        for t in range(0, players, CHUNK):
            for row in range(rows):
                _fetch(rewards, first + start + row, ranks, start + row, index, live[start + row], t, value, row)
        _least_gap(value, gap)
        for row in range(rows):
            if gap[row] < 0 and not odd[start + row]:
                _mend(rewards, first + start + row, ranks, start + row, index, live[start + row], value, row)
        if start == 0 or mask.size or v_empty.size > 1:  # else the constants are those of the rows before
            for row in range(rows):
                n = max(1, live[start + row])
                level = row_of_count[n]
                starts[row] = level * players
                c[row] = v_empty[first + start + row if v_empty.size > 1 else 0]
                shift[row] = c[row] * C[level]
                bottom[row] = A[level, n - 1]
            if start == 0 or len(A) > 1:
                fill_tables(A, B, starts, a, b)
        _sums(value, a, B, b, c, shift, bottom, credit, strange)
        for t in range(0, players, CHUNK):
            for row in range(rows):
                _put(credit, row, ranks, start + row, index, live[start + row], t, first + start + row, out)
        for row in range(rows):
            if live[start + row] and (odd[start + row] or strange[row] != 0):
                refuse(mask, first + start + row, out)
                if first_bad < 0:
                    first_bad = first + start + row
    return first_bad


@inlined
def _fetch(rewards, b, ranks, lane, index, live, start, value, row):  # type: ignore[no-untyped-def]
    """To the column `row` of value the rewards of row b by rank, from rank `start` on a chunk; for masked players the
    lowest of the row, or 0."""
    size = lanes(value)
    stop = min(start + CHUNK, ranks.shape[0])
    reward, column, at = rewards[b], np.uint64(lane), np.uint64(start * size + row)  # unsigned: never from the end
    for t in range(start, min(stop, live)):
        value[at] = reward[np.uint32(ranks[t, column] & index)]
        at += np.uint64(size)
    for t in range(max(start, live), stop):
        value[t * size + row] = value[(live - 1) * size + row] if live else rewards.dtype.type(0)


@inlined
def _put(credit, row, ranks, lane, index, live, start, b, out):  # type: ignore[no-untyped-def]
    size = lanes(credit)
    stop = min(start + CHUNK, ranks.shape[0])
    result, column, at = out[b], np.uint64(lane), np.uint64(start * size + row)
    for t in range(start, min(stop, live)):
        result[np.uint32(ranks[t, column] & index)] = credit[at]
        at += np.uint64(size)
    for t in range(max(start, live), stop):
        result[np.uint32(ranks[t, column] & index)] = 0


@helper
def _least_gap(value, gap):  # type: ignore[no-untyped-def]
    """gap [lanes] = the least difference of a reward to the next, or 0: negative in a row out of order."""
    least = splat(value, value.dtype.type(0))
    upper = load(value, 0)
    for at in range(lanes(value), value.size, lanes(value)):
        lower = load(value, at)
        least = smaller(least, upper - lower)
        upper = lower
    store(gap, 0, least)


@helper
def fill_tables(A, B, starts, a, b):  # type: ignore[no-untyped-def]
    """a and b [players, lanes] = in each column the coefficients of one level, which begin at `starts` of the flattened
    tables."""
    transpose_from(A.reshape(-1), starts, A.shape[1], a, starts.size)
    if B.size:
        transpose_from(B.reshape(-1), starts, B.shape[1], b, starts.size)


@helper
def _sums(value, a, B, b, c, shift, bottom, credit, strange):  # type: ignore[no-untyped-def]
    """Credits of the rows of one vector from their sorted rewards; strange [lanes]: 0, or NaN where one is not finite.

    Gaps of tied rewards are 0, and adding 0 keeps their credits bitwise equal.
    """
    size = lanes(value)
    last, constant, zero = value.size - size, load(shift, 0), splat(value, value.dtype.type(0))
    lower = load(value, last)
    total = (lower - load(c, 0)) * load(bottom, 0)
    share = total + constant
    store(credit, last, share)
    odd = share * zero
    for at in range(last - size, -1, -size):
        upper = load(value, at)
        total = total + (upper - lower) * load(a, at)
        share = total + constant
        store(credit, at, share)
        odd = odd + share * zero
        lower = upper
    if B.size:
        total = zero
        upper = load(value, 0)
        for at in range(size, value.size, size):
            lower = load(value, at)
            total = total + (upper - lower) * load(b, at - size)
            share = load(credit, at) + total
            store(credit, at, share)
            odd = odd + share * zero
            upper = lower
    store(strange, 0, odd)


@helper
def _mend(rewards, b, ranks, lane, index, live, value, row):  # type: ignore[no-untyped-def]
    """Sort row b, which is almost sorted: insertions, and where these are too many, a merge sort."""
    size = lanes(value)
    moves = MOVES * live
    before = value[row]
    for t in range(1, live):
        r = value[t * size + row]
        if r <= before:
            before = r
            continue
        player = ranks[t, lane]
        u = t - 1
        while u >= 0 and value[u * size + row] < r:
            ranks[u + 1, lane], value[(u + 1) * size + row] = ranks[u, lane], value[u * size + row]
            u -= 1
        ranks[u + 1, lane], value[(u + 1) * size + row] = player, r
        moves -= t - 1 - u
        if moves < 0:
            _merge_sort(rewards, b, ranks, lane, index, live)
            break
    if moves < 0 or live < ranks.shape[0]:
        for t in range(0, ranks.shape[0], CHUNK):
            _fetch(rewards, b, ranks, lane, index, live, t, value, row)


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
