"""Broadcast, winner-takes-all and prefix marginals: their definitions, and what each of them optimises."""

from itertools import product

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.rl import Baseline, Broadcast, PrefixMarginals, RewardAllocator, WinnerTakesAll
from tests.rl.policies import NUMBERS, V_EMPTY, Policy

BASELINES = (Broadcast(), WinnerTakesAll(), PrefixMarginals())


def definition(value, worth, live, players):
    """worth: a set of players -> number."""
    everything, nothing = worth(live), worth([])
    if isinstance(value, Broadcast):
        return [everything if i in live else 0.0 for i in range(players)]
    if isinstance(value, PrefixMarginals):
        return [
            worth(live[: live.index(i) + 1]) - worth(live[: live.index(i)]) if i in live else 0.0
            for i in range(players)
        ]
    best = [i for i in live if worth([i]) == max(worth([j]) for j in live)]
    return [(everything - nothing) / len(best) if i in best else 0.0 for i in range(players)]


def combination(rewards, mask=None, v_empty=0.0):
    return 0.7 * sk.TopM(rewards, 2, mask=mask, v_empty=v_empty) - 0.25 * sk.Min(rewards, mask=mask, v_empty=v_empty)


@pytest.mark.parametrize("container", ["numpy", "torch"])
@pytest.mark.parametrize("utility", [sk.Max, sk.Min, sk.Mean, sk.Median, sk.Range, sk.Discounted, combination])
@pytest.mark.parametrize("value", BASELINES)
def test_equals_the_definition(value, utility, container):
    rng = np.random.default_rng(0)
    for masked, players in product((False, True), (1, 2, 5)):
        rewards = rng.integers(-3, 4, (2, 6, players)) / 4  # with ties
        v_empty = rng.integers(-2, 3, (2, 6)) / 4
        mask = rng.random(rewards.shape) < 0.6 if masked else np.ones(rewards.shape, bool)
        truth = utility(rewards, mask=mask, v_empty=v_empty)
        given = np.where(mask, rewards, np.nan)
        flags = mask if masked else None
        if container == "torch":
            given, v_empty = torch.tensor(given), torch.tensor(v_empty)
            flags = torch.tensor(mask) if masked else None
        found = RewardAllocator(utility, value).credits(given, flags, v_empty=v_empty)
        assert type(found) is type(given)
        assert found.dtype == given.dtype
        found = np.asarray(found).reshape(-1, players)
        for row in range(12):
            worth = truth.exact_worth(row)
            expected = definition(value, worth, truth.live_players(row), players)
            np.testing.assert_allclose(found[row], [float(x) for x in expected], rtol=1e-14, atol=1e-14)
        assert (found[~mask.reshape(-1, players)] == 0).all()


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


def followed(value, size, sequential):
    """E[sum_k credit_k grad log p(o_k)] for the best of a set, and the gradient of its expectation."""
    policy = Policy(size, sequential, stops=False)
    credits = RewardAllocator(value=value).credits(NUMBERS[policy.x], v_empty=V_EMPTY)
    return np.einsum("i,ik,iksa->sa", policy.probs, credits, policy.scores[:, :size]), policy.gradient("best")


class WorthToGo(Baseline):
    """credit_k = v(all) - v(o_1 .. o_{k-1}), a baseline of one's own."""

    def share(self, game, worth):
        return PrefixMarginals().share(game, worth)[..., ::-1].cumsum(-1)[..., ::-1]


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("value", [Broadcast(), WorthToGo()])
def test_unbiased_for_the_expected_best(value, size, sequential):
    np.testing.assert_allclose(*followed(value, size, sequential), rtol=0, atol=1e-13)


@pytest.mark.parametrize("value", [sk.Shapley(), sk.LeaveOneOut(), WinnerTakesAll(), PrefixMarginals()])
def test_biased_for_the_expected_best_of_candidates_written_one_after_the_other(value):
    found, best = followed(value, 2, True)
    assert np.abs(found - best).max() > 0.01


@pytest.mark.parametrize("size", [2, 3])
def test_independent_candidates(size):
    np.testing.assert_allclose(*followed(sk.LeaveOneOut(), size, False), rtol=0, atol=1e-13)
    shapley, best = followed(sk.Shapley(), size, False)
    harmonic = sum(Policy(m, False, stops=False).gradient("best") / m for m in range(1, size + 1))
    np.testing.assert_allclose(shapley, harmonic, rtol=0, atol=1e-13)
    np.testing.assert_allclose(followed(PrefixMarginals(), size, False)[0], shapley, rtol=0, atol=1e-13)
    assert np.abs(shapley - best).max() > 0.01


@pytest.mark.parametrize("size", [2, 3])
def test_winner_takes_all_holds_the_others_fixed(size):
    """E follows the gradient of K E[(r - v(empty)) w(r)], w(r) the chance to win (or its share of a tie) held fixed."""
    others, one = Policy(size - 1, False, stops=False), Policy(1, False, stops=False)
    wins = [others.probs @ ((others.x <= k).all(1) / (1 + (others.x == k).sum(1))) for k in range(3)]
    expected = size * np.einsum("i,i,iksa->sa", one.probs, (NUMBERS - V_EMPTY) * wins, one.scores)
    found, best = followed(WinnerTakesAll(), size, False)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)
    assert np.abs(found - best).max() > 0.01
