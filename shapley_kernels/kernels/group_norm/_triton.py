"""`group_norm` on the GPU: one program per group, which is read and written once.

Serves groups of one size, one after the other; statistics of a whole batch need all programs to meet, and are left to
torch.
"""

from typing import Any

import torch
import triton
import triton.language as tl

from shapley_kernels.kernels.group_norm import CENTERS, SCALES

MAX_TILE = 2048
"""Credits of a group, both axes rounded up to powers of two, that one program takes: 4 per lane in up to 16 warps;
with 8 the registers of float64 spill."""


def serves(size: int, width: int, center: str, scale: str) -> bool:
    """Whether `run` takes groups of `size` rollouts of `width` candidates, and these options."""
    tile = triton.next_power_of_2(size) * triton.next_power_of_2(width)
    return tile <= MAX_TILE and scale != "batch" and (center, scale) != ("none", "none")


def run(x: Any, mask: Any, center: str, scale: str, ddof: int, min_std: float, eps: float, out: Any) -> None:
    """See the package docstring. A credit that is not finite, or too large to be squared, makes its
    group NaN (with "slot", its slot).

    Args:
        x, out: [groups, size, K], contiguous, of any float dtype each, on one CUDA device, or on the CPU when triton
            interprets.
        mask: [groups, size, K] bool or None.

    Cost: one launch, no synchronisation; compiles once per power of two of size and K, dtypes, options, with or
        without mask.
    """
    if out.numel() == 0:
        return
    kernel, grid, arguments, options = call(x, mask, center, scale, ddof, min_std, eps, out)
    with torch.cuda.device_of(out):  # triton launches on the current device; no effect for the CPU
        kernel[grid](*arguments, **options)


def call(
    x: Any, mask: Any, center: str, scale: str, ddof: int, min_std: float, eps: float, out: Any
) -> tuple[Any, Any, Any, Any]:
    """Kernel, grid, arguments and options of the launch."""
    groups, size, width = x.shape
    tile = {"SIZE": triton.next_power_of_2(size), "WIDTH": triton.next_power_of_2(width)}
    options = {
        **tile,
        "CENTER": CENTERS.index(center),
        "SCALE": SCALES.index(scale),
        "num_warps": max(1, tile["SIZE"] * tile["WIDTH"] // 128),
        "enable_fp_fusion": False,
    }
    return _group_norm, (groups,), (x, mask, out, size, width, ddof, min_std, eps), options


GROUP, LOO, SLOT, NONE = (tl.constexpr(i) for i in range(len(CENTERS)))
BY_GROUP, BY_BATCH, UNSCALED = (tl.constexpr(i) for i in range(len(SCALES)))


@triton.jit(do_not_specialize=["size", "width", "ddof", "min_std", "eps"])
def _group_norm(  # type: ignore[no-untyped-def]
    x,  # [groups, size, width]
    mask,  # [groups, size, width] or None
    out,  # [groups, size, width]
    size,
    width,
    ddof,
    min_std: tl.float64,
    eps: tl.float64,
    SIZE: tl.constexpr,
    WIDTH: tl.constexpr,
    CENTER: tl.constexpr,
    SCALE: tl.constexpr,
):
    rollout = tl.arange(0, SIZE)[:, None]
    candidate = tl.arange(0, WIDTH)[None, :]
    here = (rollout < size) & (candidate < width)  # [SIZE, WIDTH]
    place = tl.program_id(0).to(tl.int64) * size * width + rollout * width + candidate
    live = here
    if mask is not None:
        live = here & tl.load(mask + place, mask=here, other=0).to(tl.int1)
    credit = tl.load(x + place, mask=live, other=0.0).to(tl.float64)
    credit = tl.where(tl.abs(credit) < float("inf"), credit, float("nan"))
    one = live.to(tl.float64)
    count = _total(one, CENTER)
    origin = tl.where(live, credit, float("inf"))  # the lowest, so that equal credits are 0 from here on
    origin = tl.min(origin, axis=0)[None, :] if CENTER == SLOT else tl.min(tl.min(origin, axis=1), axis=0)
    above = tl.where(live, credit - origin, 0.0)
    total = _total(above, CENTER)
    mean = total / tl.maximum(count, 1.0)
    centred = credit
    if CENTER == LOO:
        own = tl.sum(above, axis=1)[:, None]
        others = count - tl.sum(one, axis=1)[:, None]
        centred = tl.where(others > 0, above - (total - own) / tl.maximum(others, 1.0), own * 0.0)
    elif CENTER != NONE:
        centred = above - mean
    if SCALE == BY_GROUP:
        deviation = tl.where(live, above - mean, 0.0)
        std = tl.sqrt(_total(deviation * deviation, CENTER) / tl.maximum(count - ddof, 1.0))
        std = tl.where(std < float("inf"), std, float("nan"))
        vanish = (count <= ddof) | (std < min_std) | (std == 0.0)
        centred = centred / tl.where(vanish, float("inf"), std + eps)
    centred = tl.where(live, centred + total * 0.0, 0.0) + 0.0  # NaN of one for all; no negative zeros
    tl.store(out + place, centred.to(out.dtype.element_ty), mask=here)


@triton.jit
def _total(x, CENTER: tl.constexpr):  # type: ignore[no-untyped-def]
    """Sum of a tile over the axes of a statistic: a number, or [1, WIDTH] with "slot"."""
    return tl.sum(x, axis=0)[None, :] if CENTER == SLOT else tl.sum(tl.sum(x, axis=1), axis=0)
