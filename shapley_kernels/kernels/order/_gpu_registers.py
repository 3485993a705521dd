"""`order` on the GPU for short rows: one row per thread, no shuffle, no shared memory, no inverse permutation.

A thread sorts the live rewards of its row, s_1 >= s_2 >= ..., by a network of minima and maxima in registers. Every
player then adds up the levels by comparing its own reward with theirs:

    out_i = sum_k D_k (A_k if r_i >= s_k else B_k) + c C

so tied players compare alike and get bitwise equal credits. Up to 16 players all of it is unrolled; above, the rewards
are read again a few columns at a time, which keeps registers and code small.

Arrays [ROWS, W] are taken apart into columns, tuples of [ROWS, 1], which cost nothing: they are names of registers.
"""

from typing import Any

import triton
import triton.language as tl

from shapley_kernels.kernels.order._sorting_networks import network

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
        "NETWORK": tuple(network(players).flatten().tolist()),
        "VECTOR": min(16 // itemsize, players & -players, 4),  # the widest aligned load that divides a row
        "CHUNK": width if unrolled else min(width, 4),
        "num_warps": min(8, max(1, rows // lanes)),
    }


@triton.jit(do_not_specialize=["rows", "c_stride"])
def order_step(  # type: ignore[no-untyped-def]
    rewards,  # [rows, PLAYERS]
    mask,  # [rows, PLAYERS] or None
    v_empty,  # [rows], or [1] with c_stride = 0
    A,  # [levels, PLAYERS]
    B,  # [levels, PLAYERS] or None
    C,  # [levels]
    row_of_count,  # [PLAYERS + 1]
    out,  # [rows, PLAYERS]
    rows,
    c_stride,
    ROWS: tl.constexpr,
    PLAYERS: tl.constexpr,
    WIDTH: tl.constexpr,  # power of two >= PLAYERS
    NETWORK: tl.constexpr,  # i and j of each comparator
    VECTOR: tl.constexpr,  # elements of one load; divides PLAYERS
    CHUNK: tl.constexpr,  # columns credited at a time; WIDTH: all of them, from registers
):
    """One program: ROWS rows, a whole row in each thread."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)  # [ROWS]
    in_bounds = row < rows
    start = row * PLAYERS
    c = tl.load(v_empty + row * c_stride, mask=in_bounds, other=0.0)  # [ROWS]
    r = read(rewards, mask, start, in_bounds, 0, 0, WIDTH, PLAYERS, VECTOR, c.dtype)  # [ROWS, WIDTH]
    values, above, below, shift = ladder(r, c, mask, A, B, C, row_of_count, WIDTH, PLAYERS, NETWORK, VECTOR)
    if CHUNK == WIDTH:
        phi = credits(r, values, above, below, shift, mask is not None, B is not None)
        write(out, start, in_bounds, phi, 0, 0, PLAYERS, VECTOR)
    else:
        for column in range(0, PLAYERS, CHUNK):
            u = read(rewards, mask, start, in_bounds, column, 0, CHUNK, PLAYERS, VECTOR, c.dtype)
            phi = credits(u, values, above, below, shift, mask is not None, B is not None)
            write(out, start, in_bounds, phi, column, 0, PLAYERS, VECTOR)


@triton.jit
def ladder(  # type: ignore[no-untyped-def]
    r,
    c,
    mask,
    A,
    B,
    C,
    row_of_count,
    WIDTH: tl.constexpr,
    PLAYERS: tl.constexpr,
    NETWORK: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """What the credits of rows r [ROWS, WIDTH], as of `read`, with v_empty c [ROWS] are added up from: for each level
    s_k, D_k A_k and D_k B_k, tuples of [ROWS, 1], and c C [ROWS, 1], NaN where something is not finite."""
    players = _columns(r, 0, PLAYERS)
    if mask is None:
        level = tl.load(row_of_count + tl.full([1], PLAYERS, tl.int32))  # [1], of every row
        known = level >= 0
    else:
        m = tl.sum((r != float("-inf")).to(tl.int32), axis=1)
        known = m > 0  # a row without live players has no level
        level = tl.load(row_of_count + m, mask=known, other=0)  # [ROWS]
    shift = (c * tl.load(C + level, mask=known, other=0.0) + c * 0.0)[:, None]
    for k in tl.static_range(PLAYERS):
        x = players[k] if mask is None else tl.where(players[k] == float("-inf"), 0.0, players[k])
        shift = tl.fma(x, 0.0, shift)
    a = _columns(read(A, None, level * PLAYERS, known, 0, 0, WIDTH, PLAYERS, VECTOR, c.dtype), 0, PLAYERS)
    b = a
    if B is not None:
        b = _columns(read(B, None, level * PLAYERS, known, 0, 0, WIDTH, PLAYERS, VECTOR, c.dtype), 0, PLAYERS)
    values, above, below = _levels(_sorted(players, NETWORK), a, b, c[:, None], mask is not None)
    return values, above, below, shift


@triton.jit
def credits(  # type: ignore[no-untyped-def]
    u, values, above, below, shift, MASKED: tl.constexpr, HAS_B: tl.constexpr
):
    """Of players with rewards u [ROWS, W]: the sum over the levels, lowest first, of `above` where u >= their value,
    else of `below`; without HAS_B that is 0. All live players reach the lowest."""
    total = tl.broadcast_to(above[len(values) - 1], u.shape)
    for i in tl.static_range(1, len(values)):
        reached = u >= values[len(values) - 1 - i]
        x = above[len(values) - 1 - i]
        if HAS_B:
            total += tl.where(reached, x, below[len(values) - 1 - i])
        else:
            total = tl.fma(reached.to(u.dtype), tl.broadcast_to(x, u.shape), total)
    total += shift
    if MASKED:
        total = tl.where(u == float("-inf"), 0.0, total)
    return total


@triton.jit
def _columns(x, START: tl.constexpr, PLAYERS: tl.constexpr):  # type: ignore[no-untyped-def]
    """x, columns START .. of an array, as a tuple of [ROWS, 1], without those from PLAYERS on."""
    if START >= PLAYERS:
        return ()
    elif x.shape[1] == 1:  # noqa: RET505 (the compiler drops a branch, but not what follows it)
        return (x,)
    else:
        left, right = _halves(x)
        return _columns(left, START, PLAYERS) + _columns(right, START + x.shape[1] // 2, PLAYERS)


@triton.jit
def _sorted(s, NETWORK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Columns in descending order."""
    for step in tl.static_range(0, len(NETWORK), 2):
        s = _exchange(s, NETWORK[step], NETWORK[step + 1])
    return s


@triton.jit
def _exchange(s, FIRST: tl.constexpr, SECOND: tl.constexpr):  # type: ignore[no-untyped-def]
    """The larger of two columns first."""
    large = (tl.maximum(s[FIRST], s[SECOND]),)
    small = (tl.minimum(s[FIRST], s[SECOND]),)
    return s[:FIRST] + large + s[FIRST + 1 : SECOND] + small + s[SECOND + 1 :]


@triton.jit
def _levels(s, a, b, c, MASKED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of descending columns: s_k, D_k A_k, D_k B_k. The gaps of absent players are 0."""
    above = ()
    below = ()
    if MASKED:
        values = ()
        for k in tl.static_range(len(s)):
            values += (tl.where(s[k] > float("-inf"), s[k], c),)  # type: ignore[assignment]
        s = values
    for k in tl.static_range(len(s)):
        gap = s[k] - (s[k + 1] if k + 1 < len(s) else c)
        above += (gap * a[k],)  # type: ignore[assignment]
        below += (gap * b[k],)  # type: ignore[assignment]
    return s, above, below


@triton.jit
def read(  # type: ignore[no-untyped-def]
    pointer,
    mask,
    start,
    in_bounds,
    column,
    START: tl.constexpr,
    W: tl.constexpr,
    PLAYERS: tl.constexpr,
    VECTOR: tl.constexpr,
    real: tl.constexpr,
):
    """Elements start + column + START + [0, W) of rows [ROWS] -> [ROWS, W].

    With a mask, absent players are -inf, for which an infinite reward that is there takes that place and becomes NaN.
    Else what is beyond PLAYERS or not `in_bounds` is 0. The loads of VECTOR elements fix the layout, consecutive
    elements of a row in one thread, and joins keep it.
    """
    if W > VECTOR:
        H: tl.constexpr = W // 2
        left = read(pointer, mask, start, in_bounds, column, START, H, PLAYERS, VECTOR, real)
        right = read(pointer, mask, start, in_bounds, column, START + H, H, PLAYERS, VECTOR, real)
        return tl.reshape(tl.trans(tl.join(left, right), 0, 2, 1), [start.shape[0], W])
    elif START >= PLAYERS:  # noqa: RET505 (the compiler drops a branch, but not what follows it)
        return tl.full([start.shape[0], VECTOR], 0.0 if mask is None else float("-inf"), real)
    else:
        valid = (in_bounds & (column + START < PLAYERS))[:, None]
        offset = start[:, None] + (tl.arange(0, VECTOR) + START + column)[None, :]
        x = tl.load(pointer + offset, mask=valid, other=0).to(real)
        if mask is not None:
            live = tl.load(mask + offset, mask=valid, other=0).to(tl.int1)
            x = tl.where(live, tl.where(x == float("-inf"), float("nan"), x), float("-inf"))
        return x


@triton.jit
def write(  # type: ignore[no-untyped-def]
    pointer,
    start,
    in_bounds,
    x,
    column,
    START: tl.constexpr,
    PLAYERS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """The inverse of `read`: x [ROWS, W] to memory."""
    W: tl.constexpr = x.shape[1]
    if W == VECTOR:
        if START < PLAYERS:
            valid = in_bounds & (column + START < PLAYERS)
            offset = start[:, None] + (tl.arange(0, VECTOR) + START + column)[None, :]
            tl.store(pointer + offset, x.to(pointer.dtype.element_ty), mask=valid[:, None])
    else:
        left, right = _halves(x)
        write(pointer, start, in_bounds, left, column, START, PLAYERS, VECTOR)
        write(pointer, start, in_bounds, right, column, START + W // 2, PLAYERS, VECTOR)


@triton.jit
def _halves(x):  # type: ignore[no-untyped-def]
    """[ROWS, W] -> its left and right columns."""
    H: tl.constexpr = x.shape[1] // 2
    left, right = tl.split(tl.trans(tl.reshape(x, [x.shape[0], 2, H]), 0, 2, 1))
    return left, right
