"""Sums of maxima, one for each topic or cluster: the `order` primitive on one row per game and topic.

A topic is worth the best score that S has on it, so a game of T topics is the sum of T games of the kind of `Max`, and
its credits are the sum of theirs. The rows of these are made tile by tile.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import Array, Ops, compute_dtype, floating, is_float, native
from shapley_kernels.games.base import Game
from shapley_kernels.games.multilinear import product_pairs, product_tables
from shapley_kernels.games.order.pairs import pair_tables, pairs
from shapley_kernels.games.order.tables import coefficients, order_tables
from shapley_kernels.games.order.utilities import Max
from shapley_kernels.games.tables import Tables
from shapley_kernels.games.term import AnyLauncher, Maxima, Term
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

    vmaps = True
    arguments: ClassVar[dict[str, Any]] = {"scores": (-2,), "weights": ()}
    scales: ClassVar[tuple[str, ...]] = ("scores",)

    def __init__(self, scores: Any, weights: Any = None, mask: Any = None) -> None:
        self.scores = self._read("scores", scores, "[..., players, topics]", mask, player_axis=-2)
        self.weights = _read_topic_weights(self, weights, self.scores)

    def terms(self, value: Semivalue) -> list[Term]:
        return [FacilityTerm(self, value, self.scores)]

    def topics(self, size: int) -> int:
        return int(self.scores.shape[-1])

    def maxima(self, group: Callable[[], Array]) -> Maxima:
        return _maxima(self, self.scores)

    def pairs(self, value: Semivalue) -> Array:
        tables = pair_tables(Max, (), value, self.players, self.live_counts(value))
        zeros = self.ops.zeros(self.scores, self.batch_shape, self.compute_dtype)
        return _pairs_of_topics(self, self.scores, lambda x: pairs(self.ops, x, self.mask, zeros, tables))

    def _worth(self, members: Array) -> Array:
        xp = self.ops.xp
        best = _best(self, xp.where(members[..., None], self.wide(self.scores), -float("inf")), -2)  # [..., topics]
        best = xp.where(members.any(-1)[..., None], best, 0.0)
        return (best if self.weights is None else best * self.wide(self.weights)).sum(-1)

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        scores, weights = self.in_rows(self.scores)[row], _weights_in_rows(self, self.scores)[row]

        def worth(members: list[int]) -> Fraction:
            best = [Fraction(max(topic[members])) for topic in scores.T] if members else []
            return sum((Fraction(w) * x for w, x in zip(weights, best, strict=False)), Fraction(0))

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
        self.certain = not is_float(array.dtype)
        self.covers = self._read("covers", covers, "[..., players, topics]", mask, player_axis=-2)
        self.weights = _read_topic_weights(self, weights, self.covers)
        self._check_domain()

    def terms(self, value: Semivalue) -> list[Term]:
        return [FacilityTerm(self, value, self.covers) if self.certain else CoverageTerm(self, value)]

    def topics(self, size: int) -> int:
        return int(self.covers.shape[-1]) if self.certain else 0

    def maxima(self, group: Callable[[], Array]) -> Maxima:
        return _maxima(self, self.covers)

    def pairs(self, value: Semivalue) -> Array:
        return _pairs_of_topics(self, self.covers, lambda p: -product_pairs(self.ops, -p, self.mask, value))

    def _worth(self, members: Array) -> Array:
        xp = self.ops.xp
        covers = xp.where(members[..., None], self.wide(self.covers), 0.0)
        missed = xp.cumprod(1 - covers, -2)
        before = xp.concatenate([xp.ones_like(missed[..., :1, :]), missed], -2)[..., : self.players, :]
        covered = (covers * before).sum(-2)  # by the first player who does: nothing cancels
        return (covered if self.weights is None else covered * self.wide(self.weights)).sum(-1)

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        covers, weights = self.in_rows(self.covers)[row], _weights_in_rows(self, self.covers)[row]

        def worth(members: list[int]) -> Fraction:
            missed = [prod((1 - Fraction(p) for p in topic[members]), start=Fraction(1)) for topic in covers.T]
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

    Cost: O(players^2) per game without rewards; with them O(players^2 log players), tiles of 2^18 (GPU: 2^26) elements.
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
        self.counts = rewards is None  # whether every cluster is worth 1
        if self.counts:
            self.rewards = floating(self.ops.xp.ones_like(self.labels), "Clusters: rewards")
        else:
            self.rewards = self._read_beside("rewards", rewards, self.labels, shape, "[..., players]")
        self.dtype = self.rewards.dtype

    @property
    def data(self) -> Array:
        return self.rewards

    def terms(self, value: Semivalue) -> list[Term]:
        return [ClustersTerm(self, value)]

    def topics(self, size: int) -> int:
        return size * self.players

    def maxima(self, group: Callable[[], Array]) -> Maxima:
        """The clusters of a group, numbered from 0, are its topics."""
        ops, labels = self.ops, self.labels.reshape(-1, self.players)
        cluster = _numbered(ops.xp, labels, group())
        own = cluster[..., None] == ops.array_like(np.arange(int(cluster.max()) + 1), labels, labels.dtype)
        return Maxima(ops.xp.where(own, self.rewards.reshape(-1, self.players, 1), -float("inf")))

    def _worth(self, members: Array) -> Array:
        xp = self.ops.xp
        together = (self.labels[..., :, None] == self.labels[..., None, :]) & members[..., None, :]  # [..., i, j]
        best = _best(self, xp.where(together, self.wide(self.rewards)[..., None, :], -float("inf")), -1)
        return xp.where(_leaders(xp, together), best, 0.0).sum(-1)  # at the first member of each cluster

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        labels, rewards = (self.in_rows(x)[row].tolist() for x in (self.labels, self.rewards))

        def worth(members: list[int]) -> Fraction:
            best: dict[float, Fraction] = {}
            for i in members:
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


def _read_topic_weights(game: Game, weights: Any, data: Array) -> Array | None:
    """weights [topics] or [batch..., topics] as [batch..., topics], for data [batch..., players, topics]."""
    if weights is None:
        return None
    return game._read_beside("weights", weights, data, (*game.batch_shape, data.shape[-1]), "[..., topics]")


def _weights_in_rows(game: Any, data: Array) -> np.ndarray:
    """[rows, topics] float64, on the host."""
    ones = np.ones((prod(game.batch_shape), data.shape[-1]))
    return ones if game.weights is None else game.in_rows(game.weights)


def _maxima(game: Any, scores: Array) -> Maxima:
    players, topics = scores.shape[-2:]
    count = prod(game.batch_shape)
    weights = None if game.weights is None else game.weights.reshape(count, topics)
    return Maxima(scores.reshape(count, players, topics), weights)


def _best(game: Game, x: Array, axis: int) -> Array:
    """The maximum along an axis, which may be empty: -inf."""
    shape = list(x.shape)
    shape[axis] = 1
    nobody = game.ops.zeros(x, shape, x.dtype) - float("inf")
    return game.ops.xp.amax(game.ops.xp.concatenate([x, nobody], axis), axis)


def _numbered(xp: Any, labels: Array, group: Array) -> Array:
    """int64 [rows, players]: equal for equal labels of a group, counting from 0 in each.

    Args:
        labels: [rows, players] int64; group: [rows] int64.
    """
    _, label = xp.unique(labels.reshape(-1), return_inverse=True)
    label, width = label.reshape(tuple(labels.shape)), label.max() + 1
    pairs, place = xp.unique((group[:, None] * width + label).reshape(-1), return_inverse=True)
    first = xp.searchsorted(pairs, group * width)  # the first pair of each group
    return place.reshape(tuple(labels.shape)) - first[:, None]


def _leaders(xp: Any, together: Array) -> Array:
    """[..., players] bool: the first present player of each cluster.

    Args:
        together: [..., i, j] bool, j is present and of the cluster of i.
    """
    before = xp.tril(together, -1).any(-1)  # a present one before i
    return xp.diagonal(together, 0, -2, -1) & ~before


def _pairs_of_topics(game: Any, data: Array, of_topic: Callable[[Array], Array]) -> Array:
    """sum_t w_t times the pair interactions of data [..., players, topics] on topic t, one topic after the other."""
    total = game.ops.zeros(data, (*game.batch_shape, game.players, game.players), game.compute_dtype)
    for topic in range(data.shape[-1]):
        part = of_topic(game.wide(data[..., topic]))
        weights = None if game.weights is None else game.wide(game.weights[..., topic])
        total = total + (part if weights is None else weights[..., None, None] * part)
    return total


class TopicsTerm(Term):
    """sum_t w_t times the credits of topic t."""

    def sum_of_topics(self, launch: AnyLauncher, data: Array, credits_of: "CreditsOf") -> Array:
        """[batch..., players] in the dtype of the launcher.

        Args:
            data: [batch..., players, topics].
            credits_of: data [rows, topics, players] and mask [rows, 1, players] or None of some games and topics ->
                their credits [rows, topics, players] in the compute dtype.
        """
        game, ops, xp, (players, topics) = self.game, self.game.ops, self.game.ops.xp, data.shape[-2:]
        count = prod(game.batch_shape)  # not -1, there may be no topics
        data = data.reshape(count, players, topics)
        weights = None if game.weights is None else game.weights.reshape(count, topics)
        mask = None if game.mask is None else game.mask.reshape(-1, players)
        # topics at a time: by their number alone, so that a game's sums do not depend on the batch
        width = max(1, min(topics, tile_size(ops, data) // players))
        height = max(1, tile_size(ops, data) // (players * width))
        done = []
        for row in range(0, len(data), height):
            some = slice(row, row + height)
            live = None if mask is None else mask[some, None, :]
            total = ops.zeros(data, (len(data[some]), players), game.compute_dtype)
            for topic in range(0, topics, width):
                these = slice(topic, topic + width)
                credits = credits_of(xp.swapaxes(data[some, :, these], 1, 2), live)
                with np.errstate(over="ignore", invalid="ignore"):  # such rows become NaN, or are looked at again
                    if weights is not None:
                        credits = credits * ops.cast(weights[some, these], credits.dtype)[:, :, None]
                    total = total + credits.sum(1)
            done.append(total)
        credits = xp.concatenate(done).reshape((*game.batch_shape, players))
        if game.mask is not None:  # an infinite weight would leave NaN
            credits = xp.where(game.mask, credits, 0.0)
        return ops.cast(credits, launch.dtype)


CreditsOf = Callable[[Array, Array | None], Array]


@dataclass(frozen=True, eq=False)
class FacilityTerm(TopicsTerm):
    """sum_t w_t times the credits of the maximum of topic t."""

    scores: Array  # [batch..., players, topics]

    def credits(self, launch: AnyLauncher) -> Array:
        tables = max_tables(self.scale, self.value, self.game.players, self.game.live_counts(self.value))
        return self.sum_of_topics(
            launch,
            self.scores,
            lambda x, live: launch(
                "order", (x, _over_topics(self.game, x, live), 0.0), tables, tuple(x.shape), self.game.compute_dtype
            ),
        )

    def error_bound(self) -> np.ndarray:
        """[rows, 1]: (n + topics + 4) eps/2 sum_t |w_t| sum_k |D_k| A_k, with the gaps D of every topic."""
        game, (players, topics) = self.game, self.scores.shape[-2:]
        weights = _weights_in_rows(game, self.scores)
        sizes = np.zeros((len(weights), 1))
        for row, scores in enumerate(game.in_rows(self.scores)):
            live = game.live_players(row)
            for topic in range(topics):
                part = gap_size(scores[live, topic], self.value, len(live))
                sizes[row] += abs(self.scale * weights[row, topic]) * part
        computing = np.finfo(compute_dtype(game.dtype))
        return (players + topics + 4) * (computing.eps / 2 * sizes + computing.smallest_subnormal)


@dataclass(frozen=True, eq=False)
class CoverageTerm(TopicsTerm):
    """sum_t w_t times the credits of a noisy-or on topic t: the `multilinear` primitive."""

    def credits(self, launch: AnyLauncher) -> Array:
        game = self.game
        tables = product_tables(self.value, game.players, game.live_counts(self.value), self.scale)
        return self.sum_of_topics(
            launch,
            game.covers,
            lambda p, live: launch(
                "multilinear", (p, _over_topics(game, p, live)), tables, tuple(p.shape), game.compute_dtype
            ),
        )

    def error_bound(self) -> np.ndarray:
        """[rows, players]: (9 n + topics + 16) eps/2 sum_t |w_t| p_it sum_s |w_s|: products are at most 1."""
        game, (players, topics) = self.game, self.game.covers.shape[-2:]
        covers, weights = game.in_rows(game.covers), np.abs(_weights_in_rows(game, game.covers))
        computing, bound = np.finfo(compute_dtype(game.dtype)), np.zeros(covers.shape[:2])
        for row in range(len(covers)):
            live = game.live_players(row)
            if live:
                mass = abs(self.scale) * np.abs(self.value.size_weights(len(live))).sum()
                bound[row, live] = mass * (covers[row, live] @ weights[row])
        return (9 * players + topics + 16) * (computing.eps / 2 * bound + computing.smallest_subnormal)


def _over_topics(game: Game, x: Array, mask: Array | None) -> Array | None:
    """A mask [rows, 1, players] for x [rows, topics, players]."""
    return None if mask is None else game.ops.xp.broadcast_to(mask, tuple(x.shape))


@dataclass(frozen=True, eq=False)
class ClustersTerm(Term):
    """The credits of the maximum of every cluster, among its members."""

    @property
    def propagates_nan(self) -> bool:  # type: ignore[override]
        """Clusters that are worth 1 each have nothing that could be bad."""
        return bool(self.game.counts)

    def credits(self, launch: AnyLauncher) -> Array:
        game, ops, players = self.game, self.game.ops, self.game.players
        if game.counts:
            return ops.cast(self._by_size().reshape(game.rewards.shape), launch.dtype)
        labels, rewards = game.labels.reshape(-1, players), game.rewards.reshape(-1, players)
        live = (game.everybody() if game.mask is None else game.mask).reshape(-1, players)
        credits = ops.zeros(rewards, labels.shape, game.compute_dtype)
        height = max(1, tile_size(ops, labels) // players**2)
        for n, rows in self._by_live_count(live):
            tables = max_tables(self.scale, self.value, players, (n,))
            for start in range(0, len(rows), height):
                some = rows[start : start + height]
                credits[some] = self._of_rows(launch, labels[some], rewards[some], live[some], tables)
        return ops.cast(credits.reshape(game.rewards.shape), launch.dtype)

    def _by_size(self) -> Array:
        """[rows, players] where every cluster is worth 1: its members are tied, and their credit depends on how many
        they are."""
        game, ops, players = self.game, self.game.ops, self.game.players
        rows = prod(game.batch_shape)
        labels = game.labels.reshape(rows, players).T.reshape(-1).reshape(players, rows)  # copied: rows are many
        live = None if game.mask is None else game.mask.reshape(-1, players)
        together = max(1, tile_size(ops, labels) // max(1, rows * players)) if game.is_eager() else 1
        less: Any = -1
        for i in range(0, players, together):
            same = labels[i : i + together, None] == labels
            less = less + (same if live is None else same & live.T[i : i + together, None]).sum(0)
        tables = max_tables(self.scale, self.value, players, game.live_counts(self.value))
        inside, _, _, row_of_count = tables.on(ops.name, compute_dtype(game.dtype), ops.device(labels))
        if live is None:
            return inside[row_of_count[players]][less.T.reshape(-1)]
        level = row_of_count[live.sum(-1)]
        return ops.xp.where(live, inside[level[:, None], less.T], 0.0)

    def _by_live_count(self, live: Array) -> Iterator[tuple[int, Array]]:
        """Number of players and indices of rows: members of a cluster play among all live players, whose number only
        matters to values that are no mixture of independent coalitions."""
        if self.game.mask is None or self.value.nodes(1) is not None:
            yield self.game.players, self.game.ops.xp.arange(len(live))
            return
        counts = self.game.ops.to_host(live.sum(-1))
        for n in self.game.live_counts(self.value):
            yield n, self.game.ops.xp.asarray(np.flatnonzero(counts == n))

    def _of_rows(self, launch: AnyLauncher, labels: Array, rewards: Array, live: Array, tables: Tables) -> Array:
        xp = self.game.ops.xp
        together = (labels[:, :, None] == labels[:, None, :]) & live[:, None, :]  # [rows, i, j]
        members = together & _leaders(xp, together)[:, :, None]  # [rows, clusters by their leaders, players]
        shape, dtype = tuple(members.shape), self.game.compute_dtype
        spread = xp.broadcast_to(rewards[:, None, :], shape)
        return launch("order", (spread, members, 0.0), tables, shape, dtype).sum(1)  # one of them is not 0

    def error_bound(self) -> np.ndarray:
        """[rows, players]: (n + 2) eps/2 sum_k |D_k| A_k, with the gaps D of the player's cluster."""
        game, players = self.game, self.game.players
        labels, rewards = game.in_rows(game.labels), game.in_rows(game.rewards)
        sizes = np.zeros(labels.shape)
        for row in range(len(labels)):
            live = game.live_players(row)
            for i in live:
                own = [j for j in live if labels[row, j] == labels[row, i]]
                sizes[row, i] = abs(self.scale) * gap_size(rewards[row, own], self.value, len(live))
        computing = np.finfo(compute_dtype(game.dtype))
        return (players + 3) * (computing.eps / 2 * sizes + computing.smallest_subnormal)


def tile_size(ops: Ops, x: Array) -> int:
    """Elements of the rows of games of topics or clusters that are made at a time."""
    return 1 << 18 if ops.on_cpu(x) else 1 << 26


def max_tables(scale: float, value: Semivalue, players: int, counts: tuple[int, ...]) -> Tables:
    """Those of the `order` primitive for `scale` times `Max`."""
    return order_tables(((scale, Max, ()),), value, players, counts)


def gap_size(rewards: np.ndarray, value: Semivalue, n: int) -> float:
    """sum_k |D_k| A_k of one row of rewards of players among n, v(empty) = 0."""
    if not len(rewards):
        return 0.0
    ranked = np.sort(rewards)[::-1]
    inside = coefficients(Max, (), value, n)[0][: len(ranked)]
    return float(np.abs(ranked - np.append(ranked[1:], 0.0)) @ np.abs(inside))
