"""`knapsack` on the CPU: one row at a time, the state in vectors, compiled without the GIL, so it may be called from
many threads at once and after a fork. In float64 whatever the dtype: in float32 the chances of many players are
subnormal, which processors take a hundred times as long for."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels._simd import lanes, load, store, zeros


def run(
    chance: Any,
    weight: Any,
    mask: Any,
    worth: Any,
    t: Any,
    node_weight: Any,
    sizes: Any,
    row_of_count: Any,
    out: Any,
) -> int:
    """See the package docstring; numpy arrays, chance and out in the compute dtype.

    Returns:
        The first row with a non-finite live chance, -1 when there is none.
    """
    if worth.dtype != np.float64:
        wide = np.empty(out.shape)
        chance, worth, t, node_weight, sizes = (
            None if x is None else x.astype(float) for x in (chance, worth, t, node_weight, sizes)
        )
        bad = run(chance, weight, mask, worth, t, node_weight, sizes, row_of_count, wide)
        with np.errstate(over="ignore"):
            out[...] = wide
        return bad
    rows, players = out.shape
    if chance is None:
        chance = np.ones((1, players))
    if weight is None:
        weight = np.ones((1, players), np.int32)
    steps = players * players.bit_length() * worth.shape[1] * (players if t is None else len(t))
    return _KERNEL(rows, steps, worth.dtype, chance, weight, mask, worth, t, node_weight, sizes, row_of_count, out)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernel ready, which is the same for all dtypes."""
    _KERNEL.ready("d")


def _knapsack(  # type: ignore[no-untyped-def]
    chance, weight, mask, worth, t, node_weight, sizes, row_of_count, start, stop, out
):
    # chance, weight and worth [1 or rows, ...]: one row stands for all
    players = out.shape[1]
    cap = worth.shape[1] - 1
    one = worth.dtype.type(1)
    zero = worth.dtype.type(0)
    c = np.empty(players, worth.dtype)  # of the live players
    w = np.empty(players, np.int64)
    who = np.empty(players, np.int64)
    states, size = len(t) if t.size else players, lanes(worth)
    depth = 0  # halvings down to one player
    while 1 << depth < players:
        depth += 1
    whole = -(-cap * states // size) * size
    # [level, total, state] of everybody outside the current 2^-level part, a vector of zeros before each level
    state = zeros((depth + 1) * (whole + size), worth)
    # factors by state, as often as makes whole vectors
    tile = min(whole, states * size)
    stay, with_same, with_more = zeros(tile, worth), zeros(tile, worth), zeros(tile, worth)
    known_chance, known_count = -one, -1
    count = np.zeros(depth + 1, np.int64)
    first_bad = -1
    for b in range(start, stop):
        live = 0
        usable = True
        for i in range(players):
            out[b, i] = zero
            if mask.size == 0 or mask[b, i]:
                c[live] = chance[b if len(chance) > 1 else 0, i]
                usable &= np.isfinite(c[live])
                w[live] = min(cap, weight[b if len(weight) > 1 else 0, i])
                who[live] = i
                live += 1
        if not usable:
            for i in range(live):
                out[b, who[i]] = np.nan
            if first_bad < 0:
                first_bad = b
            continue
        if live == 0 or cap == 0:
            continue
        table = worth[b if worth.shape[0] > 1 else 0]
        used, mix, known_count = states, node_weight, -1
        state[: whole + size] = zero
        if t.size:
            state[size : size + states] = one
        else:
            mix = sizes[row_of_count[live]]
            while used > 1 and mix[used - 1] == zero:  # sizes above the largest one with a weight need no state
                used -= 1
            state[size] = one
        length = -(-cap * used // size) * size
        depth = 0
        while 1 << depth < live:
            depth += 1
        for i in range(live):
            for level in range(1, depth + 1):
                width = 1 << (depth - level)
                if i % width != 0:
                    continue  # still in the part of the player before
                other = (i // width ^ 1) * width
                to, source = level * (whole + size) + size, (level - 1) * (whole + size) + size
                state[to : to + length] = state[source : source + length]
                count[level] = count[level - 1]
                for j in range(other, min(other + width, live)):
                    count[level] += 1
                    if t.size and w[j] == 0:
                        continue
                    if t.size and c[j] != known_chance:
                        _factors_of_nodes(c[j], t, stay, with_more)
                    elif not t.size and (c[j] != known_chance or count[level] != known_count):
                        _factors_of_sizes(c[j], count[level], used, stay, with_same, with_more)
                    known_chance, known_count = c[j], count[level]
                    shift, step = w[j] * used, 0 if t.size else 1
                    _add(state, to, length, shift + step, step, stay, with_same, with_more, used * size)
            credit = zero
            for total in range(cap):
                gain = table[min(total + w[i], cap)] - table[total]
                if gain != zero:
                    mean = zero
                    for s in range(used):
                        mean += mix[s] * state[depth * (whole + size) + size + total * used + s]
                    credit += gain * mean
            out[b, who[i]] = c[i] * credit
    return first_bad


@helper
def _factors_of_nodes(c, t, stay, more):  # type: ignore[no-untyped-def]
    """By node: what a player with chance c leaves of the state, and moves by its weight."""
    one = t.dtype.type(1)
    for at in range(0, stay.size, t.size):
        for q in range(min(t.size, stay.size - at)):
            stay[at + q] = (one - t[q]) + t[q] * (one - c)
            more[at + q] = t[q] * c


@helper
def _factors_of_sizes(c, count, used, stay, same, more):  # type: ignore[no-untyped-def]
    """By size a of coalitions of `count` players: what the last of them, with chance c, leaves of the mean over those
    of a others, and takes from that over a - 1 others, without and with its weight."""
    real = stay.dtype.type
    k = real(count)
    for at in range(0, stay.size, used):
        for a in range(min(used, stay.size - at)):
            stay[at + a] = (k - real(a)) / k if a < count else real(0)
            joins = real(a) / k if a <= count else real(0)
            same[at + a] = joins * (real(1) - c)
            more[at + a] = joins * c


@helper
def _add(state, start, length, shift, step, stay, same, more, tile):  # type: ignore[no-untyped-def]
    """One more player, in place: from the last place down, what is read is still old.

    x becomes stay x + same (x `step` places before) + more (x `shift` places before), nothing being before the start.
    """
    size = lanes(state)
    at, of = start + length, length % tile
    while at > start:
        at -= size
        of = (of if of else tile) - size
        x = load(state, at) * load(stay, of)
        if step:
            x = x + load(state, at - step) * load(same, of)
        if at - start + size > shift:
            x = x + load(state, at - shift) * load(more, of)
        store(state, at, x)


_KERNEL = Kernel(_knapsack, "r2 i2 b2 r2 r1 r1 r2 i1")
