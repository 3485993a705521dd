"""Semivalues: how the worth of a set is shared among its players.

A semivalue gives player i the average of its marginal contributions v(S + i) - v(S), where the coalition S of the other
players is drawn by first drawing its size s with probability w_s and then a coalition of that size uniformly. So the
size weights w_0 .. w_{n-1} are all there is to know; Shapley's are 1/n each.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from math import comb, inf, isfinite
from typing import Any

import numpy as np

from shapley_kernels.arrays import as_float, integer, number

LARGEST_SUM = 2.0**500
"""What weights of places, and weights of sizes, may sum to, so that products of both, and sums of these, are finite."""


class Semivalue:
    """Base of all values: `size_weights` is the definition, `expectations` what closed forms are made of."""

    fixed_players: int | None = None
    """The one number of players it is defined for; None: any."""

    def size_weights(self, n: int) -> np.ndarray:
        """w [n] float64: total weight of the coalitions of s = 0 .. n-1 other players, among n players."""
        raise NotImplementedError

    def exact_size_weights(self, n: int) -> list[Fraction]:
        """The definition of `size_weights` in rational arithmetic, written apart from it: the oracle's side."""
        raise NotImplementedError

    def expectations(self, f: np.ndarray, n: int) -> np.ndarray:
        """E_k = E[f(number of a group's other members that are present)] for a member of a group of k = 1 .. n players.

        Args:
            f: [width] float64, f(0) .. f(width - 1), zero beyond.
            n: players in the game.

        Returns:
            E [n] float64, E[k - 1] for the group of k.

        Cost: O(n min(width, n)) for Shapley, Banzhaf and Beta, O(n^2) for the others.
        """
        return thin(self.size_weights(n), f)

    def nodes(self, n: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Inclusion probabilities t and their weights: the value as a mixture of coalitions that every other player
        joins independently, exact for n players; None when the size weights are no such mixture.

        phi_i = sum_q weight_q E[v(S + i) - v(S)], each other player in S with probability t_q.

        Returns:
            t, weight [nodes] float64, read-only; ceil(n / 2) nodes for Shapley and Beta, one for the others.

        Error: 1e-16 each where numpy's longdouble has more than 53 bits, else weights to 1e-13; against 40 digits
            (tests/test_values.py).
        """
        return None


def brackets(x: Any, *bases: type) -> str:
    """The end of a message about `x`, no instance of `bases`: what to do if it is one of their classes."""
    return f"; make one with brackets, as {x.__name__}(...)" if isinstance(x, type) and issubclass(x, bases) else ""


def _node(t: float) -> tuple[np.ndarray, np.ndarray]:
    return np.array([float(t)]), np.ones(1)


@lru_cache(maxsize=256)
def _gauss(alpha: float, beta: float, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Jacobi nodes and weights for t ~ Beta(beta, alpha): exact for polynomials of degree 2 count - 1.

    The nodes are the eigenvalues of the Jacobi matrix (Golub and Welsch 1969, doi:10.1090/S0025-5718-69-99647-1),
    polished by Newton's method on the orthonormal polynomials p_k; the weights are 1 / sum_k p_k(t)^2.

    Cost: O(count^3), cached.
    """
    a, b = np.longdouble(alpha), np.longdouble(beta)
    c, k = a + b, np.arange(1, count).astype(np.longdouble)
    diagonal = np.append(b / c, (2 * k * (k + c - 1) + b * (c - 2)) / ((2 * k + c - 2) * (2 * k + c)))
    square = k * (k + a - 1) * (k + b - 1) * (k + c - 2)
    square /= (2 * k + c - 2) ** 2 * (2 * k + c - 1) * np.where(k > 1, 2 * k + c - 3, 1)
    square[:1] = a * b / (c * c * (c + 1))  # the limit: the formula is 0 / 0 at c = 1
    above = np.append(np.sqrt(square), 1)  # the last one scales p_count, whose zeros alone matter
    below = np.append(0, above[:-1])
    jacobi = np.diag(diagonal) + np.diag(above[:-1], 1) + np.diag(above[:-1], -1)
    t = np.linalg.eigvalsh(jacobi.astype(np.float64)).astype(np.longdouble)
    for _ in range(3):  # two steps, and the weights at what they lead to
        total = np.zeros_like(t)
        p, slope = np.ones_like(t), np.zeros_like(t)
        p_before, slope_before = np.zeros_like(t), np.zeros_like(t)
        for i in range(count):
            total += p * p
            p_next = ((t - diagonal[i]) * p - below[i] * p_before) / above[i]
            slope_next = ((t - diagonal[i]) * slope + p - below[i] * slope_before) / above[i]
            p, p_before, slope, slope_before = p_next, p, slope_next, slope
        step = p / slope
        t -= step
    t += step  # where total was taken
    weight = 1 / total
    result = np.clip(t, 0, 1).astype(np.float64), (weight / weight.sum()).astype(np.float64)
    for x in result:
        x.flags.writeable = False
    return result


def thin(size_weights: np.ndarray, f: np.ndarray) -> np.ndarray:
    """`Semivalue.expectations` for any size weights: drop one random outsider after the other.

    Without one of its n - 1 others, a coalition of s keeps its size with probability (n-1-s)/(n-1). All terms are
    positive, so nothing cancels.
    """
    n = len(size_weights)
    present = size_weights.astype(np.float64)  # distribution of the number of present others, group of k
    result = np.zeros(n)
    for k in range(n, 0, -1):
        width = min(k, len(f))
        result[k - 1] = present[:width] @ f[:width]
        if k > 1:
            a = np.arange(k - 1)
            present = (present[:-1] * (k - 1 - a) + present[1:] * (a + 1)) / (k - 1)
    return result


Urn = Callable[[int, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""(k, a) -> probabilities that the k-th other is present and that it is not, when a of the others before it are. Both
are given, because 1 - p of a p near 1 would not be accurate."""


def _grown(urn: Urn, n: int, width: int) -> Iterator[np.ndarray]:
    """Distributions [width] of how many others are present, of none, one, .. n - 1, when sizes grow as in an urn."""
    present, a = np.zeros(width), np.arange(width)
    present[:1] = 1.0
    for k in range(1, n + 1):
        yield present
        join, stay = urn(k, a)
        grown = present * stay
        grown[1:] += (present * join)[:-1]
        present = grown


class _ByGrowth(Semivalue):
    """Base of values whose coalitions grow as in an urn."""

    def _urn(self, k: int, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    def size_weights(self, n: int) -> np.ndarray:
        last = deque(_grown(self._urn, n, n), maxlen=1)
        return last.pop() if n else np.zeros(0)

    def expectations(self, f: np.ndarray, n: int) -> np.ndarray:
        width = min(len(f), n)
        return np.array([present @ f[:width] for present in _grown(self._urn, n, width)])


@dataclass(frozen=True)
class Shapley(Semivalue):
    """The Shapley value: w_s = 1/n. The only semivalue whose credits always sum to v(all) - v(empty) (efficiency).

    Source: Shapley, L. S. (1953), A value for n-person games, doi:10.1515/9781400881970-018.
    """

    def size_weights(self, n: int) -> np.ndarray:
        return np.full(n, 1.0 / n)

    def exact_size_weights(self, n: int) -> list[Fraction]:
        return [Fraction(1, n)] * n

    def expectations(self, f: np.ndarray, n: int) -> np.ndarray:
        total = np.zeros(n)
        width = min(len(f), n)
        total[:width] = np.cumsum(f[:width])
        total[width:] = total[width - 1] if width else 0.0
        return total / np.arange(1, n + 1)

    def nodes(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return _gauss(1.0, 1.0, max(1, (n + 1) // 2))


@dataclass(frozen=True)
class Banzhaf(_ByGrowth):
    """The (weighted) Banzhaf value: every other player is present with probability p, independently.

    Args:
        p: in [0, 1]; 1/2 is Banzhaf's. p = 0 pays each player its worth alone, p = 1 is `LeaveOneOut`.

    Raises: TypeError, ValueError: another p.
    Source: Banzhaf (1965), Rutgers Law Review 19; for data, Wang and Jia (2023), arXiv 2205.15466.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        number("Banzhaf: p", self.p, "a number in [0, 1]", lambda p: 0 <= p <= 1)

    def _urn(self, k: int, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(a), float(self.p)), np.full(len(a), 1.0 - self.p)

    def exact_size_weights(self, n: int) -> list[Fraction]:
        p = Fraction(self.p)
        return [comb(n - 1, s) * p**s * (1 - p) ** (n - 1 - s) for s in range(n)]

    def nodes(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return _node(self.p)


@dataclass(frozen=True)
class BetaShapley(_ByGrowth):
    """Beta(alpha, beta)-Shapley: w_s = C(n-1, s) B(s + beta, n-1-s + alpha) / B(alpha, beta).

    Args:
        alpha, beta: > 0. Large alpha favours small coalitions; (1, 1) is Shapley.

    Raises: TypeError, ValueError: others.
    Source: Kwon and Zou (2022), arXiv 2110.14049.
    """

    alpha: float = 1.0
    beta: float = 1.0

    def __post_init__(self) -> None:
        for name in ("alpha", "beta"):
            number(f"BetaShapley: {name}", getattr(self, name), "a finite number > 0", lambda x: 0 < x < inf)
        if not isfinite(float(self.alpha) + float(self.beta)):
            raise ValueError(f"BetaShapley: alpha + beta must be finite, got {self.alpha!r} + {self.beta!r}")

    def _urn(self, k: int, a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        alpha, beta = float(self.alpha), float(self.beta)  # fractions would make arrays of objects
        total = alpha + beta + (k - 1)  # Polya's urn
        # beyond a = k - 1, which never occurs, the second one would be negative
        return (beta + a) / total, np.maximum(alpha + (k - 1 - a), 0.0) / total

    def exact_size_weights(self, n: int) -> list[Fraction]:
        alpha, beta = Fraction(self.alpha), Fraction(self.beta)

        def rising(x: Fraction, k: int) -> Fraction:
            product = Fraction(1)
            for i in range(k):
                product *= x + i
            return product

        total = rising(alpha + beta, n - 1)
        return [comb(n - 1, s) * rising(beta, s) * rising(alpha, n - 1 - s) / total for s in range(n)]

    def nodes(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        if min(self.alpha, self.beta) < 1e-9 or max(self.alpha, self.beta) > 1e20:
            raise ValueError(
                f"BetaShapley: alpha and beta must be in 1e-9 .. 1e20 for games by quadrature, got {self.alpha!r} and "
                f"{self.beta!r}; Banzhaf(beta / (alpha + beta)) is the limit of large ones"
            )
        return _gauss(float(self.alpha), float(self.beta), max(1, (n + 1) // 2))


@dataclass(frozen=True)
class Stratum(Semivalue):
    """Average marginal contribution as the last of `size` players: w_s = 1 for s = size - 1, else 0.

    For `Max` this is the credit of max@k training: PKPO's leave-one-out advantage at k is k/n times Stratum(k).

    Args:
        size: integer >= 1, counts the player itself; with fewer live players, their number is used.

    Raises: TypeError, ValueError: another size.
    Source: Walder and Karkhanis (2025), arXiv 2505.15201.
    """

    size: int

    def __post_init__(self) -> None:
        integer("Stratum: size", self.size, 1, "an integer >= 1 (it counts the player itself)")

    def size_weights(self, n: int) -> np.ndarray:
        weights = np.zeros(n)
        weights[min(self.size, n) - 1] = 1.0
        return weights

    def exact_size_weights(self, n: int) -> list[Fraction]:
        return [Fraction(int(s + 1 == min(self.size, n))) for s in range(n)]

    def nodes(self, n: int) -> tuple[np.ndarray, np.ndarray] | None:
        return _node(0.0) if self.size == 1 else None


@dataclass(frozen=True)
class LeaveOneOut(Semivalue):
    """The marginal contribution to everybody else, v(all) - v(all without i): w_s = 1 for s = n - 1, else 0."""

    def size_weights(self, n: int) -> np.ndarray:
        weights = np.zeros(n)
        weights[n - 1] = 1.0
        return weights

    def exact_size_weights(self, n: int) -> list[Fraction]:
        return [Fraction(int(s == n - 1)) for s in range(n)]

    def nodes(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return _node(1.0)


@dataclass(frozen=True, init=False)
class SizeWeights(Semivalue):
    """Any semivalue by its size weights; a probabilistic value when they are >= 0 and sum to 1.

    Args:
        w: numbers w_0 .. w_{n-1}, the total weight of the coalitions of s other players, for n players exactly; or a
            function n -> such a list, for any number of players. Shapley is `SizeWeights(lambda n: [1 / n] * n)`.

    Raises:
        TypeError, ValueError: here for a list that is not numbers; at use when w serves another number of players.

    Source: Dubey, Neyman and Weber (1981), Value theory without efficiency, doi:10.1287/moor.6.1.122.
    """

    w: tuple[float, ...] | Callable[[int], Sequence[float]] = field()

    def __init__(self, w: Sequence[float] | np.ndarray | Callable[[int], Sequence[float]]) -> None:
        object.__setattr__(self, "w", w if callable(w) else self._checked(w))

    @staticmethod
    def _checked(w: Sequence[float] | np.ndarray) -> tuple[float, ...]:
        try:
            weights = tuple(as_float(x, "w") for x in w)
        except (TypeError, ValueError):
            raise TypeError(
                f"SizeWeights: w must be a list of numbers or a function n -> list of numbers, got {w!r}"
            ) from None
        if not weights or not all(isfinite(x) for x in weights):
            raise ValueError(f"SizeWeights: w must be at least one finite number, got {w!r}")
        if (total := sum(map(abs, weights))) > LARGEST_SUM:
            raise ValueError(
                f"SizeWeights: w must sum to at most {LARGEST_SUM:g} in absolute value, got {total:g}; scale it down, "
                "and the game up"
            )
        return weights

    @property
    def fixed_players(self) -> int | None:  # type: ignore[override]
        return None if callable(self.w) else len(self.w)

    def _weights(self, n: int) -> tuple[float, ...]:
        weights = self._checked(self.w(n)) if callable(self.w) else self.w
        if len(weights) != n:
            remedy = (
                "w(n) must have length n"
                if callable(self.w)
                else "pass a function n -> w to serve any number of live players"
            )
            raise ValueError(f"SizeWeights: expected {n} weights for {n} live players, got {len(weights)}; {remedy}")
        return weights

    def size_weights(self, n: int) -> np.ndarray:
        return np.array(self._weights(n))

    def exact_size_weights(self, n: int) -> list[Fraction]:
        return [Fraction(x) for x in self._weights(n)]
