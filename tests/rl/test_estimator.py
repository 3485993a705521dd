"""The estimator of verl and SkyRL, without either, against the allocator."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.adapters._estimator import JOIN, Joined, make, make_rollouts, token_rewards, warn_of_value
from shapley_kernels.rl import (
    Broadcast,
    CandidateSwap,
    RewardAllocator,
    SuffixSwap,
    encode_credits,
    grpo_advantages,
    rollout_advantages,
)
from shapley_kernels.values import LeaveOneOut, Shapley

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
    for more in ({}, {"outside": "zero"}, {"length": "candidate"}):
        found, expected = estimated(rewards, center=center, scale=scale, **more)
        torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-5)


RAGGED = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 1, 2, 0], [1, 2, 2, 3, 0], [1, 2, 3, 4, 5]])
REWARDS, MASK = sk.pad([[0.5], [0.5, 0.9], [0.5, 0.9, 0.95], [0.5, 0.6, 0.7, 0.8, 1.0]])


@pytest.mark.parametrize("sizes", ["worth", "share"])
@pytest.mark.parametrize("value", [Shapley(), Broadcast()])
def test_lists_of_different_lengths(value, sizes):
    """The longest one has no token for a checksum: its last two candidates become one."""
    allocator = RewardAllocator(value=value, sizes=sizes, outside="zero")
    credits = torch.tensor(allocator.credits(REWARDS, MASK))
    found, _ = make(allocator, lambda **_: True)(
        encode_credits(credits, RAGGED), torch.ones_like(RAGGED), index=[0] * 4
    )
    credits[3, 3:] = torch.tensor([credits[3, 3] + credits[3, 4], 0])
    live = torch.tensor(MASK)
    live[3, 4] = False
    counts = live.sum(1, keepdim=True) if (value, sizes) == (Shapley(), "worth") else 1
    expected = grpo_advantages(credits * counts, live, group_ids=[0] * 4)
    ids = torch.where(RAGGED == 5, 4, RAGGED)
    of_tokens = torch.where(ids > 0, expected.gather(1, (ids - 1).clip(0)), 0.0)
    torch.testing.assert_close(found.double(), of_tokens, rtol=1e-5, atol=1e-5)


def test_joined_candidates_leave_the_mean_credit_what_the_set_is_worth():
    allocator = RewardAllocator(center="none", scale="none")
    tokens = encode_credits(torch.tensor(allocator.credits(REWARDS, MASK)), RAGGED)
    found, _ = make(allocator, lambda **_: True)(tokens, torch.ones_like(RAGGED), index=[0] * 4)
    means = [
        torch.stack([row[ids == k][0] for k in ids.unique() if 0 < k < 5]).mean()
        for row, ids in zip(found, RAGGED, strict=True)
    ]
    torch.testing.assert_close(torch.stack(means).double(), torch.tensor(REWARDS.max(1)), rtol=1e-6, atol=0)


def test_errors():
    credits, rollouts = make(None, lambda **_: True), make_rollouts(rollout_advantages)
    tokens, mask, dead = encode_credits(torch.rand(6, 3), IDS), torch.ones_like(IDS), torch.ones_like(IDS)
    dead[2, 1], zeroed = 0, tokens * (torch.arange(6) != 4)[:, None]
    shape = r"response_mask must have the shape of .*, \(6, 9\), got \(6, 1\)"
    for error, call, message in (
        (ValueError, lambda: credits(tokens, mask), "shapley_grpo: index must be the uids of the 6 rollouts, got None"),
        (ValueError, lambda: rollouts(tokens, mask), "shapley_rollouts: index must be the uids of the 6 rollouts"),
        (ValueError, lambda: credits(tokens, mask[:, :1], index=UIDS), f"shapley_grpo: {shape}"),
        (ValueError, lambda: rollouts(tokens, mask[:, :1], index=UIDS), f"shapley_rollouts: {shape}"),
        (ValueError, lambda: credits(tokens, dead, index=UIDS), r"must be 1 on .*, got 0 at row 2, token 1"),
        (ValueError, lambda: credits(tokens / 2, mask, index=UIDS), r"as encode_credits gave them.* at row 0"),
        (ValueError, lambda: credits(zeroed, mask, index=UIDS), "got a wrong checksum at row 4"),
        (ValueError, lambda: credits(tokens, mask, index=["a", None, *"bbbb"]), "must not be missing, got None at 1"),
        (TypeError, lambda: make(3, None), "shapley_grpo: allocator must be a RewardAllocator or None, got 3"),
        (
            TypeError,
            lambda: make_rollouts(3),
            r"shapley_rollouts: rollouts must be rl\.rollout_advantages, or .* got 3",
        ),
    ):
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("value", [LeaveOneOut(), Broadcast()])
def test_values_that_are_not_efficient(value):
    with pytest.warns(UserWarning, match=r"do not sum to v\(all\) - v\(empty\)"):
        warn_of_value(RewardAllocator(value=value))
    warn_of_value(RewardAllocator())
    warn_of_value(RewardAllocator(value=SuffixSwap()))


def scored(rewards, ids, stopped=None):
    """What a `SetScorer` gives, as far as `token_rewards` looks at it."""
    mask = np.arange(rewards.shape[1]) < ids.max(1)[:, None]
    stopped = np.ones(len(ids), bool) if stopped is None else stopped
    return SimpleNamespace(rewards=np.where(mask, rewards, 0.0), mask=mask, ids=ids, stopped=stopped)


@pytest.mark.parametrize("value", [SuffixSwap(), SuffixSwap(0), CandidateSwap()], ids=repr)
def test_credit_against_the_group_is_that_of_the_allocator(value):
    """Rewards travel, since only the estimator knows the group; a row sums to what its set is worth all the same."""
    stopped = np.array([True, True, False, True, True, False])
    found = scored(np.random.default_rng(0).random((6, 3)).astype(np.float32), IDS.numpy(), stopped)
    allocator = RewardAllocator(value=value)
    rewards = token_rewards(found, allocator)
    np.testing.assert_allclose(rewards.sum(1), found.rewards.max(1), rtol=0, atol=1e-6)
    got, _ = make(allocator, lambda **_: True)(torch.tensor(rewards), torch.ones_like(IDS), index=UIDS)
    wanted = allocator.token_advantages(found.rewards, found.ids, found.mask, group_ids=UIDS, stopped=stopped)
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)


def test_credits_are_not_taken_for_rewards():
    found, against = scored(np.ones((6, 3)), IDS.numpy()), RewardAllocator(value=SuffixSwap())
    for encoder, decoder, message in (
        (against, None, r"decode_credits: token_rewards must hold credits of .* got rewards of encode_rewards"),
        (RewardAllocator(), against, r"decode_rewards: token_rewards must hold rewards of encode_rewards, got credits"),
    ):
        tokens = torch.tensor(token_rewards(found, encoder))
        with pytest.raises(ValueError, match=message):
            make(decoder, lambda **_: True)(tokens, torch.ones_like(IDS), index=UIDS)


def test_data_between_candidates_do_not_travel():
    w = np.zeros((6, 3, 3))
    allocator = RewardAllocator(lambda r, mask=None: sk.Pairwise(w, r, mask=mask), SuffixSwap())
    with pytest.raises(ValueError, match="must belong to single candidates"):
        token_rewards(scored(np.ones((6, 3)), IDS.numpy()), allocator)


def test_rollouts_without_candidates_are_not_counted():
    """As cut ones under truncated="abstain": the others are as in a group without them."""
    credits = torch.tensor([[0.5, 0.2], [0.0, 0.0], [0.1, 0.4]])
    ids = torch.tensor([[0, 1, 1, 0, 2, 0], [0] * 6, [0, 1, 0, 2, 2, 0]])
    for allocator in (RewardAllocator(), RewardAllocator(value=SuffixSwap())):
        mask = torch.tensor([[True, True], [False, False], [True, True]])
        scored = SimpleNamespace(rewards=credits.numpy(), mask=mask.numpy(), ids=ids.numpy(), stopped=None)
        tokens = torch.tensor(token_rewards(scored, allocator))
        estimate = make(allocator, lambda **_: True)
        found, _ = estimate(tokens, torch.ones_like(ids), index=["a"] * 3)
        without, _ = estimate(tokens[[0, 2]], torch.ones_like(ids[:2]), index=["a"] * 2)
        assert not found[1].any()
        assert found[[0, 2]].tolist() == without.tolist()


@pytest.mark.parametrize("seed", range(5))
def test_rows_of_one_rollout(seed):
    """Cut anywhere into rows, in any order: each token has the advantage that it has in one row. Rewards that are not
    of candidates stand on each row, as verl writes them, and count once."""
    rng = np.random.default_rng(seed)
    allocator = RewardAllocator()
    tokens = encode_credits(allocator.credits(torch.tensor(rng.random((6, 3)))), IDS)
    order = torch.tensor(rng.permutation(12))
    rollouts = torch.arange(12)[order] // 2
    cuts = rng.integers(1, 9, 6)
    lengths = torch.tensor([n for cut in cuts for n in (cut, 9 - cut)])[order]
    written = torch.arange(9) < lengths[:, None]
    rows = torch.zeros(12, 9)
    places = torch.zeros(12, 9, dtype=torch.long)
    for row, place, number, length in zip(rows, places, order.tolist(), lengths.tolist(), strict=True):
        first = 0 if number % 2 == 0 else cuts[number // 2]
        place[:length] = torch.arange(first, first + length)
        row[:length] = tokens[number // 2, first : first + length]
    on_each = tokens.sum(1)[rollouts, None] * (torch.arange(9) == lengths[:, None] - 1)
    for estimate, given in (
        (make(allocator, lambda **_: True), rows),
        (make_rollouts(rollout_advantages), on_each),
    ):
        whole, _ = estimate(tokens, torch.ones_like(IDS), index=UIDS)
        reset = JOIN.set(Joined(written, rollouts, order.argsort()))
        try:
            found, _ = estimate(given, written.long(), index=[UIDS[k] for k in rollouts])
        finally:
            JOIN.reset(reset)
        assert found.tolist() == (whole[rollouts].gather(1, places) * written).tolist()


def test_credits_that_differ_by_rounding_are_no_advantage():
    """Lists of 3 and 7 equal rewards: their credits times their number differ in the last place of float32."""
    mask = np.arange(7) < np.array([[3], [7]])
    credits = np.where(mask, np.float32(99999.9) / mask.sum(1, keepdims=True, dtype=np.float32), 0)
    ids = np.where(mask, np.arange(1, 8), 0).repeat(2, 1)
    encoded = torch.tensor(encode_credits(credits, ids, mask))
    response_mask = torch.tensor(ids > 0).long()
    tokens, _ = make(RewardAllocator(), lambda **_: True)(encoded, response_mask, index=["a", "a"])
    assert (tokens == 0).all()
