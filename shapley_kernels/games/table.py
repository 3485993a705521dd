"""Games given by all their worths."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations
from math import comb
from numbers import Integral
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import (
    Array,
    as_float,
    boolean,
    broadcast,
    compute_dtype,
    describe,
    floating,
    native,
    ops_of,
)
from shapley_kernels.games.base import Game
from shapley_kernels.games.data import COALITIONS
from shapley_kernels.games.tables import Entries, Tables, by_live_count
from shapley_kernels.games.term import Term
from shapley_kernels.values import Semivalue

MAX_PLAYERS = 20
"""2^20 worths a game, 8 MiB in float64."""


class Table(Game):
    """v(S) = values[sum_{i in S} 2^i]: any game, by the worths of its 2^players coalitions, v(empty) first.

    For worths in the order of the package shapiq, by size and then lexicographic, use `Table.from_shapiq`.

    Args:
        values: [..., 2^players], at most 20 players.
        mask: [..., players] bool, True = live; None = all live. Worths of coalitions with masked players are never
            read.

    Raises:
        TypeError, ValueError: arrays of the wrong kind or shape.

    Cost: O(players 2^players) per game.
    Error: `TableTerm.error_bound`.

    >>> import shapley_kernels as sk
    >>> sk.shapley(Table([0.0, 1.0, 2.0, 4.0])).tolist()
    [1.5, 2.5]
    """

    arguments: ClassVar[dict[str, Any]] = {"values": COALITIONS}
    scales: ClassVar[tuple[str, ...]] = ("values",)
    runs_on = attrgetter("values", "mask")

    def __init__(self, values: Any, mask: Any = None) -> None:
        self.values = self._read("values", values, "[..., 2^players]", None)
        self.players = _players(self.values.shape[-1])
        if mask is not None:
            live, shape = boolean(mask, self.values, "Table: mask"), (*self.batch_shape, self.players)
            self.mask = broadcast(live, shape, "Table: mask", "[..., players]")

    @classmethod
    def from_shapiq(cls, worths: Any, mask: Any = None) -> "Table":
        """The table of a game of shapiq (checked with 1.4).

        Args:
            worths: one of
                an array [..., 2^players] in shapiq's order, v(empty) first, such as `ExactComputer.game_values`;
                a mapping from tuples of players to worths, such as `Game.game_values` of a precomputed game;
                a `shapiq.Game`, which is called on all coalitions, so with its normalisation;
                the `InteractionValues` of its Moebius transform. Others do not determine the game.
            mask: as in `Table`.

        Raises:
            TypeError: interactions other than the Moebius transform.
            ValueError: not 2^players worths, or a coalition without one.
        """
        if hasattr(worths, "interaction_lookup"):
            return cls(_of_moebius(worths), mask)
        if isinstance(worths, Mapping):
            return cls(_of_mapping(worths), mask)
        if callable(worths) and hasattr(worths, "n_players"):
            players = worths.n_players
            _check_players(players)
            given = floating(np.asarray(worths(coalitions(players))), "Table.from_shapiq: worths")
            return cls(given.astype(np.float64), mask)
        array, restore = native(worths, "Table.from_shapiq: worths")
        ops = ops_of(array)
        if not array.shape:
            raise ValueError(f"Table.from_shapiq: worths must have shape [..., 2^players], got {describe(worths)}")
        order = _from_shapiq_order(_players(array.shape[-1]))
        ours = array[..., ops.array_like(order, array, ops.dtype("int64"))]
        return cls(restore(ours) if restore else ours, mask)

    def _worth(self, members: Array) -> Array:
        ops, xp, integers = self.ops, self.ops.xp, self.ops.dtype("int64")
        bit = ops.array_like(1 << np.arange(self.players), self.values, integers)
        index = (ops.cast(members, integers) * bit).sum(-1)  # [...]
        shape = np.broadcast_shapes(tuple(index.shape), self.batch_shape)
        index = xp.broadcast_to(index, shape)[..., None]
        return self.wide(ops.take(xp.broadcast_to(self.values, (*shape, 1 << self.players)), index)[..., 0])

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        values = self.in_rows(self.values)[row].tolist()
        return lambda members: Fraction(values[sum(1 << i for i in set(members))])

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        values = rng.integers(-8, 9, (rows, 1 << players)) * rng.choice([0.125, 0.0, 1.7], (rows, 1))
        values += rng.choice([0.0, 4.0], (rows, 1))  # a common offset
        if players:
            values[1::3, 1::2] = values[1::3, ::2]  # the first player adds nothing
        return {"values": values}

    def terms(self, value: Semivalue) -> list[Term]:
        return [TableTerm(self, value)]


def coalitions(players: int) -> np.ndarray:
    """[2^players, players] bool, row sum_{i in S} 2^i with the members of S."""
    return np.arange(1 << players)[:, None] >> np.arange(players) & 1 == 1


def _players(length: int) -> int:
    players = max(length.bit_length() - 1, 0)
    if length != 1 << players:
        raise ValueError(
            f"Table: values must have shape [..., 2^players], got {length} worths, which is no power of two; the empty "
            "set counts (v(empty) comes first)"
        )
    _check_players(players)
    return players


def _check_players(players: int) -> None:
    if players > MAX_PLAYERS:
        raise ValueError(
            f"Table: at most {MAX_PLAYERS} players, got {players}: 2^{players} worths are "
            f"{8 << players:,} bytes in float64; use a utility with a closed form, or sk.estimate"
        )


@lru_cache(maxsize=8)
def _from_shapiq_order(players: int) -> np.ndarray:
    """[2^players]: where shapiq keeps the coalition of each index of ours."""
    places = np.empty(1 << players, np.int64)
    sets = (s for size in range(players + 1) for s in combinations(range(players), size))
    for place, members in enumerate(sets):
        places[sum(1 << i for i in members)] = place
    return places


def _of_mapping(worths: Mapping[Any, Any]) -> np.ndarray:
    players = _players(len(worths))
    values = np.zeros(1 << players)
    given = np.zeros(len(values), bool)
    for members, worth in worths.items():
        known = isinstance(members, Collection)
        if not known or not all(isinstance(i, Integral) and 0 <= int(i) < players for i in members):
            raise ValueError(
                f"Table.from_shapiq: {len(worths)} worths are those of {players} players, got one of "
                f"{members!r}; number the players from 0 and give the worth of every coalition"
            )
        index = sum(1 << int(i) for i in set(members))
        values[index] = as_float(worth, f"Table.from_shapiq: the worth of {members}")
        given[index] = True
    if not given.all():
        index = int((~given).argmax())
        missing = tuple(i for i in range(len(given).bit_length()) if index >> i & 1)
        raise ValueError(f"Table.from_shapiq: expected the worth of every coalition, got no worth of {missing}")
    return values


def _of_moebius(interactions: Any) -> np.ndarray:
    if interactions.index != "Moebius":
        raise TypeError(
            f"Table.from_shapiq: expected worths, got InteractionValues of index {interactions.index!r}, which do not "
            "determine the game; pass the shapiq.Game, its game_values, or the Moebius transform"
        )
    players = interactions.n_players
    _check_players(players)
    values = np.zeros(1 << players)
    given = floating(np.asarray(interactions.values), "Table.from_shapiq: values")
    for members, place in interactions.interaction_lookup.items():
        values[sum(1 << i for i in members)] = given[place]
    for i in range(players):  # v(S) is the sum over all subsets of S
        halves = values.reshape(-1, 2, 1 << i)
        halves[:, 1] += halves[:, 0]
    return values


@dataclass(frozen=True, eq=False)
class TableTerm(Term):
    """The `table` primitive."""

    primitive: ClassVar[str] = "table"
    propagates_nan: ClassVar[bool] = True

    def arrays(self) -> tuple[Any, ...]:
        return self.game.values, self.game.mask

    def merged(self, other: Term) -> "TableTerm | None":
        if not isinstance(other, TableTerm) or self.value != other.value:
            return None
        same = self.game.values is other.game.values and self.game.mask is other.game.mask
        return TableTerm(self.game, self.value, scale=self.scale + other.scale) if same else None

    def tables(self) -> Tables:
        """weights [live counts, players] of one coalition by its size, and row_of_count."""
        return by_live_count(_entries, (self.scale, self.value), self.game.players, self.game.live_counts(self.value))

    def error_bound(self) -> np.ndarray:
        """[rows, players]: (n + 8) eps/2 sum_S |weights_|S|| |v(S + i) - v(S)|, eps that of the compute dtype: n + 6 of
        the kernel, 2 of the weights."""
        game, computing = self.game, np.finfo(compute_dtype(self.game.dtype))
        weights, row_of_count = (x for x in self.tables().arrays if x is not None)
        values = game.in_rows(game.values)
        bound = np.zeros((len(values), game.players))
        for row, v in enumerate(values):
            live = game.live_players(row)
            inside = np.array(
                [sum(1 << live[t] for t in range(len(live)) if s >> t & 1) for s in range(1 << len(live))]
            )
            size = np.array([s.bit_count() for s in range(len(inside) // 2)], int)
            for t, i in enumerate(live):
                without, joined = np.moveaxis(v[inside].reshape(-1, 2, 1 << t), 1, 0).reshape(2, -1)
                bound[row, i] = np.abs(weights[row_of_count[len(live)], size]) @ np.abs(joined - without)
        n = game.players + 8
        return n * float(computing.eps) / 2 * bound + (2 << game.players) * float(computing.smallest_subnormal)


def _entries(scale: float, value: Semivalue, n: int) -> Entries:
    return (scale * value.size_weights(n) / [comb(n - 1, s) for s in range(n)],)
