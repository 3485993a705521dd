"""Five lines of numpy or torch that a user would write instead of a game."""

from collections.abc import Callable
from math import comb
from typing import Any

import numpy as np

from shapley_kernels.games import OWA, Clusters, FacilityLocation, Mean, Min, Pairwise, Range, Table
from shapley_kernels.games.order.base import FixedWeights


class Unsuited(Exception):
    """Why a method, or all of them, do not take part at a point; the message is shown."""


def numpy_rows(r: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """phi_[j] = sum_{k >= j} (r_[k] - r_[k+1]) inside_k, the rows sorted ascending; `inside` from the worst up."""
    order = np.argsort(r, -1)
    gaps = np.diff(np.take_along_axis(r, order, -1), axis=-1, prepend=r.dtype.type(0)) * inside
    out = np.empty_like(r)
    np.put_along_axis(out, order, np.cumsum(gaps, -1), -1)
    return out


def torch_rows(r: Any, inside: Any) -> Any:
    """`numpy_rows` in torch."""
    import torch

    s, order = torch.sort(r, dim=-1)
    gaps = torch.diff(s, dim=-1, prepend=torch.zeros_like(s[..., :1])) * inside
    return torch.empty_like(r).scatter_(-1, order, gaps.cumsum(-1))


def five_liner(inputs: Any) -> tuple[Callable[[Any, dict[str, Any], Any], Any], np.ndarray]:
    """What a user would write for the game of `inputs`: lines(rows, arrays, inside), `rows` one of `numpy_rows` and
    `torch_rows`, `arrays` in the same library; and `inside`.

    Raises:
        Unsuited: nothing as short is known.
    """
    utility, n = inputs.utility, inputs.players
    at_least = np.arange(n, 0, -1)  # players who are as good, in a row sorted ascending
    if issubclass(utility, FixedWeights) or (utility is OWA and inputs.others["weights"].ndim == 1):
        weights = utility.weights(n, *utility(np.zeros(n), **inputs.others).params)
        return lambda rows, x, inside: rows(x["rewards"], inside), (weights.cumsum() / at_least[::-1])[::-1].copy()
    if utility is Min:
        return lambda rows, x, inside: -rows(-x["rewards"], inside), 1 / at_least
    if utility is Range:
        return lambda rows, x, inside: rows(x["rewards"], inside) + rows(-x["rewards"], inside), 1 / at_least
    if utility is Mean:
        own = (1 / at_least).sum() / n
        rest = (own - 1 / n) / max(n - 1, 1)
        return _mean_lines, np.array([own + rest, rest])
    if utility is FacilityLocation:
        return _facility_lines, 1 / at_least
    if utility is Clusters and "rewards" not in inputs.sample.arrays:
        return lambda rows, x, _: 1 / (x["labels"][..., None] == x["labels"][..., None, :]).sum(-1), np.ones(1)
    if utility is Pairwise:
        return _pairwise_lines, np.ones(1)
    if utility is Table:
        return lambda rows, x, weights: x["values"] @ weights, of_coalitions(n)
    raise Unsuited(f"no five-liner for {utility.__name__}")


def _mean_lines(rows: Any, x: dict[str, Any], shares: Any) -> Any:
    return x["rewards"] * shares[0] - x["rewards"].sum(-1)[..., None] * shares[1]


def _facility_lines(rows: Any, x: dict[str, Any], inside: Any) -> Any:
    credits = rows(x["scores"].swapaxes(-1, -2), inside)  # [..., topics, players]
    return (credits * x["weights"][..., None] if "weights" in x else credits).sum(-2)


def _pairwise_lines(rows: Any, x: dict[str, Any], _: Any) -> Any:
    return x["values"] + (x["w"].sum(-1) - x["w"].diagonal(0, -2, -1)) / 2


def members(n: int) -> np.ndarray:
    """[2^n, n] bool: who is in coalition sum_{i in S} 2^i."""
    return np.arange(2**n)[:, None] >> np.arange(n) & 1 == 1


def of_coalitions(n: int) -> np.ndarray:
    """[2^n, n]: what the worth of each coalition counts for each player, +-1 / (n C(n-1, s)) with s others in it."""
    inside = members(n)
    others = inside.sum(1, keepdims=True) - inside
    weights = np.array([1 / (n * comb(n - 1, s)) for s in range(n)])
    return np.where(inside, 1.0, -1.0) * weights[others]
