"""Rows of middling length: the step form of `_cpu_registers`, with rows across vectors of lanes and loops over players.

    out_i = sum_k (s_k - s_{k+1}) (A_k if s_k <= x_i else B_k) + c C,      s = x sorted, best first, s_{n+1} = c

takes players^2 comparisons of whole vectors, and neither an order of the players nor a number looked up.
"""

import numpy as np

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._simd import lanes, load, load_bytes, splat, store, transpose_all, where_at_most
from shapley_kernels.kernels.order._cpu_network import PADDING, fill_tables, sort


def rows_rolled(  # type: ignore[no-untyped-def]
    rewards, mask, v_empty, inside, outside, empty, level_of, steps, tile, start, stop, out
):
    """Rows start .. stop of `order`; mask of uint8, `steps` of `fused_network`, `tile` the most rows in a tile. Returns
    the first row with a credit that is not finite, or -1."""
    size, tile = lanes(rewards), min(tile, stop - start)
    players, stride = rewards.shape[1], tile + PADDING
    room = np.zeros((2, (players + 1) * stride), rewards.dtype)
    x, sorted_x = room[0], room[1]  # [players, stride], and a player more: they come in pairs
    here = np.zeros(0 if mask is None else x.size, np.uint8)  # x's mask
    tables, starts = np.zeros((4, players * size), rewards.dtype), np.zeros(size, np.int64)
    a, b, g, h = tables[0], tables[1], tables[2], tables[3]  # [players, lanes]: A, B, and their products with the gaps
    live, odd = np.zeros(stride, rewards.dtype), np.zeros(stride, rewards.dtype)
    c, shift = np.zeros(size, rewards.dtype), np.zeros(size, rewards.dtype)
    first_bad = -1
    for first in range(start, stop, tile):
        width = min(tile, stop - first)
        transpose_all(rewards.reshape(-1), first * players, width, players, players, x, 0, stride)
        if mask is not None:
            transpose_all(mask.reshape(-1), first * players, width, players, players, here, 0, stride)
        _prepare(x, here, mask, players, stride, width, sorted_x, live, odd)
        sort(sorted_x, stride, steps, width)
        for lane in range(0, width, size):
            if (first == start and lane == 0) or mask is not None or v_empty.size > 1:
                for row in range(min(size, width - lane)):
                    level = level_of[max(1, np.int64(live[lane + row]))]
                    starts[row] = level * players
                    c[row] = v_empty[first + lane + row if v_empty.size > 1 else 0]
                    shift[row] = c[row] * empty[level]
                if len(inside) > 1 or (first == start and lane == 0):
                    fill_tables(inside, outside, starts, a, b)
            _weigh(sorted_x, stride, lane, mask, live, c, a, outside, b, g, h)
            constant = load(shift, 0) + (load(odd, lane) + load(c, 0) * splat(c, c.dtype.type(0)))
            _compare(x, here, mask, sorted_x, stride, lane, players, g, outside, h, constant, odd)
        for row in range(width):
            if odd[row] != 0 and live[row] > 0 and first_bad < 0:
                first_bad = first + row
        transpose_all(x, 0, players, width, stride, out.reshape(-1), first * players, players)
    return first_bad


@helper
def _prepare(x, here, mask, players, stride, width, to_sort, live, odd):  # type: ignore[no-untyped-def]
    """to_sort = x, masked players last; live [width]: number of live players; odd [width]: 0, or NaN in a row with a
    reward that is not finite."""
    zero, one = splat(x, x.dtype.type(0)), splat(x, x.dtype.type(1))
    least = splat(x, x.dtype.type(-np.inf))
    for lane in range(0, width, lanes(x)):
        count, strange = splat(x, x.dtype.type(players)), zero
        if mask is not None:
            count = zero
        for at in range(lane, players * stride, stride):
            reward = load(x, at)
            if mask is None:
                strange = strange + reward * zero
            else:
                alive = load_bytes(here, at, x)
                count = count + alive
                strange = strange + where_at_most(one, alive, reward, zero) * zero
                reward = where_at_most(one, alive, reward, least)
            store(to_sort, at, reward)
        store(live, lane, count)
        store(odd, lane, strange)


@helper
def _weigh(sorted_x, stride, lane, mask, live, c, a, outside, b, g, h):  # type: ignore[no-untyped-def]
    """g, h [players, lanes] = the gaps of sorted rows times A and B; the gaps of masked players are 0."""
    size = lanes(g)
    end, count = load(c, 0), load(live, lane)
    lower = end
    players = g.size // size
    for t in range(players - 1, -1, -1):
        reward = load(sorted_x, t * stride + lane)
        if mask is not None:
            reward = where_at_most(splat(g, g.dtype.type(t + 1)), count, reward, end)
        gap = reward - lower
        store(g, t * size, gap * load(a, t * size))
        if outside is not None:
            store(h, t * size, gap * load(b, t * size))
        lower = reward


@helper
def _compare(  # type: ignore[no-untyped-def]
    x, here, mask, sorted_x, stride, lane, players, g, outside, h, constant, odd
):
    """x: from rewards to credits, those of two players at a time; odd: 0, or NaN in a row with one that is not finite
    (or where that of a player more, if their number is odd, would not be)."""
    size = lanes(g)
    zero, one = splat(x, x.dtype.type(0)), splat(x, x.dtype.type(1))
    strange = zero
    for i in range(0, players, 2):
        this, other = i * stride + lane, (i + 1) * stride + lane
        x0, x1 = load(x, this), load(x, other)
        total0, total1 = zero, zero
        for t in range(players - 1, -1, -1):
            level, gain = load(sorted_x, t * stride + lane), load(g, t * size)
            loss = zero
            if outside is not None:
                loss = load(h, t * size)
            total0 = total0 + where_at_most(level, x0, gain, loss)
            total1 = total1 + where_at_most(level, x1, gain, loss)
        total0, total1 = total0 + constant, total1 + constant
        if mask is not None:
            total0 = where_at_most(one, load_bytes(here, this, x), total0, zero)
            total1 = where_at_most(one, load_bytes(here, other, x), total1, zero)
        store(x, this, total0)
        store(x, other, total1)
        strange = strange + (total0 + total1) * zero
    store(odd, lane, strange)
