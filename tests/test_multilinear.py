"""NoisyOr, AtLeast and LogSum beyond the laws: known values, accuracy on long rows, refusals, gradients."""

from fractions import Fraction

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.testing import assert_within_budget, error_budget, exact_semivalue

STRATUM = sk.Stratum(3)


def test_golden_values():
    expected = [19 / 48, 41 / 240, 2 / 15]
    np.testing.assert_allclose(sk.shapley(sk.NoisyOr([0.5, 0.25, 0.2])), expected, rtol=4e-16)


@pytest.mark.parametrize("value", [sk.Shapley(), sk.Banzhaf(0.3), STRATUM, sk.LeaveOneOut()], ids=str)
def test_at_least_one_is_noisy_or(value):
    p = np.random.default_rng(0).integers(0, 65, (4, 40)) / 64
    one, other = sk.semivalue(sk.AtLeast(p, 1), value), sk.semivalue(sk.NoisyOr(p), value)
    np.testing.assert_allclose(one, other, rtol=600 * 2.0**-53)


def test_at_least_all_is_the_unanimity_game():
    """Worth the product of all chances to everybody together: an equal share each."""
    p = np.random.default_rng(1).uniform(0.9, 1, 64)
    np.testing.assert_allclose(sk.shapley(sk.AtLeast(p, 64)), np.full(64, p.prod() / 64), rtol=1e-13)


@pytest.mark.parametrize("m", [0, 4, 100])
def test_a_threshold_that_nobody_changes(m):
    assert (sk.shapley(sk.AtLeast([0.5, 1.0, 0.25], m)) == 0).all()
    assert sk.AtLeast([0.5, 1.0, 0.25], m).worth() == float(m == 0)


def test_certain_and_impossible_players():
    credits = sk.shapley(sk.NoisyOr(np.array([1.0] * 300 + [0.0] * 212)))
    np.testing.assert_allclose(credits[:300], 1 / 300, rtol=1e-13)
    assert (credits[300:] == 0).all()


def test_log_sum_to_twelve_digits_over_twelve_decades():
    rng = np.random.default_rng(2)
    w = 10 ** rng.uniform(-6, 6, (4, 6))
    w[3] = [1e6, 1e6, 1e-6, 1e-6, 1.0, 0.0]
    for base in (1.0, 0.125):
        game = sk.LogSum(w, base)
        for row, credits in enumerate(sk.shapley(game)):
            for credit, exact in zip(credits, exact_semivalue(game, row=row), strict=True):
                assert abs(Fraction(float(credit)) - exact) <= Fraction(1, 10**12) * exact


def test_log_sum_of_weights_near_the_smallest_numbers():
    w = np.array([[2.0**-678, 2.0**-680, 0.0], [1.0, 2.0**-1000, 2.0**-1000]])
    exact = np.array([[float(x) for x in row] for row in exact_semivalue(sk.LogSum(w))])
    np.testing.assert_allclose(exact[0], w[0], rtol=1e-15)
    np.testing.assert_allclose(sk.shapley(sk.LogSum(w)), exact, rtol=1e-12)


@pytest.mark.parametrize("utility", [sk.LogSum, sk.NoisyOr, lambda p: sk.AtLeast(p, 1), lambda p: sk.AtLeast(p, 2)])
def test_bounds_of_subnormal_numbers(utility):
    game = utility(np.array([[0.875, 0.625, 5e-324], [5e-324, 5e-324, 1e-323], [1e-310, 1e-160, 1e-160]]))
    for value in (sk.Shapley(), sk.Banzhaf(0.3), sk.LeaveOneOut()):
        for backend in ("numba", "torch"):
            credits = sk.semivalue(game, value, backend=backend)
            assert_within_budget(credits, exact_semivalue(game, value), error_budget(game, value))


def test_log_sum_of_many_equal_players():
    w = np.repeat([[1e-6], [1.0], [1e6]], 200, axis=1)
    expected = np.broadcast_to(np.log1p(200 * w[:, :1]) / 200, w.shape)
    np.testing.assert_allclose(sk.shapley(sk.LogSum(w)), expected, rtol=1e-12)


def test_log_sum_grid_is_the_rows_own():
    """A row of huge weights takes a longer grid; it is nobody else's."""
    w = np.array([[0.5, 1.0, 2.0], [1e9, 1e12, 3.0], [0.0, 0.0, 0.0]])
    together = sk.shapley(sk.LogSum(w))
    for row in range(3):
        np.testing.assert_array_equal(sk.shapley(sk.LogSum(w[row : row + 1]))[0], together[row])


@pytest.mark.parametrize("game", [sk.NoisyOr, lambda p: sk.AtLeast(p, 2), sk.LogSum], ids=["or", "at least", "log"])
@pytest.mark.filterwarnings("ignore:Input #0 requires gradient:UserWarning")
def test_gradients(game):
    p = torch.tensor([[0.5, 0.25, 0.75], [0.125, 0.5, 0.5]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sk.shapley(game(x)), (p,))


def test_refusals_name_the_entry_and_the_remedy():
    with pytest.raises(ValueError, match=r"NoisyOr: p must be in \[0, 1\], got 1.5 at \[1, 0\].*clip"):
        sk.NoisyOr([[0.5, 0.5], [1.5, 0.0]])
    with pytest.raises(ValueError, match=r"AtLeast: m must be an integer >= 0, got -1"):
        sk.AtLeast([0.5], -1)
    with pytest.raises(ValueError, match=r"LogSum: w must be >= 0, got -2.0 at \[1\]"):
        sk.LogSum([1.0, -2.0])
    with pytest.raises(ValueError, match=r"LogSum: base must be a finite number > 0, got 0"):
        sk.LogSum([1.0], base=0)
    assert sk.NoisyOr([[0.5, 7.0]], mask=np.array([True, False])).worth() == 0.5  # a masked player may be anything


def test_sums_on_the_same_data_scale_in_the_tables():
    p = np.array([0.5, 0.25, 0.125])
    double = sk.shapley(2 * sk.NoisyOr(p) - 0.5 * sk.AtLeast(p, 2))
    np.testing.assert_allclose(double, 2 * sk.shapley(sk.NoisyOr(p)) - 0.5 * sk.shapley(sk.AtLeast(p, 2)), rtol=1e-14)
