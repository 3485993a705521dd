"""The estimator of verl and SkyRL, without either, against the allocator."""

import numpy as np
import pytest
import torch

from shapley_kernels.adapters._estimator import make, warn_if_not_efficient
from shapley_kernels.rl import Broadcast, RewardAllocator, encode_credits
from shapley_kernels.values import LeaveOneOut

IDS = torch.tensor([[0, 1, 1, 0, 2, 0, 3, 3, 0]] * 6)
UIDS = ["a", "b", "a", "b", "a", "b"]


def estimated(rewards, **options):
    allocator = RewardAllocator(**options)
    tokens = encode_credits(allocator.credits(rewards), IDS)
    found, _ = make(allocator, lambda **_: True)(tokens, torch.ones_like(IDS), index=UIDS)
    return found, allocator.token_advantages(rewards, IDS, group_ids=UIDS)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0, 1e5])
@pytest.mark.parametrize("center", ["group", "loo", "slot"])
def test_sets_that_tie(scale, center):
    """Credits are rounded on the way, and sums of them must not differ by that."""
    rewards = torch.tensor(np.random.default_rng(0).random((6, 3)) * scale)
    rewards[torch.arange(6), torch.arange(6) % 3] = scale / 0.7
    found, expected = estimated(rewards, center=center)
    assert (expected[IDS == 0] == 0).all()
    assert (found[IDS == 0] == 0).all()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("center", ["group", "loo", "slot", "none"])
def test_equals_the_allocator(center, scale):
    rewards = torch.tensor(np.random.default_rng(1).random((6, 3)))
    found, expected = estimated(rewards, center=center, scale=scale)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


def test_a_row_that_was_zeroed():
    tokens = encode_credits(torch.rand(6, 3), IDS)
    tokens[4] = 0
    with pytest.raises(ValueError, match="got a wrong checksum at row 4"):
        make(None, lambda **_: True)(tokens, torch.ones_like(IDS), index=UIDS)


@pytest.mark.parametrize("value", [LeaveOneOut(), Broadcast()])
def test_values_that_are_not_efficient(value):
    with pytest.warns(UserWarning, match=r"do not sum to v\(all\) - v\(empty\)"):
        warn_if_not_efficient(RewardAllocator(value=value))
    warn_if_not_efficient(RewardAllocator())
