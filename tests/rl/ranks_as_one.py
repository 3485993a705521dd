"""Groups spread over two processes give what one process gives."""

from itertools import product

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.rl import (
    CandidateSwap,
    RewardAllocator,
    SuffixSwap,
    WinnerTakesAll,
    combine_advantages,
    grpo_advantages,
    rollout_advantages,
)

IDS = ["a", ("b", 1), "a", 7, ("b", 1), "a", ("b", 1), "alone"]
CUTS = (3, 8, 0)  # how many of the rollouts the first rank has


def data():
    rng = np.random.default_rng(0)
    credits, mask = rng.normal(size=(8, 3)), rng.random((8, 3)) < 0.7
    credits[3] = 0.1  # a constant group
    credits[~mask] = np.nan
    return credits, mask


def results(rows, process_group, options):
    credits, mask = data()
    arguments = {"group_ids": IDS[rows], "process_group": process_group}
    allocator = RewardAllocator(**options)
    return (
        grpo_advantages(credits[rows], mask[rows], **arguments, **options),
        combine_advantages([credits[rows], credits[rows] ** 2], mask[rows], weights=[1, 0.5], **arguments, **options),
        allocator.token_advantages(credits[rows], np.array([[0, 1, 2, 3]] * 8)[rows], mask[rows], **arguments),
        rollout_advantages(credits[rows, 0], mask=mask[rows, 0], **arguments, **options),
        rollout_advantages(
            credits[rows, 0], utility=clusters, value=WinnerTakesAll(), labels=LABELS[rows], **arguments, **options
        ),
    )


LABELS = np.array([0, 1, 1, 0, 1, 0, 2, 2])


def clusters(rewards, mask=None, labels=None):
    return sk.Clusters(labels, mask=mask)


def against_the_group():
    """Utilities and values that need the data of the other ranks."""

    def mixture(rewards, mask=None):
        return 0.5 * sk.TopM(rewards, 2, mask=mask, v_empty=-0.25) - sk.Max(rewards, mask=mask)

    return ((sk.Max, SuffixSwap()), (sk.Median, SuffixSwap(1.0)), (mixture, CandidateSwap()))


def check(number, group):
    """What each process does."""
    import torch

    every = [*product(CENTERS, SCALES)]
    for cut, (center, scale) in [*product(CUTS[:1], every), *product(CUTS[1:], every[::4])]:
        rows = slice(0, cut) if number == 0 else slice(cut, 8)
        options = {"center": center, "scale": scale}
        together, alone = results(rows, group, options), results(slice(None), None, options)
        for found, expected in zip(together, alone, strict=True):
            assert found.shape == expected[rows].shape
            np.testing.assert_allclose(found, expected[rows], rtol=1e-12, atol=1e-13, err_msg=f"{cut} {options}")
            assert ((found == 0) == (expected[rows] == 0)).all()
        credits, mask = (torch.tensor(x[rows]) for x in data())
        layout = {"group_ids": IDS[rows], "process_group": group}
        found = rollout_advantages(credits[:, 0].bfloat16(), mask=mask[:, 0], **layout, **options)
        assert (found.shape, found.dtype) == ((len(credits),), torch.bfloat16)
        found = grpo_advantages(credits.float(), mask, **layout, **options)
        np.testing.assert_allclose(found.double().numpy(), together[0], rtol=1e-5, atol=1e-6)
    for cut, (utility, value) in product(CUTS, against_the_group()):
        rows = slice(0, cut) if number == 0 else slice(cut, 8)
        allocator, layout = RewardAllocator(utility, value), {"group_ids": IDS[rows], "process_group": group}
        credits, mask = data()
        ids = np.array([[0, 1, 2, 3, 0]] * 8)
        alone = allocator.token_advantages(credits, ids, mask, group_ids=IDS)
        together = allocator.token_advantages(credits[rows], ids[rows], mask[rows], **layout)
        np.testing.assert_allclose(together, alone[rows], rtol=1e-12, atol=1e-13)
        credits, mask = (torch.tensor(x[rows][:, : 3 - number]) for x in (credits, mask))
        found = allocator.advantages(credits, mask, **layout)  # of another number of candidates on each rank
        assert found.shape == credits.shape
    layout = {"group_ids": [0, 1], "process_group": group}

    def of_this_rank(rewards, mask=None):
        return (sk.Min if number else sk.Max)(rewards, mask=mask)

    with pytest.raises(ValueError, match=r"game must be the same on all ranks, got .*Max.* at rank 0 and .*Min"):
        RewardAllocator(of_this_rank, SuffixSwap()).advantages(np.eye(2), **layout)
    for change, message in (
        ({"value": sk.Stratum(1 + number)}, r"value must be the same on all ranks, got Stratum"),
        ({"group_ids": [0, 1, 2][: 2 + number]}, r"group_ids must have one id per rollout.* \(rank 1 of"),
        (
            {"utility": clusters, **({"labels": np.arange(2)} if number else {})},
            r"data must be the same on all ranks, got \[\] at rank 0",
        ),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            rollout_advantages([1.0, 2.0], **layout | change)
    with pytest.raises(ValueError, match=r"must be finite, got nan at \[0, 0\].*\(rank 1 of"):
        RewardAllocator(value=SuffixSwap()).advantages(np.eye(2) * (np.nan if number else 1.0), **layout)
    ids = {"group_ids": ["a"] * (2 * number), "process_group": group}
    assert grpo_advantages(np.ones((2 * number, 3 * number)), **ids).shape == (2 * number, 3 * number)
    assert grpo_advantages(np.ones((0, 3)), group_ids=[], process_group=group).shape == (0, 3)
    # without slots, ranks may have different numbers of candidates
    rewards = [[4.0, 3.0, 5.0], [5.0, 4.0, 0.0]]
    mask = [[True, True, True], [True, True, False]]
    together = grpo_advantages(rewards, mask, group_ids=["a", "a"])
    found = grpo_advantages(np.array([rewards[number][: 3 - number]]), group_ids=["a"], process_group=group)
    np.testing.assert_allclose(found[0], together[number][: 3 - number], rtol=1e-12)
