"""Rollouts as players: groups in any order and of any size, data beside the rewards; formulas in test_methods.py."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import shapley_kernels as sk
from shapley_kernels.rl import Broadcast, SuffixSwap, WinnerTakesAll, rollout_advantages

EXACT = {"rtol": 1e-12, "atol": 1e-13}
UNEVEN = ["b", "a", "b", ("c", 1), "a", "b"]


def facility(rewards, mask=None, features=None):
    return sk.FacilityLocation(features, mask=mask)


def clusters(rewards, mask=None, labels=None):
    return sk.Clusters(labels, rewards, mask=mask)


def repulsion(rewards, mask=None, features=None):
    """A utility that needs data between rollouts makes them of the features of its group."""
    return sk.TopM(rewards, 2, mask=mask) - 0.1 * sk.Pairwise(features @ features.swapaxes(-1, -2), mask=mask)


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
def test_worths_that_add_up_are_grpo_and_rloo(scale):
    rewards = np.random.default_rng(0).normal(size=(3, 4))
    add = partial(sk.TopM, m=4)
    for center, wanted in (
        ("group", rewards - rewards.mean(1, keepdims=True)),
        ("slot", rewards - rewards.mean(1, keepdims=True)),
        ("loo", (rewards - rewards.mean(1, keepdims=True)) * 4 / 3),
        ("none", rewards),
    ):
        std = {"none": 1.0, "group": rewards.std(1, ddof=1, keepdims=True) + 0.1, "batch": rewards.std(ddof=1) + 0.1}
        found = rollout_advantages(rewards, utility=add, center=center, scale=scale, eps=0.1)
        np.testing.assert_allclose(found, wanted / std[scale], **EXACT)


VALUES = [sk.Shapley(), sk.Banzhaf(), sk.Stratum(2), sk.LeaveOneOut(), Broadcast(), WinnerTakesAll()]


@settings(deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=12),
    st.integers(0, 2**32 - 1),
    st.sampled_from([sk.Max, sk.Mean, partial(sk.KthBest, k=2), facility, clusters, repulsion]),
    st.sampled_from(VALUES),
    st.sampled_from(["group", "loo", "none"]),
    st.sampled_from(["none", "group"]),
    st.booleans(),
    st.booleans(),
)
def test_a_rollout_gets_what_its_group_alone_gives(ids, seed, utility, value, center, scale, masked, as_torch):
    rng, count = np.random.default_rng(seed), len(ids)
    rewards = rng.integers(0, 4, count) / 2.0
    columns = {}
    if utility in (facility, repulsion):
        columns["features"] = rng.random((count, 3))
    elif utility is clusters:
        columns["labels"] = rng.integers(0, 3, count)
    mask = rng.random(count) < 0.7 if masked else None
    options = {"utility": utility, "value": value, "center": center, "scale": scale}
    if isinstance(value, WinnerTakesAll) and utility in (facility, repulsion):
        options["value"] = sk.Shapley()
    change = torch.tensor if as_torch else np.asarray
    found = rollout_advantages(
        change(rewards),
        mask=None if mask is None else change(mask),
        group_ids=ids,
        **options,
        **{name: change(x) for name, x in columns.items()},
    )
    assert isinstance(found, torch.Tensor) == as_torch
    found = np.asarray(found)
    assert found.shape == (count,)
    for group in set(ids):
        own = np.array(ids) == group
        alone = rollout_advantages(
            rewards[own],
            mask=None if mask is None else mask[own],
            **options,
            **{name: x[own] for name, x in columns.items()},
        )
        np.testing.assert_allclose(found[own], alone, **EXACT)
    if masked:
        assert (found[~mask] == 0).all()


def test_layouts_of_equal_groups_agree_to_the_bit():
    rng = np.random.default_rng(1)
    rewards, order = rng.normal(size=(5, 4)), np.arange(20).reshape(5, 4).T.reshape(-1)
    wanted = rollout_advantages(rewards)
    assert (rollout_advantages(rewards.reshape(-1), num_generations=4) == wanted.reshape(-1)).all()
    ids = np.repeat(np.arange(5), 4)
    for group_ids in (ids[order], ids[order].tolist(), torch.tensor(ids[order]), [f"p{i}" for i in ids[order]]):
        assert (rollout_advantages(rewards.reshape(-1)[order], group_ids=group_ids) == wanted.reshape(-1)[order]).all()
    assert (rollout_advantages(rewards[0]) == wanted[0]).all()
    assert (rollout_advantages(rewards.tolist()) == wanted).all()


def test_statistics_of_the_batch_leave_out_what_only_fills_up():
    rewards, ids = np.array([1.0, 0.0, 3.0, 2.0, 0.0]), [0, 0, 0, 1, 1]
    phi = np.concatenate([rollout_advantages(rewards[:3]), rollout_advantages(rewards[3:])])
    credit = np.concatenate([sk.shapley(sk.Max(rewards[:3])), sk.shapley(sk.Max(rewards[3:]))])
    found = rollout_advantages(rewards, group_ids=ids, scale="batch", eps=0.0)
    np.testing.assert_allclose(found, phi / credit.std(ddof=1), **EXACT)


def test_what_does_not_take_part_is_never_read():
    rewards, mask = np.array([1.0, np.nan, 3.0, np.inf, 0.0, 2.0]), np.array([1, 0, 1, 0, 1, 1], bool)
    features = np.where(mask[:, None], np.random.default_rng(0).random((6, 2)), np.nan)
    for utility, columns in ((sk.Max, {}), (facility, {"features": features})):
        found = rollout_advantages(rewards, mask=mask, group_ids=UNEVEN, utility=utility, **columns)
        live = [i for i in range(6) if mask[i]]
        wanted = rollout_advantages(
            rewards[live],
            group_ids=[UNEVEN[i] for i in live],
            utility=utility,
            **{name: x[live] for name, x in columns.items()},
        )
        np.testing.assert_allclose(found[live], wanted, **EXACT)
        assert (found[~mask] == 0).all()


def test_diversity_of_a_group():
    """Features for each rollout: the two that are alike share what one of them is worth."""
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    found = rollout_advantages(np.zeros(3), utility=facility, features=features)
    np.testing.assert_allclose(found, np.array([0.5, 0.5, 1.0]) - 2 / 3, **EXACT)
    found = rollout_advantages(np.ones((1, 3)), utility=clusters, labels=[[4, 4, 9]], center="none")
    np.testing.assert_allclose(found, [[0.5, 0.5, 1.0]], **EXACT)


def test_containers_and_dtypes():
    rewards = [0.5, 1.0, 0.25, 2.0, 0.0, 1.0]
    wanted = rollout_advantages(rewards, group_ids=UNEVEN)
    assert wanted.dtype == np.float64
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        x = torch.tensor(rewards, dtype=dtype, requires_grad=True)
        found = rollout_advantages(x, group_ids=UNEVEN)
        assert (found.dtype, found.requires_grad) == (dtype, False)
        np.testing.assert_allclose(found.double().numpy(), wanted, rtol=4 * torch.finfo(dtype).eps, atol=1e-7)
    assert rollout_advantages(torch.tensor([1, 0, 0])).dtype == torch.float32
    features = torch.rand(6, 2, dtype=torch.float64, requires_grad=True)
    found = rollout_advantages(torch.zeros(6), utility=facility, features=features, group_ids=UNEVEN)
    assert (found.dtype, found.requires_grad) == (torch.float32, False)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0)])
def test_nothing(shape):
    assert rollout_advantages(np.zeros(shape)).shape == shape
    if len(shape) == 1:
        assert rollout_advantages(np.zeros(shape), group_ids=[]).shape == shape
        assert rollout_advantages(np.zeros(shape), num_generations=3).shape == shape


def test_a_group_of_one():
    assert rollout_advantages([5.0, 1.0, 2.0], group_ids=[0, 1, 1])[0] == 0
    assert rollout_advantages([5.0], center="none").tolist() == [5.0]


@pytest.mark.parametrize(
    ("error", "message", "arguments"),
    [
        (ValueError, r"rewards.*shape \[groups, rollouts\], or .* got \(2, 2, 1\)", {"rewards": [[[1], [2]]] * 2}),
        (ValueError, r"rewards must have shape .* got \(\)", {"rewards": 1.0}),
        (ValueError, r"rewards must have shape .* got \(2, 2\)", {"rewards": [[1, 2]] * 2, "num_generations": 2}),
        (ValueError, r"rewards must have shape .* got \(2, 2\)", {"rewards": [[1, 2]] * 2, "group_ids": [0, 1]}),
        (ValueError, "expected group_ids or num_generations, got both", {"group_ids": [0] * 4, "num_generations": 2}),
        (ValueError, r"group_ids must have one id per rollout \(4\), got 3", {"group_ids": [0] * 3}),
        (TypeError, "group_ids must be hashable", {"group_ids": [[0]] * 4}),
        (TypeError, "group_ids: expected a dense tensor .* meta", {"group_ids": torch.ones(4, device="meta")}),
        (TypeError, "group_ids: expected a dense tensor", {"group_ids": torch.ones(4).to_sparse()}),
        (ValueError, r"num_generations.*>= 1 and divide the number of rollouts \(4\), got 3", {"num_generations": 3}),
        (TypeError, "num_generations must be an int >= 1, got 2.0", {"num_generations": 2.0}),
        (TypeError, "mask: expected dtype bool", {"mask": [1, 1, 1, 0]}),
        (ValueError, r"mask: expected shape \(4,\)", {"mask": np.ones(3, bool)}),
        (TypeError, "rewards: expected real numbers", {"rewards": np.zeros(4, complex)}),
        (TypeError, r"value must be a semivalue .* got SuffixSwap\(.*\), which compares", {"value": SuffixSwap()}),
        (
            ValueError,
            r"features must have an entry per rollout, shape \(4,\) or with more axes behind, got .*\(2, 4\)",
            {"utility": facility, "features": np.zeros((2, 4))},
        ),
        (TypeError, "features: expected a numpy array", {"utility": facility, "features": torch.zeros(4, 2)}),
    ],
)
def test_errors(error, message, arguments):
    with pytest.raises(error, match=message) as caught:
        rollout_advantages(**{"rewards": [1.0, 2.0, 3.0, 4.0]} | arguments)
    assert str(caught.value).startswith("rollout_advantages: ")


@pytest.mark.parametrize(("dtype", "wide"), [("float16", 2.0**-6), ("float32", 2.0**-18), ("float64", 2.0**-44)])
def test_credits_that_differ_by_rounding_are_no_advantage(dtype, wide):
    """Each alone is worth a unit in the last place more or less than the other: no spread to divide by."""
    near, apart = (np.array([1000.0, 1000.0 * (1 + by)], dtype) for by in (float(np.finfo(dtype).eps), wide))
    options = {"utility": sk.Mean, "value": sk.Stratum(1), "scale": "group", "min_std": 0.0, "eps": 0.0}
    assert (rollout_advantages(near, **options) == 0).all()
    np.testing.assert_allclose(rollout_advantages(apart, **options), [-(0.5**0.5), 0.5**0.5], rtol=1e-3)


def test_errors_of_what_it_calls():
    for error, message, arguments in (
        (TypeError, "utility must be a class of games", {"utility": 3}),
        (TypeError, "value must be a semivalue", {"value": 3}),
        (ValueError, "center must be one of", {"center": "median"}),
        (ValueError, "scale must be one of", {"scale": "std"}),
        (ValueError, r"rewards must be finite, got nan at \[0, 1\]", {"rewards": [1.0, np.nan]}),
        (
            ValueError,
            r"utility must give a game of the candidates of rewards \(1, 3\), got one of \(1, 3, 2\)",
            {"utility": lambda r, mask=None, x=None: sk.Max(x), "x": np.zeros((3, 2))},
        ),
        (ValueError, "utility must hand its mask on", {"utility": lambda r, mask: sk.Max(r), "group_ids": [0, 0, 1]}),
    ):
        with pytest.raises(error, match=message) as caught:
            rollout_advantages(**{"rewards": [1.0, 2.0, 3.0]} | arguments)
        assert str(caught.value).startswith(("rollout_advantages: ", "Max: "))
