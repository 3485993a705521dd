"""Table: long rows, refusals, and the games of shapiq."""

from itertools import combinations

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from tests.needs import peer


def shapiq_order(values):
    """The same worths, by size and then lexicographic."""
    players = (len(values) - 1).bit_length()
    sets = [s for size in range(players + 1) for s in combinations(range(players), size)]
    return sets, np.array([values[sum(1 << i for i in s)] for s in sets])


def test_many_players():
    """18 players, where a sum of 2^17 differences one after the other would lose 4 digits."""
    rng = np.random.default_rng(1)
    w = rng.random((18, 18))
    game = sk.Pairwise(w + w.T, rng.random(18))
    values = np.zeros(1)
    for i in range(18):  # v(S + i) from v(S)
        members = np.arange(1 << i)[:, None] >> np.arange(i) & 1
        values = np.concatenate([values, values + game.values[i] + members @ game.w[i, :i]])
    exact = sk.shapley(game)
    for dtype in (np.float64, np.float32):
        error = np.abs(sk.shapley(sk.Table(values.astype(dtype))) - exact).max()
        assert error <= 3 * np.finfo(dtype).eps * values.max()  # of the worths themselves; the sums add less


def test_worth():
    game = sk.Table(np.arange(16.0).reshape(2, 8), mask=[[True, True, False], [True] * 3])
    np.testing.assert_array_equal(game.worth(), [3, 15])
    some = np.array([[[True, False, True]], [[False, True, False]]])
    np.testing.assert_array_equal(game.worth(some), [[1, 13], [2, 10]])
    np.testing.assert_array_equal(
        sk.Table(torch.arange(4.0)).worth(torch.tensor([[True, False], [True, True]])), [1, 3]
    )


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros(6), ValueError, r"got 6 worths, which is no power of two; the empty set counts"),
        (np.zeros((2, 0)), ValueError, r"got 0 worths"),
        (3.0, ValueError, r"Table: values must have shape \[..., 2\^players\], got the number 3.0"),
        (np.broadcast_to(0.0, 2**21), ValueError, r"at most 20 players, got 21: 2\^21 worths are 16,777,216 bytes"),
        (np.zeros(4, complex), TypeError, r"Table: values: expected real numbers"),
    ],
)
def test_errors(values, error, message):
    with pytest.raises(error, match=message):
        sk.Table(values)
    with pytest.raises(ValueError, match=r"Table: mask: expected shape \(2, 3\) \[..., players\]"):
        sk.Table(np.zeros((2, 8)), mask=np.ones((2, 8), bool))


class TestFromShapiq:
    def test_array(self):
        values = np.random.default_rng(2).random((3, 16))
        theirs = np.stack([shapiq_order(row)[1] for row in values])
        np.testing.assert_array_equal(sk.Table.from_shapiq(theirs).values, values)
        tensor = sk.Table.from_shapiq(torch.tensor(theirs), mask=torch.ones(3, 4, dtype=torch.bool))
        np.testing.assert_array_equal(tensor.values, values)
        assert tensor.mask is not None

    def test_mapping(self):
        values = np.random.default_rng(3).random(8)
        sets, theirs = shapiq_order(values)
        np.testing.assert_array_equal(sk.Table.from_shapiq(dict(zip(sets, theirs, strict=True))).values, values)
        with pytest.raises(ValueError, match=r"got one of \(5,\); number the players from 0"):
            sk.Table.from_shapiq({(): 0.0, (5,): 1.0})
        with pytest.raises(ValueError, match="got 3 worths, which is no power of two"):
            sk.Table.from_shapiq({(): 0.0, (0,): 1.0, (1,): 1.0})
        with pytest.raises(ValueError, match=r"no worth of \(1,\)"):
            sk.Table.from_shapiq({(): 0.0, (0,): 1.0, (0, 0): 1.0, (0, 1): 2.0})

    @pytest.mark.parametrize("bad", [3.0, "a"])
    def test_something_else(self, bad):
        with pytest.raises((TypeError, ValueError), match=r"Table.from_shapiq: worths"):
            sk.Table.from_shapiq(bad)

    @pytest.mark.filterwarnings("ignore")
    def test_objects_of_shapiq(self):
        shapiq = peer("shapiq")
        values = np.random.default_rng(4).random(16)

        class Theirs(shapiq.Game):
            def value_function(self, coalitions):
                return values[coalitions @ (1 << np.arange(4))]

        game = Theirs(4, normalize=False)
        computer = shapiq.ExactComputer(game, n_players=4)
        for source in (game, computer.game_values, computer("Moebius", 4)):
            np.testing.assert_allclose(sk.Table.from_shapiq(source).values, values, rtol=0, atol=1e-15)
        game.precompute()
        np.testing.assert_array_equal(sk.Table.from_shapiq(game.game_values).values, values)
        centred = Theirs(4, normalize=True, normalization_value=float(values[0]))
        np.testing.assert_array_equal(sk.Table.from_shapiq(centred).values, values - values[0])
        with pytest.raises(TypeError, match=r"got InteractionValues of index 'SII', which do not determine the game"):
            sk.Table.from_shapiq(computer("SII", 2))
