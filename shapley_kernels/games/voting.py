"""Games on a sum of integer weights: weighted voting, with a majority of members too, and a sum under a budget."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import comb, prod
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import Array, compute_dtype, describe, floating, integer, native, ops_of
from shapley_kernels.games.base import Game
from shapley_kernels.games.multilinear import TotalTerm
from shapley_kernels.games.term import AnyLauncher, Term
from shapley_kernels.values import Semivalue

LARGEST_TOTAL = 1 << 20
"""Of a budget: cost and memory grow with it."""

LARGEST_QUOTA = 1 << 48
"""Sums of weights that count for no more than it overflow no int64."""

COUNTED = 1 << 16
"""Quotas above it are served by counting coalitions (`CountTerm`), one game after the other."""

MOST_MEMBERS = 1000
"""Whose coalitions are counted: C(1000, 500) is 3e299."""

MOST_COUNTS = 1 << 28
"""Numbers of coalitions that are kept at a time: 2 GiB."""


class _IntegerWeights(Game):
    """Base of all: reads weights, and a total beyond which nothing changes."""

    arguments: ClassVar[dict[str, Any]] = {"weights": (-1,)}
    domain: ClassVar[dict[str, tuple[float, float]]] = {"weights": (0.0, float("inf"))}

    def _read_weights(self, weights: Any, mask: Any, name: str, total: Any, least: int) -> int:
        owner = type(self).__name__
        total = integer(f"{owner}: {name}", total, least)
        if total > LARGEST_QUOTA:
            raise ValueError(
                f"{owner}: {name} must be at most {LARGEST_QUOTA}, got {total}; divide it and the weights by a common "
                "factor"
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


@dataclass(frozen=True, eq=False)
class CountTerm(Term):
    """Credits of voting games from the numbers of coalitions N(s, x) of s members with a sum of at most x.

    Those of all members come by adding one member after the other; those of the others of member i by taking it out
    again, N_i(s, x) = sum_k (-1)^k N(s - k, x - k w_i). Up to half of the members the terms fall, so that what is
    subtracted is less than what stays; larger coalitions are counted by who is absent. So 2^53 coalitions of a size
    are counted without any error, and more with a relative one of members + sums roundings.
    """

    def credits(self, launch: AnyLauncher) -> Array:
        game, ops = self.game, self.game.ops
        weights = ops.to_host(game.weights).reshape(-1, game.players)
        credits = np.zeros(weights.shape)
        for row, live in enumerate(game.live_rows()):
            credits[row, live] = self._of_row(weights[row, live].tolist())
        shaped = (self.scale * credits).reshape(*game.batch_shape, game.players)
        return ops.cast(ops.array_like(shaped, game.data, ops.dtype("float64")), launch.dtype)

    def _of_row(self, weights: list[int]) -> list[float]:
        """Credits of the live members."""
        if not weights:
            return []
        n, total, counts = len(weights), sum(weights), self._counts(weights)
        scale = [p / comb(n - 1, s) for s, p in enumerate(self.value.size_weights(n))]
        by_weight = {w: self._credit(w, n, total, counts, scale) for w in set(weights)}
        return [by_weight[w] for w in weights]

    def _counts(self, weights: list[int]) -> np.ndarray:
        """N(s, x) of all members, [sizes up to half of the others, sums that are asked for]."""
        quota, total = self.game.quota, sum(weights)
        sizes, sums = (len(weights) - 1) // 2 + 1, max(min(quota, total + 1), total - quota + 1, 1)
        if sizes * sums > MOST_COUNTS or len(weights) > MOST_MEMBERS:
            raise ValueError(
                f"{type(self.game).__name__}: at most {MOST_MEMBERS} members, and {MOST_COUNTS:,} numbers of "
                f"coalitions (members / 2 times the larger of quota and sum of weights - quota), got {len(weights)} "
                f"members and {sizes * sums:,} numbers, {8 * sizes * sums:,} bytes; divide quota and weights by a "
                "common factor, rounded such as to thousands of votes, or pass the game to sk.estimate"
            )
        counts = np.zeros((sizes, sums))
        counts[0, 0] = 1.0
        reached = 0
        for members, w in enumerate(sorted(weights), 1):  # small ones first: what they reach is short
            reached = min(reached + w, sums - 1)
            if w <= reached:
                for size in range(min(members, sizes - 1), 0, -1):
                    counts[size, w : reached + 1] += counts[size - 1, : reached + 1 - w]
        for of_size in counts:
            np.cumsum(of_size, out=of_size)
        return counts

    def _credit(self, w: int, n: int, total: int, counts: np.ndarray, scale: list[float]) -> float:
        """Of a member with weight w, its swings by size of coalition times `scale`."""
        game = self.game
        below = _without(counts, game.quota - 1, w, n, total)  # [n], others who do not reach the quota
        short = _without(counts, game.quota - 1 - w, w, n, total)  # with whom the member does not either
        certain = game.certain(n)
        credit = 0.0
        for s in range(n):
            everybody = float(comb(n - 1, s))
            losing = everybody if s < game.members else below[s]
            losing = 0.0 if s >= certain else losing
            lost = everybody if s + 1 < game.members else short[s]
            lost = 0.0 if s + 1 >= certain else lost
            credit += scale[s] * (losing - lost)
        return credit

    def error_bound(self) -> np.ndarray:
        """[rows, players]: 2 (n + sums + 8) eps/2 sum_s |w_s| sum_k C(n, m - k) / C(n - 1, m), m the smaller of s and
        n - 1 - s, eps that of float64; and one rounding to the compute dtype."""
        game, live = self.game, self.game.live_rows()
        computing, bound = np.finfo(compute_dtype(game.dtype)), np.zeros(live.shape)
        weights = game.ops.to_host(game.weights).reshape(live.shape)
        for row, members in enumerate(live):
            n, total = int(members.sum()), int(weights[row, members].sum())
            size_weights = np.abs(self.value.size_weights(n)) if n else np.zeros(0)
            below = np.cumsum([float(comb(n, m)) for m in range(n // 2 + 1)])
            spread = sum(
                p * below[m] / comb(n - 1, m) for s, p in enumerate(size_weights) if (m := min(s, n - 1 - s)) >= 0
            )
            roundings = (n + max(min(game.quota, total), total - game.quota) + 8) * 2.0**-52
            bound[row, members] = abs(self.scale) * (roundings * spread + size_weights.sum() * float(computing.eps))
        return bound


def _without(counts: np.ndarray, x: int, w: int, n: int, total: int) -> np.ndarray:
    """[n]: of the n - 1 members beside one of weight w, the coalitions of s = 0 .. n - 1 with a sum of at most x.

    Args:
        counts: of all n members, whose weights sum to `total`.
    """
    few = _taken_out(counts, x, w)
    absent = _taken_out(counts, total - w - x - 1, w)  # those of n - 1 - s with a sum above x
    half = len(counts)
    many = [float(comb(n - 1, s)) - absent[n - 1 - s] for s in range(half, n)]
    return np.append(few[:n], many)


def _taken_out(counts: np.ndarray, x: int, w: int) -> np.ndarray:
    """sum_k (-1)^k N(s - k, x - k w), from the last one on."""
    result = np.zeros(len(counts))
    last = min(len(counts) - 1, x // w if w else len(counts)) if x >= 0 else -1
    for k in range(last, -1, -1):
        before = np.append(0.0, result[:-1])
        result = counts[:, min(x - k * w, counts.shape[1] - 1)] - before
    return result


class _Voting(_IntegerWeights):
    """Base of both that vote: a quota of weights, and rules about how many vote for it and against it."""

    quota: int
    members = 0
    blocking = 0

    def certain(self, live: int) -> int:
        """So many members of that many live ones win, whatever their weights."""
        return max(1, live - self.blocking + 1)

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        total, live = self._exact_total(row), len(self.live_players(row))

        def worth(members: list[int]) -> Fraction:
            enough = len(members) >= self.members and total(members) >= self.quota
            return Fraction(int(enough or (len(members) > 0 and live - len(members) < self.blocking)))

        return worth

    def _worth(self, members: Array) -> Array:
        present = members.sum(-1)
        live = self.players if self.mask is None else self.mask.sum(-1)
        enough = (present >= self.members) & (self._total(members, self.quota) >= self.quota)
        return self.wide(enough | ((present > 0) & (live - present < self.blocking)))


class DoubleMajority(_Voting):
    """v(S) = 1 if S has at least `members` members whose weights sum to at least the quota, or if fewer than `blocking`
    live members are outside S; else 0. The empty set has 0.

    The Council of the European Union: weights are populations, quota 65 % of them, 15 of 27 members, and a blocking
    minority is of at least four members (Treaty on European Union, article 16(4)).

    Args:
        weights: [..., players] integers >= 0; credits are float64 in numpy, the default dtype in torch.
        quota: integer from 1 to 2^48, of the sum of weights.
        members: integer >= 0, how many have to agree.
        blocking: integer >= 0, how many have to be against it, at least, to outvote the others; 0: no such rule, one
            is enough, and so are none if the quota cannot be reached.
        mask: [..., players] bool, True = live; None = all live. What stands at masked players is never read.

    Raises:
        TypeError, ValueError: weights that are not integers, negative ones (on the CPU); other numbers; more than 1000
            live members, or counts of more than 2 GiB.

    Cost: additions of players^2 / 2 times the larger of the quota and the sum of weights less the quota, and memory of
        players / 2 times it, 8 bytes each; on the host, wherever the weights are, one game after the other. 27 members
        with populations in thousands take some 0.3 s and 70 MB.
    Error: none before the last sums while no size has 2^53 coalitions, that is up to 56 members; else
        `CountTerm.error_bound`.
    Source: Shapley and Shubik (1954), doi:10.2307/1951053; counting: Mann and Shapley (1962), RM-3158-PR; with two
        majorities: Algaba, Bilbao, Fernandez Garcia and Lopez (2003), doi:10.1016/S0165-4896(02)00086-0.

    >>> import shapley_kernels as sk
    >>> sk.shapley(DoubleMajority([3, 2, 1, 1], quota=5, members=3)).round(4).tolist()
    [0.5, 0.1667, 0.1667, 0.1667]
    """

    def __init__(self, weights: Any, *, quota: int, members: int, blocking: int = 0, mask: Any = None) -> None:
        self.members = integer("DoubleMajority: members", members, 0)
        self.blocking = integer("DoubleMajority: blocking", blocking, 0)
        self.quota = self._read_weights(weights, mask, "quota", quota, 1)

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        quota, members = 1 + int(rng.integers(2 * players + 1)), int(rng.integers(players + 1))
        return {
            **super().example(rng, rows, players),
            "quota": quota,
            "members": members,
            "blocking": int(rng.integers(4)),
        }

    def refuse_joint_data(self) -> None:
        if self.blocking:
            raise ValueError(
                "DoubleMajority: blocking must be 0 where members of several games are put together, for whom nobody "
                f"is against it, got {self.blocking}; use a value that looks at each game alone, such as Shapley()"
            )

    def terms(self, value: Semivalue) -> list[Term]:
        return [CountTerm(self, value)]


class WeightedVoting(_Voting):
    """v(S) = 1 if the weights of S sum to at least the quota, else 0.

    Args:
        weights: [..., players] integers >= 0; credits are float64 in numpy, the default dtype in torch.
        quota: integer from 1 to 2^48.
        mask: [..., players] bool, True = live; None = all live. What stands at masked players is never read.

    Raises:
        TypeError, ValueError: weights that are not integers, negative ones (on the CPU); a quota out of its range; one
            above 2^16 with more than 1000 live members, or with counts of more than 2 GiB.

    Cost: O(quota players^2 log players) per row under values with nodes, players times that under the others;
        quota * players numbers of memory per halving of the players. Above a quota of 2^16 as `DoubleMajority`: the 184
        members of the International Monetary Fund with 2.2 million votes take some 10 s and 0.8 GB.
    Error: (9 players + quota + 8) eps/2 at most, times the total weight of the value; all terms are >= 0. Above 2^16
        `CountTerm.error_bound`.
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
        if self.quota > COUNTED:
            return [CountTerm(self, value)]
        return [self._term(np.append(np.zeros(self.quota), 1.0), value)]


class BudgetCap(_IntegerWeights):
    """v(S) = min(budget, sum of the weights of S): what counts of a sum under a budget.

    Args:
        weights, mask: as in `WeightedVoting`.
        budget: integer from 0 to 2^20.

    Raises, Cost: as in `WeightedVoting`, with the budget as a quota that is small; larger ones are refused.
    Error: (9 players + budget + 8) eps/2 w_i at most, times the total weight of the value; all terms are >= 0.
    Source: the bankruptcy game's dual; O'Neill (1982), doi:10.1016/0165-4896(82)90029-4.

    >>> import shapley_kernels as sk
    >>> sk.shapley(BudgetCap([3, 1], budget=2)).tolist()
    [1.5, 0.5]
    """

    def __init__(self, weights: Any, *, budget: int, mask: Any = None) -> None:
        self.budget = self._read_weights(weights, mask, "budget", budget, 0)
        if self.budget > LARGEST_TOTAL:
            raise ValueError(
                f"BudgetCap: budget must be at most {LARGEST_TOTAL}, got {self.budget}: the cost grows with it; "
                "divide it and the weights by a common factor"
            )

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
