"""`pairwise` on the GPU: one Triton kernel for every number of players, and a short one that spreads NaN over rows
that were shared by several programs.

A program holds a tile [rows, players i, players j] of w, adds up tile after tile along j, and sums over j at the end.
"""

from typing import Any

import triton
import triton.language as tl

from shapley_kernels.kernels._launch import Launch

MAX_PLAYERS = 65535 * 8
"""Blocks of 8 players are the second axis of the grid."""

_TILE = 1024
_COLUMNS = 128
_WARPS = 4


def run(w: Any, values: Any, mask: Any, own: Any, pair: Any, row_of_count: Any, out: Any) -> None:
    """See the package docstring; torch tensors on one CUDA device, or on the CPU when triton interprets.

    Args:
        w, values, out: of any float dtype each, at most MAX_PLAYERS players; rows * players^2 may exceed 2^31.
        row_of_count: the entry of 0 live players is not used.

    Raises:
        Nothing of its own: `backends` checks.

    Cost: one launch, two above 32 players; reads every live pair once, row by row, and the mask once more for each
        tile. Compiles once per power of two of players up to 128, players % 16 == 0 or not, dtypes, with or without
        values and mask.
    Error: at most players / 128 + log2(128) additions one after the other, within the bound of the package docstring.
        The order of additions depends on players and dtypes, not on the batch.
    """
    if out.numel():
        for launch in calls(w, values, mask, own, pair, row_of_count, out):
            launch.on(out)


def calls(*tensors: Any, tile: int = _TILE, num_warps: int = _WARPS) -> list[Launch]:
    """The launches: tiles of 1024 elements and 4 warps for every size and dtype, 8 elements per lane of a 32-lane warp.
    They must not look at the number of rows: a row's result may not depend on its batch."""
    mask, out = tensors[2], tensors[-1]
    rows, players = out.shape
    width = max(2, triton.next_power_of_2(players))
    columns = min(width, _COLUMNS, tile)
    lines = min(width, tile // columns)
    height = tile // (columns * lines)
    common = {"num_warps": num_warps, "enable_fp_fusion": False}  # as in `order`: equal bits at all places of a tile
    sums = Launch(
        _pair_sums,
        (triton.cdiv(rows, height), triton.cdiv(players, lines)),
        (*tensors, rows, players),
        {"ROWS": height, "LINES": lines, "COLUMNS": columns, **common},
    )
    if lines >= players:
        return [sums]
    across = min(width, tile)
    spread = Launch(
        _spread_nan,
        (triton.cdiv(rows, tile // across),),
        (mask, out, rows, players),
        {"ROWS": tile // across, "COLUMNS": across, **common},
    )
    return [sums, spread]


@triton.jit(do_not_specialize=["rows"])
def _pair_sums(  # type: ignore[no-untyped-def]
    w,  # [rows, players, players]
    values,  # [rows, players] or None
    mask,  # [rows, players] or None
    own,  # [levels]
    pair,  # [levels]
    row_of_count,  # [players + 1]
    out,  # [rows, players]
    rows,
    players,
    ROWS: tl.constexpr,
    LINES: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Credits of one tile [ROWS, LINES] of players; NaN for those of them that share a row with a non-finite sum."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    i = tl.program_id(1) * LINES + tl.arange(0, LINES)  # [LINES]
    place = row[:, None] * players + i[None, :]  # [ROWS, LINES]
    in_bounds = (row < rows)[:, None] & (i < players)[None, :]
    live = in_bounds
    if mask is not None:
        live = in_bounds & tl.load(mask + place, mask=in_bounds, other=0).to(tl.int1)
    partial = tl.zeros([ROWS, LINES, COLUMNS], pair.dtype.element_ty)
    count = tl.zeros([ROWS, COLUMNS], tl.int32)
    for start in range(0, players, COLUMNS):
        j = start + tl.arange(0, COLUMNS)  # [COLUMNS]
        other = (row < rows)[:, None] & (j < players)[None, :]  # [ROWS, COLUMNS]
        if mask is not None:
            other = other & tl.load(mask + row[:, None] * players + j[None, :], mask=other, other=0).to(tl.int1)
        count += other.to(tl.int32)
        counted = live[:, :, None] & other[:, None, :] & (i[:, None] != j[None, :])[None, :, :]
        x = tl.load(w + (place * players)[:, :, None] + j[None, None, :], mask=counted, other=0.0)
        partial += x.to(pair.dtype.element_ty)
    total = tl.sum(partial, axis=2)  # [ROWS, LINES]
    m = tl.sum(count, axis=1)  # [ROWS]
    level = tl.load(row_of_count + m, mask=m > 0, other=0)  # a row without live players has no level, and gets 0
    credit = tl.load(pair + level, mask=m > 0, other=0.0)[:, None] * total
    if values is not None:
        a = tl.load(values + place, mask=live, other=0.0).to(pair.dtype.element_ty)
        credit = tl.load(own + level, mask=m > 0, other=0.0)[:, None] * a + credit
    bad = tl.max((live & ~(tl.abs(credit) < float("inf"))).to(tl.int32), axis=1)  # [ROWS]
    credit = tl.where((bad > 0)[:, None], float("nan"), credit)
    tl.store(out + place, tl.where(live, credit, 0.0).to(out.dtype.element_ty), mask=in_bounds)


@triton.jit(do_not_specialize=["rows"])
def _spread_nan(  # type: ignore[no-untyped-def]
    mask,  # [rows, players] or None
    out,  # [rows, players]
    rows,
    players,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """NaN for all live players of rows in which one has it."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    nan_flag = tl.zeros([ROWS, COLUMNS], tl.int32)
    for start in range(0, players, COLUMNS):
        i = start + tl.arange(0, COLUMNS)
        in_bounds = (row < rows)[:, None] & (i < players)[None, :]
        x = tl.load(out + row[:, None] * players + i[None, :], mask=in_bounds, other=0.0).to(tl.float32)
        nan_flag |= (x != x).to(tl.int32)
    bad = tl.max(nan_flag, axis=1) > 0  # [ROWS]
    for start in range(0, players, COLUMNS):
        i = start + tl.arange(0, COLUMNS)
        place = row[:, None] * players + i[None, :]
        hit = bad[:, None] & (row < rows)[:, None] & (i < players)[None, :]
        if mask is not None:
            hit = hit & tl.load(mask + place, mask=hit, other=0).to(tl.int1)
        nan = tl.full([ROWS, COLUMNS], float("nan"), tl.float32)
        tl.store(out + place, nan.to(out.dtype.element_ty), mask=hit)
