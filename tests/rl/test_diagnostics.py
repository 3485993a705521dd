"""Diagnostics: known numbers, and what is refused; tests/fuzz/test_tokens.py counts in plain Python beside them."""

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.rl import Broadcast, RewardAllocator, diagnostics, merge_diagnostics


def example():
    rng = np.random.default_rng(0)
    rewards, mask = rng.integers(0, 3, (30, 4)) / 2, rng.random((30, 4)) < 0.75
    mask[3] = False
    rewards[~mask] = np.nan
    return rewards, mask, rng.integers(0, 9, 30).tolist()


def test_golden_values():
    rewards, mask = sk.pad([[[4.0, 3.0, 5.0], [5.0, 4.0]], [[1.0, 1.0], [0.0, 0.0, 0.0]], [[], []]])
    found = diagnostics(rewards, mask=mask)
    assert found == pytest.approx(
        {
            "shapley/rollouts": 6,
            "shapley/empty_rollouts": 2,
            "shapley/candidates": 10,
            "shapley/tied_candidates": 5,
            "shapley/groups": 3,
            "shapley/zero_variance_groups": 2,
            "shapley/rescued_groups": 1,
            "shapley/free_riders": 0,
            "shapley/mean_credit": 1.1,
            "shapley/mean_set_worth": 11 / 6,
            "shapley/tied_share": 0.5,
            "shapley/zero_variance_share": 2 / 3,
            "shapley/rescued_share": 0.5,
            "shapley/free_rider_share": 0,
            "shapley/candidates_per_rollout": 10 / 6,
            "shapley/candidates_per_rollout_std": (26 / 6 - (10 / 6) ** 2) ** 0.5,
            "shapley/turned_rollouts": 0,
            "shapley/turned_rollout_share": 0,
        }
    )


def test_a_free_rider():
    """A set of one good and one bad candidate against a mediocre one: GRPO praises the bad candidate."""
    found = diagnostics([[1.0, 0.0], [0.5, 0.5]])
    assert found["shapley/free_riders"] == 1
    assert found["shapley/free_rider_share"] == 0.25


def test_rollouts_that_are_turned():
    rewards, mask = sk.pad([[0.5], [0.5, 0.9], [0.5, 0.9, 0.95], [0.5, 0.6, 0.7, 0.8, 1.0]])
    shares = RewardAllocator(sizes="share").advantages(rewards, mask)
    assert (
        diagnostics(rewards, mask, advantages=shares)["shapley/turned_rollout_share"] == 0.5
    )  # the shortest, and the best of all
    found = diagnostics(rewards, mask=mask)
    assert found["shapley/turned_rollouts"] == 1  # .9 is above the mean of sets, and below that of candidates
    assert found["shapley/candidates_per_rollout"] == 2.75
    assert found["shapley/candidates_per_rollout_std"] == np.std([1, 2, 3, 5])


def test_layouts_agree():
    rewards = np.random.default_rng(0).integers(0, 2, (6, 4, 3)).astype(float)
    expected = diagnostics(rewards)
    assert diagnostics(rewards.reshape(24, 3), num_generations=4) == expected
    assert diagnostics(rewards.reshape(24, 3), group_ids=np.repeat(np.arange(6), 4)) == pytest.approx(expected)
    assert diagnostics(rewards.tolist()) == expected
    assert expected["shapley/zero_variance_groups"] > 0


def test_given_advantages_are_the_ones_compared():
    rewards = np.random.default_rng(0).integers(0, 3, (6, 4, 3)).astype(float)
    expected = diagnostics(rewards)
    allocator = RewardAllocator()
    assert diagnostics(rewards, advantages=allocator.advantages(rewards)) == expected
    grpo = RewardAllocator(value=Broadcast()).advantages(rewards)
    found = diagnostics(rewards, advantages=-grpo)
    assert found["shapley/free_riders"] == (grpo != 0).sum()
    assert diagnostics(rewards, advantages=np.zeros_like(rewards))["shapley/rescued_groups"] == 0
    with pytest.raises(
        ValueError, match=r"advantages must have the shape of the rewards, \(6, 4, 3\), got numpy.ndarray"
    ):
        diagnostics(rewards, advantages=allocator.set_advantages(rewards))


def test_a_mask_is_no_advantages():
    rewards, mask = np.array([[1.0, 0.5], [0.0, 9.0]]), np.array([[True, True], [True, False]])
    assert diagnostics(rewards, mask) == diagnostics(rewards, mask=mask)
    assert diagnostics(rewards, mask)["shapley/candidates"] == 3
    for given in (mask, torch.tensor(mask), mask.tolist()):
        with pytest.raises(TypeError, match=r"diagnostics: advantages must be numbers, got .*; a mask goes to mask="):
            diagnostics(rewards, advantages=given)


def test_chunks_of_whole_groups_merge():
    rewards, mask, ids = example()
    order = np.argsort(ids, kind="stable")
    rewards, mask, ids = rewards[order], mask[order], [ids[i] for i in order]
    expected = diagnostics(rewards, mask=mask, group_ids=ids)
    cut = ids.index(5)
    parts = [
        diagnostics(rewards[s], mask=mask[s], group_ids=ids[s]) for s in (slice(0, cut), slice(cut, None), slice(0, 0))
    ]
    assert merge_diagnostics(parts) == pytest.approx(expected, rel=1e-12)
    assert merge_diagnostics({**part, "loss": 1.0} for part in parts) == pytest.approx(expected, rel=1e-12)
    assert set(merge_diagnostics([])) == set(expected)
    assert not any(merge_diagnostics([]).values())
    assert diagnostics(np.zeros((0, 3)), group_ids=[]) == merge_diagnostics([])


def test_parts_that_are_not_of_diagnostics():
    part = diagnostics(np.eye(3))
    with pytest.raises(ValueError, match=r"merge_diagnostics: parts must be .* one without 'shapley/groups' at 1"):
        merge_diagnostics([part, {key: x for key, x in part.items() if key != "shapley/groups"}])
    for parts in (part, 3, "ab", np.array(3)):
        with pytest.raises(TypeError, match=r"merge_diagnostics: parts must be a list of dicts of diagnostics"):
            merge_diagnostics(parts)
    with pytest.raises(TypeError, match=r"got None at 1"):
        merge_diagnostics([part, None])
    for bad, error in (
        ("3", TypeError),
        (True, TypeError),
        (np.ones(2), TypeError),
        (np.nan, ValueError),
        (10**400, ValueError),
    ):
        with pytest.raises(error, match=r"must be dicts of .*numbers, got .* as 'shapley/groups' at 0"):
            merge_diagnostics([{**part, "shapley/groups": bad}])


def test_advantages_that_are_no_real_numbers():
    for bad in (np.array([["a", "b"]]), np.array([[1j, 2.0]])):
        with pytest.raises(TypeError, match=r"diagnostics: advantages: expected real numbers"):
            diagnostics(np.ones((1, 2)), advantages=bad)


@pytest.mark.parametrize("key", ["candidates", "rollouts", "candidates_per_rollout_std"])
def test_counts_that_are_none_are_not_merged(key):
    part = diagnostics(np.ones((2, 1)))
    with pytest.raises(
        ValueError, match=rf"merge_diagnostics: parts must be .* up to 2\^53, got 1e\+308 as 'shapley/{key}' at 1"
    ):
        merge_diagnostics([part, {**part, f"shapley/{key}": 1e308}])
