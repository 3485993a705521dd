"""`table` on the GPU: one Triton kernel for every number of players up to MAX_PLAYERS.

A program serves one player in a tile of rows. It walks over the coalitions without that player, whose indices are the
numbers of one bit less with a 0 put in at the player's bit; programs of the same rows run side by side and share their
table through the cache.
"""

from typing import Any

import triton
import triton.language as tl

from shapley_kernels.kernels._launch import Launch

MAX_PLAYERS = 20
"""2^20 worths a row; indices of coalitions are 32 bits wide."""

_TILE = 1024
_WARPS = 4


def run(values: Any, mask: Any, weights: Any, row_of_count: Any, out: Any) -> None:
    """See the package docstring; torch tensors on one CUDA device, or on the CPU when triton interprets.

    Args:
        values, out: of any float dtype each; rows * 2^players may exceed 2^31.
        row_of_count: the entry of 0 live players is not used.

    Raises:
        Nothing of its own: `backends` checks.

    Cost: one launch; reads the table once from memory and players times from the cache. Compiles once per number of
        players up to 11, dtypes, with or without mask.
    Error: 2^10 coalitions at a time are summed in a tree, the tiles by compensated (Kahan) summation: at most
        log2(1024) + 4 roundings for the sum. The order of additions depends on players and dtypes, not on the batch.
    Source: Kahan, "Pracniques: further remarks on reducing truncation errors", doi:10.1145/363707.363723.
    """
    if out.numel():
        call(values, mask, weights, row_of_count, out).on(out)


def call(*tensors: Any, tile: int = _TILE, num_warps: int = _WARPS) -> Launch:
    """The launch: tiles of 1024 coalitions and 4 warps for every size and dtype. It must not look at the number of
    rows: a row's result may not depend on its batch."""
    rows, players = tensors[-1].shape
    block = min(max(2, 1 << (players - 1)), tile)
    options = {
        "ROWS": tile // block,
        "BLOCK": block,
        "PLAYERS": max(2, triton.next_power_of_2(players)),
        "num_warps": num_warps,
        "enable_fp_fusion": False,  # else the compiler may undo the compensation
    }
    return Launch(_mean_gains, (triton.cdiv(rows, tile // block) * players,), (*tensors, rows, players), options)


@triton.jit(do_not_specialize=["rows", "players"])
def _mean_gains(  # type: ignore[no-untyped-def]
    values,  # [rows, 2^players]
    mask,  # [rows, players] or None
    weights,  # [levels, players]
    row_of_count,  # [players + 1]
    out,  # [rows, players]
    rows,
    players,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    PLAYERS: tl.constexpr,  # power of two >= players
):
    """Credit of player i in the rows of one tile."""
    i = tl.program_id(0) % players
    row = (tl.program_id(0) // players).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    in_bounds = row < rows
    mine = in_bounds
    dead = tl.zeros([ROWS], tl.int32)  # the masked players as the index of a coalition
    m = tl.zeros([ROWS], tl.int32) + players
    if mask is not None:
        p = tl.arange(0, PLAYERS)
        known = in_bounds[:, None] & (p < players)[None, :]
        live = tl.load(mask + row[:, None] * players + p[None, :], mask=known, other=0).to(tl.int1)
        dead = tl.sum(tl.where(live, 0, 1 << p[None, :]), axis=1)
        m = tl.sum(live.to(tl.int32), axis=1)
        mine = in_bounds & (((dead >> i) & 1) == 0)
    level = tl.load(row_of_count + m, mask=mine, other=0)  # [ROWS]
    table = (row << players)[:, None]
    below = (1 << i) - 1
    total = tl.zeros([ROWS, BLOCK], weights.dtype.element_ty)
    lost = tl.zeros([ROWS, BLOCK], weights.dtype.element_ty)  # what the last addition rounded away
    usable = tl.zeros([ROWS, BLOCK], tl.int32) + 1
    for start in range(0, 1 << (players - 1), BLOCK):
        x = start + tl.arange(0, BLOCK)
        s = (((x & ~below) << 1) | (x & below))[None, :]  # [1, BLOCK]
        used = mine[:, None] & (s < (1 << players)) & ((s & dead[:, None]) == 0)
        without = tl.load(values + table + s, mask=used, other=0.0).to(weights.dtype.element_ty)
        joined = tl.load(values + table + (s + below + 1), mask=used, other=0.0).to(weights.dtype.element_ty)
        weight = tl.load(weights + level[:, None] * players + _ones(s), mask=used, other=0.0)
        finite = (tl.abs(without) < float("inf")) & (tl.abs(joined) < float("inf"))
        usable = tl.where(finite, usable, 0)
        term = tl.where(finite, weight * (joined - without), 0.0) - lost
        grown = total + term
        lost = (grown - total) - term
        total = grown
    credit = tl.where(tl.min(usable, axis=1) > 0, tl.sum(total, axis=1), float("nan"))
    tl.store(out + row * players + i, tl.where(mine, credit, 0.0).to(out.dtype.element_ty), mask=in_bounds)


@triton.jit
def _ones(x):  # type: ignore[no-untyped-def]
    """Number of 1 bits of x < 2^31."""
    x = x - ((x >> 1) & 0x55555555)
    x = (x & 0x33333333) + ((x >> 2) & 0x33333333)
    x = (x + (x >> 4)) & 0x0F0F0F0F
    return (x + (x >> 8) + (x >> 16) + (x >> 24)) & 0x3F
