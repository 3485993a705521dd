"""Games of the sorted rewards (ordered weighted averages, OWA): max, min, mean, median, top-m, DCG, ...

With the rewards of S sorted, r_(1) >= r_(2) >= ..., a game of this family is worth sum_j w_j r_(j); the weights may
depend on |S|; `v_empty` is the worth of the empty set. Under any semivalue its credits are two weighted running sums
over the gaps of the sorted row (docs/mathematics.md), so a game here only has to give the coefficients

    A_k, B_k: what a member / a non-member of the k best gets of the gap below the k-th best,   C: its share of v_empty.

To add a utility: subclass `FixedWeights` if the weight of the j-th best does not depend on |S|, else `OrderGame`, and
list it in games/__init__.py; tests, benchmarks and the table in the docs pick it up.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import log2
from numbers import Integral, Real
from statistics import median
from typing import Any

import numpy as np

from shapley_kernels.arrays import (
    Array,
    boolean,
    broadcast,
    cast,
    compute_dtype,
    constant,
    describe,
    floating,
    is_torch,
    like,
    named_dtype,
    namespace,
    native,
)
from shapley_kernels.games.base import Game, Weighted
from shapley_kernels.values import Semivalue, thin

GENERIC_PLAYERS = 512
"""Above this the O(n^3) coefficients of a generic `OWA[n, n]` are refused."""

Coefficients = tuple[np.ndarray, np.ndarray, float]
"""A [n], B [n] (entry k - 1 serves the k best) and C, float64."""


class OrderGame(Game):
    """Base of the family.

    Args:
        rewards: [..., players] float16, bfloat16, float32 or float64 (integers and bools are converted).
        mask: [..., players] bool, True = live; None = all live. What stands at masked players is never read.
        v_empty: worth of the empty set: a number, or an array of the batch shape.
    """

    params: tuple[Any, ...] = ()
    """What the utility takes beside the data, hashable: the key of its coefficients."""

    def __init__(self, rewards: Any, mask: Any = None, v_empty: Any = 0.0) -> None:
        name = type(self).__name__
        array, self.restore = native(rewards, f"{name}: rewards")
        if not array.shape:
            raise ValueError(f"{name}: rewards must have shape [..., players], got the number {describe(rewards)}")
        self.rewards = floating(array, f"{name}: rewards")
        self.players = self.rewards.shape[-1]
        self.batch_shape = tuple(self.rewards.shape[:-1])
        self.mask = None
        if mask is not None:
            mask = boolean(mask, self.rewards, f"{name}: mask")
            self.mask = broadcast(mask, self.rewards.shape, f"{name}: mask", "[..., players]")
        self.v_empty: float | Array
        if isinstance(v_empty, (Real, np.generic)):
            self.v_empty = float(v_empty)
        else:
            array = floating(like(v_empty, self.rewards, f"{name}: v_empty"), f"{name}: v_empty")
            self.v_empty = broadcast(array, self.batch_shape, f"{name}: v_empty", "[batch]")

    @property
    def data(self) -> Array:
        return self.rewards

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
        return _generic_coefficients(lambda size: cls.weights(size, *params), value, n)

    @classmethod
    def example_params(cls, rng: np.random.Generator, players: int) -> dict[str, Any]:
        """Valid arguments beside the rewards, for tests, benchmarks and docs."""
        return {}

    def terms(self, value: Semivalue) -> list[Weighted]:
        return [(1.0, OrderTerm(self, ((1.0, type(self), self.params),), value))]

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        live = set(self.live_players(row))
        values = cast(self.rewards.reshape(-1, self.players)[row], named_dtype(self.rewards, "float64")).tolist()
        v_empty = self.v_empty if isinstance(self.v_empty, float) else float(self.v_empty.reshape(-1)[row])

        def worth(members: Collection[int]) -> Fraction:
            inside = [Fraction(values[i]) for i in members if i in live]
            result = self.definition(inside, *self.params) if inside else None
            return Fraction(v_empty if result is None else result)

        return worth

    def _worth(self, members: Array | None) -> Array:
        xp, rewards = namespace(self.rewards), self.rewards
        dtype = named_dtype(rewards, compute_dtype(rewards.dtype))
        if members is None:
            members = xp.ones_like(rewards, dtype=named_dtype(rewards, "bool")) if self.mask is None else self.mask
        elif self.mask is not None:
            members = members & self.mask
        values = xp.where(members, cast(rewards, dtype), -float("inf"))
        ranked = (
            values.sort(dim=-1, descending=True).values if is_torch(values) else -np.sort(-values, axis=-1)
        )  # members first
        weights, empty_share = self._worth_weights(xp.broadcast_to(members.sum(-1), ranked.shape[:-1]), dtype)
        v_empty = self.v_empty if isinstance(self.v_empty, float) else cast(self.v_empty, dtype)
        return cast((weights * xp.where(weights != 0, ranked, 0.0)).sum(-1) + empty_share * v_empty, rewards.dtype)

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


Recipe = tuple[tuple[float, Any, tuple[Any, ...]], ...]
"""(scale, utility class, its params), ...: a hashable sum of utilities on the same data."""


@dataclass(frozen=True)
class OrderTerm:
    """The `order` primitive on one game's data: coefficients are the sum of scale * coefficients(utility) over
    `recipe`."""

    game: OrderGame  # whose rewards, mask and v_empty are used
    recipe: Recipe
    value: Semivalue

    def same_data(self, other: "OrderTerm") -> bool:
        """Whether both can be one launch."""
        a, b = self.game, other.game
        if a.rewards is not b.rewards or a.mask is not b.mask or self.value != other.value:
            return False
        return a.v_empty is b.v_empty or (isinstance(a.v_empty, float) and a.v_empty == b.v_empty)

    def tables(self, lives: tuple[int, ...]) -> "Tables":
        """Coefficients for the given live counts; cached."""
        return _tables(self.recipe, self.value, self.game.players, lives)


@dataclass(frozen=True, eq=False)
class Tables:
    """Coefficients by live count: inside A [levels, players], outside B or None if all 0, empty C [levels], float64,
    and level_of [players + 1] int32, from live count to row."""

    inside: np.ndarray
    outside: np.ndarray | None
    empty: np.ndarray
    level_of: np.ndarray
    _placed: dict[tuple[str, str, str], tuple[Any, ...]] = field(default_factory=dict)

    def on(self, library: str, dtype: str, device: str) -> tuple[Any, ...]:
        """(inside, outside, empty, level_of) in "numpy" or "torch", in the compute dtype and on a device; kept."""
        key = (library, dtype, device)
        if key not in self._placed:
            arrays: list[Any] = [
                None if x is None else x.astype(dtype) for x in (self.inside, self.outside, self.empty)
            ]
            placed: tuple[Any, ...] = (*arrays, self.level_of)
            if library == "torch":
                import torch

                placed = tuple(None if x is None else torch.from_numpy(x).to(device) for x in placed)
            self._placed[key] = placed
        return self._placed[key]


@lru_cache(maxsize=1024)
def _tables(
    recipe: Recipe,
    value: Semivalue,
    players: int,
    lives: tuple[int, ...],
) -> Tables:
    lives = tuple(n for n in lives if n) or (1,)
    width = max(players, 1)
    inside, outside, empty = np.zeros((len(lives), width)), np.zeros((len(lives), width)), np.zeros(len(lives))
    level_of = np.zeros(players + 1, np.int32)
    for level, n in enumerate(lives):
        for scale, utility, params in recipe:
            a, b, c = _coefficients(utility, params, value, n)
            inside[level, :n] += scale * a
            outside[level, :n] += scale * b
            empty[level] += scale * c
        if n <= players:
            level_of[n] = level
    return Tables(inside, outside if outside.any() else None, empty, level_of)


@lru_cache(maxsize=8192)
def _coefficients(utility: Any, params: tuple[Any, ...], value: Semivalue, n: int) -> Coefficients:
    return utility.coefficients(value, n, *params)


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


class Max(FixedWeights):
    """v(S) = max_{i in S} r_i, the reward of best-of-n.

    Under Shapley phi_[j] = sum_{k >= j} (r_[k] - r_[k+1]) / k, with r_[n+1] = v_empty: the airport game.

    Args:
        rewards: [..., players]; mask: [..., players] bool or None; v_empty: number or [batch].

    Raises:
        TypeError, ValueError: arrays of the wrong kind or shape.

    Source: Littlechild and Owen (1973), doi:10.1287/mnsc.20.3.370; for RL, ShapE-GRPO, arXiv 2603.29871.
    """

    @staticmethod
    def definition(members: Sequence[Any]) -> Any:
        return max(members)

    @classmethod
    def fixed_weights(cls, n: int) -> np.ndarray:
        return np.ones(1)


class Min(OrderGame):
    """v(S) = min_{i in S} r_i: the set is as good as its worst candidate. Arguments as in `Max`.

    With w the size weights and q_k = P(no player outside the k best is present): A_k = w_0, B_k = w_0 - q_k.
    """

    @staticmethod
    def definition(members: Sequence[Any]) -> Any:
        return min(members)

    @classmethod
    def weights(cls, size: int) -> np.ndarray:
        return np.eye(size)[-1]

    @classmethod
    def coefficients(cls, value: Semivalue, n: int) -> Coefficients:
        sizes = value.size_weights(n)
        return np.full(n, sizes[0]), -_outside(_without_group(sizes)), 0.0


def _without_group(sizes: np.ndarray) -> np.ndarray:
    """[n], entry k - 1: P(somebody is present, but none of the k - 1 other members of a group of k). As a difference of
    probabilities, E_k - w_0, it would cancel where coalitions are mostly empty."""
    somebody = sizes.copy()
    somebody[0] = 0.0
    return thin(somebody, np.ones(1))


def _outside(of_group: np.ndarray) -> np.ndarray:
    """From entry k - 1 for a member of a group of k, to entry k - 1 for one of the n - k players outside the k best;
    the last, for nobody, is 0."""
    return np.append(of_group[-2::-1], 0.0)


class Mean(OrderGame):
    """v(S) = mean of the rewards in S. Arguments as in `Max`. Coefficients in O(n)."""

    @staticmethod
    def definition(members: Sequence[Any]) -> Any:
        return sum(members) / len(members)

    @classmethod
    def weights(cls, size: int) -> np.ndarray:
        return np.full(size, 1.0 / size)

    @classmethod
    def empty_share(cls, size: int) -> float:
        return 1.0

    @classmethod
    def coefficients(cls, value: Semivalue, n: int) -> Coefficients:
        w = value.size_weights(n)
        inside, outside = _mean_coefficients(w, n, n)
        return inside + w[0], outside, 0.0


def _mean_coefficients(w: np.ndarray, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """A - w_0 and B of the mean, when only coalitions of less than m players count."""
    k = np.arange(1, n + 1)
    s = np.arange(1, min(m, n))
    per_gap = (w[s] / (s + 1)).sum() / max(n - 1, 1)
    outside = -k * per_gap
    outside[-1] = 0.0
    return (n - k) * per_gap, outside


class Median(OrderGame):
    """v(S) = median of the rewards in S, the mean of the two middle ones when |S| is even (as `numpy.median`).

    Arguments as in `Max`. Coefficients in O(n^2): when a coalition of s grows by one, the weight on the level of the
    k best moves only if exactly floor(s/2) of them are present.
    """

    @staticmethod
    def definition(members: Sequence[Any]) -> Any:
        return median(members)

    @classmethod
    def weights(cls, size: int) -> np.ndarray:
        w = np.zeros(size)
        w[(size - 1) // 2] += 0.5
        w[size // 2] += 0.5
        return w

    @classmethod
    def coefficients(cls, value: Semivalue, n: int) -> Coefficients:
        w = value.size_weights(n)
        group = np.arange(n)  # g of the n - 1 others are marked; P(floor(s/2) of the s present are marked)
        rest = n - 1 - group
        chance, pivotal = np.ones(n), np.zeros(n)
        for s in range(1, n):
            a = (s - 1) // 2  # marked ones present at s - 1, by ratios of hypergeometric probabilities
            grown = np.clip(rest - (s - 1 - a), 0, None) / (s - a) if s % 2 else np.clip(group - a, 0, None) / (a + 1)
            chance = chance * grown * (s / (n - s))
            pivotal += w[s] * chance
        inside = w[0] + 0.5 * pivotal
        outside = np.append(-0.5 * pivotal[::-1][1:], 0.0)  # among the k best as among the n - 1 - k others, mirrored
        return inside, outside, 0.0


class Range(OrderGame):
    """v(S) = max - min of the rewards in S, the spread of the set. Arguments as in `Max`."""

    @staticmethod
    def definition(members: Sequence[Any]) -> Any:
        return max(members) - min(members)

    @classmethod
    def weights(cls, size: int) -> np.ndarray:
        w = np.zeros(size)
        w[0] += 1.0
        w[-1] -= 1.0
        return w

    @classmethod
    def coefficients(cls, value: Semivalue, n: int) -> Coefficients:
        sizes = value.size_weights(n)
        inside = _without_group(sizes)
        return inside, _outside(inside), -float(sizes[0])


class TopM(FixedWeights):
    """v(S) = sum of the min(m, |S|) best rewards in S: a list of m places.

    Args:
        rewards, mask, v_empty: as in `Max`; m: integer >= 1. TopM(r, 1) is `Max`, m >= players the plain sum.
    """

    def __init__(self, rewards: Any, m: int, mask: Any = None, v_empty: Any = 0.0) -> None:
        super().__init__(rewards, mask, v_empty)
        self.params = (_count("TopM", "m", m),)

    @staticmethod
    def definition(members: Sequence[Any], m: int) -> Any:
        return sum(sorted(members)[-m:])

    @classmethod
    def fixed_weights(cls, n: int, m: int) -> np.ndarray:
        return np.ones(min(m, n))

    @classmethod
    def example_params(cls, rng: np.random.Generator, players: int) -> dict[str, Any]:
        return {"m": int(rng.integers(1, players + 2))}


class TopMMean(OrderGame):
    """v(S) = mean of the min(m, |S|) best rewards in S.

    Args:
        rewards, mask, v_empty: as in `Max`; m: integer >= 1. m = 1 is `Max`, m >= players is `Mean`.

    Below m players the coefficients are those of `Mean`, above those of fixed weights 1/m; O(n^2).
    """

    def __init__(self, rewards: Any, m: int, mask: Any = None, v_empty: Any = 0.0) -> None:
        super().__init__(rewards, mask, v_empty)
        self.params = (_count("TopMMean", "m", m),)

    @staticmethod
    def definition(members: Sequence[Any], m: int) -> Any:
        best = sorted(members)[-m:]
        return sum(best) / len(best)

    @classmethod
    def weights(cls, size: int, m: int) -> np.ndarray:
        w = np.zeros(size)
        w[:m] = 1.0 / min(m, size)
        return w

    @classmethod
    def empty_share(cls, size: int, m: int) -> float:
        return 1.0

    @classmethod
    def coefficients(cls, value: Semivalue, n: int, m: int) -> Coefficients:
        w = value.size_weights(n)
        inside, outside = _mean_coefficients(w, n, m)
        large = np.where(np.arange(n) >= m, w, 0.0)
        inside += w[0] + thin(large, np.full(min(m, n), 1.0 / m))
        return inside, outside, 0.0

    @classmethod
    def example_params(cls, rng: np.random.Generator, players: int) -> dict[str, Any]:
        return {"m": int(rng.integers(1, players + 2))}


class KthBest(FixedWeights):
    """v(S) = the k-th best reward in S, v_empty when |S| < k: "at least k good ones".

    Args:
        rewards, mask, v_empty: as in `Max`; k: integer >= 1. k = 1 is `Max`.
    """

    def __init__(self, rewards: Any, k: int, mask: Any = None, v_empty: Any = 0.0) -> None:
        super().__init__(rewards, mask, v_empty)
        self.params = (_count("KthBest", "k", k),)

    @staticmethod
    def definition(members: Sequence[Any], k: int) -> Any:
        return sorted(members)[-k] if len(members) >= k else None

    @classmethod
    def fixed_weights(cls, n: int, k: int) -> np.ndarray:
        w = np.zeros(min(k, n))
        w[k - 1 :] = 1.0  # none when k > n
        return w

    @classmethod
    def empty_share(cls, size: int, k: int) -> float:
        return 1.0

    @classmethod
    def coefficients(cls, value: Semivalue, n: int, k: int) -> Coefficients:
        inside, outside, _ = super().coefficients(value, n, k)
        return (
            inside,
            outside,
            0.0,
        )  # v_empty serves all sets that are too small: a constant, of which nobody gets a share

    @classmethod
    def example_params(cls, rng: np.random.Generator, players: int) -> dict[str, Any]:
        return {"k": int(rng.integers(1, players + 2))}


class OWA(OrderGame):
    """v(S) = sum_j w_j r_(j), r_(j) the j-th best reward in S: the whole family.

    Args:
        rewards, mask, v_empty: as in `Max`.
        weights: [n] for weights that do not depend on |S| (shorter is zero-padded, longer than the players raises);
            or [players, players], row s - 1 serving |S| = s.

    Raises:
        ValueError: weights of another shape, or not finite; [n, n] with more than 512 live players, whose coefficients
            cost O(n^3).
    """

    def __init__(self, rewards: Any, weights: Any, mask: Any = None, v_empty: Any = 0.0) -> None:
        super().__init__(rewards, mask, v_empty)
        self.params = (_Weights.checked("OWA", weights, self.players),)

    @staticmethod
    def definition(members: Sequence[Any], weights: "_Weights") -> Any:
        row = weights.array if weights.array.ndim == 1 else weights.array[len(members) - 1]
        return sum(Fraction(float(w)) * r for w, r in zip(row, sorted(members, reverse=True), strict=False))

    @classmethod
    def weights(cls, size: int, weights: "_Weights") -> np.ndarray:
        row = weights.array if weights.array.ndim == 1 else weights.array[size - 1]
        w = np.zeros(size)
        w[: min(size, len(row))] = row[:size]
        return w

    @classmethod
    def coefficients(cls, value: Semivalue, n: int, weights: "_Weights") -> Coefficients:
        if weights.array.ndim == 1:
            return _FixedOWA.coefficients(value, n, weights)
        return super().coefficients(value, n, weights)

    @classmethod
    def example_params(cls, rng: np.random.Generator, players: int) -> dict[str, Any]:
        shape = (players,) if rng.integers(2) else (players, players)
        return {"weights": rng.integers(-4, 9, size=shape) / 8}


class _FixedOWA(FixedWeights):
    @classmethod
    def fixed_weights(cls, n: int, weights: "_Weights") -> np.ndarray:
        return weights.array[:n]


class Discounted(FixedWeights):
    """v(S) = sum_j w_j r_(j), r_(j) the j-th best reward in S, with decreasing weights: DCG of the best ranking of S.

    Args:
        rewards, mask, v_empty: as in `Max`.
        weights: [n] (shorter is zero-padded, longer than the players raises); None: 1 / log2(j + 1).

    Source: Jarvelin and Kekalainen (2002), doi:10.1145/582415.582418.
    """

    def __init__(self, rewards: Any, weights: Any = None, mask: Any = None, v_empty: Any = 0.0) -> None:
        super().__init__(rewards, mask, v_empty)
        self.params = (None if weights is None else _Weights.checked("Discounted", weights, self.players, dims=(1,)),)

    @staticmethod
    def definition(members: Sequence[Any], weights: "_Weights | None") -> Any:
        row = Discounted.fixed_weights(len(members), weights)
        return sum(Fraction(float(w)) * r for w, r in zip(row, sorted(members, reverse=True), strict=False))

    @classmethod
    def fixed_weights(cls, n: int, weights: "_Weights | None") -> np.ndarray:
        if weights is not None:
            return weights.array[:n]
        return np.array([1.0 / log2(j + 1) for j in range(1, n + 1)])

    @classmethod
    def example_params(cls, rng: np.random.Generator, players: int) -> dict[str, Any]:
        return (
            {}
            if rng.integers(2)
            else {"weights": np.sort(rng.integers(0, 9, size=max(1, players - 1)) / 8)[::-1].copy()}
        )


class _Weights:
    """An array of weights that can be a key of the coefficient cache."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self._key = (array.shape, array.tobytes())
        self._hash = hash(self._key)

    @classmethod
    def checked(cls, owner: str, weights: Any, players: int, dims: tuple[int, ...] = (1, 2)) -> "_Weights":
        if is_torch(weights):
            weights = weights.detach().cpu().numpy()
        try:
            array = np.array(weights, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{owner}: weights must be numbers, got {describe(weights)} ({error})") from None
        shapes = " or ".join(["[n]", "[players, players]"][d - 1] for d in dims)
        if array.ndim not in dims:
            raise ValueError(f"{owner}: weights must have shape {shapes}, got {array.shape}")
        if array.ndim == 2 and array.shape != (players, players):
            raise ValueError(
                f"{owner}: weights must have shape [players, players] = ({players}, {players}), got {array.shape}"
            )
        if array.ndim == 1 and len(array) > players:
            raise ValueError(
                f"{owner}: at most {players} weights serve {players} players, got {len(array)}; "
                f"cut them to [:{players}]"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{owner}: weights must be finite, got {array[~np.isfinite(array)][0]}")
        array = np.array([0.0]) if array.size == 0 else array
        array.flags.writeable = False
        return cls(array)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Weights) and self._key == other._key


def _count(owner: str, name: str, x: Any) -> int:
    if not isinstance(x, Integral) or isinstance(x, (bool, np.bool_)) or x < 1:
        raise ValueError(f"{owner}: {name} must be an integer >= 1, got {x!r}")
    return int(x)


def _generic_coefficients(weights: Callable[[int], np.ndarray], value: Semivalue, n: int) -> Coefficients:
    """A, B, C by summing over coalition sizes and the number of the k best in the coalition. O(n^3), O(n^2) memory."""
    if n > GENERIC_PLAYERS:
        raise ValueError(
            f"OWA: weights [n, n] cost O(n^3) = {n**3:.1e} steps for {n} live players, "
            f"more than the {GENERIC_PLAYERS} allowed; "
            "use a named utility, or [n] weights that do not depend on |S|"
        )
    below = np.zeros((n + 1, n + 1))  # below[s, a]: weight on the a best of s
    for s in range(1, n + 1):
        below[s, 1 : s + 1] = np.cumsum(weights(s))
        below[s, s + 1 :] = below[s, s]
    size_weights = value.size_weights(n)
    group = np.arange(n)[:, None]  # g of the n - 1 others are marked
    a = np.arange(n)[None, :]  # a of them present
    chance = np.zeros((n, n))  # [g, a]: P(a | s present), hypergeometric, one more present at a time
    chance[:, 0] = 1.0
    inside, outside = np.zeros(n), np.zeros(n)
    for s in range(n):
        inside += size_weights[s] * (chance @ (below[s + 1, 1:] - below[s, :-1]))  # g = k - 1
        outside += size_weights[s] * (chance @ (below[s + 1, :-1] - below[s, :-1]))  # g = k
        if s < n - 1:
            stay = chance * np.clip(n - 1 - group - (s - a), 0, None)
            stay[:, 1:] += (chance * np.clip(group - a, 0, None))[:, :-1]
            chance = stay / (n - 1 - s)
    total = np.diagonal(below).copy()
    total[0] = 1.0
    return inside, np.append(outside[1:], 0.0), float(size_weights @ np.diff(total))
