"""The term of the order family."""

from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import Array, compute_dtype
from shapley_kernels.games.data import same_data
from shapley_kernels.games.order.tables import Recipe, coefficients, counts_alike, order_entries
from shapley_kernels.games.tables import Tables, by_live_count
from shapley_kernels.games.term import AnyLauncher, Term

FEWEST_LINEAR = 16
"""Players from which on credits that need no order are computed without one: what the form takes, and is faster for."""


@dataclass(frozen=True, eq=False)
class OrderTerm(Term):
    """The `order` primitive on the data of an `OrderGame`: coefficients are the sum of scale * those of the utility
    over `recipe`."""

    recipe: Recipe
    primitive: ClassVar[str] = "order"
    propagates_nan: ClassVar[bool] = True

    def credits(self, launch: AnyLauncher) -> Array:
        game = self.game
        compiling = launch.traced and game.ops.is_compiling(game.rewards)
        arrays = self.arrays()
        tables = self._graph_tables() if compiling else self.tables()
        linear = not compiling and game.players >= FEWEST_LINEAR and counts_alike(self.recipe, game.players)
        return launch("order", arrays, tables, tuple(game.rewards.shape), form="linear" if linear else None)

    def arrays(self) -> tuple[Any, ...]:
        game, v_empty = self.game, self.game.v_empty
        return game.rewards, game.mask, v_empty if type(v_empty) is float else game.wide(v_empty)

    def merged(self, other: Term) -> "OrderTerm | None":
        """One run for both, if they are on the same data."""
        if not isinstance(other, OrderTerm):
            return None
        a, b = self.game, other.game
        if a.rewards is not b.rewards or a.mask is not b.mask or self.value != other.value:
            return None
        if same_data(a.v_empty, b.v_empty):
            return OrderTerm(a, self.value, self.scaled_recipe() + other.scaled_recipe())
        return None

    def scaled_recipe(self) -> Recipe:
        """That of `scale` times the game."""
        if self.scale == 1.0:
            return self.recipe
        return tuple((self.scale * scale, utility, params) for scale, utility, params in self.recipe)

    def tables(self) -> Tables:
        game, recipe = self.game, self.recipe if self.scale == 1.0 else self.scaled_recipe()
        counts = (game.players,) if game.mask is None else game.live_counts(self.value)
        return by_live_count(order_entries, (recipe, self.value), game.players, counts, vectors=2, scalars=1)

    def _graph_tables(self) -> Tables:
        from shapley_kernels.games.order.graph import GraphTables  # which needs torch

        return GraphTables(self.scaled_recipe(), self.value, self.game.players, self.game.live_counts(self.value))

    def error_bound(self) -> np.ndarray:
        """[rows, 1]: (n + 2) eps/2 sum_k |D_k| (|A_k| + |B_k|) + |c C| eps, eps that of the compute dtype; one rounding
        more for each merged utility; and, on coefficients that may cancel, their own n 2.2e-16 max(|A|, |B|)."""
        return np.array([self._row_bound(row) for row in range(prod(self.game.batch_shape))]).reshape(-1, 1)

    def _row_bound(self, row: int) -> float:
        ranked, c = self.ranked(row)
        n, computing, recipe = len(ranked), np.finfo(compute_dtype(self.game.dtype)), self.scaled_recipe()
        eps = float(computing.eps)
        roundings = n + 2 + (0 if len(recipe) == 1 and recipe[0][0] == 1.0 else len(recipe) + 1)
        gaps = np.abs(ranked - np.append(ranked[1:], c)[:n])
        bound = 2 * n * float(computing.smallest_subnormal)
        for scale, utility, params in recipe if n else ():
            A, B, C = coefficients(utility, params, self.value, n)
            bound += abs(scale) * (roundings * eps / 2 * float(gaps @ (np.abs(A) + np.abs(B))))
            bound += abs(scale * c * C) * eps
            if utility.has_rounded_coefficients():
                largest = max(np.abs(A).max(), np.abs(B).max())
                bound += abs(scale) * n * 2.0**-52 * float(largest * (gaps.sum() + abs(c)))
        return bound

    def ranked(self, row: int) -> tuple[np.ndarray, float]:
        """The live rewards of one row, descending, and v_empty, in float64 and hence exactly."""
        game = self.game
        return np.sort(game.in_rows(game.rewards)[row][game.live_players(row)])[::-1], game.v_empty_of(row)
