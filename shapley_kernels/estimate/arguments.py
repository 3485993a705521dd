"""What `estimate` refuses."""

from math import isqrt
from typing import Any

import numpy as np

from shapley_kernels.arrays import describe, integer
from shapley_kernels.games.base import Game

MOST_BYTES = 2**36
"""Of the coalitions that are evaluated, a byte per player; of more, no memory would be left for the work on them."""

MOST_PLAYERS = isqrt(MOST_BYTES // 2) - 1
"""Of whom the smallest budget, about 2 players coalitions, is that many bytes."""


def check(f: Any, players: Any, budget: Any, surrogate: Any) -> None:
    if not callable(f) or isinstance(f, Game):
        hint = "; of a game, sk.shapley(game) is exact" if isinstance(f, Game) else ""
        raise TypeError(f"estimate: f must be a function of coalitions, bool [m, players], got {describe(f)}{hint}")
    players = integer("estimate: players", players, 1)
    if players > MOST_PLAYERS:
        raise ValueError(
            f"estimate: players must be at most {MOST_PLAYERS}, got {players}: the smallest budget would not fit in "
            "memory; group players, and estimate the groups"
        )
    least = min(2**players, 2 + 4 * (players // 2))
    exact = 2**players if players < 64 else f"2^{players}"
    expected = f"an integer, at least {least} evaluations for {players} players (and {exact} make it exact)"
    budget = integer("estimate: budget", budget, least, expected)
    most = MOST_BYTES // players
    if budget > most and players >= most.bit_length():  # else 2^players is less
        raise ValueError(
            f"estimate: budget must be at most {most} evaluations for {players} players, since all coalitions are kept "
            f"in memory, got {budget if budget.bit_length() < 64 else 'more than 2^63'}"
        )
    if surrogate is not None:
        _check_surrogate(surrogate, players)


def _check_surrogate(surrogate: Any, players: int) -> None:
    if not isinstance(surrogate, Game):
        raise TypeError(
            f"estimate: surrogate must be a game such as sk.Max(rewards), got {describe(surrogate)}; "
            "wrap the rewards in the utility that f resembles"
        )
    if surrogate.batch_shape:
        raise ValueError(
            f"estimate: surrogate must be a single game, got batch shape {surrogate.batch_shape}; pass one row of data"
        )
    if surrogate.players != players:
        raise ValueError(
            f"estimate: surrogate must have {players} players, as f, got {surrogate.players}; "
            "give players that it does not know a row of data, or mask them"
        )
    if "float16" in str(surrogate.dtype):
        raise TypeError(
            f"estimate: surrogate must be float32 or float64, got {surrogate.dtype}, whose rounding would bias the "
            "estimate; convert its data first"
        )


def generator(seed: Any) -> "np.random.Generator":
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(integer("estimate: seed", seed, 0, "an integer >= 0 or a numpy Generator"))
