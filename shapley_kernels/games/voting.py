"""Games on a sum of integer weights: weighted voting, and a sum under a budget."""

from collections.abc import Callable
from fractions import Fraction
from math import prod
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import Array, describe, floating, integer, native, ops_of
from shapley_kernels.games.base import Game
from shapley_kernels.games.multilinear import TotalTerm
from shapley_kernels.games.term import Term
from shapley_kernels.values import Semivalue

LARGEST_TOTAL = 1 << 20
"""Of a quota or budget: cost and memory grow with it."""


class _IntegerWeights(Game):
    """Base of both: reads weights, and a total beyond which nothing changes."""

    arguments: ClassVar[dict[str, Any]] = {"weights": (-1,)}
    domain: ClassVar[dict[str, tuple[float, float]]] = {"weights": (0.0, float("inf"))}

    def _read_weights(self, weights: Any, mask: Any, name: str, total: Any, least: int) -> int:
        owner = type(self).__name__
        total = integer(owner, name, total, least)
        if total > LARGEST_TOTAL:
            raise ValueError(
                f"{owner}: {name} must be at most {LARGEST_TOTAL}, got {total}: the cost grows with it; "
                "divide it and the weights by a common factor"
            )
        array, _ = native(weights, f"{owner}: weights")
        if not ops_of(array).is_integer(array):
            raise TypeError(
                f"{owner}: weights must be integers, got {describe(array)}; multiply them and {name} by their common "
                "denominator and convert them, e.g. to int64"
            )
        self.weights = self._read("weights", weights, "[..., players]", mask, integers=True)
        self._check_domain()
        self._like = floating(self.weights, owner)
        self.dtype = self._like.dtype
        return total

    @property
    def data(self) -> Array:
        """The weights as floats: credits are in that dtype."""
        return self._like

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        return {"weights": rng.integers(0, 6, (rows, players))}

    def _term(self, worth: np.ndarray, value: Semivalue) -> TotalTerm:
        """Of the game that is worth worth[min(w, cap)] at a sum w."""
        # int32 holds what is clipped; negative ones stand at masked players
        small = self.ops.cast(self.ops.xp.clip(self.weights, 0, len(worth) - 1), self.ops.dtype("int32"))
        return TotalTerm(self, value, None, small, tuple(worth.tolist()))

    def _total(self, members: Array, cap: int) -> Array:
        xp = self.ops.xp
        return xp.where(members, xp.clip(self.weights, 0, cap), 0).sum(-1)  # clipped: no sum overflows

    def _exact_total(self, row: int) -> Callable[[list[int]], int]:
        weights = self.weights.reshape(prod(self.batch_shape), self.players)[row].tolist()
        return lambda members: sum(weights[i] for i in members)


class WeightedVoting(_IntegerWeights):
    """v(S) = 1 if the weights of S sum to at least the quota, else 0.

    Args:
        weights: [..., players] integers >= 0; credits are float64 in numpy, the default dtype in torch.
        quota: integer from 1 to 2^20.
        mask: [..., players] bool, True = live; None = all live. What stands at masked players is never read.

    Raises:
        TypeError, ValueError: weights that are not integers, negative ones (on the CPU); a quota outside the range.

    Cost: O(quota players^2 log players) per row under values with nodes, players times that under the others;
        quota * players numbers of memory per halving of the players.
    Error: (9 players + quota + 8) eps/2 at most, times the total weight of the value; all terms are >= 0.
    Source: Shapley and Shubik (1954), doi:10.2307/1951053; generating functions: Mann and Shapley (1962), RM-3158-PR.

    >>> import shapley_kernels as sk
    >>> sk.shapley(WeightedVoting([3, 2, 1, 1], quota=4)).round(4).tolist()
    [0.5, 0.1667, 0.1667, 0.1667]
    """

    def __init__(self, weights: Any, *, quota: int, mask: Any = None) -> None:
        self.quota = self._read_weights(weights, mask, "quota", quota, 1)

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        return {**super().example(rng, rows, players), "quota": 1 + int(rng.integers(2 * players + 1))}

    def terms(self, value: Semivalue) -> list[Term]:
        return [self._term(np.append(np.zeros(self.quota), 1.0), value)]

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        total = self._exact_total(row)
        return lambda members: Fraction(int(total(members) >= self.quota))

    def _worth(self, members: Array) -> Array:
        return self.wide(self._total(members, self.quota) >= self.quota)


class BudgetCap(_IntegerWeights):
    """v(S) = min(budget, sum of the weights of S): what counts of a sum under a budget.

    Args:
        weights, mask: as in `WeightedVoting`.
        budget: integer from 0 to 2^20.

    Raises, Cost: as in `WeightedVoting`, with the budget as quota.
    Error: (9 players + budget + 8) eps/2 w_i at most, times the total weight of the value; all terms are >= 0.
    Source: the bankruptcy game's dual; O'Neill (1982), doi:10.1016/0165-4896(82)90029-4.

    >>> import shapley_kernels as sk
    >>> sk.shapley(BudgetCap([3, 1], budget=2)).tolist()
    [1.5, 0.5]
    """

    def __init__(self, weights: Any, *, budget: int, mask: Any = None) -> None:
        self.budget = self._read_weights(weights, mask, "budget", budget, 0)

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        return {**super().example(rng, rows, players), "budget": int(rng.integers(2 * players + 2))}

    def terms(self, value: Semivalue) -> list[Term]:
        return [self._term(np.arange(self.budget + 1.0), value)]

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        total = self._exact_total(row)
        return lambda members: Fraction(min(total(members), self.budget))

    def _worth(self, members: Array) -> Array:
        return self.wide(self.ops.xp.clip(self._total(members, self.budget), 0, self.budget))
