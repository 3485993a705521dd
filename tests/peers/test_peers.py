"""Independent oracles: other people's packages, given the worth of every coalition, agree (extra [peers])."""

import importlib
from types import SimpleNamespace

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels.games import GAMES
from shapley_kernels.testing.samples import sample
from tests.needs import peer

ROUNDING = 1e-13  # of the peers: they sum 2^n floats, our own error is below 1e-15 here
PLAYERS = 6


def game_of(utility, seed):
    """One game, without batch axes."""
    return sample(utility, "float64", PLAYERS, 2 * seed, 1).map(lambda x: x[0]).game()


def table(game):
    """Worth of all coalitions, player 0 the lowest bit of the index."""
    bits = np.arange(2**game.players)[:, None] >> np.arange(game.players) & 1
    return game.worth(bits.astype(bool))


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("utility", GAMES, ids=lambda g: g.__name__)
class TestGames:
    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(("index", "value"), [("SV", sk.Shapley()), ("BV", sk.Banzhaf())])
    def test_shapiq(self, utility, seed, index, value):
        game = game_of(utility, seed)
        computer = peer("shapiq").ExactComputer(lambda s: game.worth(np.atleast_2d(s).astype(bool)), n_players=PLAYERS)
        found = computer(index, 1)
        expected = [found[(i,)] for i in range(PLAYERS)]
        np.testing.assert_allclose(sk.semivalue(game, value), expected, rtol=0, atol=ROUNDING)

    @pytest.mark.parametrize(("function", "value"), [("shapley", sk.Shapley()), ("banzhaf", sk.Banzhaf())])
    def test_coopgame(self, utility, seed, function, value):
        coopgame, game = peer("coopgame"), game_of(utility, seed)
        worth = table(game)  # coopgame has no place for v(empty): take it off
        expected = getattr(coopgame, function)(coopgame.Game((worth - worth[0])[1:].tolist()))
        np.testing.assert_allclose(sk.semivalue(game, value), expected, rtol=0, atol=ROUNDING)

    def test_shapley_numba(self, utility, seed):
        game = game_of(utility, seed)
        peer("shapley_numba")
        shapley = importlib.import_module("shapley_numba.shapley").shapley
        expected = shapley(
            SimpleNamespace(value=lambda members: game.worth(members.astype(bool))), PLAYERS, use_numba=False
        )
        np.testing.assert_allclose(sk.shapley(game), expected, rtol=0, atol=ROUNDING)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("index", ["SII", "BII", "STII"])
@pytest.mark.parametrize("utility", GAMES, ids=lambda g: g.__name__)
def test_interactions_of_shapiq(utility, index):
    game = game_of(utility, 1)
    computer = peer("shapiq").ExactComputer(lambda s: game.worth(np.atleast_2d(s).astype(bool)), n_players=PLAYERS)
    found, expected = sk.interactions(game, index), computer(index, 2)
    for i in range(PLAYERS):
        for j in range(i, PLAYERS):
            theirs = expected[(i,) if i == j else (i, j)]
            np.testing.assert_allclose(found[i, j], theirs, rtol=0, atol=ROUNDING)


def test_airport_game():
    costs = [8.0, 11.0, 13.0, 18.0]
    expected = peer("coopgame").airport(costs)["shapley"]
    assert sk.shapley(sk.Max(costs)).tolist() == expected == [2, 3, 4, 9]


@pytest.mark.filterwarnings("ignore")
def test_noisy_or_is_a_product_kernel():
    """shapiq takes the worth prod (1 - p) and its recursion on elementary symmetric polynomials."""
    peer("shapiq")
    module = importlib.import_module("shapiq.explainer.product_kernel.product_kernel")
    p = np.random.default_rng(0).uniform(0.1, 0.9, 20)
    model = SimpleNamespace(alpha=np.ones(1), d=len(p), kernel_type="rbf")
    computer = module.ProductKernelComputer(model, max_order=1, index="SV")
    failed = [np.array([1 - x]) for x in p]
    expected = [-computer.compute_shapley_value(failed, i) for i in range(len(p))]
    np.testing.assert_allclose(sk.shapley(sk.NoisyOr(p)), expected, rtol=0, atol=ROUNDING)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_voting(seed):
    powerindices = peer("powerindices")
    weights = np.random.default_rng(seed).integers(1, 30, 25)
    quota = int(weights.sum() // 2 + 1)
    game = sk.WeightedVoting(weights, quota=quota)
    np.testing.assert_allclose(sk.shapley(game), powerindices.compute_ssi(quota, weights.tolist()), atol=ROUNDING)
