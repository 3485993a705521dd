"""Groups spread over two processes give what one process gives."""

import subprocess
import sys
from itertools import product

import numpy as np
import pytest

from shapley_kernels.rl import RewardAllocator, grpo_advantages

IDS = ["a", ("b", 1), "a", 7, ("b", 1), "a", ("b", 1), "alone"]
EYE = np.eye(2)
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
        allocator.token_advantages(credits[rows], np.array([[0, 1, 2, 3]] * 8)[rows], mask[rows], **arguments),
    )


def rank(number, file):
    """What each process does."""
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo", init_method=f"file://{file}", rank=number, world_size=2)
    group = dist.group.WORLD
    for cut, center, scale in product(CUTS, ("group", "loo", "slot", "none"), ("group", "batch", "none")):
        rows = slice(0, cut) if number == 0 else slice(cut, 8)
        options = {"center": center, "scale": scale}
        together, alone = results(rows, group, options), results(slice(None), None, options)
        for found, expected in zip(together, alone, strict=True):
            assert found.shape == expected[rows].shape
            np.testing.assert_allclose(found, expected[rows], rtol=1e-12, atol=1e-13, err_msg=f"{cut} {options}")
            assert ((found == 0) == (expected[rows] == 0)).all()
        credits, mask = (torch.tensor(x[rows]) for x in data())
        found = grpo_advantages(credits.float(), mask, group_ids=IDS[rows], process_group=group, **options)
        np.testing.assert_allclose(found.double().numpy(), together[0], rtol=1e-5, atol=1e-6)
    ids = {"group_ids": ["a"] * (2 * number), "process_group": group}
    assert grpo_advantages(np.ones((2 * number, 3 * number)), **ids).shape == (2 * number, 3 * number)
    assert grpo_advantages(np.ones((0, 3)), group_ids=[], process_group=group).shape == (0, 3)
    # what is wrong on one rank is raised on both, so that neither waits for ever
    for error, bad, options in (
        (r"credits must be finite, got nan at \[0, 1\].*\(rank 1 of", [[0.0, np.nan], [1.0, 2.0]], {}),
        (
            r"credits must have the same number of candidates on all ranks, "
            r"got shape \(2, 2\) at rank 0 and \(2, 3\) at rank 1; pad",
            np.ones((2, 3)),
            {"center": "slot"},
        ),
    ):
        credits = np.array(bad) if number else np.ones((2, 2))
        with pytest.raises(ValueError, match=error):
            grpo_advantages(credits, group_ids=[0, 1], process_group=group, **options)
    allocator = RewardAllocator()
    for error, call in (
        (
            "expected rows of equal length.*ragged",
            lambda x: allocator.advantages(x, group_ids=[0, 1], process_group=group),
        ),
        ("ragged", lambda x: allocator.set_advantages(x, group_ids=[0, 1], process_group=group)),
        ("ragged", lambda x: grpo_advantages(x, group_ids=[0, 1], process_group=group)),
        ("one id per rollout", lambda x: grpo_advantages(EYE, group_ids=range(len(x[0])), process_group=group)),
    ):
        with pytest.raises(ValueError, match=error + r".*\(rank 1 of"):
            call([[1.0], [1.0, 2.0]] if number else EYE)
    with pytest.raises(ValueError, match=r"rewards must be finite, got nan at \[0, 0\]"):
        allocator.advantages(EYE * (np.nan if number else 1.0), group_ids=[0, 1], process_group=group)
    with pytest.raises(ValueError, match="of one type on all ranks, got 1 and '1', which are two groups"):
        grpo_advantages(EYE, group_ids=[1, 1] if number else ["1", "1"], process_group=group)
    with pytest.raises(TypeError, match="group_ids must be values that other ranks can compare"):
        grpo_advantages(EYE, group_ids=[object()] * 2, process_group=group)
    for wrong in (True, 3):
        with pytest.raises(TypeError, match=r"process_group must be one of torch\.distributed"):
            grpo_advantages(EYE, group_ids=[0, 1], process_group=wrong)
    center = "slot" if number else "group"
    with pytest.raises(ValueError, match=r"'slot' on the ranks \[1\] only"):
        grpo_advantages(np.ones((2, 2)), group_ids=[0, 1], process_group=group, center=center)
    # without slots, ranks may have different numbers of candidates
    rewards = [[4.0, 3.0, 5.0], [5.0, 4.0, 0.0]]
    mask = [[True, True, True], [True, True, False]]
    together = grpo_advantages(rewards, mask, group_ids=["a", "a"])
    found = grpo_advantages(np.array([rewards[number][: 3 - number]]), group_ids=["a"], process_group=group)
    np.testing.assert_allclose(found[0], together[number][: 3 - number], rtol=1e-12)
    dist.barrier()
    dist.destroy_process_group()


def test_two_processes_equal_one(tmp_path):
    command = [sys.executable, "-m", "tests.rl.test_process_group"]
    ranks = [
        subprocess.Popen([*command, str(i), str(tmp_path / "store")], stderr=subprocess.PIPE, text=True)
        for i in range(2)
    ]
    try:
        errors = [process.communicate(timeout=120)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(errors)


if __name__ == "__main__":
    rank(int(sys.argv[1]), sys.argv[2])
