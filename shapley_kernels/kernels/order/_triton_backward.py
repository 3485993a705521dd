"""Gradients of `order` on the GPU: for every player, how many players and how much incoming gradient stand at or above
its reward, and strictly above. In a row across lanes, counted pair by pair in short rows, in long ones by a sort that
carries the incoming gradient along, one prefix sum and two binary searches."""

from functools import cache
from typing import Any

import triton
import triton.language as tl

from shapley_kernels.kernels._launch import Launch
from shapley_kernels.kernels.order._gpu_tile import _TILE, MAX_PLAYERS, _take

__all__ = ["MAX_PLAYERS", "run"]

MAX_PAIRS = 64
"""Longest row that is counted pair by pair: players^2 comparisons without a shuffle, against players log^2 players."""


def run(
    grad_out: Any,
    rewards: Any,
    mask: Any,
    v_empty: Any,
    A: Any,
    B: Any,
    C: Any,
    row_of_count: Any,
    grad_rewards: Any,
    grad_v_empty: Any,
) -> None:
    """See `backward` in the package docstring; torch tensors on one CUDA device, or on the CPU when triton interprets.

    Raises:
        Nothing of its own; at most MAX_PLAYERS players.

    Cost: one launch, no synchronisation; reads rewards, mask and grad_out and writes grad_rewards once.
    """
    if rewards.numel():
        call(grad_out, rewards, mask, v_empty, A, B, C, row_of_count, grad_rewards, grad_v_empty).on(rewards)
    elif grad_v_empty is not None:
        grad_v_empty.zero_()


def call(*tensors: Any, pairs: bool | None = None, rows_per_program: int | None = None) -> Launch:
    """The launch; pairs: whether rows are counted pair by pair, None chooses."""
    rewards, v_empty = tensors[1], tensors[3]
    rows, players = rewards.shape
    options = _constants(players, players <= MAX_PAIRS if pairs is None else pairs, rows_per_program)
    arguments = (*tensors, rows, int(v_empty.shape[0] > 1))
    return Launch(order_backward, (-(rows // -options["ROWS"]),), arguments, options)


@cache
def _constants(players: int, pairs: bool, rows_per_program: int | None) -> dict[str, Any]:
    width = max(2, triton.next_power_of_2(players))
    return {
        "players": players,
        "ROWS": rows_per_program or max(1, _TILE // width),
        "WIDTH": width,
        "LOG_WIDTH": width.bit_length() - 1,
        "PAIRS": pairs,
        "num_warps": 4,
        "enable_fp_fusion": False,
    }


@triton.jit(do_not_specialize=["rows", "c_stride"])
def order_backward(  # type: ignore[no-untyped-def]
    grad_out,  # [rows, players]
    rewards,  # [rows, players]
    mask,  # [rows, players] or None
    v_empty,  # [rows], or [1] with c_stride = 0
    A,  # [levels, players]
    B,  # [levels, players] or None
    C,  # [levels]
    row_of_count,  # [players + 1]
    grad_rewards,  # [rows, players]
    grad_v_empty,  # [rows] or None
    rows,
    c_stride,
    players,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,  # power of two >= players
    LOG_WIDTH: tl.constexpr,
    PAIRS: tl.constexpr,
):
    """One tile [ROWS, WIDTH]; with E(k, G) = A_k G + B_k (sum g - G), a player's gradient is the step of E over its
    ties, divided among them."""
    real: tl.constexpr = v_empty.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    place = tl.broadcast_to(tl.arange(0, WIDTH)[None, :], [ROWS, WIDTH])
    start = row * players
    offset = start[:, None] + place
    in_bounds = (row < rows)[:, None] & (place < players)
    live = in_bounds
    if mask is not None:
        live = in_bounds & tl.load(mask + offset, mask=in_bounds, other=0).to(tl.int1)
    r = tl.load(rewards + offset, mask=live, other=0.0).to(real)  # [ROWS, WIDTH]
    g = tl.load(grad_out + offset, mask=live, other=0.0).to(real)
    c = tl.load(v_empty + row * c_stride, mask=row < rows, other=0.0)  # [ROWS]
    finite = tl.abs(r) < float("inf")
    m = tl.sum(live.to(tl.int32), axis=1)
    usable = (tl.sum((live & finite).to(tl.int32), axis=1) == m) & (tl.abs(c) < float("inf"))
    r = tl.where(live & finite, r, float("-inf"))
    total = tl.sum(g, axis=1)

    if PAIRS:
        above = tl.zeros([ROWS, WIDTH], tl.int32)  # players with a larger reward
        reach = tl.zeros([ROWS, WIDTH], tl.int32)  # and with an equal one
        g_above = tl.zeros([ROWS, WIDTH], real)
        g_reach = tl.zeros([ROWS, WIDTH], real)
        j = 0
        while j < players:
            there = row < rows
            if mask is not None:
                there = there & tl.load(mask + start + j, mask=there, other=0).to(tl.int1)
            r_j = tl.load(rewards + start + j, mask=there, other=float("-inf")).to(real)[:, None]
            g_j = tl.load(grad_out + start + j, mask=there, other=0.0).to(real)[:, None]
            more = r_j > r
            not_less = r_j >= r
            above += more.to(tl.int32)
            reach += not_less.to(tl.int32)
            g_above += tl.where(more, g_j, 0.0)
            g_reach += tl.where(not_less, g_j, 0.0)
            j += 1
    else:
        s, carried = _sort_pairs(r, g, LOG_WIDTH)  # ascending, absent players lowest
        top = tl.cumsum(carried, axis=1, reverse=True)
        lower = tl.zeros([ROWS, WIDTH], tl.int32)  # number of places below r
        upper = tl.zeros([ROWS, WIDTH], tl.int32)  # last place with r
        for i in tl.static_range(LOG_WIDTH):
            probe = lower + (WIDTH >> (i + 1))
            lower = tl.where(_take(s, probe - 1) < r, probe, lower)
            probe = upper + (WIDTH >> (i + 1))
            upper = tl.where(_take(s, probe) <= r, probe, upper)
        above = WIDTH - 1 - upper
        reach = WIDTH - lower
        g_above = tl.where(above > 0, _take(top, tl.minimum(upper + 1, WIDTH - 1)), 0.0)
        g_reach = _take(top, lower)

    level = tl.load(row_of_count + m, mask=m > 0, other=0)  # [ROWS]
    share = level[:, None] * players
    some = live & (above > 0)
    step = tl.load(A + share + reach - 1, mask=live, other=0.0) * g_reach
    step -= tl.load(A + share + above - 1, mask=some, other=0.0) * g_above
    if B is not None:
        step += tl.load(B + share + reach - 1, mask=live & (reach < m[:, None]), other=0.0) * (total[:, None] - g_reach)
        step -= tl.load(B + share + above - 1, mask=some, other=0.0) * (total[:, None] - g_above)
    step = tl.where(live & usable[:, None], step / tl.maximum(reach - above, 1).to(real), 0.0)
    tl.store(grad_rewards + offset, step.to(grad_rewards.dtype.element_ty), mask=in_bounds)
    if grad_v_empty is not None:
        slope = tl.load(C + level, mask=m > 0, other=0.0)
        slope -= tl.load(A + level * players + m - 1, mask=m > 0, other=0.0)
        tl.store(grad_v_empty + row, tl.where(usable, slope * total, 0.0), mask=row < rows)


@triton.jit
def _sort_pairs(x, y, LOG_WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows of x [ROWS, 2^LOG_WIDTH] ascending, those of y in the same order."""
    for stage in tl.static_range(1, LOG_WIDTH + 1):
        for step in tl.static_range(stage):
            x, y = _exchange(x, y, stage - 1 - step, stage, LOG_WIDTH)
    return x, y


@triton.jit
def _exchange(x, y, BIT: tl.constexpr, STAGE: tl.constexpr, LOG_WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Order each pair of places that differ in bit BIT: upwards where bit STAGE of the place is 0, else downwards."""
    STRIDE: tl.constexpr = 1 << BIT
    BLOCKS: tl.constexpr = x.numel // (2 * STRIDE)
    x1, x2 = tl.split(tl.trans(tl.reshape(x, [BLOCKS, 2, STRIDE]), 0, 2, 1))  # [BLOCKS, STRIDE] each
    y1, y2 = tl.split(tl.trans(tl.reshape(y, [BLOCKS, 2, STRIDE]), 0, 2, 1))
    swap = x1 > x2
    if STAGE < LOG_WIDTH:  # the last stage is one run a row
        up = (((tl.arange(0, BLOCKS) >> (STAGE - 1 - BIT)) & 1) == 0)[:, None]
        swap = tl.where(up, swap, x1 < x2)
    x = tl.join(tl.where(swap, x2, x1), tl.where(swap, x1, x2))
    y = tl.join(tl.where(swap, y2, y1), tl.where(swap, y1, y2))
    SHAPE: tl.constexpr = [x.numel >> LOG_WIDTH, 1 << LOG_WIDTH]
    return tl.reshape(tl.trans(x, 0, 2, 1), SHAPE), tl.reshape(tl.trans(y, 0, 2, 1), SHAPE)
