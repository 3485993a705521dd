"""The definition of a semivalue, in rational arithmetic."""

from fractions import Fraction
from itertools import combinations
from math import comb

from shapley_kernels.games import Game
from shapley_kernels.values import Semivalue, Shapley

MAX_PLAYERS = 16


def exact_semivalue(game: Game, value: Semivalue | None = None, row: int = 0) -> list[Fraction]:
    """phi_i = sum over S of w_|S| / C(n-1, |S|) (v(S + i) - v(S)), by 2^n enumeration; masked players get 0.

    Args:
        game: at most 16 live players in the row.
        value: None: Shapley.
        row: index into the flattened batch.

    Raises:
        ValueError: too many live players.

    Cost: O(n 2^n) rational operations.
    """
    live = game.live_players(row)
    n = len(live)
    if n > MAX_PLAYERS:
        raise ValueError(f"exact_semivalue: at most {MAX_PLAYERS} live players can be enumerated, got {n}")
    v = game.exact_worth(row)
    worth = {s: v(s) for size in range(n + 1) for s in combinations(live, size)}
    credits = [Fraction(0)] * game.players
    weights = (value or Shapley()).exact_size_weights(n) if n else []
    for coalition, before in worth.items():
        for i in live:
            if i not in coalition:
                s = len(coalition)
                after = worth[tuple(sorted((*coalition, i)))]
                credits[i] += weights[s] / comb(n - 1, s) * (after - before)
    return credits
