"""`swap` in plain torch: the reference, on any device and float dtype, differentiable in x, weights and empty."""

from typing import Any

import torch

from shapley_kernels.kernels.pairwise._torch import total
from shapley_kernels.kernels.swap import KINDS, others


def run(x: Any, count: Any, weights: Any, empty: Any, order: Any, starts: Any, mix: Any, kind: int, out: Any) -> None:
    """See the package docstring. Some ten arrays of the size of x; one pass over them for each other rollout."""
    rollouts, players, topics = x.shape
    if out.numel() == 0:
        return
    dtype = mix.dtype
    weights, c = weights.to(dtype)[:, None, :], empty.to(dtype)[:, None, None]
    place = torch.arange(players + 1, device=x.device)
    nobody = x.new_full((rollouts, 1, topics), -torch.inf, dtype=dtype)
    x = torch.where((place[:-1] < count[:, None])[:, :, None], x.to(dtype), -torch.inf)
    upto = torch.cat([nobody, x.cummax(1).values], 1)  # [rollouts, K + 1, topics]: the best of 1 .. k - 1
    since = torch.cat([x.flip(1).cummax(1).values.flip(1), nobody], 1)  # of k .. K
    if KINDS[kind] == "suffix":
        heads, tails, places = upto, since, count + 1
    else:
        heads = torch.cat([torch.maximum(upto[:, :-1], since[:, 1:]), upto[:, -1:]], 1)
        tails, places = torch.cat([x, nobody], 1), count
    own = _worth(upto[:, -1:], c)
    above = torch.zeros_like(upto[:, :, 0])  # [rollouts, K + 1]
    number = torch.zeros_like(count)
    for h, there in zip(*(torch.from_numpy(numbers).to(x.device) for numbers in others(order, starts)), strict=True):
        gain = weights * (own - _worth(torch.maximum(heads, tails[h]), c))
        above = above + torch.where(there[:, None], total(gain), 0.0)
        number += there
    above = above / number.clamp(min=1)[:, None]
    above = torch.where(place < places[:, None], above, 0.0)
    if mix.numel():
        above = sum(above[:, j, None] * mix[j] for j in range(players + 1))
    out.copy_(above)


def _worth(best: Any, c: Any) -> Any:
    return torch.where(best == -torch.inf, c, best)
