"""The families beside the order family, beyond the laws: known values, long rows, gradients, refusals."""

from fractions import Fraction

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels import launch
from shapley_kernels.testing import assert_within_budget, error_budget, exact_semivalue

RNG = np.random.default_rng(0)
EYE = np.eye(2)
LAM = np.array([0.5, 1.0, 2.0, 0.0])
P = RNG.integers(0, 65, (4, 40)) / 64
NEAR_ONE = RNG.uniform(0.9, 1, 64)
CERTAIN = np.array([1.0] * 300 + [0.0] * 212)


def symmetric(*shape):
    w = RNG.standard_normal((*shape, shape[-1]))
    return w + w.swapaxes(-1, -2)


def gram(rows, players, rank):
    x = RNG.standard_normal((rows, players, rank))
    return x @ np.swapaxes(x, 1, 2) / rank


@pytest.mark.parametrize(
    ("game", "expected", "rtol"),
    [
        (sk.NoisyOr([0.5, 0.25, 0.2]), [19 / 48, 41 / 240, 2 / 15], 4e-16),
        (sk.NoisyOr(CERTAIN), CERTAIN / 300, 1e-13),
        (sk.AtLeast(NEAR_ONE, 64), np.full(64, NEAR_ONE.prod() / 64), 1e-13),  # the unanimity game
        (sk.AtLeast([0.5, 1.0, 0.25], 0), np.zeros(3), 0),
        (sk.AtLeast([0.5, 1.0, 0.25], 4), np.zeros(3), 0),
        (2 * sk.NoisyOr(P[0]) - 0.5 * sk.AtLeast(P[0], 1), 1.5 * sk.shapley(sk.NoisyOr(P[0])), 1e-13),
        (sk.LogSum(np.full(200, 1e-6)), np.full(200, np.log1p(2e-4) / 200), 1e-12),
        (sk.LogSum(np.full(200, 1e6)), np.full(200, np.log1p(2e8) / 200), 1e-12),
        (sk.WeightedVoting([3, 2, 1, 1], quota=4), [1 / 2, 1 / 6, 1 / 6, 1 / 6], 1e-15),
        # five vetoes and ten seats: the Security Council
        (sk.WeightedVoting([7] * 5 + [1] * 10, quota=39), [421 / 2145] * 5 + [4 / 2145] * 10, 1e-13),
        (sk.WeightedVoting(np.ones(301, int), quota=151), np.full(301, 1 / 301), 1e-11),
        (2 * sk.WeightedVoting([1, 2], quota=2), [0.0, 2.0], 0),
        (sk.BudgetCap([5, 0, 3], budget=8), [5, 0, 3], 1e-15),
        (sk.BudgetCap([2**40, 1, 1], budget=1), [1 / 3, 1 / 3, 1 / 3], 1e-15),
        # v(S) = prod (1 + lam): by two players, lam_1 + lam_1 lam_2 / 2
        (sk.Volume(np.diag(LAM[:2])), [0.75, 1.25], 1e-14),
    ],
)
def test_known_values(game, expected, rtol):
    np.testing.assert_allclose(sk.shapley(game), expected, rtol=rtol)


def test_pairwise_in_closed_form():
    w, a = symmetric(3, 6), RNG.random((3, 6))
    pairs = w.sum(-1) - np.diagonal(w, axis1=1, axis2=2)
    for value, present in ((sk.BetaShapley(1, 3), 0.75), (sk.Banzhaf(0.1), 0.1)):
        np.testing.assert_allclose(sk.semivalue(sk.Pairwise(w, a), value), a + present * pairs, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("diagonal", [1.0, np.nan, -np.inf])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_the_diagonal_of_pairwise_is_not_read(backend, diagonal):
    w = symmetric(2, 5)
    filled, clean = np.where(np.eye(5, dtype=bool), diagonal, w), np.where(np.eye(5, dtype=bool), 0.0, w)
    found = sk.shapley(sk.Pairwise(filled), backend=backend)
    np.testing.assert_array_equal(found, sk.shapley(sk.Pairwise(clean), backend=backend))
    np.testing.assert_array_equal(sk.Pairwise(filled).worth(), sk.Pairwise(clean).worth())


@pytest.mark.parametrize("players", [5, 40])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_asymmetry_anywhere_in_a_batch_of_pairwise(backend, players):
    """At the latest where something is computed; what differs by rounding, or beside masked players, is taken."""
    w = symmetric(20, players)
    w[17, 3, 1] *= 1 + 1e-15
    expected = sk.shapley(sk.Pairwise(w), backend="torch")
    np.testing.assert_allclose(sk.shapley(sk.Pairwise(w), backend=backend), expected, rtol=1e-13)
    w[17, 3, 1] = w[17, 1, 3] + 0.5
    live = np.arange(players) != 3
    sk.shapley(sk.Pairwise(w, mask=np.broadcast_to(live, w.shape[:2])), backend=backend)
    for compute in (sk.Game.worth, sk.interactions, lambda game: sk.shapley(game, nan="propagate", backend=backend)):
        with pytest.raises(ValueError, match=r"w must be symmetric, got .* at \[17, 1, 3\]"):
            compute(sk.Pairwise(w))
    with pytest.raises(ValueError, match=r"w must be symmetric"):
        sk.Pairwise(w[17])


@pytest.mark.parametrize("players", [5, 40])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_one_of_two_pairs_is_another_zero_or_not_finite(backend, players):
    w = symmetric(20, players)
    w[:, 3, 1], w[:, 1, 3] = -0.0, 0.0
    expected = sk.shapley(sk.Pairwise(w))
    assert np.isfinite(expected).all()
    for i, j in ((3, 1), (1, 3)):
        spoilt = w.copy()
        spoilt[17, i, j] = np.nan
        found = sk.shapley(sk.Pairwise(spoilt), nan="propagate", backend=backend)
        assert np.isnan(found[17]).all()
        np.testing.assert_allclose(np.delete(found, 17, 0), np.delete(expected, 17, 0), rtol=1e-12, atol=1e-13)


def test_dtypes_of_two_arrays_promote():
    w, a = symmetric(3, 4).astype(np.float32), RNG.random((3, 4))
    credits = sk.shapley(sk.Pairwise(w, a))
    assert credits.dtype == np.float64
    np.testing.assert_array_equal(credits, sk.shapley(sk.Pairwise(w.astype(float), a)))
    assert sk.shapley(sk.Pairwise(w, a.astype(np.float32))).dtype == np.float32


def test_multiples_on_the_same_data_are_one_run(monkeypatch):
    calls, kernel = [], launch.kernel
    monkeypatch.setattr(launch, "kernel", lambda *a: calls.append(a) or kernel(*a))
    game = sk.Pairwise(symmetric(2, 4))
    np.testing.assert_allclose(sk.shapley(0.7 * game - 0.2 * game), 0.5 * sk.shapley(game), rtol=1e-13)
    assert calls == [("pairwise", "numba")] * 2


def test_credits_of_integers_are_floats():
    assert sk.shapley(sk.WeightedVoting(np.array([1, 2], np.int32), quota=2)).dtype == np.float64
    assert sk.shapley(sk.WeightedVoting(torch.tensor([1, 2]), quota=2)).dtype == torch.get_default_dtype()


# -- accuracy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [sk.Shapley(), sk.Banzhaf(0.3), sk.Stratum(3), sk.LeaveOneOut()], ids=str)
def test_at_least_one_is_noisy_or(value):
    one, other = sk.semivalue(sk.AtLeast(P, 1), value), sk.semivalue(sk.NoisyOr(P), value)
    np.testing.assert_allclose(one, other, rtol=600 * 2.0**-53)


@pytest.mark.parametrize("scale", [1e30, 3.0, -1e-30])
@pytest.mark.parametrize("players", [5, 90])
def test_noisy_or_of_any_scale(players, scale):
    """In float32 too, where products of many chances are smaller than the smallest number."""
    p = RNG.integers(0, 9, (40, players)).astype(np.float32) / 8
    expected = scale * sk.shapley(sk.NoisyOr(p.astype(float)))
    np.testing.assert_allclose(sk.shapley(scale * sk.NoisyOr(p)), expected, rtol=1e-5)


def test_a_chance_may_be_either_zero():
    np.testing.assert_array_equal(sk.shapley(sk.NoisyOr([-0.0, 1.0])), [0.0, 1.0])
    for chance in (-1e-310, np.nextafter(1.0, 2)):
        with pytest.raises(ValueError, match=r"NoisyOr: p must be in \[0, 1\]"):
            sk.NoisyOr([0.5, chance])


@pytest.mark.parametrize("players", [5, 8, 40])
def test_chances_of_large_batches_are_looked_at_when_something_is_computed(players):
    p = RNG.random((2**16 // players, players))
    p[17, 3] = 1.5
    mask = np.ones_like(p, dtype=bool)
    mask[17, 3] = False
    game, found = sk.NoisyOr(p), r"NoisyOr: p must be in \[0, 1\], got 1.5 at \[17, 3\]"
    for nan in (None, "propagate"):
        for value in (sk.Shapley(), sk.Stratum(2)):
            assert np.isfinite(sk.semivalue(sk.NoisyOr(p, mask=mask), value, nan=nan)).all()
            for backend in ("numba", "torch"):
                with pytest.raises(ValueError, match=found):
                    sk.semivalue(game, value, nan=nan, backend=backend)
                with pytest.raises(ValueError, match=found):
                    sk.semivalue(0.5 * game + game, value, nan=nan, backend=backend)
    for compute in (sk.Game.worth, sk.interactions):
        with pytest.raises(ValueError, match=found):
            compute(game)
    p[17, 3] = np.nan
    assert np.isnan(sk.shapley(sk.NoisyOr(p), nan="propagate")[17]).all()


def test_log_sum_to_twelve_digits_over_twelve_decades():
    w = 10 ** RNG.uniform(-6, 6, (4, 6))
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


def test_the_grid_of_log_sum_is_the_rows_own():
    """A row of huge weights takes a longer grid; it is nobody else's."""
    w = np.array([[0.5, 1.0, 2.0], [1e9, 1e12, 3.0], [0.0, 0.0, 0.0]])
    together = sk.shapley(sk.LogSum(w))
    for row in range(3):
        np.testing.assert_array_equal(sk.shapley(sk.LogSum(w[row : row + 1]))[0], together[row])


@pytest.mark.parametrize("rank", [1, 3, 40])
def test_volumes_of_long_rows_of_any_rank(rank):
    game = sk.Volume(gram(3, 40, rank), mask=RNG.random((3, 40)) < 0.7)
    np.testing.assert_allclose(sk.shapley(game).sum(-1), game.worth() - 1, rtol=1e-11)


def test_near_duplicates_share_a_volume():
    x = RNG.standard_normal((6, 6))
    x[1] = x[0] * (1 + 1e-9)
    credits = sk.shapley(sk.Volume(x @ x.T))
    assert np.isfinite(credits).all()
    assert credits[0] == pytest.approx(credits[1], rel=1e-7)


def test_volumes_of_float32_are_decomposed_in_float64():
    kernel = gram(2, 20, 8).astype(np.float32)
    kernel = (kernel + np.swapaxes(kernel, 1, 2)) / 2 + np.eye(20, dtype=np.float32) / 64
    wide = sk.shapley(sk.Volume(kernel.astype(np.float64)))
    np.testing.assert_allclose(sk.shapley(sk.Volume(kernel)), wide, rtol=2.0**-23)


def test_rounding_is_no_asymmetry_and_no_negative_eigenvalue():
    kernel = gram(1, 6, 2)[0]
    kernel[0, 1] *= 1 + 2.0**-52
    assert np.isfinite(sk.shapley(sk.Volume(kernel))).all()


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_asymmetry_within_rounding_is_allowed(dtype):
    x = RNG.standard_normal((2, 5, 64)).astype(dtype)
    w = x @ x.swapaxes(-1, -2)
    w[0, 1, 3] = np.nextafter(w[0, 3, 1], dtype(np.inf))
    sk.shapley(sk.Pairwise(w))
    w[1, 4, 2] += dtype(0.5) * abs(w[1]).max()
    for container in (np.asarray, torch.tensor):
        with pytest.raises(ValueError, match=r"w must be symmetric, got .* at \[1, 2, 4\] and .* at \[1, 4, 2\]"):
            sk.Pairwise(container(w))
    mask = np.ones((2, 5), bool)
    mask[1, 2] = False
    sk.Pairwise(w, mask=mask)  # the two do not meet


# -- gradients ---------------------------------------------------------------------------------------------------------

MASK = torch.tensor([[True, True, True], [True, False, True]])


@pytest.mark.parametrize(
    ("game", "shape"),
    [
        (sk.NoisyOr, (2, 3)),
        (lambda p: sk.AtLeast(p, 2), (2, 3)),
        (sk.LogSum, (2, 3)),
        (lambda v: sk.Table(v, mask=MASK), (2, 8)),
        (lambda x: sk.Pairwise((x + x.mT) / 2, x[..., 0], mask=MASK), (2, 3, 3)),
        (lambda x: sk.Volume(x @ x.mT), (3, 3)),
        (lambda x: sk.Volume(x @ x.mT, mask=MASK), (2, 3, 3)),
        (lambda scores: sk.FacilityLocation(scores), (2, 4, 3)),
    ],
    ids=["NoisyOr", "AtLeast", "LogSum", "Table", "Pairwise", "Volume", "masked Volume", "FacilityLocation"],
)
@pytest.mark.filterwarnings("ignore:Input #0 requires gradient:UserWarning")
def test_gradients(game, shape):
    x = torch.tensor(np.random.default_rng(5).uniform(0.1, 0.9, shape), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sk.shapley(game(x)), (x,))


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: sk.NoisyOr([[0.5, 0.5], [1.5, 0.0]]), ValueError, r"p must be in \[0, 1\], got 1.5 at \[1, 0\].*clip"),
        (lambda: sk.AtLeast([0.5], -1), ValueError, "AtLeast: m must be an integer >= 0, got -1"),
        (lambda: sk.LogSum([1.0, -2.0]), ValueError, r"LogSum: w must be >= 0, got -2.0 at \[1\]"),
        (lambda: sk.LogSum([1.0], base=0), ValueError, "LogSum: base must be a finite number > 0, got 0"),
        (lambda: sk.Pairwise(np.zeros(3)), ValueError, r"w must have shape \[..., players, players\].*\(3,\)"),
        (lambda: sk.Pairwise(np.zeros((2, 3))), ValueError, r"the same number twice, got \(2, 3\)"),
        (lambda: sk.Pairwise(EYE, np.zeros(4)), ValueError, r"values: expected shape \(2,\) \[..., players\]"),
        (lambda: sk.Pairwise(EYE, None, np.ones(2)), TypeError, "Pairwise: mask: expected dtype bool"),
        (lambda: sk.Pairwise(EYE.astype(complex)), TypeError, "Pairwise: w: expected real numbers"),
        (lambda: sk.Pairwise(EYE, torch.zeros(2)), TypeError, "Pairwise: values: expected a numpy array"),
        (
            lambda: sk.Pairwise(np.triu(symmetric(3))),
            ValueError,
            r"pass \(w \+ w.swapaxes\(-1, -2\)\) / 2, or w \+ w.swapaxes\(-1, -2\) if only one",
        ),
        (lambda: sk.Volume(np.zeros((2, 3))), ValueError, r"must have shape \[..., players, players\], got \(2, 3\)"),
        (
            lambda: sk.Volume(np.array([EYE, [[1.0, 0.5], [0.0, 1.0]]])),
            ValueError,
            r"kernel must be symmetric, got 0.5 at \[1, 0, 1\] and 0.0 at \[1, 1, 0\]",
        ),
        (
            lambda: sk.shapley(sk.Volume(np.array([EYE, [[0.0, 1.0], [1.0, 0.0]]]))),
            ValueError,
            r"must be positive semidefinite, got the eigenvalue -1 in row \[1\]",
        ),
        (
            lambda: sk.shapley(sk.Volume(np.array([np.eye(9), 1e5 * np.eye(9)], np.float32))),
            OverflowError,
            r"det\(I \+ L\) must be in the range of float32.*in row \[1\]",
        ),
        (lambda: sk.WeightedVoting([0.5], quota=1), TypeError, "must be integers, got .*float64.*common denominator"),
        (lambda: sk.WeightedVoting([[3, -1]], quota=1), ValueError, r"weights must be >= 0, got -1 at \[0, 1\]"),
        (lambda: sk.WeightedVoting([3, 1], quota=0), ValueError, "quota must be an integer >= 1, got 0"),
        (lambda: sk.BudgetCap([3], budget=2_000_000), ValueError, "at most 1048576, got 2000000.*common factor"),
        (lambda: sk.BudgetCap([3, 1], budget=1.5), TypeError, "budget must be an integer >= 0, got 1.5"),
    ],
)
def test_refusals(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_a_masked_player_may_be_anything():
    assert sk.NoisyOr([[0.5, 7.0]], mask=np.array([True, False])).worth() == 0.5
    assert sk.AtLeast([0.5, 1.0, 0.25], 0).worth() == 1.0
