"""`order` on the GPU for long rows: one Triton kernel for every row length up to MAX_PLAYERS.

A program holds a tile of rows, sorts the values alone (no index travels along), takes the gaps and their weighted
running sums, and then every player finds its own reward in the sorted row by binary search and reads the credit there.
Tied players land on the same position: their credits are bitwise equal by construction.
"""

from typing import Any

import triton
import triton.language as tl

MAX_PLAYERS = 1024
"""Longest row; a longer one would need more than one tile."""

_TILE = 1024
_WARPS = 4


def constants(players: int, rows_per_program: int | None = None) -> dict[str, Any]:
    """Arguments of `order_tile` beside the tensors, rows and c_stride: tiles of 1024 elements and 4 warps for every row
    length and dtype, 8 elements per lane of a 32-lane warp, for which registers suffice in float64 too."""
    width = max(2, triton.next_power_of_2(players))
    return {
        "players": players,
        "ROWS": rows_per_program or max(1, _TILE // width),
        "WIDTH": width,
        "LOG_WIDTH": width.bit_length() - 1,
        "num_warps": _WARPS,
    }


@triton.jit(do_not_specialize=["rows", "c_stride"])
def order_tile(  # type: ignore[no-untyped-def]
    rewards,  # [rows, players]
    mask,  # [rows, players] or None
    v_empty,  # [rows], or [1] with c_stride = 0
    A,  # [levels, players]
    B,  # [levels, players] or None
    C,  # [levels]
    row_of_count,  # [players + 1]
    out,  # [rows, players]
    rows,
    c_stride,
    players,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,  # power of two >= players
    LOG_WIDTH: tl.constexpr,
):
    """One tile [ROWS, WIDTH]. Rows stand ascending, absent players are -inf at their lower end: the k-th best of a
    row stands at position WIDTH - k, whatever the number of its players."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    place = tl.broadcast_to(tl.arange(0, WIDTH)[None, :], [ROWS, WIDTH])
    offset = row[:, None] * players + place
    in_bounds = (row < rows)[:, None] & (place < players)
    live = in_bounds
    if mask is not None:
        live = in_bounds & tl.load(mask + offset, mask=in_bounds, other=0).to(tl.int1)
    r = tl.load(rewards + offset, mask=live, other=0.0).to(v_empty.dtype.element_ty)  # [ROWS, WIDTH]
    c = tl.load(v_empty + row * c_stride, mask=row < rows, other=0.0)  # [ROWS]

    # one sum counts both: finite players in the low 16 bits, non-finite ones above
    finite = tl.abs(r) < float("inf")
    count = tl.sum(tl.where(live, tl.where(finite, 1, 1 << 16), 0), axis=1)  # [ROWS]
    m = count & 0xFFFF
    usable = (count < 1 << 16) & (tl.abs(c) < float("inf"))
    r = tl.where(live & finite, r, float("-inf"))  # a NaN would break the order of the sort

    s = _sort(r, LOG_WIDTH)
    credit = _credit(s, m, tl.where(usable, c, 0.0), A, B, C, row_of_count, players, ROWS, WIDTH)

    # largest position with s <= r: the upper end of the player's ties, the same for all of them, -0.0 and 0.0 included
    position = tl.zeros([ROWS, WIDTH], tl.int32)
    for i in tl.static_range(LOG_WIDTH):
        probe = position + (WIDTH >> (i + 1))
        position = tl.where(_take(s, probe) <= r, probe, position)
    phi = tl.where(usable[:, None], _take(credit, position), float("nan"))
    tl.store(out + offset, tl.where(live, phi, 0.0).to(out.dtype.element_ty), mask=in_bounds)


@triton.jit
def _credit(  # type: ignore[no-untyped-def]
    s, m, c, A, B, C, row_of_count, players, ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    """Credits [ROWS, WIDTH] of the sorted rows s, with m live players [ROWS] and v_empty c [ROWS]."""
    place = tl.broadcast_to(tl.arange(0, WIDTH)[None, :], [ROWS, WIDTH])
    k = WIDTH - place  # rank from the top, 1 is the best
    used = k <= m[:, None]
    gap = s - tl.where(k < m[:, None], _take(s, tl.maximum(place - 1, 0)), c[:, None])
    gap = tl.where(used, gap, 0.0)

    # a row without live players has no level, and gets 0 later
    level = tl.load(row_of_count + m, mask=m > 0, other=0)  # [ROWS]
    share = level[:, None] * players + (k - 1)
    credit = tl.cumsum(gap * tl.load(A + share, mask=used, other=0.0), axis=1)
    if B is not None:
        above = tl.cumsum(gap * tl.load(B + share, mask=used, other=0.0), axis=1, reverse=True)
        # without the player's own gap: read one place higher, because subtracting it would cancel
        credit += tl.where(k > 1, _take(above, tl.minimum(place + 1, WIDTH - 1)), 0.0)
    return credit + (c * tl.load(C + level, mask=m > 0, other=0.0))[:, None]


@triton.jit
def _take(x, index):  # type: ignore[no-untyped-def]
    """x[b, index[b, i]] for x, index [ROWS, WIDTH].

    Flat, so that it goes through shared memory: along an axis Triton keeps each row within a warp and shuffles, which
    takes the square of the registers per lane, 5,659 shuffles and spills at 1024 players.
    """
    ROWS: tl.constexpr = x.shape[0]
    WIDTH: tl.constexpr = x.shape[1]
    flat = index + tl.arange(0, ROWS)[:, None] * WIDTH
    return tl.reshape(tl.gather(tl.reshape(x, [ROWS * WIDTH]), tl.reshape(flat, [ROWS * WIDTH]), 0), [ROWS, WIDTH])


@triton.jit
def _sort(x, LOG_WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows of x [ROWS, 2^LOG_WIDTH] ascending: stage i merges bitonic runs of 2^i."""
    for stage in tl.static_range(1, LOG_WIDTH + 1):
        for step in tl.static_range(stage):
            x = _compare_exchange(x, stage - 1 - step, stage, LOG_WIDTH)
    return x


@triton.jit
def _compare_exchange(x, BIT: tl.constexpr, STAGE: tl.constexpr, LOG_WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Order each pair of places that differ in bit BIT: upwards where bit STAGE of the place is 0, else downwards."""
    STRIDE: tl.constexpr = 1 << BIT
    BLOCKS: tl.constexpr = x.numel // (2 * STRIDE)
    low, high = tl.split(tl.trans(tl.reshape(x, [BLOCKS, 2, STRIDE]), 0, 2, 1))  # [BLOCKS, STRIDE] each
    small = tl.minimum(low, high)
    large = tl.maximum(low, high)
    if STAGE < LOG_WIDTH:
        up = (((tl.arange(0, BLOCKS) >> (STAGE - 1 - BIT)) & 1) == 0)[:, None]
        low = tl.where(up, small, large)
        high = tl.where(up, large, small)
    else:  # the last stage is one run a row
        low = small
        high = large
    return tl.reshape(tl.trans(tl.join(low, high), 0, 2, 1), x.shape)
