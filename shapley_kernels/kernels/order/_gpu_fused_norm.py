"""`order` and `group_norm` in one launch on the GPU, for short rows in small groups: credits stay in registers.

What `rl.RewardAllocator` does at every step of training: rewards are read once, advantages written once.
"""

from functools import cache
from typing import Any

import triton
import triton.language as tl

from shapley_kernels.kernels._launch import Launch
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.kernels.group_norm._triton import normalised
from shapley_kernels.kernels.order import _gpu_registers

_ROWS = 128


def serves(size: int, players: int, double: bool, center: str, scale: str) -> bool:
    """Whether `run` takes groups of `size` rows of `players`, in float64 or less, and these options of `group_norm`."""
    longest = _gpu_registers.MAX_UNROLLED // (2 if double else 1)
    return size <= _ROWS and players <= longest and scale != "batch" and (center, scale) != ("none", "none")


def run(
    rewards: Any,
    mask: Any,
    v_empty: Any,
    A: Any,
    B: Any,
    C: Any,
    row_of_count: Any,
    size: int,
    center: str,
    scale: str,
    ddof: int,
    min_std: float,
    eps: float,
    rounding: float,
    out: Any,
) -> None:
    """`order` of groups of `size` consecutive rows, then `group_norm`; arguments as in both, where `serves` holds.

    Credits are not rounded to the dtype of `out` in between.

    Cost: one launch, no synchronisation and no memory of its own.
    """
    if out.numel() == 0:
        return
    tensors = (rewards, mask, v_empty, A, B, C, row_of_count, out)
    call(tensors, size, center, scale, ddof, min_std, eps, rounding).on(out)


def call(
    tensors: tuple[Any, ...],
    size: int,
    center: str,
    scale: str,
    ddof: int,
    min_std: float,
    eps: float,
    rounding: float,
) -> Launch:
    rewards, v_empty = tensors[0], tensors[2]
    rows, players = rewards.shape
    options = _constants(size, players, rewards.element_size(), center, scale)
    groups = rows // size
    numbers = (groups, size, int(v_empty.shape[0] > 1), ddof, min_std, eps, rounding)
    return Launch(order_norm, (-(groups // -options["GROUPS"]),), (*tensors, *numbers), options)


@cache
def _constants(size: int, players: int, itemsize: int, center: str, scale: str) -> dict[str, Any]:
    step = _gpu_registers.constants(players, itemsize, True, _ROWS)
    padded = triton.next_power_of_2(size)
    return {
        "GROUPS": _ROWS // padded,
        "SIZE": padded,
        **{name: step[name] for name in ("PLAYERS", "WIDTH", "NETWORK", "VECTOR")},
        "CENTER": CENTERS.index(center),
        "SCALE": SCALES.index(scale),
        "num_warps": 4,
        "enable_fp_fusion": False,
    }


@triton.jit(do_not_specialize=["groups", "size", "c_stride", "ddof", "min_std", "eps", "rounding"])
def order_norm(  # type: ignore[no-untyped-def]
    rewards,  # [groups * size, PLAYERS]
    mask,  # [groups * size, PLAYERS] or None
    v_empty,  # [groups * size], or [1] with c_stride = 0
    A,  # [levels, PLAYERS]
    B,  # [levels, PLAYERS] or None
    C,  # [levels]
    row_of_count,  # [PLAYERS + 1]
    out,  # [groups * size, PLAYERS]
    groups,
    size,
    c_stride,
    ddof,
    min_std: tl.float64,
    eps: tl.float64,
    rounding: tl.float32,
    GROUPS: tl.constexpr,
    SIZE: tl.constexpr,  # power of two >= size
    PLAYERS: tl.constexpr,
    WIDTH: tl.constexpr,  # power of two >= PLAYERS
    NETWORK: tl.constexpr,
    VECTOR: tl.constexpr,
    CENTER: tl.constexpr,
    SCALE: tl.constexpr,
):
    """One program: GROUPS groups, a whole row in each thread."""
    ROWS: tl.constexpr = GROUPS * SIZE
    place = tl.arange(0, ROWS)
    group = tl.program_id(0).to(tl.int64) * GROUPS + place // SIZE
    rollout = place % SIZE
    in_bounds = (group < groups) & (rollout < size)  # [ROWS]
    row = group * size + rollout
    start = row * PLAYERS
    c = tl.load(v_empty + row * c_stride, mask=in_bounds, other=0.0)
    r = _gpu_registers.read(rewards, mask, start, in_bounds, 0, 0, WIDTH, PLAYERS, VECTOR, c.dtype)  # [ROWS, WIDTH]
    values, above, below, shift = _gpu_registers.ladder(
        r, c, mask, A, B, C, row_of_count, WIDTH, PLAYERS, NETWORK, VECTOR
    )
    phi = _gpu_registers.credits(r, values, above, below, shift, mask is not None, B is not None)
    live = in_bounds[:, None] & (tl.arange(0, WIDTH) < PLAYERS)[None, :]
    if mask is not None:
        live = live & (r != float("-inf"))
    CUBE: tl.constexpr = [GROUPS, SIZE, WIDTH]
    advantage = normalised(
        tl.reshape(phi, CUBE).to(tl.float64), tl.reshape(live, CUBE), ddof, min_std, eps, rounding, CENTER, SCALE
    )
    _gpu_registers.write(out, start, in_bounds, tl.reshape(advantage, [ROWS, WIDTH]), 0, 0, PLAYERS, VECTOR)
