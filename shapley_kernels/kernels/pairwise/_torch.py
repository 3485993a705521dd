"""`pairwise` in plain torch: the reference, on any device and float dtype, differentiable in values and w."""

from typing import Any

import torch


def run(w: Any, values: Any, mask: Any, own: Any, pair: Any, row_of_count: Any, out: Any) -> None:
    """See the package docstring. About 3 passes over w; sums in a tree, error O(log players)."""
    players = out.shape[1]
    if out.numel() == 0:
        return
    dtype = own.dtype
    counted = ~torch.eye(players, dtype=torch.bool, device=w.device)[None]  # [1 or rows, players, players]
    live = torch.ones(1, players, dtype=torch.bool, device=w.device) if mask is None else mask
    if mask is not None:
        counted = counted & mask[:, :, None] & mask[:, None, :]
    level = row_of_count[live.sum(1)].long()  # [1 or rows]
    credit = pair[level][:, None] * total(torch.where(counted, w, 0.0).to(dtype))
    if values is not None:
        credit = own[level][:, None] * torch.where(live, values, 0.0).to(dtype) + credit
    usable = torch.isfinite(credit).all(1, keepdim=True)
    out.copy_(torch.where(live, torch.where(usable, credit, torch.nan), 0.0))


def total(x: Any) -> Any:
    """Sum over the last axis, halving it again and again: unlike `sum`, in an order that depends on its length
    alone."""
    while x.shape[-1] > 1:
        half = x.shape[-1] // 2
        folded = x[..., :half] + x[..., half : 2 * half]
        x = folded if x.shape[-1] % 2 == 0 else torch.cat([folded, x[..., 2 * half :]], -1)
    return x[..., 0]
