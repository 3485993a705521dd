"""`group_norm` in plain torch: the reference, on any device and float dtype, and over ranks."""

from typing import Any

import numpy as np
import torch

from shapley_kernels.arrays import on_cpu, widest


def run(
    x: Any,
    mask: Any,
    order: Any,
    starts: Any,
    others: Any,
    center: str,
    scale: str,
    ddof: int,
    min_std: float,
    eps: float,
    rounding: float,
    ranks: Any,
    out: Any,
) -> int | None:
    """See the package docstring; on the CPU a group that is not finite is number 0 of those returned.

    Cost: a few float64 copies of x. With ranks at most four reductions of [groups], or [groups, K] for slots.
    """
    if out.numel() == 0 and ranks is None:
        return -1
    groups = _Groups(order, starts, x, center == "slot", ranks)
    host, result = on_cpu(x), out.view(*groups.shape[:-1], out.shape[-1])
    wide = widest(x)
    live = None if mask is None else mask.view(groups.shape)
    x = x.view(groups.shape).to(wide)
    x = x if live is None else torch.where(live, x, 0.0)
    if not host:
        x = torch.where(torch.isfinite(x), x, torch.nan)  # so that infinity, too, makes its whole group NaN
    numbers = x if others is None else others.to(wide).view(result.shape)
    shown = live if others is None else None
    if center == "none" and scale == "none":
        result.copy_(_only(numbers, shown))
        return -1 if not host or bool(torch.isfinite(x).all()) else 0
    ones = torch.ones_like(x) if live is None else live.to(wide)
    count = groups.total(ones)
    if count.numel() == 0:  # no rollouts on any rank
        return -1
    # the lowest credit as origin: equal credits then are exactly 0 from here on, whatever the sums round to
    origin = groups.lowest(x if live is None else torch.where(live, x, torch.inf))
    origin = torch.where(count > 0, origin, 0.0)
    above = (x - groups.spread(origin)) * ones
    total = groups.total(above)
    mean = total / count.clamp(min=1)
    deviation = (above - groups.spread(mean)) * ones
    if center == "none":
        centred = numbers
    else:
        raised = above if others is None else numbers - groups.spread(origin)
        if center == "loo":
            centred = _above_others(raised, above, ones, groups.spread(total), groups.spread(count))
        else:
            centred = raised - groups.spread(mean)
    if scale != "none":
        squares, size = groups.total(deviation * deviation), abs(origin + mean)
        if scale == "batch":
            count, squares, size = _pool(count, origin, mean, squares)
        std = (squares / (count - ddof).clamp(min=1)) ** 0.5
        if host and not bool(torch.isfinite(std).all()):
            return 0
        std = torch.where(std < torch.inf, std, torch.nan)
        vanish = (count <= ddof) | (std < min_std) | (std <= rounding * size)
        divisor = torch.where(vanish, torch.inf, std + eps)
        centred = centred / (divisor if scale == "batch" else groups.spread(divisor)) + 0.0  # no negative zeros
    result.copy_(_only(centred, shown))
    return -1 if host else None


class _Groups:
    """Reductions over groups, and over ranks; and from statistics back to rollouts.

    Groups of one size, one after the other, are an axis: x is [groups, size, K], a statistic [groups, 1, 1], or
    [groups, 1, K] for slots. Else x is [rollouts, K], and a statistic [groups, 1] or [groups, K].
    """

    def __init__(self, order: Any, starts: Any, x: Any, slots: bool, ranks: Any) -> None:
        (rollouts, players), sizes = x.shape, np.diff(starts)
        self.count, self.ranks, self.width = len(sizes), ranks, players if slots else 1
        self.index = None
        if order is None and ranks is None and (sizes == rollouts // max(1, self.count)).all():
            self.shape: tuple[int, ...] = (self.count, rollouts // max(1, self.count), players)
            self.axes = 1 if slots else (1, 2)
            return
        self.shape = (rollouts, players)
        index = np.empty(rollouts, np.int64)
        index[slice(None) if order is None else order] = np.repeat(np.arange(self.count), sizes)
        self.index = torch.from_numpy(index).to(x.device)
        slot = torch.arange(self.width, device=x.device)
        self.places = (self.index[:, None] * self.width + slot).expand(self.shape).reshape(-1)

    def total(self, x: Any) -> Any:
        if self.index is None:
            return x.sum(self.axes, keepdim=True)
        out = x.new_zeros(self.count * self.width).index_add_(0, self.places, x.reshape(-1))
        if self.ranks is not None:
            self.ranks.sum(out)
        return out.view(self.count, self.width)

    def lowest(self, x: Any) -> Any:
        if self.index is None:
            return x.amin(self.axes, keepdim=True)
        out = x.new_full((self.count * self.width,), torch.inf).scatter_reduce_(0, self.places, x.reshape(-1), "amin")
        if self.ranks is not None:
            self.ranks.lowest(out)
        return out.view(self.count, self.width)

    def spread(self, statistic: Any) -> Any:
        return statistic if self.index is None else statistic[self.index]


def _only(x: Any, live: Any) -> Any:
    return x if live is None else torch.where(live, x, 0.0)


def _above_others(numbers: Any, above: Any, ones: Any, total: Any, count: Any) -> Any:
    """Numbers of a rollout minus the mean over the other rollouts of its group, 0 where these have no live candidate;
    all measured from the origin."""
    others = count - ones.sum(-1, keepdim=True)
    mean = (total - above.sum(-1, keepdim=True)) / others.clamp(min=1)
    return torch.where(others > 0, numbers - mean, 0.0)


def _pool(count: Any, origin: Any, mean: Any, squares: Any) -> tuple[Any, Any, Any]:
    """Count, sum of squared deviations, and size of the mean of the whole batch from those of its groups, whose means
    are measured from their origins; NaN groups are left out."""
    good = (count > 0) & (mean == mean)
    count = torch.where(good, count, 0.0)
    lowest = torch.where(good, origin, torch.inf).amin()
    above = torch.where(good, origin - lowest + mean, 0.0)
    everything = count.sum()
    overall = (count * above).sum() / everything.clamp(min=1)
    above = above - overall
    return everything, (torch.where(good, squares, 0.0) + count * above * above).sum(), abs(lowest + overall)
