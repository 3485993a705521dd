"""Sums of maxima, one for each topic or cluster: the `order` primitive on one row per game and topic.

A topic is worth the best score that S has on it, so a game of T topics is the sum of T games of the kind of `Max`, and
its credits are the sum of theirs. The rows of these are made tile by tile.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import (
    Array,
    cast,
    compute_dtype,
    constant,
    floating,
    is_integer,
    is_torch,
    named_dtype,
    namespace,
    native,
    numbers,
    on_cpu,
    zeros,
)
from shapley_kernels.games.base import Game, Maxima, Run, Term, Weighted, row_of
from shapley_kernels.games.multilinear import product_pairs, product_tables
from shapley_kernels.games.order.pairs import pair_tables, pairs
from shapley_kernels.games.order.tables import coefficients, order_tables
from shapley_kernels.games.order.utilities import Max
from shapley_kernels.games.tables import Tables
from shapley_kernels.values import Semivalue


class FacilityLocation(Game):
    """v(S) = sum_t w_t max_{i in S} s_it, v(empty) = 0: every topic is served by the best of S at it.

    Args:
        scores: [..., players, topics] of any sign.
        weights: [topics] or [..., topics]; None: 1 each.
        mask: [..., players] bool, True = live; None = all live.

    Raises:
        TypeError, ValueError: arrays of the wrong kind or shape.

    Cost: O(topics players log players) per game; no copy of the scores beyond a tile of 2^18 (GPU: 2^26) elements.
    Error: `FacilityTerm.error_bound`.
    Source: Cornuejols, Fisher and Nemhauser (1977), doi:10.1287/mnsc.23.8.789; its Shapley value is the sum of airport
        games, Littlechild and Owen (1973), doi:10.1287/mnsc.20.3.370.

    >>> import shapley_kernels as sk
    >>> sk.shapley(FacilityLocation([[1.0, 0.0], [0.5, 2.0]])).tolist()
    [0.75, 2.25]
    """

    arguments: ClassVar[dict[str, Any]] = {"scores": (-2,), "weights": ()}
    scales: ClassVar[tuple[str, ...]] = ("scores",)

    def __init__(self, scores: Any, weights: Any = None, mask: Any = None) -> None:
        self.scores = self._read("scores", scores, "[..., players, topics]", mask, player_axis=-2)
        self.weights = read_topic_weights(self, weights, self.scores)

    def terms(self, value: Semivalue) -> list[Weighted]:
        return [(1.0, FacilityTerm(self, self.scores, self.weights, value))]

    def topics(self, size: int) -> int:
        return int(self.scores.shape[-1])

    def maxima(self, group: Callable[[], Array]) -> Maxima:
        return _maxima(self, self.scores, self.weights)

    def pairs(self, value: Semivalue) -> Array:
        tables = pair_tables(Max, (), value, self.players, self.live_counts(value))
        nothing = zeros(self.scores, self.batch_shape, compute_dtype(self.dtype))
        return pairs_of_topics(
            self, self.scores, self.weights, lambda scores: pairs(scores, self.mask, nothing, tables)
        )

    def _worth(self, members: Array) -> Array:
        xp, dtype = namespace(self.scores), named_dtype(self.scores, compute_dtype(self.dtype))
        scores = xp.where(members[..., None], cast(self.scores, dtype), -float("inf"))
        shape = (*scores.shape[:-2], 1, scores.shape[-1])
        nobody = zeros(scores, shape, compute_dtype(self.dtype)) - float("inf")  # if there are no players
        best = xp.amax(xp.concatenate([scores, nobody], -2), -2)  # [..., topics]
        best = xp.where(members.any(-1)[..., None], best, 0.0)
        weights = 1.0 if self.weights is None else cast(self.weights, dtype)
        return (best * weights).sum(-1)

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        live, scores = set(self.live_players(row)), row_of(self.scores, row, 2)
        weights = np.ones(scores.shape[1]) if self.weights is None else row_of(self.weights, row, 1)

        def worth(members: Collection[int]) -> Fraction:
            inside = [i for i in members if i in live]
            if not inside:
                return Fraction(0)
            return sum(
                (Fraction(w) * Fraction(max(s[inside])) for w, s in zip(weights, scores.T, strict=True)), Fraction(0)
            )

        return worth

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        topics = int(rng.integers(1, 5))
        scores = rng.integers(-8, 9, (rows, players, topics)) / 8  # ties
        scores[:, :1][::2] = scores.min(axis=1, keepdims=True, initial=0.0)[::2]
        weights = rng.integers(-2, 5, (rows, topics)) / 4
        return {"scores": scores, "weights": weights} if rng.integers(4) else {"scores": scores}


class Coverage(Game):
    """v(S) = sum_t w_t P(somebody in S covers topic t), v(empty) = 0.

    Args:
        covers: [..., players, topics]: bools or the integers 0 and 1 say who covers what; floats in [0, 1] are chances,
            independent of each other.
        weights: [topics] or [..., topics]; None: 1 each.
        mask: [..., players] bool, True = live; None = all live.

    Raises:
        TypeError, ValueError: arrays of the wrong kind or shape; on the CPU, covers outside [0, 1].

    Under Shapley, the players who cover a topic for certain share its weight equally.

    Cost: O(topics players log players) per game for bools and integers, O(topics players^2) for floats; no copy of the
        covers beyond a tile of 2^18 (GPU: 2^26) elements.
    Source: Michalak, Aadithya, Szczepanski, Ravindran and Jennings (2013), doi:10.1613/jair.3806; chances by Owen
        (1972), doi:10.1287/mnsc.18.5.64.

    >>> import shapley_kernels as sk
    >>> sk.shapley(Coverage([[1, 0], [1, 1]])).tolist()
    [0.5, 1.5]
    """

    arguments: ClassVar[dict[str, Any]] = {"covers": (-2,), "weights": ()}
    domain: ClassVar[dict[str, tuple[float, float]]] = {"covers": (0.0, 1.0)}
    scales: ClassVar[tuple[str, ...]] = ("weights",)
    remedy: ClassVar[str] = "covers are chances, or 0 and 1; give importance by weights="

    def __init__(self, covers: Any, weights: Any = None, mask: Any = None) -> None:
        array, _ = native(covers, "Coverage: covers")
        self.certain = is_integer(array) or array.dtype == named_dtype(array, "bool")
        self.covers = self._read("covers", covers, "[..., players, topics]", mask, player_axis=-2)
        self.weights = read_topic_weights(self, weights, self.covers)
        self._check_domain()

    def terms(self, value: Semivalue) -> list[Weighted]:
        if self.certain:
            return [(1.0, FacilityTerm(self, self.covers, self.weights, value))]
        return [(1.0, CoverageTerm(self, value))]

    def topics(self, size: int) -> int:
        return int(self.covers.shape[-1]) if self.certain else 0

    def maxima(self, group: Callable[[], Array]) -> Maxima:
        return _maxima(self, self.covers, self.weights)

    def pairs(self, value: Semivalue) -> Array:
        return pairs_of_topics(self, self.covers, self.weights, lambda p: -product_pairs(-p, self.mask, value))

    def _worth(self, members: Array) -> Array:
        xp, dtype = namespace(self.covers), named_dtype(self.covers, compute_dtype(self.dtype))
        covers = xp.where(members[..., None], cast(self.covers, dtype), 0.0)
        missed = xp.cumprod(1 - covers, -2)
        before = xp.concatenate([xp.ones_like(missed[..., :1, :]), missed], -2)[..., : self.players, :]
        covered = (covers * before).sum(-2)  # by the first player who does: nothing cancels
        return (covered if self.weights is None else covered * cast(self.weights, dtype)).sum(-1)

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        live, covers = set(self.live_players(row)), row_of(self.covers, row, 2)
        weights = np.ones(covers.shape[1]) if self.weights is None else row_of(self.weights, row, 1)

        def worth(members: Collection[int]) -> Fraction:
            inside = [i for i in members if i in live]
            missed = [prod((1 - Fraction(p) for p in topic[inside]), start=Fraction(1)) for topic in covers.T]
            return sum((Fraction(w) * (1 - p) for w, p in zip(weights, missed, strict=True)), Fraction(0))

        return worth

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        topics = int(rng.integers(1, 5))
        eighths = rng.integers(0, 9, (rows, players, topics))
        eighths[::3, :1] = 0  # covers nothing
        data = {"covers": eighths // 5} if rng.integers(2) else {"covers": eighths / 8}
        return data | ({"weights": rng.integers(-2, 5, (rows, topics)) / 4} if rng.integers(2) else {})


class Clusters(Game):
    """v(S) = number of distinct clusters in S; or, with rewards, the sum over them of the best reward that S has there.

    Args:
        labels: [..., players] integers, equal ones are one cluster; the numbers mean nothing.
        rewards: [..., players]; None: 1 each.
        mask: [..., players] bool, True = live; None = all live.

    Raises:
        TypeError, ValueError: labels that are not integers, arrays of the wrong kind or shape.

    Under Shapley, without rewards, a player gets 1 / size of its own cluster.

    Cost: O(players^2 log players) per game, tiles of 2^18 (GPU: 2^26) elements.
    Source: the sum of airport games, Littlechild and Owen (1973), doi:10.1287/mnsc.20.3.370.

    >>> import shapley_kernels as sk
    >>> sk.shapley(Clusters([7, 7, 2])).tolist()
    [0.5, 0.5, 1.0]
    """

    arguments: ClassVar[dict[str, Any]] = {"labels": (-1,), "rewards": (-1,)}
    scales: ClassVar[tuple[str, ...]] = ("rewards",)

    def __init__(self, labels: Any, rewards: Any = None, mask: Any = None) -> None:
        self.labels = self._read("labels", labels, "[..., players]", mask, integers=True)
        shape = tuple(self.labels.shape)
        if rewards is None:
            self.rewards = floating(zeros(self.labels, shape, "int64") + 1, "Clusters: rewards")
        else:
            self.rewards = self._read_beside("rewards", rewards, self.labels, shape, "[..., players]")

    @property
    def data(self) -> Array:
        return self.rewards

    def terms(self, value: Semivalue) -> list[Weighted]:
        return [(1.0, ClustersTerm(self, value))]

    def topics(self, size: int) -> int:
        return size * self.players

    def maxima(self, group: Callable[[], Array]) -> Maxima:
        """The clusters of a group, numbered from 0, are its topics."""
        xp, labels = namespace(self.labels), self.labels.reshape(-1, self.players)
        cluster = _numbered(labels, group())
        own = cluster[..., None] == constant(np.arange(int(cluster.max()) + 1), labels, labels.dtype)
        rewards = self.rewards.reshape(-1, self.players, 1)
        return Maxima(xp.where(own, rewards, -float("inf")))

    def _worth(self, members: Array) -> Array:
        xp, dtype = namespace(self.rewards), named_dtype(self.rewards, compute_dtype(self.dtype))
        together = (self.labels[..., :, None] == self.labels[..., None, :]) & members[..., None, :]  # [..., i, j]
        rewards = xp.where(together, cast(self.rewards, dtype)[..., None, :], -float("inf"))
        nobody = zeros(rewards, (*rewards.shape[:-1], 1), compute_dtype(self.dtype)) - float("inf")  # if no players
        best = xp.amax(xp.concatenate([rewards, nobody], -1), -1)
        return xp.where(_leaders(together), best, 0.0).sum(-1)  # at the first member of each cluster

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        live = set(self.live_players(row))
        labels = row_of(self.labels, row, 1).tolist()
        rewards = row_of(self.rewards, row, 1).tolist()

        def worth(members: Collection[int]) -> Fraction:
            best: dict[float, Fraction] = {}
            for i in set(members) & live:
                best[labels[i]] = max(best.get(labels[i], Fraction(rewards[i])), Fraction(rewards[i]))
            return sum(best.values(), Fraction(0))

        return worth

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        labels = rng.integers(-3, max(players // 2, 1), (rows, players)) * 2**40
        if not rng.integers(4):
            return {"labels": labels}
        rewards = rng.integers(-8, 9, (rows, players)) / 8
        return {"labels": labels, "rewards": rewards * (rng.random((rows, players)) < 0.8)}


def _maxima(game: Game, scores: Array, weights: Array | None) -> Maxima:
    players, topics = scores.shape[-2:]
    count = prod(game.batch_shape)
    flat = None if weights is None else weights.reshape(count, topics)
    return Maxima(scores.reshape(count, players, topics), flat)


def _numbered(labels: Array, group: Array) -> Array:
    """int64 [rows, players]: equal for equal labels of a group, counting from 0 in each.

    Args:
        labels: [rows, players] int64; group: [rows] int64.
    """
    xp = namespace(labels)
    _, label = xp.unique(labels.reshape(-1), return_inverse=True)
    label, width = label.reshape(tuple(labels.shape)), label.max() + 1
    pairs, place = xp.unique((group[:, None] * width + label).reshape(-1), return_inverse=True)
    first = xp.searchsorted(pairs, group * width)  # the first pair of each group
    return place.reshape(tuple(labels.shape)) - first[:, None]


def _leaders(together: Array) -> Array:
    """[..., players] bool: the first present player of each cluster.

    Args:
        together: [..., i, j] bool, j is present and of the cluster of i.
    """
    before = namespace(together).tril(together, -1).any(-1)  # a present one before i
    return namespace(together).diagonal(together, 0, -2, -1) & ~before


@dataclass(frozen=True, eq=False)
class FacilityTerm(Term):
    """sum_t w_t times the credits of the maximum of topic t."""

    game: Game  # whose mask and shapes are used
    scores: Array  # [batch..., players, topics]
    weights: Array | None  # [batch..., topics]
    value: Semivalue
    scale: float = 1.0

    def scaled(self, factor: float) -> "FacilityTerm":
        return replace(self, scale=factor * self.scale)

    def credits(self, run: Run) -> Array:
        game = self.game
        tables = max_tables(self.scale, self.value, game.players, game.live_counts(self.value))
        return sum_of_topics(run, game, self.scores, self.weights, lambda x, live: max_credits(run, x, live, tables))

    def error_bound(self) -> np.ndarray:
        """[rows, 1]: (n + topics + 4) eps/2 sum_t |w_t| sum_k |D_k| A_k, with the gaps D of every topic."""
        game, (players, topics) = self.game, self.scores.shape[-2:]
        scores = numbers(self.scores).reshape(prod(game.batch_shape), players, topics)
        weights = np.ones((len(scores), topics)) if self.weights is None else numbers(self.weights)
        weights = weights.reshape(len(scores), topics)
        sizes = np.zeros((len(scores), 1))
        for row in range(len(scores)):
            live = game.live_players(row)
            for topic in range(topics):
                part = gap_size(scores[row, live, topic], self.value, len(live))
                sizes[row] += abs(self.scale * weights[row, topic]) * part
        computing = np.finfo(compute_dtype(game.dtype))
        return (players + topics + 4) * (computing.eps / 2 * sizes + computing.smallest_subnormal)


@dataclass(frozen=True, eq=False)
class CoverageTerm(Term):
    """sum_t w_t times the credits of a noisy-or on topic t: the `multilinear` primitive."""

    game: Coverage
    value: Semivalue
    scale: float = 1.0

    def scaled(self, factor: float) -> "CoverageTerm":
        return replace(self, scale=factor * self.scale)

    def credits(self, run: Run) -> Array:
        game = self.game
        tables = product_tables(self.value, game.players, game.live_counts(self.value), -self.scale)
        return sum_of_topics(run, game, game.covers, game.weights, lambda p, live: _or_credits(run, p, live, tables))

    def error_bound(self) -> np.ndarray:
        """[rows, players]: (9 n + topics + 16) eps/2 sum_t |w_t| p_it sum_s |w_s|: products are at most 1."""
        game, (players, topics) = self.game, self.game.covers.shape[-2:]
        covers = numbers(game.covers).reshape(prod(game.batch_shape), players, topics)
        weights = np.ones((len(covers), topics)) if game.weights is None else numbers(game.weights)
        weights = weights.reshape(len(covers), topics)
        computing, bound = np.finfo(compute_dtype(game.dtype)), np.zeros(covers.shape[:2])
        for row in range(len(covers)):
            live = game.live_players(row)
            if live:
                mass = abs(self.scale) * np.abs(self.value.size_weights(len(live))).sum()
                bound[row, live] = mass * (covers[row, live] @ np.abs(weights[row]))
        return (9 * players + topics + 16) * (computing.eps / 2 * bound + computing.smallest_subnormal)


def _or_credits(run: Run, p: Array, mask: Array | None, tables: Tables) -> Array:
    """Credits of noisy-ors p [rows, topics, players], in the compute dtype."""
    shape, players = tuple(p.shape), p.shape[-1]
    if mask is not None:
        mask = namespace(mask).broadcast_to(mask, shape).reshape(-1, players)
    x = -p.reshape(-1, players)
    return run("multilinear", (x, mask), tables, tuple(x.shape), named_dtype(p, compute_dtype(p.dtype))).reshape(shape)


def pairs_of_topics(game: Game, data: Array, weights: Array | None, of_topic: Callable[[Array], Array]) -> Array:
    """sum_t w_t times the pair interactions of data [..., players, topics] on topic t, one topic after the other."""
    dtype = named_dtype(data, compute_dtype(game.dtype))
    total = cast(zeros(data, (*game.batch_shape, game.players, game.players), "float32"), dtype)
    for topic in range(data.shape[-1]):
        found = of_topic(cast(data[..., topic], dtype))
        total = total + (found if weights is None else cast(weights[..., topic], dtype)[..., None, None] * found)
    return total


def read_topic_weights(game: Game, weights: Any, data: Array) -> Array | None:
    """weights [topics] or [batch..., topics] as [batch..., topics], for data [batch..., players, topics]."""
    if weights is None:
        return None
    return game._read_beside("weights", weights, data, (*game.batch_shape, data.shape[-1]), "[..., topics]")


@dataclass(frozen=True, eq=False)
class ClustersTerm(Term):
    """The credits of the maximum of every cluster, among its members."""

    game: Clusters
    value: Semivalue
    scale: float = 1.0

    def scaled(self, factor: float) -> "ClustersTerm":
        return replace(self, scale=factor * self.scale)

    def credits(self, run: Run) -> Array:
        game, players = self.game, self.game.players
        labels, rewards = game.labels.reshape(-1, players), game.rewards.reshape(-1, players)
        live = ~zeros(labels, labels.shape, "bool") if game.mask is None else game.mask.reshape(-1, players)
        credits = zeros(rewards, labels.shape, compute_dtype(game.dtype))
        height = max(1, tile_size(labels) // players**2)
        for n, rows in self._by_live_count(live):
            tables = max_tables(self.scale, self.value, players, (n,))
            for start in range(0, len(rows), height):
                some = rows[start : start + height]
                credits[some] = self._of_rows(run, labels[some], rewards[some], live[some], tables)
        return cast(credits.reshape(game.rewards.shape), run.dtype)

    def _by_live_count(self, live: Array) -> Iterator[tuple[int, Array]]:
        """Number of players and indices of rows: members of a cluster play among all live players, whose number only
        matters to values that are no mixture of independent coalitions."""
        everybody, counts = namespace(live).arange(len(live)), live.sum(-1)
        if self.game.mask is None or self.value.nodes(1) is not None:
            yield self.game.players, everybody
            return
        for n in self.game.live_counts(self.value):
            yield n, everybody[(counts == n).cpu()] if is_torch(live) else everybody[counts == n]

    def _of_rows(self, run: Run, labels: Array, rewards: Array, live: Array, tables: Tables) -> Array:
        together = (labels[:, :, None] == labels[:, None, :]) & live[:, None, :]  # [rows, i, j]
        members = together & _leaders(together)[:, :, None]  # [rows, clusters by their leaders, players]
        spread = namespace(rewards).broadcast_to(rewards[:, None, :], members.shape)
        return max_credits(run, spread, members, tables).sum(1)  # one of them is not 0

    def error_bound(self) -> np.ndarray:
        """[rows, players]: (n + 2) eps/2 sum_k |D_k| A_k, with the gaps D of the player's cluster."""
        game, players = self.game, self.game.players
        labels, rewards = numbers(game.labels).reshape(-1, players), numbers(game.rewards).reshape(-1, players)
        sizes = np.zeros(labels.shape)
        for row in range(len(labels)):
            live = game.live_players(row)
            for i in live:
                own = [j for j in live if labels[row, j] == labels[row, i]]
                sizes[row, i] = abs(self.scale) * gap_size(rewards[row, own], self.value, len(live))
        computing = np.finfo(compute_dtype(game.dtype))
        return (players + 3) * (computing.eps / 2 * sizes + computing.smallest_subnormal)


def sum_of_topics(
    run: Run, game: Game, data: Array, weights: Array | None, credits_of: Callable[[Array, Array | None], Array]
) -> Array:
    """sum_t w_t times the credits of topic t, [batch..., players] in the dtype of the run.

    Args:
        data: [batch..., players, topics]; weights: [batch..., topics] or None.
        credits_of: data [rows, topics, players] and mask [rows, 1, players] or None of some games and topics -> their
            credits [rows, topics, players] in the compute dtype.
    """
    xp, (players, topics) = namespace(data), data.shape[-2:]
    count = prod(game.batch_shape)  # not -1, there may be no topics
    data = data.reshape(count, players, topics)
    weights = None if weights is None else weights.reshape(count, topics)
    mask = None if game.mask is None else game.mask.reshape(-1, players)
    # topics at a time: by their number alone, so that a game's sums do not depend on the batch
    width = max(1, min(topics, tile_size(data) // players))
    height = max(1, tile_size(data) // (players * width))
    done = []
    for row in range(0, len(data), height):
        some = slice(row, row + height)
        live = None if mask is None else mask[some, None, :]
        total = zeros(data, (len(data[some]), players), compute_dtype(data.dtype))
        for topic in range(0, topics, width):
            these = slice(topic, topic + width)
            share = credits_of(xp.swapaxes(data[some, :, these], 1, 2), live)
            with np.errstate(over="ignore", invalid="ignore"):  # such rows become NaN, or are looked at again
                if weights is not None:
                    share = share * cast(weights[some, these], share.dtype)[:, :, None]
                total = total + share.sum(1)
        done.append(total)
    credits = xp.concatenate(done).reshape((*game.batch_shape, players))
    if game.mask is not None:  # an infinite weight would leave NaN
        credits = xp.where(game.mask, credits, 0.0)
    return cast(credits, run.dtype)


def tile_size(x: Array) -> int:
    """Elements of the rows of games of topics or clusters that are made at a time."""
    return 1 << 18 if on_cpu(x) else 1 << 26


def max_tables(scale: float, value: Semivalue, players: int, lives: tuple[int, ...]) -> Tables:
    """Those of the `order` primitive for `scale` times `Max`."""
    return order_tables(((scale, Max, ()),), value, players, lives)


def max_credits(run: Run, rewards: Array, mask: Array | None, tables: Tables) -> Array:
    """Credits of the maximum, v(empty) = 0, of rows [rows, topics, players], in the compute dtype."""
    shape, players = tuple(rewards.shape), rewards.shape[-1]
    if mask is not None:
        mask = namespace(mask).broadcast_to(mask, shape).reshape(-1, players)
    dtype = named_dtype(rewards, compute_dtype(rewards.dtype))
    flat = rewards.reshape(-1, players)
    nothing = cast(zeros(rewards, (1,), "float32"), dtype)
    return run("order", (flat, mask, nothing), tables, tuple(flat.shape), dtype).reshape(shape)


def gap_size(rewards: np.ndarray, value: Semivalue, n: int) -> float:
    """sum_k |D_k| A_k of one row of rewards of players among n, v(empty) = 0."""
    if not len(rewards):
        return 0.0
    ranked = np.sort(rewards)[::-1]
    inside = coefficients(Max, (), value, n)[0][: len(ranked)]
    return float(np.abs(ranked - np.append(ranked[1:], 0.0)) @ np.abs(inside))
