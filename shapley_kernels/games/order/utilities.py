"""Games of the sorted rewards (ordered weighted averages, OWA): max, min, mean, median, top-m, DCG, ...

With the rewards of S sorted, r_(1) >= r_(2) >= ..., a game of this family is worth sum_j w_j r_(j); the weights may
depend on |S|; `v_empty` is the worth of the empty set. Under any semivalue its credits are two weighted running sums
over the gaps of the sorted row (docs/explanation/mathematics.md), so a game here only has to give the coefficients

    A_k, B_k: what a member / a non-member of the k best gets of the gap below the k-th best,   C: its share of v_empty.

To add a utility: subclass `FixedWeights` if the weight of the j-th best does not depend on |S|, else `OrderGame`, and
list it in games/__init__.py; tests, benchmarks and the table in the docs pick it up.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from math import log2
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import Array, floating, integer, native, to_float64
from shapley_kernels.games.data import is_number
from shapley_kernels.games.order.base import FixedWeights, OrderGame
from shapley_kernels.games.order.tables import Coefficients
from shapley_kernels.games.term import Maxima
from shapley_kernels.values import LARGEST_SUM, Semivalue, thin


class Max(FixedWeights):
    """v(S) = max_{i in S} r_i, the reward of best-of-n.

    Under Shapley phi_[j] = sum_{k >= j} (r_[k] - r_[k+1]) / k, with r_[n+1] = v_empty: the airport game.

    Args:
        rewards: [..., players]; mask: [..., players] bool or None; v_empty: number or [batch].

    Raises:
        TypeError, ValueError: arrays of the wrong kind or shape.

    Cost: O(players log players) per game.
    Source: Littlechild and Owen (1973), doi:10.1287/mnsc.20.3.370; for RL, ShapE-GRPO, arXiv 2603.29871.
    """

    @staticmethod
    def definition(members: Sequence[Any]) -> Any:
        return max(members)

    @classmethod
    def fixed_weights(cls, n: int) -> np.ndarray:
        return np.ones(1)

    def topics(self, size: int) -> int:
        return 1

    def maxima(self, group: Callable[[], Array]) -> Maxima:
        return Maxima(self.rewards.reshape(-1, self.players, 1), empty=_flat(self.v_empty))


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

    def topics(self, size: int) -> int:
        return 1

    def maxima(self, group: Callable[[], Array]) -> Maxima:
        return Maxima(-self.rewards.reshape(-1, self.players, 1), empty=-_flat(self.v_empty), scale=-1.0)


def _flat(v_empty: Any) -> Any:
    """[rows], or the number."""
    return v_empty if is_number(v_empty) else v_empty.reshape(-1)


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
    def counts_alike(cls, players: int) -> bool:
        return True

    @classmethod
    def v_empty_coefficient(cls, size: int) -> float:
        return 1.0

    @classmethod
    def coefficients(cls, value: Semivalue, n: int) -> Coefficients:
        w = value.size_weights(n)
        A, B = _mean_coefficients(w, n, n)
        return A + w[0], B, 0.0


def _mean_coefficients(w: np.ndarray, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """A - w_0 and B of the mean, when only coalitions of less than m players count."""
    k = np.arange(1, n + 1)
    s = np.arange(1, min(m, n))
    per_gap = (w[s] / (s + 1)).sum() / max(n - 1, 1)
    B = -k * per_gap
    B[-1] = 0.0
    return (n - k) * per_gap, B


class Median(OrderGame):
    """v(S) = median of the rewards in S, the mean of the two middle ones when |S| is even (as `numpy.median`).

    Arguments as in `Max`. Coefficients in O(n^2): when a coalition of s grows by one, the weight on the level of the
    k best moves only if exactly floor(s/2) of them are present.
    """

    @staticmethod
    def definition(members: Sequence[Any]) -> Any:
        ranked, half = sorted(members), len(members) // 2
        return ranked[half] if len(members) % 2 else (ranked[half - 1] + ranked[half]) / 2

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
        prob, pivotal = np.ones(n), np.zeros(n)
        for s in range(1, n):
            a = (s - 1) // 2  # marked ones present at s - 1, by ratios of hypergeometric probabilities
            grown = np.clip(rest - (s - 1 - a), 0, None) / (s - a) if s % 2 else np.clip(group - a, 0, None) / (a + 1)
            prob = prob * grown * (s / (n - s))
            pivotal += w[s] * prob
        A = w[0] + 0.5 * pivotal
        B = np.append(-0.5 * pivotal[::-1][1:], 0.0)  # among the k best as among the n - 1 - k others, mirrored
        return A, B, 0.0


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
        A = _without_group(sizes)
        return A, _outside(A), -float(sizes[0])


class TopM(FixedWeights):
    """v(S) = sum of the min(m, |S|) best rewards in S: a list of m places.

    Args:
        rewards, mask, v_empty: as in `Max`; m: integer >= 1. TopM(r, 1) is `Max`, m >= players the plain sum.

    Raises: as `Max`; TypeError, ValueError: another m.
    """

    def __init__(self, rewards: Any, m: int, mask: Any = None, v_empty: Any = 0.0) -> None:
        super().__init__(rewards, mask, v_empty)
        self.params = (integer("TopM: m", m, 1),)

    @staticmethod
    def definition(members: Sequence[Any], m: int) -> Any:
        return sum(sorted(members)[-m:])

    @classmethod
    def fixed_weights(cls, n: int, m: int) -> np.ndarray:
        return np.ones(min(m, n))

    @classmethod
    def example_params(cls, rng: "np.random.Generator", players: int) -> dict[str, Any]:
        return {"m": int(rng.integers(1, players + 2))}


class TopMMean(OrderGame):
    """v(S) = mean of the min(m, |S|) best rewards in S.

    Args:
        rewards, mask, v_empty: as in `Max`; m: integer >= 1. m = 1 is `Max`, m >= players is `Mean`.

    Raises: as `Max`; TypeError, ValueError: another m.

    Below m players the coefficients are those of `Mean`, above those of fixed weights 1/m; O(n^2).
    """

    def __init__(self, rewards: Any, m: int, mask: Any = None, v_empty: Any = 0.0) -> None:
        super().__init__(rewards, mask, v_empty)
        self.params = (integer("TopMMean: m", m, 1),)

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
    def v_empty_coefficient(cls, size: int, m: int) -> float:
        return 1.0

    @classmethod
    def coefficients(cls, value: Semivalue, n: int, m: int) -> Coefficients:
        w = value.size_weights(n)
        A, B = _mean_coefficients(w, n, m)
        large = np.where(np.arange(n) >= m, w, 0.0)
        A += w[0] + thin(large, np.full(min(m, n), 1.0 / min(m, n)))
        return A, B, 0.0

    @classmethod
    def example_params(cls, rng: "np.random.Generator", players: int) -> dict[str, Any]:
        return {"m": int(rng.integers(1, players + 2))}


class KthBest(FixedWeights):
    """v(S) = the k-th best reward in S, v_empty when |S| < k: "at least k good ones".

    Args:
        rewards, mask, v_empty: as in `Max`; k: integer >= 1. k = 1 is `Max`.

    Raises: as `Max`; TypeError, ValueError: another k.
    """

    def __init__(self, rewards: Any, k: int, mask: Any = None, v_empty: Any = 0.0) -> None:
        super().__init__(rewards, mask, v_empty)
        self.params = (integer("KthBest: k", k, 1),)

    @staticmethod
    def definition(members: Sequence[Any], k: int) -> Any:
        return sorted(members)[-k] if len(members) >= k else None

    @classmethod
    def fixed_weights(cls, n: int, k: int) -> np.ndarray:
        w = np.zeros(min(k, n))
        w[k - 1 :] = 1.0  # none when k > n
        return w

    @classmethod
    def v_empty_coefficient(cls, size: int, k: int) -> float:
        return 1.0

    @classmethod
    def coefficients(cls, value: Semivalue, n: int, k: int) -> Coefficients:
        A, B, _ = super().coefficients(value, n, k)
        # v_empty serves all sets that are too small: a constant, of which nobody gets a share
        return A, B, 0.0

    @classmethod
    def example_params(cls, rng: "np.random.Generator", players: int) -> dict[str, Any]:
        return {"k": int(rng.integers(1, players + 2))}


class OWA(OrderGame):
    """v(S) = sum_j w_j r_(j), r_(j) the j-th best reward in S: the whole family.

    Args:
        rewards, mask, v_empty: as in `Max`.
        weights: [n] for weights that do not depend on |S| (shorter is zero-padded); or [n, n] with n >= players, row
            s - 1 serving |S| = s. Those of places that no set here reaches are ignored: one array serves long and
            short sets.

    Raises:
        TypeError: weights that are no real numbers.
        ValueError: weights of another shape, not finite, or of a sum beyond 2^500; [n, n] with more than 512 live
            players, whose coefficients cost O(n^3).
    """

    may_cancel: ClassVar[bool] = True

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
    def example_params(cls, rng: "np.random.Generator", players: int) -> dict[str, Any]:
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
        weights: [n] (shorter is zero-padded, those of places that no set here reaches are ignored); None:
            1 / log2(j + 1).

    Raises: as `OWA`.
    Source: Jarvelin and Kekalainen (2002), doi:10.1145/582415.582418.
    """

    may_cancel: ClassVar[bool] = True

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
    def example_params(cls, rng: "np.random.Generator", players: int) -> dict[str, Any]:
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
        given, _ = native(weights, f"{owner}: weights")
        floating(given, f"{owner}: weights")  # a check alone: as a float32, an integer would be rounded
        array = np.array(to_float64(given))
        shapes = " or ".join(["[n]", "[n, n]"][d - 1] for d in dims)
        if array.ndim not in dims:
            raise ValueError(f"{owner}: weights must have shape {shapes}, got {array.shape}")
        if array.ndim == 2 and (array.shape[0] != array.shape[1] or len(array) < players):
            raise ValueError(
                f"{owner}: weights must have shape [n, n] with n >= {players}, a row for each size of a set, "
                f"got {array.shape}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{owner}: weights must be finite, got {array[~np.isfinite(array)][0]}")
        array = array[(slice(players),) * array.ndim].copy()  # of the places that a set here reaches
        array = np.array([0.0]) if array.size == 0 else array
        with np.errstate(over="ignore"):
            total = np.abs(array).sum(-1).max()
        if total > LARGEST_SUM:
            raise ValueError(
                f"{owner}: weights of one size of a set must sum to at most {LARGEST_SUM:g} in absolute value, "
                f"got {total:g}; scale them down, and the game up"
            )
        array.flags.writeable = False
        return cls(array)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Weights) and self._key == other._key
