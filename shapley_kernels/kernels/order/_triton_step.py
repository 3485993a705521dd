"""`order` on the GPU for short rows: one row per thread, no shuffle, no shared memory, no inverse permutation.

A thread sorts the live rewards of its row, s_1 >= s_2 >= ..., by a network of minima and maxima in registers. Every
player then adds up the levels by comparing its own reward with theirs:

    out_i = sum_k D_k (A_k if r_i >= s_k else B_k) + c C

so tied players compare alike and get bitwise equal credits. Up to 16 players all of it is unrolled; above, the rewards
are read again a few columns at a time, which keeps registers and code small.
"""

from typing import Any

import triton
import triton.language as tl

MAX_UNROLLED = 16
"""Longest row whose credits stay in registers next to the sorted row."""

_ROWS = 128


def constants(
    players: int, itemsize: int, unrolled: bool, rows_per_program: int | None = None, lanes: int = 32
) -> dict[str, Any]:
    """Arguments of `order_step` beside the tensors, rows and c_stride: one row per thread of 128.

    Args:
        itemsize: bytes of a reward.
        rows_per_program: a power of two; None chooses.
        lanes: threads of a warp. More threads than rows would do every row twice.
    """
    width = max(2, triton.next_power_of_2(players))
    rows = rows_per_program or _ROWS
    return {
        "ROWS": rows,
        "PLAYERS": players,
        "WIDTH": width,
        "LOG_WIDTH": width.bit_length() - 1,
        "VECTOR": min(16 // itemsize, players & -players, 4),  # the widest aligned load that divides a row
        "CHUNK": width if unrolled else min(width, 4),
        "num_warps": min(8, max(1, rows // lanes)),
    }


@triton.jit(do_not_specialize=["rows", "c_stride"])
def order_step(  # type: ignore[no-untyped-def]
    rewards,  # [rows, PLAYERS]
    mask,  # [rows, PLAYERS] or None
    v_empty,  # [rows], or [1] with c_stride = 0
    inside,  # [levels, PLAYERS]
    outside,  # [levels, PLAYERS] or None
    empty,  # [levels]
    level_of,  # [PLAYERS + 1]
    out,  # [rows, PLAYERS]
    rows,
    c_stride,
    ROWS: tl.constexpr,
    PLAYERS: tl.constexpr,
    WIDTH: tl.constexpr,  # power of two >= PLAYERS
    LOG_WIDTH: tl.constexpr,
    VECTOR: tl.constexpr,  # elements of one load; divides PLAYERS
    CHUNK: tl.constexpr,  # columns credited at a time; WIDTH: all of them, from registers
):
    """One program: ROWS rows, a whole row in each thread."""
    real: tl.constexpr = v_empty.dtype.element_ty
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    here = row < rows
    start = row * PLAYERS
    c = tl.load(v_empty + row * c_stride, mask=here, other=0.0)  # [ROWS]
    r = _read(rewards, mask, start, here, 0, 0, WIDTH, PLAYERS, VECTOR, real)  # [ROWS, WIDTH]
    if mask is None:
        level = tl.load(level_of + tl.full([1], PLAYERS, tl.int32))  # [1], of every row
        known = level >= 0
        bad = tl.sum(r * 0.0, axis=1) + c * 0.0  # 0, or NaN where something is not finite
        if PLAYERS < WIDTH:
            r = tl.where((tl.arange(0, WIDTH) < PLAYERS)[None, :], r, float("-inf"))
    else:
        live = r != float("-inf")
        m = tl.sum(live.to(tl.int32), axis=1)
        known = m > 0  # a row without live players has no level
        level = tl.load(level_of + m, mask=known, other=0)  # [ROWS]
        bad = tl.sum(tl.where(live, r, 0.0) * 0.0, axis=1) + c * 0.0
    shift = (bad + c * tl.load(empty + level, mask=known, other=0.0))[:, None]
    a = _read(inside, None, level * PLAYERS, known, 0, 0, WIDTH, PLAYERS, VECTOR, real)
    b = a if outside is None else _read(outside, None, level * PLAYERS, known, 0, 0, WIDTH, PLAYERS, VECTOR, real)
    s = _sort(r, LOG_WIDTH)
    if mask is not None:
        s = tl.where(s > float("-inf"), s, c[:, None])  # the gaps of absent players are then 0
    values, above, below, _ = _levels(s, a, b, c[:, None], 0, PLAYERS)

    if CHUNK == WIDTH:
        phi = _credit(r, values, above, below, PLAYERS, outside is not None) + shift
        if mask is not None:
            phi = tl.where(r == float("-inf"), 0.0, phi)
        _write(out, start, here, phi, 0, 0, PLAYERS, VECTOR)
    else:
        for column in range(0, PLAYERS, CHUNK):
            u = _read(rewards, mask, start, here, column, 0, CHUNK, PLAYERS, VECTOR, real)
            phi = _credit(u, values, above, below, PLAYERS, outside is not None) + shift
            if mask is not None:
                phi = tl.where(u == float("-inf"), 0.0, phi)
            _write(out, start, here, phi, column, 0, PLAYERS, VECTOR)


@triton.jit
def _credit(u, values, above, below, PLAYERS: tl.constexpr, OUTSIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum over the levels of `above` where u >= their value, else of `below`; without OUTSIDE that counts as 0."""
    total = tl.zeros(u.shape, u.dtype)
    for k in tl.static_range(PLAYERS):
        if OUTSIDE:
            total += tl.where(u >= values[k], above[k], below[k])
        else:
            total = tl.fma((u >= values[k]).to(u.dtype), tl.broadcast_to(above[k], u.shape), total)
    return total


@triton.jit
def _levels(s, a, b, lower, START: tl.constexpr, PLAYERS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The levels of the descending rows s, lowest first, as tuples of [ROWS, 1]: s_k, D_k A_k, D_k B_k.

    `lower` is the value below the last column; the value that then stands below the next is returned as well.
    """
    W: tl.constexpr = s.shape[1]
    if W > 1:
        s1, s2 = _halves(s)
        a1, a2 = _halves(a)
        b1, b2 = _halves(b)
        v2, x2, y2, lower = _levels(s2, a2, b2, lower, START + W // 2, PLAYERS)
        v1, x1, y1, lower = _levels(s1, a1, b1, lower, START, PLAYERS)
        return v2 + v1, x2 + x1, y2 + y1, lower
    elif START >= PLAYERS:  # noqa: RET505 (the compiler drops a branch, but not what follows it)
        return (), (), (), lower
    else:
        gap = s - lower
        return (s,), (gap * a,), (gap * b,), s


@triton.jit
def _read(  # type: ignore[no-untyped-def]
    pointer,
    mask,
    start,
    here,
    column,
    START: tl.constexpr,
    W: tl.constexpr,
    PLAYERS: tl.constexpr,
    VECTOR: tl.constexpr,
    real: tl.constexpr,
):
    """Elements start + column + START + [0, W) of rows [ROWS] -> [ROWS, W].

    With a mask, absent players are -inf, for which an infinite reward that is there makes room and becomes NaN. Else
    what is beyond PLAYERS or not `here` is 0. The loads of VECTOR elements fix the layout, consecutive elements of a
    row in one thread, and joins keep it.
    """
    if W > VECTOR:
        H: tl.constexpr = W // 2
        left = _read(pointer, mask, start, here, column, START, H, PLAYERS, VECTOR, real)
        right = _read(pointer, mask, start, here, column, START + H, H, PLAYERS, VECTOR, real)
        return tl.reshape(tl.trans(tl.join(left, right), 0, 2, 1), [start.shape[0], W])
    elif START >= PLAYERS:  # noqa: RET505 (the compiler drops a branch, but not what follows it)
        return tl.full([start.shape[0], VECTOR], 0.0 if mask is None else float("-inf"), real)
    else:
        inside = (here & (column + START < PLAYERS))[:, None]
        offset = start[:, None] + (tl.arange(0, VECTOR) + START + column)[None, :]
        x = tl.load(pointer + offset, mask=inside, other=0).to(real)
        if mask is not None:
            live = tl.load(mask + offset, mask=inside, other=0).to(tl.int1)
            x = tl.where(live, tl.where(x == float("-inf"), float("nan"), x), float("-inf"))
        return x


@triton.jit
def _write(  # type: ignore[no-untyped-def]
    pointer,
    start,
    here,
    x,
    column,
    START: tl.constexpr,
    PLAYERS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """The inverse of `_read`: x [ROWS, W] to memory."""
    W: tl.constexpr = x.shape[1]
    if W == VECTOR:
        if START < PLAYERS:
            inside = here & (column + START < PLAYERS)
            offset = start[:, None] + (tl.arange(0, VECTOR) + START + column)[None, :]
            tl.store(pointer + offset, x.to(pointer.dtype.element_ty), mask=inside[:, None])
    else:
        left, right = _halves(x)
        _write(pointer, start, here, left, column, START, PLAYERS, VECTOR)
        _write(pointer, start, here, right, column, START + W // 2, PLAYERS, VECTOR)


@triton.jit
def _halves(x):  # type: ignore[no-untyped-def]
    """[ROWS, W] -> its left and right columns."""
    H: tl.constexpr = x.shape[1] // 2
    left, right = tl.split(tl.trans(tl.reshape(x, [x.shape[0], 2, H]), 0, 2, 1))
    return left, right


@triton.jit
def _sort(x, LOG_WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows of x descending, by a bitonic network: stage i merges runs of 2^i."""
    for stage in tl.static_range(1, LOG_WIDTH + 1):
        for step in tl.static_range(stage):
            x = _compare_exchange(x, stage - 1 - step, stage, LOG_WIDTH)
    return x


@triton.jit
def _compare_exchange(x, BIT: tl.constexpr, STAGE: tl.constexpr, LOG_WIDTH: tl.constexpr):  # type: ignore[no-untyped-def]
    """Order each pair of columns that differ in bit BIT: downwards where bit STAGE of the column is 0, else upwards."""
    STRIDE: tl.constexpr = 1 << BIT
    BLOCKS: tl.constexpr = x.numel // (2 * STRIDE)
    first, second = tl.split(tl.trans(tl.reshape(x, [BLOCKS, 2, STRIDE]), 0, 2, 1))  # [BLOCKS, STRIDE] each
    small = tl.minimum(first, second)
    large = tl.maximum(first, second)
    if STAGE < LOG_WIDTH:
        down = (((tl.arange(0, BLOCKS) >> (STAGE - 1 - BIT)) & 1) == 0)[:, None]
        first = tl.where(down, large, small)
        second = tl.where(down, small, large)
    else:
        first = large
        second = small
    return tl.reshape(tl.trans(tl.join(first, second), 0, 2, 1), x.shape)
