"""`knapsack` on the CPU: one row at a time, the state in vectors, compiled without the GIL, so it may be called from
many threads at once and after a fork. In float64 whatever the dtype: in float32 the chances of many players are
subnormal, which processors take a hundred times as long for."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._marshal import Kernel
from shapley_kernels.kernels._simd import BITS, aligned, lanes, load, splat, store


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
    states, size = players if t is None else len(t), BITS // 8 // worth.itemsize
    levels, whole = 1 + max(0, players - 1).bit_length(), -(-(worth.shape[1] - 1) * states // size) * size
    tile = min(whole, states * size)
    arrays = chance, weight, mask, worth, t, node_weight, sizes, row_of_count, whole, tile, out

    def scratch(*_: int) -> tuple[Any, Any]:
        numbers = levels * (whole + size) + 3 * tile + players + 2 * size
        return np.zeros(numbers), np.zeros(2 * (players + levels), np.int64)

    steps = players * players.bit_length() * worth.shape[1] * states
    return _KERNEL(rows, steps, worth.dtype, *arrays, scratch=scratch)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernel ready, which is the same for all dtypes."""
    _KERNEL.ready("d")


def _knapsack(  # type: ignore[no-untyped-def]
    chance, weight, mask, worth, t, node_weight, sizes, row_of_count, whole, tile, work, integers, start, stop, out
):
    # chance, weight and worth [1 or rows, ...]: one row stands for all
    players, cap, size = out.shape[1], worth.shape[1] - 1, lanes(worth)
    one, zero = worth.dtype.type(1), worth.dtype.type(0)
    states = t.size if t.size else players
    # factors by state, as often as makes whole vectors: what stays, moves with its size, and with its weight
    factors = aligned(work)
    # [level, total, state] of everybody outside the current 2^-level part, a vector of zeros before each level
    state = factors + 3 * tile + size
    c = work.size - players  # chances of the live players
    levels = integers.size // 2 - players
    w, who, count, outside = 0, players, 2 * players, 2 * players + levels
    # weights and places of the live players; by level, how many are outside the part, and what they weigh
    known_chance, known_count, first_bad = -one, -1, -1
    for b in range(start, stop):
        live, usable, everything = 0, True, 0
        for i in range(players):
            out[b, i] = zero
            if mask.size == 0 or mask[b, i]:
                work[c + live] = chance[b if len(chance) > 1 else 0, i]
                usable &= np.isfinite(work[c + live])
                integers[w + live] = min(cap, weight[b if len(weight) > 1 else 0, i])
                integers[who + live] = i
                everything += integers[w + live]
                live += 1
        if not usable:
            for i in range(live):
                out[b, integers[who + i]] = np.nan
            if first_bad < 0:
                first_bad = b
            continue
        if live == 0 or cap == 0:
            continue
        table = worth[b if worth.shape[0] > 1 else 0]
        flat = 0  # up to this total nothing is gained
        while flat < cap and table[flat + 1] == table[0]:
            flat += 1
        used, mix, known_count = states, node_weight, -1
        if not t.size:
            mix = sizes[row_of_count[live]]
            while used > 1 and mix[used - 1] == zero:  # sizes above the largest one with a weight need no state
                used -= 1
        for s in range(0, -(-used // size) * size, size):
            store(work, state + s, splat(work, zero))
        for s in range(used if t.size else 1):
            work[state + s] = one
        depth = 0
        while 1 << depth < live:
            depth += 1
        for i in range(live):
            for level in range(1, depth + 1):
                width = 1 << (depth - level)
                if i & (width - 1):
                    continue  # still in the part of the player before
                other = i ^ width
                to = state + level * (whole + size)
                members, total = integers[count + level - 1], integers[outside + level - 1]
                at, stop_at = _places(flat, everything, total, cap, used, size)
                for x in range(at, stop_at, size):
                    store(work, to + x, load(work, to - (whole + size) + x))
                for j in range(other, min(other + width, live)):
                    members += 1
                    own = integers[w + j]
                    if t.size and own == 0:
                        continue
                    if t.size and work[c + j] != known_chance:
                        _factors_of_nodes(work[c + j], t, work, factors, tile)
                    elif not t.size and (work[c + j] != known_chance or members != known_count):
                        _factors_of_sizes(work[c + j], members, used, work, factors, tile)
                    known_chance, known_count = work[c + j], members
                    total += own
                    new, end = stop_at, 0
                    at, end = _places(flat, everything, total, cap, used, size)
                    for x in range(new, end, size):
                        store(work, to + x, splat(work, zero))
                    stop_at = max(end, new)
                    shift, step = own * used, 0 if t.size else 1
                    _add(work, to, at, stop_at, shift + step, step, factors, tile, used * size)
                integers[count + level], integers[outside + level] = members, total
            credit, weighs = zero, integers[w + i]
            for total in range(max(0, flat - weighs + 1), min(cap, everything - weighs + 1)):
                gain = table[min(total + weighs, cap)] - table[total]
                if gain != zero:
                    mean = zero
                    for s in range(used):
                        mean += mix[s] * work[state + depth * (whole + size) + total * used + s]
                    credit += gain * mean
            out[b, integers[who + i]] = work[c + i] * credit
    return first_bad


@helper
def _places(flat, everything, outside, cap, used, size):  # type: ignore[no-untyped-def]
    """Where the state of players who weigh `outside` in all begins and ends to matter: their totals that the others can
    lift above `flat`, and that there are; in whole vectors."""
    low, high = max(0, flat + 1 - (everything - outside)), min(cap, outside + 1)
    return low * used // size * size, -(-high * used // size) * size


@helper
def _factors_of_nodes(c, t, work, factors, tile):  # type: ignore[no-untyped-def]
    """By node: what a player with chance c leaves of the state, and moves by its weight."""
    one = t.dtype.type(1)
    for at in range(0, tile, t.size):
        for q in range(min(t.size, tile - at)):
            work[factors + at + q] = (one - t[q]) + t[q] * (one - c)
            work[factors + 2 * tile + at + q] = t[q] * c


@helper
def _factors_of_sizes(c, count, used, work, factors, tile):  # type: ignore[no-untyped-def]
    """By size a of coalitions of `count` players: what the last of them, with chance c, leaves of the mean over those
    of a others, and takes from that over a - 1 others, without and with its weight."""
    real = work.dtype.type
    k = real(count)
    for at in range(0, tile, used):
        for a in range(min(used, tile - at)):
            work[factors + at + a] = (k - real(a)) / k if a < count else real(0)
            joins = real(a) / k if a <= count else real(0)
            work[factors + tile + at + a] = joins * (real(1) - c)
            work[factors + 2 * tile + at + a] = joins * c


@helper
def _add(work, state, first, last, shift, step, factors, tile, turn):  # type: ignore[no-untyped-def]
    """One more player, in place, at the places first .. last of the state: from the last down, what is read is still
    old.

    x becomes stay x + same (x `step` places before) + more (x `shift` places before), nothing being before the start.
    Factors repeat after `turn` places.
    """
    size = lanes(work)
    at, of = last, last % turn
    while at > first:
        at -= size
        of = (of if of else turn) - size
        x = load(work, state + at) * load(work, factors + of)
        if step:
            x = x + load(work, state + at - step) * load(work, factors + tile + of)
        if at + size > shift:
            x = x + load(work, state + at - shift) * load(work, factors + 2 * tile + of)
        store(work, state + at, x)


_KERNEL = Kernel(_knapsack, "r2 i2 b2 r2 r1 r1 r2 i1 l l R1 L1")
