"""`multilinear` on the GPU.

Nodes: a program holds a tile of rows and takes, node by node, the products of the players before and after each other
one as two scans. Their inputs are loaded one place apart, so neither contains the player itself.

Sizes: a program holds the means over coalitions by size of a tile of rows, adds one player after the other, and keeps
each state in a workspace until the way back multiplies it with what the players after it contribute.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from shapley_kernels.kernels._launch import Launch

MAX_PLAYERS = 1024
"""Longest row; a longer one would need more than one tile."""

WORKSPACE = 1 << 28
"""Bytes of workspace of the size form at a time, beside those of one program."""

_TILE = 1024
_WARPS = 4


def run(p: Any, mask: Any, t: Any, weight: Any, sizes: Any, row_of_count: Any, out: Any) -> None:
    """See the package docstring; torch tensors on one CUDA device, or on the CPU when triton interprets.

    Args:
        p, out: of any float dtype each, at most MAX_PLAYERS players; rows * players may exceed 2^31.
        row_of_count: the entry of 0 live players is not used.

    Raises:
        Nothing of its own: `backends` checks.

    Cost: nodes: one launch, two scans a node over a tile of 1024 elements; reads p three times (from the cache but for
        the first), writes once. sizes: one launch per WORKSPACE bytes of states, 2 * players steps one after the other
        of a few operations on a tile. Compiles once per power of two of players, dtypes, with or without mask.
    Error: the bound of the package docstring. The order of operations depends on players and dtypes, not on the batch.
    """
    if p.numel() == 0:
        return
    if t is not None:
        nodes_call(p, mask, t, weight, out).on(p)
        return
    step = _rows_at_a_time(p, sizes)
    space = torch.empty(min(step, _padded(p)) * p.shape[1] * _width(p), dtype=sizes.dtype, device=p.device)
    for start in range(0, p.shape[0], step):
        part = slice(start, start + step)
        live = None if mask is None else mask[part]
        sizes_call(p[part], live, sizes, row_of_count, space, out[part]).on(p)


def _width(x: Any) -> int:
    return max(2, triton.next_power_of_2(x.shape[1]))


def _height(x: Any) -> int:
    return max(1, _TILE // _width(x))


def _padded(x: Any) -> int:
    return triton.cdiv(x.shape[0], _height(x)) * _height(x)


def _rows_at_a_time(x: Any, sizes: Any) -> int:
    """A multiple of the rows of a program, so that the tiles fall alike whatever the batch."""
    tile = _height(x) * x.shape[1] * _width(x) * sizes.element_size()
    return max(1, WORKSPACE // tile) * _height(x)


def nodes_call(*tensors: Any) -> Launch:
    """The launch; the choice must not look at the number of rows: a row's result may not depend on its batch."""
    x, _, t = tensors[:3]
    rows, players = x.shape
    return Launch(_nodes, (triton.cdiv(rows, _height(x)),), (*tensors, rows, players, len(t)), _options(x))


def sizes_call(*tensors: Any) -> Launch:
    """As `nodes_call`."""
    x = tensors[0]
    rows, players = x.shape
    return Launch(_sizes, (triton.cdiv(rows, _height(x)),), (*tensors, rows, players), _options(x))


def _options(x: Any) -> dict[str, Any]:
    return {
        "ROWS": _height(x),
        "WIDTH": _width(x),
        "num_warps": _WARPS,
        "enable_fp_fusion": False,  # else the compiler may fuse differently for rows at different places of a tile
    }


@triton.jit
def _load(x, mask, offset, in_bounds, dtype):  # type: ignore[no-untyped-def]
    """(x, is live) at the places `in_bounds`; 0 at masked players, which leaves every product as it is."""
    live = in_bounds
    if mask is not None:
        live = in_bounds & tl.load(mask + offset, mask=in_bounds, other=0).to(tl.int1)
    return tl.load(x + offset, mask=live, other=0.0).to(dtype), live


@triton.jit
def _finite(x):  # type: ignore[no-untyped-def]
    """x, 0 where it is not finite: such rows become NaN at the end."""
    return tl.where(tl.abs(x) < float("inf"), x, 0.0)


@triton.jit(do_not_specialize=["rows", "players", "nodes"])
def _nodes(  # type: ignore[no-untyped-def]
    p,  # [rows, players]
    mask,  # [rows, players] or None
    t,  # [nodes]
    weight,  # [nodes]
    out,  # [rows, players]
    rows,
    players,
    nodes,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,  # power of two >= players
):
    """One tile [ROWS, WIDTH]."""
    dtype = t.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    place = tl.arange(0, WIDTH)[None, :]
    offset = row[:, None] * players + place
    in_bounds = (row < rows)[:, None] & (place < players)
    own, live = _load(p, mask, offset, in_bounds, dtype)
    left, _ = _load(p, mask, offset - 1, in_bounds & (place > 0), dtype)
    right, _ = _load(p, mask, offset + 1, in_bounds & (place + 1 < players), dtype)
    left = 1.0 - _finite(left)
    right = 1.0 - _finite(right)
    credit = tl.zeros([ROWS, WIDTH], dtype)
    for q in range(nodes):
        join = tl.load(t + q)
        stay = 1.0 - join
        before = tl.cumprod(stay + join * left, axis=1)
        after = tl.cumprod(stay + join * right, axis=1, reverse=True)
        credit += tl.load(weight + q) * (before * after)
    bad = tl.max(tl.where(tl.abs(own) < float("inf"), 0, 1), axis=1)  # [ROWS]
    phi = tl.where((bad > 0)[:, None], float("nan"), _finite(own) * credit)
    tl.store(out + offset, tl.where(live, phi, 0.0).to(out.dtype.element_ty), mask=in_bounds)


@triton.jit(do_not_specialize=["rows", "players"])
def _sizes(  # type: ignore[no-untyped-def]
    p,  # [rows, players]
    mask,  # [rows, players] or None
    sizes,  # [levels, players]
    row_of_count,  # [players + 1]
    space,  # [programs, players, ROWS, WIDTH]
    out,  # [rows, players]
    rows,
    players,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,  # power of two >= players
):
    """One tile [ROWS, WIDTH], a coalition size per column."""
    dtype = sizes.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    a = tl.arange(0, WIDTH)[None, :]
    states = space + tl.program_id(0).to(tl.int64) * players * (ROWS * WIDTH)
    cell = tl.arange(0, ROWS)[:, None] * WIDTH + a
    inside = row < rows
    k = tl.zeros([ROWS], tl.int32)  # live players so far
    bad = tl.zeros([ROWS], tl.int32)
    mean = tl.broadcast_to(tl.where(a == 0, 1.0, 0.0).to(dtype), [ROWS, WIDTH])
    for i in range(players):
        tl.store(states + i * (ROWS * WIDTH) + cell, mean)
        chance, live = _load(p, mask, row * players + i, inside, dtype)
        bad = tl.where(tl.abs(chance) < float("inf"), bad, 1)
        chance = _finite(chance)
        k += live.to(tl.int32)
        lower = tl.where(a > 0, _take(mean, tl.maximum(a - 1, 0)), 0.0)
        stay = tl.maximum(k[:, None] - a, 0).to(dtype)
        joined = (stay * mean + a.to(dtype) * (1.0 - chance)[:, None] * lower) / tl.maximum(k, 1).to(dtype)[:, None]
        mean = tl.where(live[:, None], joined, mean)
    level = tl.load(row_of_count + k, mask=k > 0, other=0)  # [ROWS]
    known = (k > 0)[:, None] & (a < players)
    rest = tl.load(sizes + level[:, None] * players + a, mask=known, other=0.0)
    tl.debug_barrier()
    for j in range(players):
        i = players - 1 - j
        chance, live = _load(p, mask, row * players + i, inside, dtype)
        chance = _finite(chance)
        mean = tl.load(states + i * (ROWS * WIDTH) + cell)
        phi = tl.where(bad > 0, float("nan"), chance * tl.sum(mean * rest, axis=1))
        tl.store(out + row * players + i, tl.where(live, phi, 0.0).to(out.dtype.element_ty), mask=inside)
        k -= live.to(tl.int32)
        upper = tl.where(a + 1 < WIDTH, _take(rest, tl.minimum(a + 1, WIDTH - 1)), 0.0)
        stay = tl.maximum(k[:, None] - a, 0).to(dtype)
        left = (stay * rest + (a + 1).to(dtype) * (1.0 - chance)[:, None] * upper) / tl.maximum(k, 1).to(dtype)[:, None]
        rest = tl.where(live[:, None], left, rest)


@triton.jit
def _take(x, column):  # type: ignore[no-untyped-def]
    """x[b, column[a]] for x [ROWS, WIDTH] and column [1, WIDTH]; flat, so that it goes through shared memory."""
    ROWS: tl.constexpr = x.shape[0]
    WIDTH: tl.constexpr = x.shape[1]
    flat = tl.broadcast_to(column, [ROWS, WIDTH]) + tl.arange(0, ROWS)[:, None] * WIDTH
    return tl.reshape(tl.gather(tl.reshape(x, [ROWS * WIDTH]), tl.reshape(flat, [ROWS * WIDTH]), 0), [ROWS, WIDTH])
