"""Broadcast, winner-takes-all and prefix marginals: known values, and what each of them optimises.

Their definitions are in tests/fuzz/test_rl.py; which are biased is in tests/test_learning_facts.py.
"""

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.rl import Broadcast, PrefixMarginals, RewardAllocator, WinnerTakesAll
from tests.rl.policies import NUMBERS, V_EMPTY, Policy

BASELINES = (Broadcast(), WinnerTakesAll(), PrefixMarginals())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Broadcast(), [[5, 5, 5], [2, 2, 0], [0, 0, 0]]),
        (WinnerTakesAll(), [[0, 0, 5], [1, 1, 0], [0, 0, 0]]),
        (PrefixMarginals(), [[4, 0, 1], [2, 0, 0], [0, 0, 0]]),
    ],
)
def test_golden_values(value, expected):
    rewards, mask = sk.pad([[4.0, 3.0, 5.0], [2.0, 2.0], []])
    for dtype in (np.float64, np.float32, np.float16):
        found = RewardAllocator(value=value).credits(rewards.astype(dtype), mask)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)
    for dtype in (torch.float32, torch.bfloat16):
        found = RewardAllocator(value=value).credits(torch.tensor(rewards, dtype=dtype), torch.tensor(mask))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found.double().numpy(), expected)


@pytest.mark.parametrize("value", BASELINES)
def test_shapes_without_players_or_rows(value):
    for shape in ((2, 0), (0, 3), (0, 0), (3,), (2, 2, 0)):
        found = RewardAllocator(value=value).credits(np.ones(shape))
        assert found.shape == shape
        found[...] = 7  # memory of its own


@pytest.mark.parametrize("value", BASELINES)
def test_non_finite_rewards_are_refused_as_for_semivalues(value):
    for bad in (np.nan, -np.inf):
        for rewards in (np.array([[1.0, 2.0], [3.0, bad]]), torch.tensor([[1.0, 2.0], [3.0, bad]])):
            with pytest.raises(ValueError, match=rf"Max: rewards must be finite, got {bad} at \[1, 1\]"):
                RewardAllocator(value=value).credits(rewards)


# -- what each credit optimises: exact expectations over a vocabulary of three candidates, sets of two or three --------


def followed(value, size):
    """E[sum_k credit_k grad log p(o_k)] for the best of a set, and the gradient of its expectation."""
    policy = Policy(size, False, stops=False)
    credits = RewardAllocator(value=value).credits(NUMBERS[policy.x], v_empty=V_EMPTY)
    return np.einsum("i,ik,iksa->sa", policy.probs, credits, policy.scores[:, :size]), policy.gradient("best")


@pytest.mark.parametrize("size", [2, 3])
def test_winner_takes_all_holds_the_others_fixed(size):
    """E follows the gradient of K E[(r - v(empty)) w(r)], w(r) the chance to win (or its share of a tie) held fixed."""
    others, one = Policy(size - 1, False, stops=False), Policy(1, False, stops=False)
    wins = [others.probs @ ((others.x <= k).all(1) / (1 + (others.x == k).sum(1))) for k in range(3)]
    expected = size * np.einsum("i,i,iksa->sa", one.probs, (NUMBERS - V_EMPTY) * wins, one.scores)
    found, best = followed(WinnerTakesAll(), size)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert np.abs(found - best).max() > 0.01
