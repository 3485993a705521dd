"""`knapsack` on the GPU: a program per row. The states live in a workspace, which the first-level cache serves; every
step reads one and writes the other of two, with a barrier between steps."""

from typing import Any

import torch
import triton
import triton.language as tl

from shapley_kernels.kernels._launch import Launch

MAX_PLAYERS = 1024
"""Longest row."""

WORKSPACE = 1 << 28
"""Bytes of states at a time, beside those of one row."""

_BLOCK = 1024


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
) -> None:
    """See the package docstring; torch tensors on one CUDA device, or on the CPU when triton interprets.

    Args:
        chance, out: of any float dtype each, at most MAX_PLAYERS players.
        row_of_count: the entry of 0 live players is not used.

    Raises:
        Nothing of its own: `backends` checks.

    Cost: one launch per WORKSPACE bytes; players * log2(players) steps one after the other. Compiles once per power of
        two of players and of numbers in a state up to 1024, dtypes, and what is None.
    Error: the bound of the package docstring. The order of operations depends on shapes and dtypes, not on the batch.
    """
    rows, players = out.shape
    states = players if t is None else len(t)
    if out.numel() == 0:
        return
    if worth.shape[1] == 1:
        out.zero_()
        return
    space_row = (_depth(players) + 2) * states * (worth.shape[1] - 1)
    step = max(1, WORKSPACE // (space_row * worth.element_size()))
    space = torch.empty(min(rows, step) * space_row, dtype=worth.dtype, device=worth.device)
    for start in range(0, rows, step):
        part = slice(start, start + step)
        data = [None if a is None else a[part] for a in (chance, weight, mask)]
        table = worth[part] if worth.shape[0] > 1 else worth
        call(*data, table, t, node_weight, sizes, row_of_count, space, out[part]).on(out)


def _depth(players: int) -> int:
    """Halvings down to one player."""
    return (players - 1).bit_length()


def call(*tensors: Any) -> Launch:
    """The launch; the choice must not look at the number of rows: a row's result may not depend on its batch."""
    worth, t, out = tensors[3], tensors[4], tensors[-1]
    rows, players = out.shape
    cap = worth.shape[1] - 1
    states = players if t is None else len(t)
    block = min(_BLOCK, triton.next_power_of_2(cap * states))
    arguments = (*tensors, players, cap, states, 0 if worth.shape[0] == 1 else cap + 1)
    options = {
        "DEPTH": _depth(players),
        "BLOCK": block,
        "num_warps": max(1, block // 256),
        "enable_fp_fusion": False,
    }
    return Launch(_knapsack, (rows,), arguments, options)


@triton.jit(do_not_specialize=["players", "cap", "states", "worth_stride"])
def _knapsack(  # type: ignore[no-untyped-def]
    chance,  # [rows, players] or None
    weight,  # [rows, players] or None
    mask,  # [rows, players] or None
    worth,  # [rows, cap + 1], or [1, cap + 1] with worth_stride = 0
    t,  # [states], or None for sizes
    node_weight,  # [states]
    sizes,  # [levels, players], states = players
    row_of_count,  # [players + 1]
    space,  # [rows, DEPTH + 2, states, cap]: the state of each level, and one more
    out,  # [rows, players]
    players,
    cap,
    states,
    worth_stride,
    DEPTH: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Level L halves the players L times; its state holds everybody outside the part that the current player is in."""
    dtype = worth.dtype.element_ty
    cells = states * cap
    row = tl.program_id(0).to(tl.int64)
    data = row * players
    space += row * (DEPTH + 2) * cells
    worth += row * worth_stride

    everybody = tl.arange(0, 1 << DEPTH)
    _c, _w, alive, finite = _load(chance, weight, mask, data, everybody, players, cap, dtype)
    bad = tl.max(tl.where(finite, 0, 1), axis=0)
    live = tl.sum(alive.to(tl.int32), axis=0)
    mix = node_weight
    if t is None:
        mix = sizes + tl.load(row_of_count + live, mask=live > 0, other=0) * players

    for start in range(0, cells, BLOCK):
        cell = start + tl.arange(0, BLOCK)
        one = cell % cap == 0
        if t is None:
            one = cell == 0
        tl.store(space + cell, tl.where(one, 1.0, 0.0).to(dtype), mask=cell < cells)
    tl.debug_barrier()

    for i in range(players):
        for level in range(1, DEPTH + 1):
            width = 1 << (DEPTH - level)
            if i % width == 0:
                parent = i // (2 * width) * (2 * width)
                outside = alive & ((everybody < parent) | (everybody >= parent + 2 * width))
                k = tl.sum(outside.to(tl.int32), axis=0)
                other = (i // width ^ 1) * width
                steps = tl.maximum(tl.minimum(width, players - other), 1)  # beyond the players nobody is added
                source = space + (level - 1) * cells
                for j in range(steps):
                    target = space + tl.where((steps - 1 - j) % 2 == 0, level, DEPTH + 1) * cells
                    cj, wj, is_live, _j = _load(chance, weight, mask, data, other + j, players, cap, dtype)
                    k += is_live.to(tl.int32)
                    _add(source, target, cj, wj, is_live, k, t, cap, cells, BLOCK)
                    tl.debug_barrier()
                    source = target
        ci, wi, is_live, _i = _load(chance, weight, mask, data, i, players, cap, dtype)
        total = tl.zeros([BLOCK], dtype)
        for start in range(0, cells, BLOCK):
            cell = start + tl.arange(0, BLOCK)
            inside = cell < cells
            w = cell % cap
            p = tl.load(space + DEPTH * cells + cell, mask=inside, other=0.0)
            p *= tl.load(mix + cell // cap, mask=inside, other=0.0)
            after = tl.load(worth + tl.minimum(w + wi, cap), mask=inside, other=0.0)
            total += p * (after - tl.load(worth + w, mask=inside, other=0.0))
        phi = tl.where(bad > 0, float("nan"), ci * tl.sum(total, axis=0))
        tl.store(out + data + i, tl.where(is_live, phi, 0.0).to(out.dtype.element_ty))
        tl.debug_barrier()


@triton.jit
def _load(chance, weight, mask, data, player, players, cap, dtype):  # type: ignore[no-untyped-def]
    """(chance, weight, is live, chance is finite) of one or many players; (0, 0, False, True) for masked ones and those
    beyond the last. Chances that are not finite are 0: such rows become NaN at the end."""
    live = player < players
    if mask is not None:
        live = live & tl.load(mask + data + player, mask=live, other=0).to(tl.int1)
    c = tl.where(live, 1.0, 0.0).to(dtype)
    w = live.to(tl.int32)
    if chance is not None:
        c = tl.load(chance + data + player, mask=live, other=0.0).to(dtype)
    if weight is not None:
        w = tl.minimum(tl.load(weight + data + player, mask=live, other=0), cap)
    finite = tl.abs(c) < float("inf")
    return tl.where(finite, c, 0.0), w, live, finite


@triton.jit
def _add(source, target, c, w, live, k, t, cap, cells, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """target = the state `source` with one more player, the k-th live one; the same state if it is not live."""
    for start in range(0, cells, BLOCK):
        cell = start + tl.arange(0, BLOCK)
        inside = cell < cells
        shifted = cell % cap >= w
        p = tl.load(source + cell, mask=inside, other=0.0)
        if t is not None:
            join = tl.load(t + cell // cap, mask=inside, other=0.0)
            moved = tl.load(source + cell - w, mask=inside & shifted, other=0.0)
            p = ((1.0 - join) + join * (1.0 - c)) * p + join * c * moved
        else:
            a = cell // cap
            smaller = inside & (a > 0)
            without = tl.load(source + cell - cap, mask=smaller, other=0.0)
            moved = tl.load(source + cell - cap - w, mask=smaller & shifted, other=0.0)
            stay = tl.maximum(k - a, 0).to(p.dtype) * p
            grown = (stay + a.to(p.dtype) * ((1.0 - c) * without + c * moved)) / tl.maximum(k, 1).to(p.dtype)
            p = tl.where(live, grown, p)
        tl.store(target + cell, p, mask=inside)
