"""Quadrature nodes of the semivalues: against 40 digits, and against the size weights that define the value."""

from fractions import Fraction

import numpy as np
import pytest

import shapley_kernels as sk
from tests.conftest import need

BETAS = [(1.0, 1.0), (0.5, 0.5), (0.5, 40.0), (40.0, 0.5), (40.0, 40.0), (3.0, 7.3), (1.0, 0.5), (16.0, 1.0)]
MIXTURES = [sk.Shapley(), sk.Banzhaf(), sk.Banzhaf(0.3), sk.Banzhaf(0.0), sk.LeaveOneOut(), sk.Stratum(1)]
MIXTURES += [sk.BetaShapley(*parameters) for parameters in BETAS]
# the weights are polished in numpy's longdouble, which on some platforms is float64
WEIGHT_ERROR = 1e-15 if np.finfo(np.longdouble).nmant > 52 else 1e-13


def exact(alpha, beta, count, starts):
    """Nodes and weights near `starts`, by Newton's method on the monic polynomials in 40 digits."""
    mp = pytest.importorskip("mpmath")
    with mp.workdps(40):
        a, b = mp.mpf(alpha), mp.mpf(beta)
        c = a + b
        middle = [b / c]
        middle += [(2 * k * (k + c - 1) + b * (c - 2)) / ((2 * k + c - 2) * (2 * k + c)) for k in range(1, count)]
        square = [mp.mpf(0), a * b / (c * c * (c + 1))]
        for k in range(2, count):
            below = (2 * k + c - 2) ** 2 * (2 * k + c - 1) * (2 * k + c - 3)
            square.append(k * (k + a - 1) * (k + b - 1) * (k + c - 2) / below)
        result = []
        for start in starts:
            t = mp.mpf(float(start))
            for last in (False, False, True):
                p, p_before, slope, slope_before, norm, total = mp.mpf(1), 0, mp.mpf(0), 0, mp.mpf(1), mp.mpf(0)
                for k in range(count):
                    total += p * p / norm
                    step = square[k] if k else 0
                    p, p_before, old = (t - middle[k]) * p - step * p_before, p, p
                    slope, slope_before = (t - middle[k]) * slope + old - step * slope_before, slope
                    norm *= square[k + 1] if k + 1 < count else 1
                if not last:
                    t -= p / slope
            result.append((t, 1 / total))
        return result


@pytest.mark.parametrize("n", [1, 2, 3, 9, 64, 512])
@pytest.mark.parametrize(("alpha", "beta"), BETAS)
def test_nodes_to_the_last_digit(alpha, beta, n):
    need("torch")  # brings mpmath
    value = sk.Shapley() if alpha == beta == 1 else sk.BetaShapley(alpha, beta)
    t, weight = value.nodes(n)
    count = (n + 1) // 2
    assert t.shape == weight.shape == (count,)
    assert (np.diff(t) > 0).all()
    assert t[0] > 0
    assert t[-1] < 1
    chosen = sorted({0, count // 3, count // 2, count - 1})
    for q, (node, mass) in zip(chosen, exact(alpha, beta, count, t[chosen]), strict=True):
        assert abs(float(node - t[q])) <= 2**-53
        assert abs(float(mass - weight[q])) <= WEIGHT_ERROR


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 30, 101])
@pytest.mark.parametrize("value", MIXTURES, ids=str)
def test_nodes_mix_to_the_size_weights(value, n):
    """sum_q weight_q C(n-1, s) t_q^s (1 - t_q)^(n-1-s) = w_s: moments of every degree up to n - 1 in a stable form."""
    t, weight = value.nodes(n)
    mixed = sum(w * sk.Banzhaf(float(p)).size_weights(n) for p, w in zip(t, weight, strict=True))
    exact_weights = np.array([float(x) for x in value.exact_size_weights(n)])
    np.testing.assert_allclose(mixed, exact_weights, rtol=0, atol=4e-15)


@pytest.mark.parametrize("value", [sk.Stratum(2), sk.SizeWeights(lambda n: [1 / n] * n)], ids=["stratum", "weights"])
def test_values_without_a_measure_have_no_nodes(value):
    assert value.nodes(5) is None


def test_no_player():
    for value in MIXTURES:
        t, weight = value.nodes(0)
        assert len(t) == len(weight) == 1


def test_beta_beyond_what_quadrature_serves():
    p = np.full((1, 8), 0.1)
    for alpha, beta in ((1e-9, 1e-9), (1e20, 1e20), (1e-9, 1e20), (1.0, 1e20)):
        value = sk.BetaShapley(alpha, beta)
        expected = 0.1 * (value.size_weights(8) @ 0.9 ** np.arange(8))
        np.testing.assert_allclose(sk.semivalue(sk.NoisyOr(p), value)[0], expected, rtol=1e-13)
    for alpha, beta in ((1e-20, 1e-20), (1.0, 1e30)):
        with pytest.raises(ValueError, match=r"BetaShapley: alpha and beta must be in 1e-9 \.\. 1e20 for games by"):
            sk.semivalue(sk.NoisyOr(p), sk.BetaShapley(alpha, beta))
        assert np.isfinite(sk.semivalue(sk.Max(p), sk.BetaShapley(alpha, beta))).all()


@pytest.mark.parametrize(
    ("alpha", "beta"), [(Fraction(1, 2), 1), (2, Fraction(3, 4)), (Fraction(1, 2), Fraction(1, 2))]
)
def test_fractions_as_parameters(alpha, beta):
    r = np.array([[0.9, 0.5, 0.1, 0.5]])
    value, same = sk.BetaShapley(alpha, beta), sk.BetaShapley(float(alpha), float(beta))
    for game in (sk.Max(r), sk.Median(r), sk.NoisyOr(r)):
        np.testing.assert_array_equal(sk.semivalue(game, value), sk.semivalue(game, same))
    half = sk.semivalue(sk.Max(r), sk.Banzhaf(Fraction(1, 2)))
    np.testing.assert_array_equal(half, sk.semivalue(sk.Max(r), sk.Banzhaf(0.5)))


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda w: sk.OWA([1.0, 2.0], w), "OWA: weights"),
        (lambda w: sk.OWA([1.0, 2.0], [w[::-1], w]), "OWA: weights"),
        (lambda w: sk.Discounted([1.0, 2.0], w), "Discounted: weights"),
        (sk.SizeWeights, "SizeWeights: w"),
        (lambda w: sk.SizeWeights(lambda n: w).size_weights(2), "SizeWeights: w"),
    ],
)
def test_weights_whose_sums_overflow(make, name):
    make([1e150, -1e150])
    for w in ([1e151, 0.0], [1.7e308, -1.7e308]):
        with pytest.raises(ValueError, match=rf"{name} .* sum to at most 3\.27339e\+150 in absolute value, got"):
            make(w)


def test_beta_whose_sum_overflows():
    with pytest.raises(ValueError, match=r"BetaShapley: alpha \+ beta must be finite"):
        sk.BetaShapley(1e308, 1e308)


@pytest.mark.parametrize("value", [sk.rl.SuffixSwap(), sk.rl.SuffixSwap])
def test_a_value_of_training_says_where_it_goes(value):
    with pytest.raises(TypeError, match=r"for RewardAllocator: rl.RewardAllocator\(utility, rl.SuffixSwap\(\)\)"):
        sk.semivalue(sk.Max([0.5, 1.0]), value)
