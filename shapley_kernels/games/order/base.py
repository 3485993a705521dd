"""The order family: what its games have in common, their coefficients and their term.

See `games.order.utilities` for the games, docs/explanation/mathematics.md for the derivation.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from numbers import Real
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import (
    Array,
    as_float,
    cast,
    compute_dtype,
    constant,
    is_compiling,
    is_torch,
    named_dtype,
    namespace,
    number,
    numbers,
    zeros,
)
from shapley_kernels.games.base import Game, Run, Term, Weighted, row_of
from shapley_kernels.games.order.pairs import PairCoefficients, fixed_pairs, generic_pairs, pair_tables, pairs
from shapley_kernels.games.order.tables import Coefficients, Recipe, coefficients, generic_coefficients, order_tables
from shapley_kernels.games.tables import Tables
from shapley_kernels.values import Semivalue


class OrderGame(Game):
    """Base of the family.

    Args:
        rewards: [..., players] float16, bfloat16, float32 or float64 (integers and bools are converted).
        mask: [..., players] bool, True = live; None = all live. What stands at masked players is never read.
        v_empty: worth of the empty set: a number, or an array of the batch shape.

    Cost: O(players log players) per game.
    """

    arguments: ClassVar[dict[str, Any]] = {"rewards": (-1,), "v_empty": ()}
    scales: ClassVar[tuple[str, ...]] = ("rewards", "v_empty")
    params: tuple[Any, ...] = ()
    """What the utility takes beside the data, hashable: the key of its coefficients."""
    may_cancel: ClassVar[bool] = False
    """Whether its coefficients are sums of numbers of both signs, chosen by the user."""

    def __init__(self, rewards: Any, mask: Any = None, v_empty: Any = 0.0) -> None:
        self.rewards = self._read("rewards", rewards, "[..., players]", mask)
        self.v_empty: float | Array
        if isinstance(v_empty, (float, Real, np.generic)):
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
    def empty_share(cls, size: int, *params: Any) -> float:
        """What v(S) - v_empty lacks: v(S) = sum_j w_j (r_(j) - v_empty) + empty_share * v_empty; sum_j w_j unless
        v_empty also serves sets that are too small."""
        return float(cls.weights(size, *params).sum())

    @classmethod
    def coefficients(cls, value: Semivalue, n: int, *params: Any) -> Coefficients:
        """A, B and C for n live players; here in O(n^3) from `weights`, in closed form in the subclasses."""
        return generic_coefficients(lambda size: cls.weights(size, *params), value, n)

    @classmethod
    def pair_coefficients(cls, value: Semivalue, n: int, *params: Any) -> PairCoefficients:
        """P, Q, R and E of n >= 2 live players, as `coefficients`: of `value` for n - 1 players. In O(n^3)."""
        shares = [cls.empty_share(s, *params) for s in range(1, n + 1)]
        return generic_pairs(cls.__name__, lambda size: cls.weights(size, *params), shares, value, n)

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        rewards = rng.integers(-8, 9, (rows, players)) / 8  # ties
        return {"rewards": rewards, "v_empty": rng.integers(-4, 5, rows) / 8, **cls.example_params(rng, players)}

    @classmethod
    def example_params(cls, rng: "np.random.Generator", players: int) -> dict[str, Any]:
        """Valid arguments beside the data, for tests, benchmarks and docs."""
        return {}

    def terms(self, value: Semivalue) -> list[Weighted]:
        return [(1.0, OrderTerm(self, ((1.0, type(self), self.params),), value))]

    def pairs(self, value: Semivalue) -> Array:
        utility, dtype = type(self), named_dtype(self.rewards, compute_dtype(self.dtype))
        tables = pair_tables(utility, self.params, value, self.players, self.live_counts(value))
        v_empty = self.v_empty
        if isinstance(v_empty, float):
            v_empty = cast(zeros(self.rewards, self.batch_shape, "float32"), dtype) + v_empty
        return pairs(cast(self.rewards, dtype), self.mask, cast(v_empty, dtype), tables)

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        live = set(self.live_players(row))
        values = row_of(self.rewards, row, 1).tolist()
        v_empty = self.v_empty if isinstance(self.v_empty, float) else float(row_of(self.v_empty, row, 0))

        def worth(members: Collection[int]) -> Fraction:
            inside = [Fraction(values[i]) for i in members if i in live]
            result = self.definition(inside, *self.params) if inside else None
            return Fraction(v_empty if result is None else result)

        return worth

    def _worth(self, members: Array) -> Array:
        xp, rewards = namespace(self.rewards), self.rewards
        dtype = named_dtype(rewards, compute_dtype(rewards.dtype))
        values = xp.where(members, cast(rewards, dtype), -float("inf"))
        ranked = (
            values.sort(dim=-1, descending=True).values if is_torch(values) else -np.sort(-values, axis=-1)
        )  # members first
        weights, empty_share = self._worth_weights(xp.broadcast_to(members.sum(-1), ranked.shape[:-1]), dtype)
        v_empty = self.v_empty if isinstance(self.v_empty, float) else cast(self.v_empty, dtype)
        return (weights * xp.where(weights != 0, ranked, 0.0)).sum(-1) + empty_share * v_empty

    def _worth_weights(self, sizes: Array, dtype: Any) -> tuple[Array, Array]:
        """For coalition sizes [...]: the weights of their ranked members [..., players], and of v_empty [...]."""
        counts, which = np.unique(sizes.cpu().numpy() if is_torch(sizes) else sizes, return_inverse=True)
        weights, shares = np.zeros((len(counts), self.players)), np.ones(len(counts))
        for i, size in enumerate(counts.tolist()):
            if size:
                weights[i, :size] = self.weights(size, *self.params)
                shares[i] = self.empty_share(size, *self.params) - weights[i].sum()
        which = which.reshape(tuple(sizes.shape))
        return constant(weights[which], self.rewards, dtype), constant(shares[which], self.rewards, dtype)


@dataclass(frozen=True)
class OrderTerm(Term):
    """The `order` primitive on one game's data: coefficients are the sum of scale * coefficients(utility) over
    `recipe`."""

    game: OrderGame  # whose rewards, mask and v_empty are used
    recipe: Recipe
    value: Semivalue
    spreads_nonfinite: ClassVar[bool] = True

    def credits(self, run: Run) -> Array:
        game = self.game
        compiling = run.traced and is_compiling(game.rewards)
        tables = self._graph_tables() if compiling else self.tables()
        return run("order", (game.rewards, game.mask, _v_empty(game, compiling)), tables, tuple(game.rewards.shape))

    def scaled(self, factor: float) -> "OrderTerm":
        recipe = tuple((factor * scale, utility, params) for scale, utility, params in self.recipe)
        return OrderTerm(self.game, recipe, self.value)

    def merged(self, other: Term) -> "OrderTerm | None":
        """One run for both, if they are on the same data."""
        if not isinstance(other, OrderTerm):
            return None
        a, b = self.game, other.game
        if a.rewards is not b.rewards or a.mask is not b.mask or self.value != other.value:
            return None
        if a.v_empty is b.v_empty or (isinstance(a.v_empty, float) and a.v_empty == b.v_empty):
            return OrderTerm(a, self.recipe + other.recipe, self.value)
        return None

    def tables(self) -> Tables:
        """inside A [levels, players], outside B or None if all 0, empty C [levels], and level_of, for the live counts
        of the game; cached."""
        return order_tables(self.recipe, self.value, self.game.players, self.game.live_counts(self.value))

    def _graph_tables(self) -> Tables:
        from shapley_kernels.games.order.graph import GraphTables

        return GraphTables(self.recipe, self.value, self.game.players, self.game.live_counts(self.value))

    def error_bound(self) -> np.ndarray:
        """[rows, 1]: (n + 2) eps/2 sum_k |D_k| (|A_k| + |B_k|) + |c C| eps, eps that of the compute dtype; one rounding
        more for each merged utility; and, on coefficients that may cancel, their own n 2.2e-16 max(|A|, |B|)."""
        return np.array([_row_bound(self, row) for row in range(prod(self.game.batch_shape))]).reshape(-1, 1)

    def ranked(self, row: int) -> tuple[np.ndarray, float]:
        """The live rewards of one row, descending, and v_empty, in float64 and hence exactly."""
        game = self.game
        values = row_of(game.rewards, row, 1)
        c = game.v_empty if isinstance(game.v_empty, float) else float(numbers(game.v_empty).reshape(-1)[row])
        return np.sort(values[game.live_players(row)])[::-1], c


def _row_bound(term: OrderTerm, row: int) -> float:
    ranked, c = term.ranked(row)
    n, computing = len(ranked), np.finfo(compute_dtype(term.game.dtype))
    eps = float(computing.eps)
    roundings = n + 2 + (0 if len(term.recipe) == 1 and term.recipe[0][0] == 1.0 else len(term.recipe) + 1)
    gaps = np.abs(ranked - np.append(ranked[1:], c)[:n])
    bound = 2 * n * float(computing.smallest_subnormal)
    for scale, utility, params in term.recipe if n else ():
        inside, outside, empty = coefficients(utility, params, term.value, n)
        bound += abs(scale) * (roundings * eps / 2 * float(gaps @ (np.abs(inside) + np.abs(outside))))
        bound += abs(scale * c * empty) * eps
        generic = getattr(utility.coefficients, "__func__", None) is vars(OrderGame)["coefficients"].__func__
        if generic or utility.may_cancel:
            largest = max(np.abs(inside).max(), np.abs(outside).max())
            bound += abs(scale) * n * 2.0**-52 * float(largest * (gaps.sum() + abs(c)))
    return bound


def _v_empty(game: OrderGame, compiling: bool) -> Array:
    """[batch], or a number for all as [1], in the compute dtype; [] for a game without batch axes."""
    rewards = game.rewards
    compute = compute_dtype(rewards.dtype)
    if not isinstance(game.v_empty, float):
        return cast(game.v_empty, named_dtype(rewards, compute))
    if compiling:
        c = rewards.new_full((1,), game.v_empty, dtype=named_dtype(rewards, compute))
    else:
        c = number(game.v_empty, rewards, compute)
    return c if game.batch_shape else c.reshape(())


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
    def coefficients(cls, value: Semivalue, n: int, *params: Any) -> Coefficients:
        w = cls.fixed_weights(n, *params)[:n]
        sizes = value.size_weights(n)
        marginal = np.zeros(n)  # what v_empty's share gains when a coalition of s grows by one
        marginal[: len(w)] = w
        marginal[0] -= 1.0
        return value.expectations(w, n), np.zeros(n), float(sizes @ marginal)

    @classmethod
    def pair_coefficients(cls, value: Semivalue, n: int, *params: Any) -> PairCoefficients:
        shares = [cls.empty_share(s, *params) for s in range(1, n + 1)]
        return fixed_pairs(cls.fixed_weights(n, *params), shares, value, n)
