"""docs/guides/methods.md: each method's own formula, written out here, beside our call."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels import rl

RNG = np.random.default_rng(0)
G, K = 6, 5
REAL = RNG.normal(size=(20, G))  # 20 prompts of 6 rollouts
BINARY = RNG.integers(0, 2, (1000, G)).astype(float)
BINARY[:2] = [[0.0] * G, [1.0] * G]


def equal(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


# -- the rollouts of a prompt ------------------------------------------------------------------------------------------


def test_grpo():
    expected = (REAL - REAL.mean(1, keepdims=True)) / (REAL.std(1, ddof=1, keepdims=True) + 1e-4)
    equal(rl.grpo_advantages(REAL[..., None])[..., 0], expected)
    rewards = RNG.normal(size=(G, K))  # one prompt; the worth of the best goes to all of its rollout
    worth = rewards.max(1, keepdims=True)
    found = rl.RewardAllocator(value=rl.Broadcast(), ddof=0, eps=0.0).advantages(rewards)
    equal(found, np.broadcast_to((worth - worth.mean()) / worth.std(), found.shape))


def test_dr_grpo():
    equal(rl.grpo_advantages(REAL[..., None], scale="none")[..., 0], REAL - REAL.mean(1, keepdims=True))


def test_rloo():
    others = (REAL.sum(1, keepdims=True) - REAL) / (G - 1)
    equal(rl.grpo_advantages(REAL[..., None], center="loo", scale="none")[..., 0], REAL - others)


def test_maxrl():
    mean = BINARY.mean(1, keepdims=True)
    expected = np.divide(BINARY - mean, mean, out=np.zeros_like(BINARY), where=mean > 0)
    equal(G * rl.rollout_advantages(BINARY), expected)
    r = np.array([0.9, 0.5, 0.1, 0.0])  # where the two part
    equal((4 * rl.rollout_advantages(r)).round(2), [1.63, 0.03, -0.77, -0.90])
    equal(((r - r.mean()) / r.mean()).round(2), [1.40, 0.33, -0.73, -1.00])
    # sum_k pass@k / k: the strata k, each k / G times as in PKPO, over k
    strata = [rl.rollout_advantages(BINARY, value=sk.Stratum(k), center="none") for k in range(1, G + 1)]
    equal(sum(strata) / G, rl.rollout_advantages(BINARY, center="none"))


@pytest.mark.parametrize("k", range(1, G + 1))
def test_pkpo(k):
    """The mean over sets of k of their best, i's share less what the sets of k - 1 without i give on average."""
    expected = np.zeros_like(REAL)
    for row, out in zip(REAL, expected, strict=True):
        for i in range(G):
            rest = [j for j in range(G) if j != i]
            with_i = [max(row[[i, *others]]) for others in combinations(rest, k - 1)]
            before = [max(row[list(others)], default=0.0) for others in combinations(rest, k - 1)]
            out[i] = (sum(with_i) / comb(G, k)) - k / G * np.mean(before)
    equal(k / G * rl.rollout_advantages(REAL, value=sk.Stratum(k), center="none"), expected)


def test_best_against_second_best():
    ranked = np.sort(REAL, 1)
    expected = np.where(ranked[:, -1:] == REAL, ranked[:, -1:] - ranked[:, -2:-1], 0.0)
    equal(rl.rollout_advantages(REAL, value=sk.LeaveOneOut(), center="none"), expected)


def test_gdpo():
    rewards, weights = (REAL, BINARY[5:25], 100 * RNG.normal(size=REAL.shape)), (1.0, 0.5, 2.0)
    total = np.zeros_like(REAL)
    for r, weight in zip(rewards, weights, strict=True):
        spread = r.std(1, ddof=1, keepdims=True)
        total += weight * (r - r.mean(1, keepdims=True)) / (spread + 1e-4)
    expected = (total - total.mean()) / (total.std(ddof=1) + 1e-4)
    summed = rl.combine_advantages([r[..., None] for r in rewards], weights=weights)
    equal(summed[..., 0], total)
    equal(rl.grpo_advantages(summed, center="none", scale="batch")[..., 0], expected)


# -- the candidates of one rollout -------------------------------------------------------------------------------------

LABELS = RNG.integers(0, 3, (40, K))
CORRECT = (LABELS == 0) | (LABELS == 2)  # by what is answered


def test_multi_answer_any_correct():
    equal(sk.Max(CORRECT.astype(float)).worth(), [float(any(row)) for row in CORRECT])
    text = "<think>2, or <answer1>3</answer1>?</think><answer1>4</answer1><answer2>5</answer2>"
    found = rl.candidate_ids(
        [list(text.encode())],
        [bytes([i]) for i in range(256)],
        rl.after("</think>", rl.tagged("answer", numbered=True)),
    )
    assert found.texts == [["4", "5"]]
    assert found.problems == [None]


def test_multi_answer_distinct_correct():
    expected = [
        len({label for label, good in zip(*row, strict=True) if good}) / K
        for row in zip(LABELS.tolist(), CORRECT, strict=True)
    ]
    equal((sk.Clusters(LABELS, CORRECT.astype(float)) / K).worth(), expected)


def test_vpo():
    parts, weightings = RNG.random((40, K, 3)), RNG.dirichlet(np.ones(3), size=16)
    game = sk.FacilityLocation(parts @ weightings.T, weights=np.full(16, 1 / 16))
    expected = [np.mean([max(w @ vector for vector in row) for w in weightings]) for row in parts]
    equal(game.worth(), expected)
    equal(sk.shapley(game).sum(-1), expected)  # credit per candidate adds up to it


def test_difference_rewards():
    rewards = RNG.normal(size=(40, K))
    expected = [[row.max() - np.delete(row, i).max() for i in range(K)] for row in rewards]
    equal(sk.semivalue(sk.Max(rewards), sk.LeaveOneOut()), expected)


def test_coma():
    """The expectation over the policy as the mean over what the other rollouts wrote at that place."""
    rewards = RNG.normal(size=(G, K))
    expected = np.empty_like(rewards)
    for i, own in enumerate(rewards):
        for k in range(K):
            drawn = [max([*own[:k], rewards[h, k], *own[k + 1 :]]) for h in range(G) if h != i]
            expected[i, k] = own.max() - np.mean(drawn)
    found = rl.RewardAllocator(sk.Max, rl.CandidateSwap(), center="none", scale="none").advantages(rewards)
    equal(found, expected)


def test_incremental_coverage():
    kills = RNG.integers(0, 2, (40, K, 12))
    expected = np.empty((40, K))
    for row, out in zip(kills, expected, strict=True):
        for k in range(K):
            out[k] = sum(row[k, m] and not row[:k, m].any() for m in range(12))
    equal(rl.PrefixMarginals().credits(sk.Coverage(kills.astype(float))), expected)
    backwards = sk.shapley(sk.Coverage(kills[:, ::-1].astype(float)))[:, ::-1]
    equal(sk.shapley(sk.Coverage(kills.astype(float))), backwards)


def test_reward_over_cluster_size():
    rewards = np.array([0.3, 0.0, 1.0])[LABELS]
    sizes = (LABELS[..., None] == LABELS[:, None, :]).sum(-1)
    equal(sk.shapley(sk.Clusters(LABELS, rewards)), rewards / sizes)
