"""Broadcast, winner-takes-all and prefix marginals: their definitions, and what each of them optimises."""

from itertools import product

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.rl import Baseline, Broadcast, PrefixMarginals, RewardAllocator, WinnerTakesAll

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

VOCABULARY = np.array([0.0, 0.4, 1.0])  # the reward of each
V_EMPTY = -0.3


def probabilities(logits):
    p = np.exp(logits - logits.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def conditionals(theta, written, sequential):
    """p [3] of the next candidate, and which logits it comes from: all the same, or those of the last one written."""
    place = 0 if not sequential or not written else 1 + written[-1]
    return probabilities(theta[place]), place


def sets(theta, size, sequential):
    """All sets: the candidates, their probability, grad log p of each candidate [size, *theta.shape]."""
    for written in product(range(3), repeat=size):
        chance, scores = 1.0, np.zeros((size, *theta.shape))
        for k, token in enumerate(written):
            p, place = conditionals(theta, written[:k], sequential)
            chance *= p[token]
            scores[k, place] = np.eye(3)[token] - p
        yield written, chance, scores


def followed(value, theta, size, sequential):
    """E[sum_k credit_k grad log p(o_k)], exactly."""
    allocator = RewardAllocator(value=value)
    total = np.zeros(theta.shape)
    for written, chance, scores in sets(theta, size, sequential):
        credits = allocator.credits(VOCABULARY[list(written)], v_empty=V_EMPTY)
        total += chance * np.einsum("k,k...->...", credits, scores)
    return total


def gradient(f, theta, step=1e-5):
    result = np.zeros(theta.shape)
    for where in np.ndindex(*theta.shape):
        up, down = theta.copy(), theta.copy()
        up[where] += step
        down[where] -= step
        result[where] = (f(up) - f(down)) / (2 * step)
    return result


def best_of(theta, size, sequential=False):
    return sum(chance * VOCABULARY[list(written)].max() for written, chance, _ in sets(theta, size, sequential))


class WorthToGo(Baseline):
    """credit_k = v(all) - v(o_1 .. o_{k-1}), a baseline of one's own."""

    def share(self, game, worth):
        return PrefixMarginals().share(game, worth)[..., ::-1].cumsum(-1)[..., ::-1]


THETA = np.random.default_rng(3).normal(size=(4, 3))


@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("value", [Broadcast(), WorthToGo()])
def test_unbiased_for_the_expected_best(value, size, sequential):
    expected = gradient(lambda theta: best_of(theta, size, sequential), THETA)
    np.testing.assert_allclose(followed(value, THETA, size, sequential), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("value", [sk.Shapley(), sk.LeaveOneOut(), WinnerTakesAll(), PrefixMarginals()])
def test_biased_for_the_expected_best_of_candidates_written_one_after_the_other(value):
    expected = gradient(lambda theta: best_of(theta, 2, True), THETA)
    assert np.abs(followed(value, THETA, 2, True) - expected).max() > 0.01


@pytest.mark.parametrize("size", [2, 3])
def test_independent_candidates(size):
    def harmonic(theta):
        return sum(best_of(theta, m) / m for m in range(1, size + 1))

    best = gradient(lambda theta: best_of(theta, size), THETA)
    np.testing.assert_allclose(followed(sk.LeaveOneOut(), THETA, size, False), best, rtol=0, atol=1e-9)
    shapley = followed(sk.Shapley(), THETA, size, False)
    np.testing.assert_allclose(shapley, gradient(harmonic, THETA), rtol=0, atol=1e-9)
    np.testing.assert_allclose(followed(PrefixMarginals(), THETA, size, False), shapley, rtol=0, atol=1e-12)
    assert np.abs(shapley - best).max() > 0.01


@pytest.mark.parametrize("size", [2, 3])
def test_winner_takes_all_holds_the_others_fixed(size):
    """E follows the gradient of K E[(r - v(empty)) w(r)], w(r) the chance to win (or its share of a tie) held fixed."""
    chance_to_win = np.zeros(3)
    for token in range(3):
        for written, chance, _ in sets(THETA, size - 1, False):
            ties = 1 + written.count(token)
            chance_to_win[token] += chance / ties if max(written) <= token else 0.0

    def objective(theta):
        return size * (probabilities(theta[0]) * (VOCABULARY - V_EMPTY) * chance_to_win).sum()

    found = followed(WinnerTakesAll(), THETA, size, False)
    np.testing.assert_allclose(found, gradient(objective, THETA), rtol=0, atol=1e-9)
    assert np.abs(found - gradient(lambda theta: best_of(theta, size), THETA)).max() > 0.01
