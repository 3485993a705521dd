"""Games of pairs: what members are worth by themselves, plus a weight for every pair of them."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction
from math import fsum, prod
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import (
    Array,
    cast,
    compute_dtype,
    constant,
    eps,
    first_true,
    named_dtype,
    namespace,
    numbers,
    on_cpu,
    promoted,
    rows,
)
from shapley_kernels.games.base import Game, Run, Term, Weighted, row_of
from shapley_kernels.games.tables import Row, Tables, by_live_count
from shapley_kernels.values import Semivalue

ASYMMETRY = 64
"""w_ij and w_ji may differ by this many eps, of the dtype that w came in, of the largest |w| of their game: the
rounding of a matrix product."""


class Pairwise(Game):
    """v(S) = sum_{i in S} a_i + sum_{i < j in S} w_ij, the weighted graph game: similarity (negative w: redundancy),
    synergy, diversity of pairs.

    Under Shapley phi_i = a_i + 1/2 sum_j w_ij: each pair is halved.

    Args:
        w: [..., players, players], symmetric; the diagonal is never read.
        values: a, [..., players], or None when members are worth nothing by themselves. A dtype other than that of w
            promotes.
        mask: [..., players] bool, True = live; None = all live. What stands at masked players is never read.

    Raises:
        TypeError, ValueError: arrays of the wrong kind or shape; w that is not symmetric (looked at on the CPU alone).
        Within rounding, 64 eps of the largest |w|, asymmetry is allowed; credits of i add up its row or its column.

    Cost: O(players^2) per game; w is read once (on the CPU once more, for symmetry).
    Error: `PairwiseTerm.error_bound`.
    Source: Deng and Papadimitriou (1994), doi:10.1287/moor.19.2.257.

    >>> import shapley_kernels as sk
    >>> sk.shapley(Pairwise([[0.0, 2.0], [2.0, 0.0]], values=[1.0, 0.0])).tolist()
    [2.0, 1.0]
    """

    arguments: ClassVar[dict[str, Any]] = {"w": (-2, -1), "values": (-1,)}
    scales: ClassVar[tuple[str, ...]] = ("w", "values")

    def __init__(self, w: Any, values: Any = None, mask: Any = None) -> None:
        self.w = self._read("w", w, "[..., players, players]", mask)
        if self.w.shape[-2] != self.players:
            raise ValueError(
                f"Pairwise: w must have shape [..., players, players], the same number twice, got {tuple(self.w.shape)}"
            )
        self.values: Array | None = None
        if values is not None:
            shape = (*self.batch_shape, self.players)
            self.values = self._read_beside("values", values, self.w, shape, "[..., players]")
            dtype = promoted(self.w, self.values)
            self.w, self.values = cast(self.w, dtype), cast(self.values, dtype)
        if on_cpu(self.w):
            self._check_symmetric()

    def _check_symmetric(self) -> None:
        xp, w = namespace(self.w), self.w
        if bool((w == w.swapaxes(-1, -2)).all()):
            return
        known = xp.isfinite(w)  # what is not finite is for later
        counted = self._pairs(self.mask) & known & known.swapaxes(-1, -2)
        wide = xp.where(counted, cast(w, named_dtype(w, "float64")), 0.0)
        mirrored = wide.swapaxes(-1, -2)
        size = abs(wide).reshape((*self.batch_shape, self.players**2))
        allowed = ASYMMETRY * eps(self.given_dtype) * xp.amax(size, -1)[..., None, None]
        where = first_true(abs(wide - mirrored) > allowed)
        if where is not None:
            *game, i, j = where
            raise ValueError(
                f"Pairwise: w must be symmetric, got {w[where].item()} at {list(where)} and "
                f"{mirrored[where].item()} at {[*game, j, i]}; pass (w + w.swapaxes(-1, -2)) / 2, or w + "
                "w.swapaxes(-1, -2) if only one of the two triangles is filled"
            )

    def _pairs(self, members: Array | None) -> Array:
        """[..., players, players] bool: pairs of two different members."""
        different = constant(~np.eye(self.players, dtype=bool), self.w, named_dtype(self.w, "bool"))
        return different if members is None else members[..., :, None] & members[..., None, :] & different

    def _bad_entries(self, name: str, array: Array) -> Array:
        bad = super()._bad_entries(name, array)
        return bad & self._pairs(None) if name == "w" else bad

    def _worth(self, members: Array) -> Array:
        xp, dtype = namespace(self.w), named_dtype(self.w, compute_dtype(self.w.dtype))
        above = constant(np.triu(np.ones((self.players, self.players), bool), 1), self.w, named_dtype(self.w, "bool"))
        worth = xp.where(above & self._pairs(members), cast(self.w, dtype), 0.0).sum((-2, -1))
        if self.values is not None:
            worth = worth + xp.where(members, cast(self.values, dtype), 0.0).sum(-1)
        return worth

    def pairs(self, value: Semivalue) -> Array:
        weight = np.array([0.0, 0.0, *(fsum(value.size_weights(n - 1)) for n in range(2, self.players + 1))])
        dtype = named_dtype(self.w, compute_dtype(self.w.dtype))
        if self.mask is None:
            factor = constant(weight[self.players : self.players + 1], self.w, dtype)  # 1 for a probabilistic value
        else:
            factor = constant(weight, self.w, dtype)[self.mask.sum(-1)][..., None]
        above = namespace(self.w).triu(cast(self.w, dtype) * factor[..., None], 1)
        return above + above.swapaxes(-1, -2)

    def exact_worth(self, row: int) -> Callable[[Collection[int]], Fraction]:
        live = set(self.live_players(row))
        w = row_of(self.w, row, 2).tolist()
        values = None if self.values is None else row_of(self.values, row, 1).tolist()

        def worth(members: Collection[int]) -> Fraction:
            inside = sorted(live.intersection(members))
            own = [] if values is None else [Fraction(values[i]) for i in inside]
            return sum((*own, *(Fraction(w[i][j]) for i in inside for j in inside if i < j)), Fraction(0))

        return worth

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        w = rng.integers(-8, 9, (rows, players, players)) * rng.choice([0.125, 0.0, 1.7], (rows, 1, 1))
        w = np.tril(w) + np.tril(w, -1).swapaxes(1, 2)
        values = rng.integers(-8, 9, (rows, players)) / 8
        w[1::3, :1] = w[1::3, :, :1] = values[1::3, :1] = 0.0  # the first player adds nothing
        return {"w": w, "values": values}

    def terms(self, value: Semivalue) -> list[Weighted]:
        return [(1.0, PairwiseTerm(self, 1.0, value))]


@dataclass(frozen=True)
class PairwiseTerm(Term):
    """The `pairwise` primitive: credits of scale times the game."""

    game: Pairwise
    scale: float
    value: Semivalue
    spreads_nonfinite: ClassVar[bool] = True

    def credits(self, run: Run) -> Array:
        game, players = self.game, self.game.players
        count = prod(game.batch_shape)
        w = game.w.reshape((count, players, players))
        values = None if game.values is None else rows(game.values, players)
        mask = None if game.mask is None else rows(game.mask, players)
        credits = run("pairwise", (w, values, mask), self.tables(), (count, players))
        return credits.reshape((*game.batch_shape, players))

    def scaled(self, factor: float) -> "PairwiseTerm":
        return PairwiseTerm(self.game, factor * self.scale, self.value)

    def merged(self, other: Term) -> "PairwiseTerm | None":
        if not isinstance(other, PairwiseTerm) or self.value != other.value:
            return None
        a, b = self.game, other.game
        same = a.w is b.w and a.values is b.values and a.mask is b.mask
        return PairwiseTerm(a, self.scale + other.scale, self.value) if same else None

    def tables(self) -> Tables:
        """own and pair [levels], and level_of, for the live counts of the game; cached."""
        lives = self.game.live_counts(self.value)
        return by_live_count(_row, (self.scale, self.value), self.game.players, lives, vectors=0, numbers=2)

    def error_bound(self) -> np.ndarray:
        """[rows, players]: (n + 4) eps/2 (|own a_i| + |pair| sum_j |w_ij|), eps that of the compute dtype: n + 2 of
        the kernel, 2 of coefficients that were scaled."""
        game, computing = self.game, np.finfo(compute_dtype(self.game.dtype))
        own, pair, level_of = (x for x in self.tables().arrays if x is not None)
        live = np.ones((prod(game.batch_shape), game.players), bool)
        if game.mask is not None:
            live = np.asarray(numbers(game.mask) > 0).reshape(live.shape)
        pairs = live[:, :, None] & live[:, None, :] & ~np.eye(game.players, dtype=bool)
        w = np.where(pairs, np.abs(numbers(game.w).reshape(pairs.shape)), 0.0)
        level, n = level_of[live.sum(1)], live.sum(1)[:, None]
        size = np.abs(pair[level])[:, None] * w.sum(-1)
        if game.values is not None:
            size += np.abs(own[level])[:, None] * np.where(live, np.abs(numbers(game.values).reshape(live.shape)), 0.0)
        return (n + 4) * float(computing.eps) / 2 * size + 2 * n * float(computing.smallest_subnormal)


def _row(scale: float, value: Semivalue, n: int) -> Row:
    weights = value.size_weights(n)
    return scale * fsum(weights), scale * fsum(w * s for s, w in enumerate(weights)) / max(n - 1, 1)
