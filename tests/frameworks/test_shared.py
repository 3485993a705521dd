"""The same four rollouts have the same candidate advantages everywhere, and metrics stay true."""

import numpy as np
import pytest

import shapley_kernels as sk
from tests.frameworks.rollouts import ADVANTAGES, GROUP, REWARDS, assert_candidate_advantages, by_rl_alone

pytestmark = pytest.mark.filterwarnings("default")  # those of the frameworks are theirs


def test_rl():
    for found, wanted in zip(by_rl_alone(), ADVANTAGES, strict=True):
        np.testing.assert_allclose(found[: len(wanted)], wanted, rtol=0, atol=5.1e-6)
    rewards, mask = sk.pad(REWARDS)
    allocator = sk.RewardAllocator()
    assert (allocator.set_advantages(rewards, mask, num_generations=GROUP) == 0).all()
    np.testing.assert_allclose(allocator.credits(rewards, mask).sum(1), list(map(max, REWARDS)), rtol=1e-12)


def test_trl(trl_run):
    trainer = trl_run.make()
    batch, ids = trl_run.scored_batch(trainer)
    assert batch["advantages"].shape == batch["completion_ids"].shape
    assert_candidate_advantages(batch["advantages"], ids)
    log = {name: numbers[-1] for name, numbers in trainer._metrics["train"].items()}
    assert log["reward"] == log["rewards/set_reward/mean"] == np.mean(list(map(max, REWARDS)))
    assert log["frac_reward_zero_std"] == 1  # as GRPO sees it
    assert log["shapley/rescued_groups"] == log["shapley/groups"] == 2
    assert log["shapley/mean_set_worth"] == log["reward"]
    assert log["shapley/mean_credit"] * log["shapley/candidates"] == pytest.approx(sum(map(max, REWARDS)))


def test_verl(verl_run):
    data, ids, _ = verl_run.batch()
    found = verl_run.advantages(data)
    assert_candidate_advantages(found.batch["advantages"], ids)
    sums = found.batch["token_level_rewards"].sum(-1)
    assert sums.tolist() == list(map(max, REWARDS))


def test_skyrl(skyrl_run):
    skyrl_run.register()
    running = skyrl_run.trainer()
    batch = skyrl_run.advantages(running=running)
    assert_candidate_advantages(batch["advantages"], skyrl_run.candidate_ids())
    assert batch["rewards"].sum(-1).tolist() == list(map(max, REWARDS))
    assert running.all_metrics["reward/avg_raw_reward"] == np.mean(list(map(max, REWARDS)))
