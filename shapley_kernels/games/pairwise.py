"""Games of pairs: what members are worth by themselves, plus a weight for every pair of them."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import fsum
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import Array, compute_dtype, eps
from shapley_kernels.games.base import Game
from shapley_kernels.games.tables import Entries, Tables, by_live_count
from shapley_kernels.games.term import Term
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
        TypeError, ValueError: arrays of the wrong kind or shape; w that is not symmetric (looked at on the CPU alone;
        of a batch, at all games but the first only when something is computed). Within rounding, 64 eps of the largest
        |w|, asymmetry is allowed; credits of i add up one of w_ij and w_ji for every j.

    Cost: O(players^2) per game; w is read once.
    Error: `PairwiseTerm.error_bound`.
    Source: Deng and Papadimitriou (1994), doi:10.1287/moor.19.2.257.

    >>> import shapley_kernels as sk
    >>> sk.shapley(Pairwise([[0.0, 2.0], [2.0, 0.0]], values=[1.0, 0.0])).tolist()
    [2.0, 1.0]
    """

    arguments: ClassVar[dict[str, Any]] = {"w": (-2, -1), "values": (-1,)}
    scales: ClassVar[tuple[str, ...]] = ("w", "values")
    runs_on = attrgetter("w", "values", "mask")

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
            if self.w.dtype != self.values.dtype:
                dtype = self.ops.promoted(self.w.dtype, self.values.dtype)
                self.w, self.values, self.dtype = self.ops.cast(self.w, dtype), self.ops.cast(self.values, dtype), dtype
        if 0 not in self.batch_shape and not self._is_mirrored(self.w[(0,) * len(self.batch_shape)]):
            self.refuse_asymmetry()

    def _is_mirrored(self, w: Array) -> bool:
        """Also where nobody can look."""
        return not self._can_be_looked_at(w) or not self.ops.xp.count_nonzero(w != w.swapaxes(-1, -2))

    def refuse_impossible_data(self) -> None:
        self.refuse_asymmetry()

    def refuse_asymmetry(self) -> None:
        ops, xp, w = self.ops, self.ops.xp, self.w
        if self._is_mirrored(w):
            return
        known = xp.isfinite(w)  # what is not finite is for later
        counted = self._pairs(self.mask) & known & known.swapaxes(-1, -2)
        wide = xp.where(counted, ops.cast(w, ops.dtype("float64")), 0.0)
        mirrored = wide.swapaxes(-1, -2)
        size = abs(wide).reshape((*self.batch_shape, self.players**2))
        allowed = ASYMMETRY * eps(self.given_dtype) * xp.amax(size, -1)[..., None, None]
        where = ops.first_true(abs(wide - mirrored) > allowed)
        if where is not None:
            *game, i, j = where
            raise ValueError(
                f"Pairwise: w must be symmetric, got {w[where].item()} at {list(where)} and "
                f"{mirrored[where].item()} at {[*game, j, i]}; pass (w + w.swapaxes(-1, -2)) / 2, or w + "
                "w.swapaxes(-1, -2) if only one of the two triangles is filled"
            )

    def _pairs(self, members: Array | None) -> Array:
        """[..., players, players] bool: pairs of two different members."""
        different = self._bools(~np.eye(self.players, dtype=bool))
        return different if members is None else members[..., :, None] & members[..., None, :] & different

    def _bools(self, x: np.ndarray) -> Array:
        return self.ops.array_like(x, self.w, self.ops.dtype("bool"))

    def _bad_entries(self, name: str, array: Array) -> Array:
        bad = super()._bad_entries(name, array)
        return bad & self._pairs(None) if name == "w" else bad

    def _worth(self, members: Array) -> Array:
        self.refuse_asymmetry()
        xp = self.ops.xp
        above = self._bools(np.triu(np.ones((self.players, self.players), bool), 1))
        worth = xp.where(above & self._pairs(members), self.wide(self.w), 0.0).sum((-2, -1))
        if self.values is not None:
            worth = worth + xp.where(members, self.wide(self.values), 0.0).sum(-1)
        return worth

    def pairs(self, value: Semivalue) -> Array:
        self.refuse_asymmetry()
        weight = np.array([0.0, 0.0, *(fsum(value.size_weights(n - 1)) for n in range(2, self.players + 1))])
        ops, dtype = self.ops, self.compute_dtype
        if self.mask is None:
            factor = ops.array_like(weight[self.players : self.players + 1], self.w, dtype)  # 1 if w sums to 1
        else:
            factor = ops.array_like(weight, self.w, dtype)[self.mask.sum(-1)][..., None]
        above = ops.xp.triu(self.wide(self.w) * factor[..., None], 1)
        return above + above.swapaxes(-1, -2)

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        w = self.in_rows(self.w)[row].tolist()
        values = None if self.values is None else self.in_rows(self.values)[row].tolist()

        def worth(members: list[int]) -> Fraction:
            own = [] if values is None else [Fraction(values[i]) for i in members]
            return sum((*own, *(Fraction(w[i][j]) for i in members for j in members if i < j)), Fraction(0))

        return worth

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        w = rng.integers(-8, 9, (rows, players, players)) * rng.choice([0.125, 0.0, 1.7], (rows, 1, 1))
        w = np.tril(w) + np.tril(w, -1).swapaxes(1, 2)
        values = rng.integers(-8, 9, (rows, players)) / 8
        w[1::3, :1] = w[1::3, :, :1] = values[1::3, :1] = 0.0  # the first player adds nothing
        return {"w": w, "values": values}

    def terms(self, value: Semivalue) -> list[Term]:
        return [PairwiseTerm(self, value)]


@dataclass(frozen=True, eq=False)
class PairwiseTerm(Term):
    """The `pairwise` primitive."""

    primitive: ClassVar[str] = "pairwise"
    propagates_nan: ClassVar[bool] = True

    def arrays(self) -> tuple[Any, ...]:
        return self.game.w, self.game.values, self.game.mask

    def merged(self, other: Term) -> "PairwiseTerm | None":
        if not isinstance(other, PairwiseTerm) or self.value != other.value:
            return None
        a, b = self.game, other.game
        same = a.w is b.w and a.values is b.values and a.mask is b.mask
        return PairwiseTerm(a, self.value, scale=self.scale + other.scale) if same else None

    def tables(self) -> Tables:
        """own and pair [live counts], and row_of_count."""
        counts = self.game.live_counts(self.value)
        return by_live_count(_entries, (self.scale, self.value), self.game.players, counts, vectors=0, scalars=2)

    def error_bound(self) -> np.ndarray:
        """[rows, players]: (n + 4) eps/2 (|own a_i| + |pair| sum_j |w_ij|), eps that of the compute dtype: n + 2 of
        the kernel, 2 of coefficients that were scaled."""
        game, computing = self.game, np.finfo(compute_dtype(self.game.dtype))
        own, pair, row_of_count = (x for x in self.tables().arrays if x is not None)
        live = game.live_rows()
        pairs = live[:, :, None] & live[:, None, :] & ~np.eye(game.players, dtype=bool)
        w = np.where(pairs, np.abs(game.in_rows(game.w)), 0.0)
        table_row, n = row_of_count[live.sum(1)], live.sum(1)[:, None]
        size = np.abs(pair[table_row])[:, None] * w.sum(-1)
        if game.values is not None:
            size += np.abs(own[table_row])[:, None] * np.where(live, np.abs(game.in_rows(game.values)), 0.0)
        return (n + 4) * float(computing.eps) / 2 * size + 2 * n * float(computing.smallest_subnormal)


def _entries(scale: float, value: Semivalue, n: int) -> Entries:
    weights = value.size_weights(n)
    return scale * fsum(weights), scale * fsum(w * s for s, w in enumerate(weights)) / max(n - 1, 1)
