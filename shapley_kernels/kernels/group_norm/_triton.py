"""`group_norm` on the GPU: every group is read and written once, small ones several to a program.

Serves groups of one size, one after the other; statistics of a whole batch need all programs to meet, and are left to
torch.
"""

from functools import cache
from typing import Any

import triton
import triton.language as tl

from shapley_kernels.kernels._launch import Launch
from shapley_kernels.kernels.group_norm import CENTERS, SCALES

MAX_TILE = 2048
"""Credits of a group, both axes rounded up to powers of two, that one program takes: 4 per lane in up to 16 warps;
with 8 the registers of float64 spill."""


def serves(size: int, width: int, center: str, scale: str) -> bool:
    """Whether `run` takes groups of `size` rollouts of `width` candidates, and these options."""
    tile = triton.next_power_of_2(size) * triton.next_power_of_2(width)
    return tile <= MAX_TILE and scale != "batch" and (center, scale) != ("none", "none")


def run(
    x: Any,
    mask: Any,
    order: None,
    starts: Any,
    others: None,
    center: str,
    scale: str,
    ddof: int,
    min_std: float,
    eps: float,
    rounding: float,
    ranks: None,
    out: Any,
) -> None:
    """See the package docstring; what `serves` takes, x and out of any float dtype each, on one CUDA device, or on the
    CPU when triton interprets. A credit too large to be squared makes its group NaN, too.

    Cost: one launch, no synchronisation; compiles once per power of two of size and K, dtypes, options, with or
        without mask.
    """
    if out.numel() == 0:
        return
    call(x, mask, len(starts) - 1, center, scale, ddof, min_std, eps, rounding, out).on(out)


def call(
    x: Any,
    mask: Any,
    groups: int,
    center: str,
    scale: str,
    ddof: int,
    min_std: float,
    eps: float,
    rounding: float,
    out: Any,
) -> Launch:
    rollouts, width = x.shape
    size = rollouts // groups
    options = _constants(size, width, center, scale)
    arguments = (x, mask, out, groups, size, width, ddof, min_std, eps, rounding)
    return Launch(_group_norm, (-(groups // -options["GROUPS"]),), arguments, options)


_TILE = 512
"""Credits of a program, at least: 4 per lane of 4 warps."""


@cache
def _constants(size: int, width: int, center: str, scale: str) -> dict[str, Any]:
    tile = triton.next_power_of_2(size) * triton.next_power_of_2(width)
    groups = max(1, _TILE // tile)
    return {
        "GROUPS": groups,
        "SIZE": triton.next_power_of_2(size),
        "WIDTH": triton.next_power_of_2(width),
        "CENTER": CENTERS.index(center),
        "SCALE": SCALES.index(scale),
        "num_warps": groups * tile // 128,
        "enable_fp_fusion": False,
    }


GROUP, LOO, SLOT, NONE = (tl.constexpr(i) for i in range(len(CENTERS)))
BY_GROUP, BY_BATCH, UNSCALED = (tl.constexpr(i) for i in range(len(SCALES)))


@triton.jit(do_not_specialize=["groups", "size", "width", "ddof", "min_std", "eps", "rounding"])
def _group_norm(  # type: ignore[no-untyped-def]
    x,  # [groups, size, width]
    mask,  # [groups, size, width] or None
    out,  # [groups, size, width]
    groups,
    size,
    width,
    ddof,
    min_std: tl.float64,
    eps: tl.float64,
    rounding: tl.float32,
    GROUPS: tl.constexpr,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    CENTER: tl.constexpr,
    SCALE: tl.constexpr,
):
    group = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)[:, None, None]
    rollout = tl.arange(0, SIZE)[None, :, None]
    candidate = tl.arange(0, WIDTH)[None, None, :]
    in_bounds = (group < groups) & (rollout < size) & (candidate < width)  # [GROUPS, SIZE, WIDTH]
    place = (group * size + rollout) * width + candidate
    live = in_bounds
    if mask is not None:
        live = in_bounds & tl.load(mask + place, mask=in_bounds, other=0).to(tl.int1)
    credit = tl.load(x + place, mask=live, other=0.0).to(tl.float64)
    advantage = normalised(credit, live, ddof, min_std, eps, rounding, CENTER, SCALE)
    tl.store(out + place, advantage.to(out.dtype.element_ty), mask=in_bounds)


@triton.jit
def normalised(  # type: ignore[no-untyped-def]
    credit,  # [GROUPS, SIZE, WIDTH] float64
    live,  # [GROUPS, SIZE, WIDTH] bool
    ddof,
    min_std,
    eps,
    rounding,
    CENTER: tl.constexpr,
    SCALE: tl.constexpr,
):
    """Advantages [GROUPS, SIZE, WIDTH], 0 where not live."""
    one = live.to(tl.int32)
    count = _total(one, CENTER).to(tl.float64)
    origin = tl.where(live, credit, float("inf"))  # the lowest, so that equal credits are 0 from here on
    origin = (
        tl.min(origin, axis=1)[:, None, :] if CENTER == SLOT else tl.min(tl.min(origin, axis=2), axis=1)[:, None, None]
    )
    above = tl.where(live, credit - origin, 0.0)
    total = _total(above, CENTER)
    mean = total / tl.maximum(count, 1.0)
    centred = credit
    if CENTER == LOO:
        own = tl.sum(above, axis=2)[:, :, None]
        others = count - tl.sum(one, axis=2)[:, :, None].to(tl.float64)
        centred = tl.where(others > 0, above - (total - own) / tl.maximum(others, 1.0), own * 0.0)
    elif CENTER != NONE:
        centred = above - mean
    if SCALE == BY_GROUP:
        deviation = tl.where(live, above - mean, 0.0)
        std = tl.sqrt(_total(deviation * deviation, CENTER) / tl.maximum(count - ddof, 1.0))
        std = tl.where(std < float("inf"), std, float("nan"))
        level = tl.minimum(tl.abs(origin + mean), 1e308)  # without candidates, the origin is infinite
        vanish = (count <= ddof) | (std < min_std) | (std <= rounding * level)
        centred = centred * (1.0 / tl.where(vanish, float("inf"), std + eps))
    return tl.where(live, centred + total * 0.0, 0.0) + 0.0  # NaN or infinity of one: NaN for all; no negative zeros


@triton.jit
def _total(x, CENTER: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum over the axes of a statistic: [GROUPS, 1, 1], or [GROUPS, 1, WIDTH] with "slot"."""
    return tl.sum(x, axis=1)[:, None, :] if CENTER == SLOT else tl.sum(tl.sum(x, axis=2), axis=1)[:, None, None]
