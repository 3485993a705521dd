"""`table` in plain torch: the reference, on any device and float dtype, differentiable in values."""

from typing import Any

import torch

from shapley_kernels.kernels.pairwise._torch import total


def run(values: Any, mask: Any, weights: Any, row_of_count: Any, out: Any) -> None:
    """See the package docstring. About 4 passes over the table for each player."""
    rows, players = out.shape
    if out.numel() == 0:
        return
    size = torch.zeros(1, dtype=torch.long, device=values.device)
    for _ in range(players - 1):
        size = torch.cat([size, size + 1])  # [2^(players - 1)], of the coalitions without one of the players
    live = torch.ones(1, players, dtype=torch.bool, device=values.device) if mask is None else mask
    weight = weights[row_of_count[live.sum(1)].long()][:, size]  # [1 or rows, 2^(players - 1)]
    v = values
    if mask is not None:
        bit = 1 << torch.arange(players, device=values.device)
        dead = torch.where(mask, 0, bit).sum(1, keepdim=True)  # [rows, 1], the masked players as an index
        v = torch.where(torch.arange(1 << players, device=values.device) & dead == 0, v, 0.0)
    credits = []
    for i in range(players):
        without, joined = v.reshape(rows, -1, 2, 1 << i).unbind(2)  # [rows, 2^(players - 1 - i), 2^i]
        gain = joined.to(weights.dtype) - without.to(weights.dtype)
        credits.append(total(gain.reshape(rows, -1) * weight))
    credit = torch.stack(credits, 1)
    usable = (torch.isfinite(credit) | ~live).all(1, keepdim=True)
    out.copy_(torch.where(live, torch.where(usable, credit, torch.nan), 0.0))
