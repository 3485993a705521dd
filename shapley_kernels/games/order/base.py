"""The order family: what its games have in common.

See `games.order.utilities` for the games, docs/explanation/mathematics.md for the derivation.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from numbers import Real
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import Array, as_float, compute_dtype
from shapley_kernels.games.base import Game
from shapley_kernels.games.data import is_number
from shapley_kernels.games.order.pairs import PairCoefficients, fixed_pairs, generic_pairs, pair_tables, pairs
from shapley_kernels.games.order.tables import Coefficients, generic_coefficients
from shapley_kernels.games.order.term import OrderTerm
from shapley_kernels.games.tables import ALL_LIVE_COUNTS, kept
from shapley_kernels.games.term import Term
from shapley_kernels.values import Semivalue


class OrderGame(Game):
    """Base of the family.

    Args:
        rewards: [..., players] float16, bfloat16, float32 or float64 (integers and bools are converted).
        mask: [..., players] bool, True = live; None = all live. What stands at masked players is never read.
        v_empty: worth of the empty set: a number, or an array of the batch shape.

    Cost: O(players log players) per game.
    """

    vmaps = True
    arguments: ClassVar[dict[str, Any]] = {"rewards": (-1,), "v_empty": ()}
    scales: ClassVar[tuple[str, ...]] = ("rewards", "v_empty")
    runs_on = attrgetter("rewards", "mask", "v_empty")
    may_cancel: ClassVar[bool] = False
    """Whether its coefficients are sums of numbers of both signs, chosen by the user."""

    def __init__(self, rewards: Any, mask: Any = None, v_empty: Any = 0.0) -> None:
        self.rewards = self._read("rewards", rewards, "[..., players]", mask)
        self.v_empty: Any = v_empty  # a float, or an array [batch]
        if type(v_empty) is float:
            return
        if isinstance(v_empty, (Real, np.generic)):
            self.v_empty = as_float(v_empty, f"{type(self).__name__}: v_empty")
        else:
            self.v_empty = self._read_beside("v_empty", v_empty, self.rewards, self.batch_shape, "[batch]")

    @staticmethod
    def definition(members: Sequence[Any], *params: Any) -> Any:
        """v(S) from the rewards of a non-empty S, in plain Python (numbers or fractions); None means v_empty."""
        raise NotImplementedError

    @classmethod
    def weights(cls, size: int, *params: Any) -> np.ndarray:
        """w [size]: weight of the j-th best of a set of `size` >= 1 players."""
        raise NotImplementedError

    @classmethod
    def v_empty_coefficient(cls, size: int, *params: Any) -> float:
        """u in v(S) = sum_j w_j (r_(j) - v_empty) + u v_empty: sum_j w_j, unless v_empty also serves sets that are too
        small."""
        return float(cls.weights(size, *params).sum())

    @classmethod
    def counts_alike(cls, players: int, *params: Any) -> bool:
        """Whether all members of a set of up to so many players weigh the same: credits then need no order."""
        return all(np.ptp(cls.weights(size, *params)) == 0 for size in range(2, players + 1))

    @classmethod
    def coefficients(cls, value: Semivalue, n: int, *params: Any) -> Coefficients:
        """A, B and C for n live players; here in O(n^3) from `weights`, in closed form in the subclasses."""
        return generic_coefficients(lambda size: cls.weights(size, *params), value, n)

    @classmethod
    def pair_coefficients(cls, value: Semivalue, n: int, *params: Any) -> PairCoefficients:
        """P, Q, R and E of n >= 2 live players, as `coefficients`: of `value` for n - 1 players. In O(n^3)."""
        of_empty = [cls.v_empty_coefficient(s, *params) for s in range(1, n + 1)]
        return generic_pairs(cls.__name__, lambda size: cls.weights(size, *params), of_empty, value, n)

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        rewards = rng.integers(-8, 9, (rows, players)) / 8  # ties
        return {"rewards": rewards, "v_empty": rng.integers(-4, 5, rows) / 8, **cls.example_params(rng, players)}

    @classmethod
    def example_params(cls, rng: "np.random.Generator", players: int) -> dict[str, Any]:
        """Valid arguments beside the data, for tests, benchmarks and docs."""
        return {}

    @classmethod
    def has_rounded_coefficients(cls) -> bool:
        """Whether they have an error of their own, of n 2.2e-16 max(|A|, |B|)."""
        return cls.may_cancel or cls.coefficients.__func__ is OrderGame.coefficients.__func__  # type: ignore[attr-defined]

    def terms(self, value: Semivalue) -> list[Term]:
        return [OrderTerm(self, value, ((1.0, type(self), self.params),))]

    def pairs(self, value: Semivalue) -> Array:
        tables = pair_tables(type(self), self.params, value, self.players, self.live_counts(value))
        v_empty = self.v_empty
        if is_number(v_empty):
            v_empty = self.ops.zeros(self.rewards, self.batch_shape, self.compute_dtype) + v_empty
        return pairs(self.ops, self.wide(self.rewards), self.mask, self.wide(v_empty), tables)

    def v_empty_of(self, row: int) -> float:
        """That of one entry of the flattened batch."""
        return self.v_empty if is_number(self.v_empty) else float(self.in_rows(self.v_empty)[row])

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        values, v_empty = self.in_rows(self.rewards)[row].tolist(), self.v_empty_of(row)

        def worth(members: list[int]) -> Fraction:
            result = self.definition([Fraction(values[i]) for i in members], *self.params) if members else None
            return Fraction(v_empty if result is None else result)

        return worth

    def wide_worth(self, coalitions: Any = None) -> Array:
        if coalitions is not None or self.mask is not None:
            return super().wide_worth(coalitions)
        ops, compute = self.ops, compute_dtype(self.dtype)
        with np.errstate(over="ignore", invalid="ignore"):  # `within_range` looks
            tables = kept(worth_weights, type(self), self.params, self.players, (self.players,))  # sets are of one size
            weights, of_empty = tables.on(ops.name, compute, ops.device(self.rewards))
            ranked = ops.best(ops.cast(self.rewards, ops.dtype(compute)), weights.shape[-1])
            return self._summed(ranked, weights[0], of_empty[0])

    def _worth(self, members: Array) -> Array:
        ops, xp = self.ops, self.ops.xp
        rewards = xp.where(members, self.wide(self.rewards), -float("inf"))  # members are the best
        sizes = xp.broadcast_to(members.sum(-1), rewards.shape[:-1])
        if self.players <= ALL_LIVE_COUNTS:
            tables = kept(worth_weights, type(self), self.params, self.players, tuple(range(self.players + 1)))
            weights, of_empty = tables.on(ops.name, compute_dtype(self.dtype), ops.device(self.rewards))
            return self._summed(ops.best(rewards, weights.shape[-1]), weights[sizes], of_empty[sizes])
        sizes = ops.to_host(sizes)
        counts, which = np.unique(sizes, return_inverse=True)
        which = which.reshape(tuple(sizes.shape))
        rows = [x[which] for x in worth_weights(type(self), self.params, self.players, tuple(counts.tolist()))]
        weights, of_empty = (ops.array_like(x, self.rewards, self.compute_dtype) for x in rows)
        return self._summed(ops.best(rewards, weights.shape[-1]), weights, of_empty)

    def _summed(self, ranked: Array, weights: Array, of_empty: Array) -> Array:
        """The worth of the best members [..., places] from their weights, and that of v_empty [...]."""
        v_empty = self.v_empty if type(self.v_empty) is float else self.wide(self.v_empty)
        parts = weights * self.ops.xp.where(weights != 0, ranked, 0.0)
        return (parts[..., 0] if parts.shape[-1] == 1 else parts.sum(-1)) + of_empty * v_empty


def worth_weights(
    utility: type[OrderGame], params: tuple[Any, ...], players: int, sizes: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """For coalitions of these sizes: the weights of their ranked members [sizes, players], or [sizes, 1] where the best
    alone has any, and of v_empty [sizes]."""
    weights, of_empty = np.zeros((len(sizes), players)), np.ones(len(sizes))
    for i, size in enumerate(sizes):
        if size:
            weights[i, :size] = utility.weights(size, *params)
            of_empty[i] = utility.v_empty_coefficient(size, *params) - weights[i].sum()
    return weights if weights[:, 1:].any() else weights[:, :1].copy(), of_empty


class FixedWeights(OrderGame):
    """Utilities in which the weight of the j-th best does not depend on |S|: A_k = E[w_{1 + others of the k best
    present}], B = 0."""

    @classmethod
    def fixed_weights(cls, n: int, *params: Any) -> np.ndarray:
        """w [n or shorter, trailing zeros left out]."""
        raise NotImplementedError

    @classmethod
    def weights(cls, size: int, *params: Any) -> np.ndarray:
        w = np.zeros(size)
        fixed = cls.fixed_weights(size, *params)[:size]
        w[: len(fixed)] = fixed
        return w

    @classmethod
    def counts_alike(cls, players: int, *params: Any) -> bool:
        return bool(np.ptp(cls.weights(players, *params)) == 0)

    @classmethod
    def coefficients(cls, value: Semivalue, n: int, *params: Any) -> Coefficients:
        w = cls.fixed_weights(n, *params)[:n]
        sizes = value.size_weights(n)
        marginal = np.zeros(n)  # what the coefficient of v_empty gains when a coalition of s grows by one
        marginal[: len(w)] = w
        marginal[0] -= 1.0
        return value.expectations(w, n), np.zeros(n), float(sizes @ marginal)

    @classmethod
    def pair_coefficients(cls, value: Semivalue, n: int, *params: Any) -> PairCoefficients:
        of_empty = [cls.v_empty_coefficient(s, *params) for s in range(1, n + 1)]
        return fixed_pairs(cls.fixed_weights(n, *params), of_empty, value, n)
