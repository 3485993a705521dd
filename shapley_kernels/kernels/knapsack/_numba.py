"""`knapsack` on the CPU: one row at a time, its state in vectors; or a vector of rows at a time, the states of players
who all count 1, or all coalitions of few players who are sure to succeed. Compiled without the GIL, so it may be called
from many threads at once and after a fork. In float64 whatever the dtype: in float32 the chances of many
players are subnormal, which processors take a hundred times as long for."""

from functools import lru_cache
from math import comb
from typing import Any

import numpy as np

from shapley_kernels.kernels._coalitions import FOUR, four_credits, set_weights
from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._lanes import first_bad_of, without_masked
from shapley_kernels.kernels._marshal import Kernel, first_not_finite
from shapley_kernels.kernels._simd import (
    BITS,
    aligned,
    from_lanes,
    lanes,
    load,
    marked,
    splat,
    store,
    to_lanes,
    where_at_most,
)

STATES = 1 << 14
"""Vectors of states, 1 MiB, for a vector of rows at a time: more do not stay in the cache."""

FEW = 8
"""Players whose coalitions fit in the L1 cache, a vector of rows at a time."""


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
        The first row with a non-finite live chance or credit, -1 when there is none.
    """
    result = out if worth.dtype == np.float64 else np.empty(out.shape)
    chance, worth, t, node_weight, sizes = (
        None if x is None else x.astype(float, copy=False) for x in (chance, worth, t, node_weight, sizes)
    )
    line = _line(worth) if chance is None and out.shape[1] <= FEW else None
    alike = weight is None and chance is not None and t is not None and len(worth) == 1
    if line is not None:
        tables = (t, node_weight) if sizes is None else (sizes, row_of_count)
        bad = _of_coalitions(weight, mask, line, tables, sizes is None, result)
    elif alike and _levels(out) * len(t) * worth.size <= STATES:
        bad = _of_chances(chance, mask, worth, t, node_weight, result)
    else:
        bad = _of_sums((chance, weight, mask, worth, t, node_weight, sizes, row_of_count), result)
    if result is not out:
        with np.errstate(over="ignore"):
            out[...] = result
    return bad if bad >= 0 else first_not_finite(out)


def _levels(out: Any) -> int:
    """Halvings of the players, and the whole."""
    return 1 + max(0, out.shape[1] - 1).bit_length()


def _steps(out: Any, worth: Any, states: int) -> int:
    players: int = out.shape[1]
    return players * players.bit_length() * worth.shape[1] * states


def _of_sums(arrays: tuple[Any, ...], out: Any) -> int:
    """One row at a time."""
    chance, weight, mask, worth, t, node_weight, sizes, row_of_count = arrays
    rows, players = out.shape
    chance = np.ones((1, players)) if chance is None else chance
    weight = np.ones((1, players), np.int32) if weight is None else weight
    states, size, levels = players if t is None else len(t), BITS // 8 // worth.itemsize, _levels(out)
    whole = -(-(worth.shape[1] - 1) * states // size) * size
    tile = min(whole, states * size)
    given = chance, weight, mask, worth, t, node_weight, sizes, row_of_count, whole, tile, out

    def scratch(*_: int) -> tuple[Any, Any]:
        numbers = levels * (whole + size) + 3 * tile + players + 2 * size
        return np.zeros(numbers), np.zeros(2 * (players + levels), np.int64)

    return _KERNEL(rows, _steps(out, worth, states), worth.dtype, *given, scratch=scratch)


def _of_chances(chance: Any, mask: Any, worth: Any, t: Any, node_weight: Any, out: Any) -> int:
    """A vector of rows at a time, of players who all count 1."""
    (rows, players), states = out.shape, len(t)
    live = None if mask is None else mask.astype(float).reshape(-1)
    vectors = 2 * players * (1 + states) + _levels(out) * states * worth.size + 2

    def scratch(*_: int) -> tuple[Any]:
        return (np.zeros(vectors * (BITS // 8 // worth.itemsize)),)

    inputs = chance.reshape(-1), live, worth, t, node_weight, players
    return _CHANCES(rows, _steps(out, worth, states), worth.dtype, *inputs, out.reshape(-1), scratch=scratch)


def _line(worth: Any) -> tuple[float, float, float, float] | None:
    """(cap, worth of 0, of each unit more, of cap) of a table that is the same for all rows and rises evenly to below
    cap."""
    if len(worth) > 1:
        return None
    *below, top = worth[0].tolist()
    start = below[0] if below else top
    slope = below[1] - start if len(below) > 1 else 0.0
    even = below == [start + slope * total for total in range(len(below))]
    return (float(len(below)), start, slope, top) if even else None


def _of_coalitions(
    weight: Any, mask: Any, line: tuple[float, ...], tables: tuple[Any, Any], by_nodes: bool, out: Any
) -> int:
    """A vector of rows at a time, of few players who are sure to succeed: by all their coalitions."""
    rows, players = out.shape
    of_size = _of_one_coalition(players, by_nodes, *(x.tobytes() for x in tables))
    if weight is None:
        weight = np.ones((1, players), np.int32)
    bits, size = max(players, FOUR), BITS // 8 // out.itemsize

    def scratch(*_: int) -> tuple[Any]:
        return (np.zeros(((1 << bits) + 3 * bits + 1) * size),)

    arrays = of_size, weight, mask, *line, players, out.reshape(-1)
    return _COALITIONS(rows, players << players, out.dtype, *arrays, scratch=scratch)


@lru_cache(maxsize=64)
def _of_one_coalition(players: int, by_nodes: bool, first: bytes, second: bytes) -> Any:
    """[live, s] weight of one coalition of s others, from the bytes of (t, node_weight) or (sizes, row_of_count)."""
    of_size = np.zeros((players + 1, max(players, 1)))
    for live in range(1, players + 1):
        s = np.arange(live)
        if by_nodes:
            t, weight = np.frombuffer(first), np.frombuffer(second)
            of_size[live, :live] = (t ** s[:, None] * (1 - t) ** (live - 1 - s)[:, None]) @ weight
        else:
            sizes, row_of_count = np.frombuffer(first).reshape(-1, players), np.frombuffer(second, np.int32)
            of_size[live, :live] = sizes[row_of_count[live], :live] / [comb(live - 1, k) for k in range(live)]
    return of_size


def warm_up(dtypes: list[str]) -> None:
    """Have the kernels ready, which are the same for all dtypes."""
    for kernel in (_KERNEL, _CHANCES, _COALITIONS):
        kernel.ready("d")


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


def _voting_in_lanes(  # type: ignore[no-untyped-def]
    of_size, weight, mask, cap, least, slope, top, players, work, start, stop, out
):
    size = lanes(work)
    bits = max(players, FOUR)
    limit, most, zero = splat(work, cap), splat(work, top), splat(work, 0.0)
    base, rise = splat(work, least), splat(work, slope)
    half = size << (bits - 1)
    table = aligned(work)  # [coalition, lane]: its sum, then its worth
    weights = table + 2 * half  # [player, lane], as those behind it; live players come first
    sizes, credit = weights + bits * size, weights + 2 * bits * size
    for first in range(start, stop, size):
        rows = min(size, stop - first)
        for lane in range(size):
            row, live = first + min(lane, rows - 1), 0
            for i in range(players):
                if mask.size == 0 or mask[row, i]:
                    work[weights + live * size + lane] = min(cap, weight[row if len(weight) > 1 else 0, i])
                    live += 1
            for i in range(live, bits):  # whoever is not there wins at once: with them nobody changes anything
                work[weights + i * size + lane] = cap
            if mask.size or first == start:
                set_weights(of_size, live, 0, live, work, sizes + lane, size, bits)
        store(work, table, zero)
        for i in range(bits - 1):
            own = load(work, weights + i * size)
            for x in range(table, table + (size << i), size):
                store(work, x + (size << i), load(work, x) + own)
        own = load(work, weights + (bits - 1) * size)
        for x in range(table, table + half, size):
            without = load(work, x)
            joined = without + own
            store(work, x, where_at_most(limit, without, most, base + rise * without))
            store(work, x + half, where_at_most(limit, joined, most, base + rise * joined))
        for four in range(0, bits, FOUR):
            i = min(four, bits - FOUR)
            four_credits(work, table, size << i, 0, 1 << (bits - FOUR), sizes, credit + i * size, work, table)
        if mask.size == 0:
            from_lanes(work, credit, rows, players, out, first * players, players)
        for row in range(rows if mask.size else 0):
            at = credit + row
            for i in range(players):
                present = mask[first + row, i] != 0
                out[(first + row) * players + i] = work[at] if present else 0
                at += size if present else 0
    return -1


def _chances_in_lanes(chance, live, worth, t, node_weight, players, work, start, stop, out):  # type: ignore[no-untyped-def]
    size, cap, nodes = lanes(work), worth.shape[1] - 1, t.size
    zero, one = splat(work, 0.0), splat(work, 1.0)
    apart = (cap + 1) * size  # of the states of two nodes, each with a zero before it
    own = aligned(work)  # [player, lane]
    credit = own + players * size
    factors = credit + players * size  # [player, node, lane]: what stays of a state, and what moves up by one
    states = factors + 2 * players * nodes * size + size  # [level, node, total, lane] of all outside the current part
    for x in range(states, states + (nodes * apart if cap else 0), apart):
        store(work, x, one)
    flat, depth, first_bad = 0, 0, -1
    while flat < cap and worth[0, flat + 1] == worth[0, 0]:
        flat += 1  # up to this total nothing is gained
    while 1 << depth < players:
        depth += 1
    for first in range(start, stop, size):
        rows, nan_flag = min(size, stop - first), zero  # nan_flag: 0, or NaN where a chance is not finite
        to_lanes(chance, first * players, rows, players, players, work, own)
        if live.size:
            without_masked(live, first, rows, players, work, own, credit)
        for i in range(players):
            c, at = load(work, own + i * size), factors + 2 * i * nodes * size
            nan_flag = nan_flag + c * zero
            for q in range(nodes):
                join = splat(work, t[q])
                store(work, at + 2 * q * size, (one - join) + join * (one - c))
                store(work, at + (2 * q + 1) * size, join * c)
        for i in range(players):
            for level in range(1, depth + 1):
                width = 1 << (depth - level)
                if i & (width - 1):
                    continue  # still in the part of the player before
                begin, other = i & -2 * width, i ^ width
                outside = players - (min(begin + 2 * width, players) - begin)
                to = states + level * nodes * apart
                source = to - nodes * apart
                for j in range(other, min(other + width, players)):
                    # totals that there are, and that the others can lift above `flat`
                    high, low = min(cap, outside + 1), max(0, flat + 2 + outside - players)
                    _succeed(
                        work, source, to, factors + 2 * j * nodes * size, nodes, apart, low, high, outside + 1 < cap
                    )
                    outside, source = outside + 1, to
                for x in range(0, nodes * apart if source != to else 0, size):
                    store(work, to + x, load(work, source + x))
            mean, total = states + depth * nodes * apart, zero
            for u in range(flat, min(cap, players)):
                gain = worth[0, min(u + 1, cap)] - worth[0, u]
                for q in range(nodes if gain != 0 else 0):
                    total = total + splat(work, gain * node_weight[q]) * load(work, mean + q * apart + u * size)
            store(work, credit + i * size, load(work, own + i * size) * total + nan_flag)
        from_lanes(work, credit, rows, players, out, first * players, players)
        wrong = marked(nan_flag)
        if wrong:
            first_bad = first_bad_of(wrong, live, first, rows, players, out, first_bad)
    return first_bad


@helper
def _succeed(work, source, to, factors, nodes, apart, low, high, grows):  # type: ignore[no-untyped-def]
    """One more player: totals low .. high of the states at `to` from those at `source`, from the last down, as both may
    be the same; and the one above if the state grows."""
    size = lanes(work)
    for _ in range(nodes):
        stay, move = load(work, factors), load(work, factors + size)
        if grows:
            store(work, to + high * size, move * load(work, source + (high - 1) * size))
        for x in range((high - 1) * size, (low - 1) * size, -size):
            store(work, to + x, stay * load(work, source + x) + move * load(work, source + x - size))
        source, to, factors = source + apart, to + apart, factors + 2 * size


_CHANCES = Kernel(_chances_in_lanes, "r1 r1 r2 r1 r1 l R1", "r1", grain=16)
_COALITIONS = Kernel(_voting_in_lanes, "r2 i2 b2 e e e e l R1", "r1", grain=16)
_KERNEL = Kernel(_knapsack, "r2 i2 b2 r2 r1 r1 r2 i1 l l R1 L1")
