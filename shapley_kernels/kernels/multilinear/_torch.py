"""`multilinear` in plain torch: the reference, on any device and float dtype, differentiable in p."""

from typing import Any

import torch

CHUNK = 1 << 24
"""Numbers of workspace at a time, beside those of one row."""


def run(p: Any, mask: Any, t: Any, weight: Any, sizes: Any, row_of_count: Any, out: Any) -> None:
    """See the package docstring. About 8 passes over [rows, nodes, players], or players steps over [rows, players]."""
    dtype = (sizes if t is None else t).dtype
    rows, players = p.shape
    step = max(1, CHUNK // max(1, players * (players if t is None else len(t))))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        live = torch.ones_like(p[part], dtype=torch.bool) if mask is None else mask[part]
        clean = torch.where(live, p[part].to(dtype), 0.0)
        usable = torch.isfinite(clean).all(1, keepdim=True)
        clean = torch.where(usable, clean, 0.0)
        if t is not None:
            credit = clean * _nodes(1 - clean, t, weight)
        else:
            credit = clean * _sizes(1 - clean, live, sizes[row_of_count[live.sum(1)].long()])
        out[part] = torch.where(live, torch.where(usable, credit, torch.nan), 0.0)


def _nodes(y: Any, t: Any, weight: Any) -> Any:
    """sum_q weight_q prod_{j != i} (1 - t_q + t_q y_j), [rows, players]."""
    factor = (1 - t)[:, None] + t[:, None] * y[:, None, :]  # [rows, nodes, players]
    one = torch.ones_like(factor[..., :1])
    before = torch.cat([one, factor[..., :-1]], -1).cumprod(-1)
    after = torch.cat([factor[..., 1:], one], -1).flip(-1).cumprod(-1).flip(-1)
    return (weight[:, None] * (before * after)).sum(1)


def _sizes(y: Any, live: Any, sizes: Any) -> Any:
    """sum_s sizes_s mean over |S| = s of prod_{j in S} y_j, [rows, players].

    `mean` holds the means over the coalitions of a of the k players so far, `rest` what each of them contributes to
    the result once the players after i have joined.
    """
    players = y.shape[1]
    a = torch.arange(players, device=y.device)  # [players]
    zero = torch.zeros_like(y[:, :1])
    before = live.cumsum(1) - live.long()  # [rows, players]: live players before each
    mean = torch.zeros_like(y)
    mean[:, 0] = 1.0
    means = []
    for i in range(players):
        means.append(mean)
        k = before[:, i : i + 1] + 1
        joined = ((k - a).clamp(min=0) * mean + a * y[:, i : i + 1] * torch.cat([zero, mean[:, :-1]], 1)) / k
        mean = torch.where(live[:, i : i + 1], joined, mean)
    rest, credits = sizes, []
    for i in range(players - 1, -1, -1):
        credits.append((means[i] * rest).sum(1))
        k = before[:, i : i + 1].clamp(min=1)
        left = ((k - a).clamp(min=0) * rest + (a + 1) * y[:, i : i + 1] * torch.cat([rest[:, 1:], zero], 1)) / k
        rest = torch.where(live[:, i : i + 1], left, rest)
    return torch.stack(credits[::-1], 1)
