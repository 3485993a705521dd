"""What the laws are checked on: utilities and their sums, values, numbers of players; and the truth of each."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np

from shapley_kernels.allocate import semivalue
from shapley_kernels.arrays import constant, is_torch, numbers
from shapley_kernels.games import Game, Max, Median, OrderGame, TopM
from shapley_kernels.games.base import COALITIONS
from shapley_kernels.testing.budget import error_budget
from shapley_kernels.testing.exact import share, worth_table
from shapley_kernels.testing.samples import Sample, Utility, family, sample
from shapley_kernels.values import (
    Banzhaf,
    BetaShapley,
    LeaveOneOut,
    Semivalue,
    Shapley,
    SizeWeights,
    Stratum,
)

PLAYERS = (1, 2, 3, 5)
"""Numbers of players that are enumerated."""

MANY = (33, 70)
"""Numbers of players beyond enumeration, and beyond the small sorts."""

TABLE_PLAYERS = 8
"""The most players of games whose data are a worth for each coalition."""


def rising_weights(n: int) -> list[float]:
    """Size weights that grow with the size, for `SizeWeights`."""
    return [2 * (s + 1) / (n * (n + 1)) for s in range(n)]


VALUES: tuple[Semivalue, ...] = (
    Shapley(),
    Banzhaf(),
    Banzhaf(0.25),
    BetaShapley(4, 1),
    BetaShapley(0.5, 2),
    Stratum(2),
    LeaveOneOut(),
    SizeWeights(rising_weights),
)
"""At least one value of every kind."""


def difference(rewards: Any, mask: Any, v_empty: Any) -> Game:
    """0.7 TopM(2) - 0.3 Median on the same data: one launch."""
    return 0.7 * TopM(rewards, 2, mask=mask, v_empty=v_empty) - 0.3 * Median(rewards, mask=mask, v_empty=v_empty)


def weighted(rewards: Any, mask: Any, v_empty: Any) -> Game:
    """0.5 TopM(2) + w Max with w by batch entry where v_empty is: two launches then."""
    factor = -1.25 if isinstance(v_empty, float) else np.where(numbers(v_empty) > 0, 0.5, -1.25)
    if is_torch(rewards) and isinstance(factor, np.ndarray):
        factor = constant(factor, rewards, rewards.dtype)
    return 0.5 * TopM(rewards, 2, mask=mask, v_empty=v_empty) + factor * Max(rewards, mask=mask, v_empty=v_empty)


COMBINATIONS: tuple[Callable[..., Game], ...] = (difference, weighted)
"""Sums of games, to be checked as if they were one more utility."""


@dataclass(frozen=True)
class Subject:
    """What a law is checked on."""

    utility: Utility
    value: Semivalue
    backend: str
    container: str = "numpy"
    dtype: str = "float64"
    device: str = "cpu"

    def sample(self, players: int, draw: int, rows: int = 8) -> Sample:
        """Arguments as numpy: `placed` and `values` take them."""
        return sample(self.utility, self.dtype, self.most(players), draw, rows)

    def most(self, players: int) -> int:
        """That many players, or fewer where the data grow with 2^players."""
        return min(players, TABLE_PLAYERS) if COALITIONS in family(self.utility).arguments.values() else players

    def placed(self, data: Sample) -> Sample:
        return data.placed(self.container, self.dtype, self.device)

    def game(self, data: Sample) -> Game:
        return self.placed(data).game()

    def credits(self, game: Game, nan: str | None = None) -> Any:
        return semivalue(game, self.value, backend=self.backend, nan=nan)

    def values(self, data: Sample, nan: str | None = None) -> np.ndarray:
        """The credits as float64 numpy."""
        return numbers(self.credits(self.game(data), nan))

    def budget(self, data: Sample, credits: np.ndarray) -> np.ndarray:
        """How far credits may be from the truth, [rows, players]."""
        return error_budget(self.game(data), self.value).at(credits)

    @property
    def bitwise(self) -> bool:
        """Whether what is equal in exact arithmetic has to be so in every bit: equal rewards of the order family."""
        return issubclass(family(self.utility), OrderGame)


# kept: the truth is the same for all backends and containers


@lru_cache(maxsize=4096)
def worths_of(utility: Utility, dtype: str, players: int, draw: int) -> list[tuple[list[int], list[Fraction]]]:
    """Live players and worth table of each row of a sample."""
    game = sample(utility, dtype, players, draw).game()
    rows = [game.live_players(row) for row in range(game.batch_shape[0])]
    return [(live, worth_table(game.exact_worth(row), live)) for row, live in enumerate(rows)]


@lru_cache(maxsize=16384)
def truth_of(utility: Utility, value: Semivalue, dtype: str, players: int, draw: int) -> list[list[Fraction]]:
    """Credits of each row of a sample, 0 for masked players."""
    credits = []
    for live, table in worths_of(utility, dtype, players, draw):
        row = [Fraction(0)] * players
        for i, credit in zip(live, share(table, value), strict=True):
            row[i] = credit
        credits.append(row)
    return credits
