"""WeightedVoting and BudgetCap beyond the laws: known power indices, long rows, refusals."""

import numpy as np
import pytest
import torch

import shapley_kernels as sk


def test_golden_values():
    np.testing.assert_allclose(sk.shapley(sk.WeightedVoting([3, 2, 1, 1], quota=4)), [1 / 2, 1 / 6, 1 / 6, 1 / 6])


def test_security_council():
    """Five vetoes and ten seats: 421/2145 and 4/2145 of the power."""
    credits = sk.shapley(sk.WeightedVoting([7] * 5 + [1] * 10, quota=39))
    np.testing.assert_allclose(credits, [421 / 2145] * 5 + [4 / 2145] * 10, rtol=1e-13)


def test_equal_voters_share():
    for n in (64, 301):
        credits = sk.shapley(sk.WeightedVoting(np.ones(n, int), quota=n // 2 + 1))
        np.testing.assert_allclose(credits, 1 / n, rtol=1e-11)


def test_a_budget_that_holds_all_pays_the_weights():
    weights = np.array([[5, 0, 3], [2**40, 1, 1]])
    np.testing.assert_allclose(sk.shapley(sk.BudgetCap(weights[:1], budget=8)), weights[:1], rtol=1e-15)
    np.testing.assert_allclose(sk.shapley(sk.BudgetCap(weights[1:], budget=1)), [[2 / 3 - 1 / 3, 1 / 3, 1 / 3]])


def test_credits_are_floats():
    assert sk.shapley(sk.WeightedVoting(np.array([1, 2], np.int32), quota=2)).dtype == np.float64
    assert sk.shapley(sk.WeightedVoting(torch.tensor([1, 2]), quota=2)).dtype == torch.get_default_dtype()
    assert sk.shapley(2 * sk.WeightedVoting([1, 2], quota=2)).tolist() == [0.0, 2.0]


def test_refusals():
    with pytest.raises(TypeError, match=r"weights must be integers, got .*float64.*common denominator"):
        sk.WeightedVoting([0.5, 1.5], quota=1)
    with pytest.raises(ValueError, match=r"WeightedVoting: weights must be >= 0, got -1 at \[0, 1\]"):
        sk.WeightedVoting([[3, -1]], quota=1)
    with pytest.raises(ValueError, match=r"quota must be an integer >= 1, got 0"):
        sk.WeightedVoting([3, 1], quota=0)
    with pytest.raises(ValueError, match=r"budget must be an integer >= 0, got 1.5"):
        sk.BudgetCap([3, 1], budget=1.5)
    with pytest.raises(ValueError, match=r"quota must be at most 1048576, got 2000000.*common factor"):
        sk.WeightedVoting([3, 1], quota=2_000_000)
