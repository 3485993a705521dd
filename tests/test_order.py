"""The order family beyond the laws: known values, sums that are one launch, weights that no set reaches."""

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.allocate import merged
from shapley_kernels.kernels.order import _numba as order

R = [0.9, 0.5, 0.1]


@pytest.mark.parametrize(
    ("game", "value", "expected"),
    [
        (sk.Max(R), sk.Shapley(), [19 / 30, 7 / 30, 1 / 30]),
        (sk.Max(R), sk.Banzhaf(), [0.625, 0.225, 0.025]),
        (sk.Max(R), sk.BetaShapley(4, 1), [0.7866666666666667, 0.3866666666666667, 0.0666666666666667]),
        (sk.Max(R), sk.LeaveOneOut(), [0.4, 0, 0]),
        (sk.Max([1, 1, 0.5]), sk.Shapley(), [5 / 12, 5 / 12, 1 / 6]),
        (sk.Max([-3, -1, -2]), sk.Shapley(), [-1, 0.5, -0.5]),
        (sk.Max([-3, -1, -2], v_empty=-3), sk.Shapley(), [0, 1.5, 0.5]),
        (sk.Min(R), sk.Shapley(), [0.3, 0.1, -0.3]),
        (sk.TopM(R, 2), sk.Shapley(), [13 / 15, 7 / 15, 1 / 15]),
        (sk.Mean(R), sk.Shapley(), [7 / 15, 1 / 6, -2 / 15]),
        (sk.Range(R), sk.Shapley(), [1 / 3, 2 / 15, 1 / 3]),
    ],
)
def test_golden_values(game, value, expected):
    np.testing.assert_allclose(sk.semivalue(game, value), expected, rtol=0, atol=4e-16)


def test_sums_of_games_on_the_same_data_are_one_launch(monkeypatch):
    from shapley_kernels import launch

    calls = []
    kernel = launch.kernel
    monkeypatch.setattr(launch, "kernel", lambda *a: calls.append(a) or kernel(*a))
    r = np.random.default_rng(0).random((7, 5))
    both = sk.shapley(0.7 * sk.TopM(r, 3) + 0.3 * sk.Max(r))
    assert calls == [("order", "numba")]
    np.testing.assert_allclose(both, 0.7 * sk.shapley(sk.TopM(r, 3)) + 0.3 * sk.shapley(sk.Max(r)), atol=1e-15)


def test_terms_of_a_wide_sum_are_wide_and_share_their_data():
    """float32 rewards beside float64 ones: 2^-30 would be lost in float32."""
    narrow, wide = torch.tensor([[1.0, 0.5, 0.25]]), torch.zeros(1, 3, dtype=torch.float64)
    game = sk.Max(wide, v_empty=2.0**-30) + sk.Max(narrow) + sk.TopM(narrow, 2)
    assert len(merged(game.terms(sk.Shapley()))) == 2
    expected = sk.shapley(sk.Max(wide, v_empty=2.0**-30)) + sk.shapley(
        sk.Max(narrow.double()) + sk.TopM(narrow.double(), 2)
    )
    torch.testing.assert_close(sk.shapley(game), expected, rtol=0, atol=1e-15)


def test_python_sum_of_games():
    np.testing.assert_array_equal(sum([sk.Max(R), sk.Min(R)]).worth(), sk.Max(R).worth() + sk.Min(R).worth())


@pytest.mark.parametrize("players", [0, 1, 3])
@pytest.mark.parametrize("index", ["SII", "BII", "STII"])
def test_weights_of_places_that_no_set_reaches_are_ignored(index, players):
    """A batch of short sets among longer ones does not end a run."""
    rng = np.random.default_rng(0)
    rewards, mask = rng.random((4, players)), rng.random((4, players)) < 0.7
    fixed, by_size = rng.normal(size=6), rng.normal(size=(6, 6))
    short = np.tril(by_size)[:players, :players]
    for utility, weights, cut in (
        (sk.OWA, fixed, fixed[:players]),
        (sk.Discounted, fixed, fixed[:players]),
        (sk.OWA, by_size, short),
    ):
        long, exact = utility(rewards, weights, mask=mask), utility(rewards, cut, mask=mask)
        np.testing.assert_array_equal(sk.shapley(long), sk.shapley(exact))
        np.testing.assert_array_equal(long.worth(), exact.worth())
        np.testing.assert_array_equal(sk.interactions(long, index), sk.interactions(exact, index))
        assert long.params == utility(rewards, np.asarray(weights)[(slice(players),) * np.ndim(weights)]).params


ROW, SQUARE = np.full(20, 0.5), np.tril(np.ones((20, 20))) / np.arange(1, 21)[:, None]


@pytest.mark.parametrize(
    ("utility", "linear"),
    [
        (sk.Mean, True),
        (lambda r: 2 * sk.Mean(r) + sk.TopM(r, 20), True),
        (lambda r: sk.TopMMean(r, 20), True),
        (lambda r: sk.OWA(r, ROW), True),
        (lambda r: sk.OWA(r, SQUARE), True),
        (lambda r: sk.OWA(r, ROW[:19]), False),
        (lambda r: sk.OWA(r, SQUARE + np.eye(20) / 1000), False),
        (lambda r: sk.TopM(r, 19), False),
        (lambda r: sk.Mean(r) + sk.Max(r), False),
        (sk.Median, False),
    ],
)
def test_sets_whose_members_count_alike_are_not_sorted(utility, linear, monkeypatch):
    """And their coefficients are those of rows that need no order, for every value."""
    forms, run = [], order.run
    monkeypatch.setattr(order, "run", lambda *a, form=None: forms.append(form) or run(*a, form=form))
    rewards = np.random.default_rng(0).random((3, 20))
    for value in (sk.Shapley(), sk.LeaveOneOut(), sk.Banzhaf(0.3)):
        forms.clear()
        game = utility(rewards)
        (term,) = merged(game.terms(value))
        A, B, *_ = term.tables().arrays
        step = 0.0 if B is None else -B[0, 0]
        k = np.arange(1, 20)
        others = np.zeros(19) if B is None else B[0, :-1]
        arithmetic = np.abs([A[0, 0] + step - k * step - A[0, :-1], -k * step - others]).max() < 1e-13
        found = sk.semivalue(game, value)
        assert (forms == ["linear"]) == linear
        assert arithmetic or not linear
        np.testing.assert_allclose(found, sk.semivalue(game, value, backend="torch"), rtol=0, atol=1e-14)
