"""`knapsack` on the CPU: one row at a time, compiled without the GIL, so it may be called from many threads at once and
after a fork."""

from typing import Any

import numpy as np

from shapley_kernels.kernels._compile import helper
from shapley_kernels.kernels._marshal import Kernel


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
    rows, players = out.shape
    if chance is None:
        chance = np.ones((1, players), worth.dtype)
    if weight is None:
        weight = np.ones((1, players), np.int32)
    steps = players * players.bit_length() * worth.shape[1] * (players if t is None else len(t))
    return _KERNEL(rows, steps, worth.dtype, chance, weight, mask, worth, t, node_weight, sizes, row_of_count, out)


def warm_up(dtypes: list[str]) -> None:
    """Have the kernel ready for these compute dtypes."""
    for dtype in dtypes:
        _KERNEL.ready(np.dtype(dtype).char)


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
    states = len(t) if t.size else players
    depth = 0  # halvings down to one player
    while 1 << depth < players:
        depth += 1
    state = np.empty((depth + 1, cap, states), worth.dtype)  # [level]: of everybody outside the current 2^-level part
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
        used, mix = states, node_weight
        state[0] = zero
        if t.size:
            state[0, 0] = one
        else:
            mix = sizes[row_of_count[live]]
            while used > 1 and mix[used - 1] == zero:  # sizes above the largest one with a weight need no state
                used -= 1
            state[0, 0, 0] = one
        depth = 0
        while 1 << depth < live:
            depth += 1
        for i in range(live):
            for level in range(1, depth + 1):
                width = 1 << (depth - level)
                if i % width != 0:
                    continue  # still in the part of the player before
                other = (i // width ^ 1) * width
                state[level, :, :used] = state[level - 1, :, :used]
                count[level] = count[level - 1]
                for j in range(other, min(other + width, live)):
                    count[level] += 1
                    if t.size:
                        _add_by_node(state[level], c[j], w[j], t)
                    else:
                        _add_by_size(state[level, :, :used], c[j], w[j], count[level])
            credit = zero
            for total in range(cap):
                gain = table[min(total + w[i], cap)] - table[total]
                if gain != zero:
                    mean = zero
                    for s in range(used):
                        mean += mix[s] * state[depth, total, s]
                    credit += gain * mean
            out[b, who[i]] = c[i] * credit
    return first_bad


@helper
def _add_by_node(state, c, w, t):  # type: ignore[no-untyped-def]
    """One more player, in place: from the largest total down, what is read is still old."""
    if w == 0:
        return
    one = state.dtype.type(1)
    for total in range(state.shape[0] - 1, -1, -1):
        if total >= w:
            for q in range(len(t)):
                stay = (one - t[q]) + t[q] * (one - c)
                state[total, q] = stay * state[total, q] + t[q] * c * state[total - w, q]
        else:
            for q in range(len(t)):
                state[total, q] *= (one - t[q]) + t[q] * (one - c)


@helper
def _add_by_size(state, c, w, count):  # type: ignore[no-untyped-def]
    """One more player, the count-th, in place: from the largest total and size down, what is read is still old."""
    real = state.dtype.type
    zero, one, k = real(0), real(1), real(count)
    for total in range(state.shape[0] - 1, -1, -1):
        for a in range(min(count, state.shape[1] - 1), 0, -1):
            with_it = (one - c) * state[total, a - 1]
            if total >= w:
                with_it += c * state[total - w, a - 1]
            state[total, a] = ((k - real(a)) * (zero if a == count else state[total, a]) + real(a) * with_it) / k


_KERNEL = Kernel(_knapsack, "r2 i2 b2 r2 r1 r1 r2 i1")
