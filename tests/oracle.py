"""Random games against the rational oracle, within the a-priori bound."""

import numpy as np

import shapley_kernels as sk
from shapley_kernels.games import GAMES, OrderGame
from shapley_kernels.testing import exact_semivalue

ORDER_GAMES = [game for game in GAMES if issubclass(game, OrderGame)]

VALUES = (
    sk.Shapley(),
    sk.Banzhaf(),
    sk.Banzhaf(0.3),
    sk.BetaShapley(4, 1),
    sk.Stratum(2),
    sk.LeaveOneOut(),
    sk.SizeWeights(lambda n: [2 * (s + 1) / (n * (n + 1)) for s in range(n)]),
)


def random_game(game, rng, players, dtype):
    """Three rows with ties, a mask with a dead row now and then, NaN at masked players."""
    rewards = (rng.integers(-6, 7, size=(3, players)) / 4).astype(dtype)
    mask = rng.random((3, players)) < 0.7
    rewards[~mask] = np.nan
    return game(rewards, **game.example_params(rng, players), mask=mask, v_empty=rng.integers(-4, 5, size=3) / 4)


def bound(game, value, row):
    """(players + 2) eps/2 sum_k |D_k| (|A_k| + |B_k|) + |c C| eps + output rounding, of one row."""
    live = game.live_players(row)
    if not live:
        return 0.0
    n, c = len(live), float(game.v_empty[row])
    a, b, empty = type(game).coefficients(value, n, *game.params)
    r = np.sort(game.rewards[row, live].astype(float))[::-1]
    gaps = np.abs(r - np.append(r[1:], c))
    scale = (gaps * (np.abs(a) + np.abs(b))).sum()
    eps = np.finfo(np.promote_types(game.rewards.dtype, np.float32)).eps
    rounding = np.finfo(game.rewards.dtype).eps / 2 * (scale + abs(c * empty))
    return (n + 2) * eps / 2 * scale + abs(c * empty) * eps + rounding


def check(game, value, backend):
    credits = sk.semivalue(game, value, backend=backend)
    assert credits.dtype == game.rewards.dtype
    assert np.isfinite(credits).all()
    for row in range(len(credits)):
        exact = np.array([float(x) for x in exact_semivalue(game, value, row)])
        error = np.abs(credits[row].astype(float) - exact).max(initial=0)
        assert error <= bound(game, value, row) + 1e-300, (game, game.params, value, backend, game.rewards[row], error)


def check_family(game, backend, dtype, sizes=(1, 2, 3, 5, 6)):
    rng = np.random.default_rng(0)
    for players in sizes:
        for value in VALUES:
            check(random_game(game, rng, players, dtype), value, backend)


__all__ = ["ORDER_GAMES", "VALUES", "bound", "check", "check_family", "random_game"]
