"""`order` in plain torch: the reference, on any device and float dtype, differentiable in rewards and v_empty."""

from typing import Any

import torch


def run(rewards: Any, mask: Any, v_empty: Any, A: Any, B: Any, C: Any, row_of_count: Any, out: Any) -> None:
    """See the package docstring. About 12 passes over the data."""
    dtype = A.dtype
    r = rewards.to(dtype)  # [rows, players]
    rows, players = r.shape
    c = v_empty.expand(rows)[:, None]  # [rows, 1]
    rank = torch.arange(players, device=r.device)
    if mask is None:
        live, level = players, row_of_count[players].long().reshape(1)
        usable = torch.isfinite(r).all(1, keepdim=True) & torch.isfinite(c)
        r = torch.where(usable, r, 0.0)
    else:
        live = mask.sum(1, keepdim=True)  # [rows, 1]
        level = row_of_count[live[:, 0]].long()
        usable = (torch.isfinite(r) | ~mask).all(1, keepdim=True) & torch.isfinite(c)
        r = torch.where(mask & usable, r, -torch.inf)
    c = torch.where(torch.isfinite(c), c, 0.0)
    s, order = r.sort(dim=1, descending=True)  # live players first
    following = torch.cat([s[:, 1:], c], 1)
    gap = s - torch.where(rank + 1 < live, following, c)
    gap = torch.where((rank < live) & usable, gap, 0.0)  # [rows, players]
    share = (gap * A[level]).flip(1).cumsum(1).flip(1)
    if B is not None:
        below = (gap * B[level]).cumsum(1)
        share = share + torch.cat([torch.zeros_like(below[:, :1]), below[:, :-1]], 1)
    share = _copy_tie_leaders(share + c * C[level][:, None], s)
    credit = torch.empty_like(share).scatter(1, order, share)
    in_range = torch.isfinite(credit if mask is None else torch.where(mask, credit, 0.0)).all(1, keepdim=True)
    credit = torch.where(usable & in_range, credit, torch.nan)
    out.copy_(credit if mask is None else torch.where(mask, credit, 0.0))


def _copy_tie_leaders(share: Any, s: Any) -> Any:
    """Equal rewards get bitwise equal shares, though a parallel cumsum may round them apart; gradients stay as they
    are."""
    rank = torch.arange(s.shape[1], device=s.device)
    starts = torch.ones_like(s, dtype=torch.bool)
    starts[:, 1:] = s[:, 1:] != s[:, :-1]
    leader = share.gather(1, torch.where(starts, rank, 0).cummax(1).values)
    return share + (leader - share).detach() if share.requires_grad else leader
