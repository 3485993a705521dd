"""What `grpo_advantages` refuses, and what it does on a GPU, where nobody looks."""

import re
from itertools import product

import numpy as np
import pytest
import torch

from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.rl import RewardAllocator, combine_advantages, grpo_advantages, rollout_advantages


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_differences_beyond_the_dtype_are_refused(dtype):
    large = torch.finfo(dtype).max
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(
        OverflowError, match=rf"advantages must be in the range of {name}, which that at \[1, 0\] is not"
    ):
        grpo_advantages(torch.tensor([[0.0], [large], [-large], [-large]], dtype=dtype), scale="none")


def test_advantages_beyond_float16_are_refused():
    """A million credits, one of them a unit in the last place above the others: it is 1000 standard deviations off."""
    credits = np.full((1, 1 << 20, 1), 60000, np.float16)
    credits[0, 0] += 32
    assert np.isfinite(grpo_advantages(credits, eps=0.0)).all()
    with pytest.raises(OverflowError, match=r"advantages must be in the range of float16"):
        grpo_advantages(credits, center="none", eps=0.0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_non_finite_credits_are_refused_on_the_cpu(bad):
    credits = np.zeros((2, 3, 4))
    credits[1, 0, 3] = bad
    message = rf"live credits must be finite, got {bad} at \[1, 0, 3\] \(group, rollout, candidate\); mask"
    for x in (credits, torch.tensor(credits), torch.tensor(credits).half()):
        with pytest.raises(ValueError, match=message):
            grpo_advantages(x)
    mask = np.isfinite(credits)
    assert np.isfinite(grpo_advantages(credits, mask)).all()


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("center", "scale"), [p for p in product(CENTERS, SCALES) if p != ("none", "none")])
def test_non_finite_credits_spoil_their_own_group_elsewhere(center, scale, bad):
    torch.manual_seed(0)
    credits, mask = torch.randn(3, 4, 5, dtype=torch.float64), torch.rand(3, 4, 5) < 0.9
    mask[1, 2, 3] = True
    spoiled = credits.clone()
    spoiled[1, 2, 3] = bad
    for arguments in ({}, {"group_ids": [0] * 4 + [1] * 4 + [2] * 4}):
        shape = (12, 5) if arguments else (3, 4, 5)
        found = grpo_advantages(spoiled.reshape(shape), mask.reshape(shape), center=center, scale=scale, **arguments)
        found = found.reshape(3, 4, 5)
        assert found[1, 2, 3].isnan()
        assert (found[~mask] == 0).all()
        left_out = mask.clone()  # from the statistics of the batch
        left_out[(1, slice(None), 3) if center == "slot" else 1] = False
        expected = grpo_advantages(credits, left_out, center=center, scale=scale)
        torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], rtol=1e-12, atol=1e-13)
        if center == "group":
            assert found[1][mask[1]].isnan().all()


class NA:
    """As of pandas: neither equal nor different."""

    def __ne__(self, other):
        return self

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    def __repr__(self):
        return "NA"

    __eq__, __hash__ = __ne__, object.__hash__


ERRORS = [
    (ValueError, {"group_ids": list(range(31))}, r"group_ids must have one id per rollout \(32\), got 31; repeat"),
    (ValueError, {"group_ids": np.zeros((32, 1))}, r"group_ids must have one id per rollout \(32\), got \(32, 1\)"),
    (TypeError, {"group_ids": "a" * 32}, "group_ids must be a list or 1-D array"),
    (TypeError, {"group_ids": set(range(32))}, "group_ids must be a list or 1-D array of ids"),
    (TypeError, {"group_ids": dict.fromkeys(range(32))}, "group_ids must be a list or 1-D array of ids"),
    (TypeError, {"group_ids": 3}, "group_ids must be a list or 1-D array of ids, got 3"),
    (TypeError, {"group_ids": (i for i in range(32))}, "group_ids must be a list"),
    (TypeError, {"group_ids": [[0]] * 32}, "group_ids must be hashable, got an unhashable type: 'list'; turn lists"),
    (TypeError, {"group_ids": list(torch.zeros(32))}, "list of torch tensors; pass one tensor"),
    (ValueError, {"group_ids": [0] * 31 + [float("nan")]}, "group_ids must not be missing, got nan at 31"),
    (ValueError, {"group_ids": ["a", None] * 16}, "group_ids must not be missing, got None at 1"),
    (ValueError, {"group_ids": [7] * 31 + [NA()]}, "group_ids must not be missing, got NA at 31"),
    (
        ValueError,
        {"num_generations": 5},
        r"must be >= 1 and divide the number of rollouts \(32\), got 5; use group_ids",
    ),
    (ValueError, {"num_generations": 0}, "got 0"),
    (TypeError, {"num_generations": 4.0}, "num_generations must be an int >= 1, got 4.0"),
    (TypeError, {"num_generations": True}, "got True"),
    (ValueError, {"num_generations": 4, "group_ids": [0] * 32}, "got both; leave one out"),
    (TypeError, {"process_group": object()}, r"process_group must be one of torch\.distributed, such as"),
    (ValueError, {"center": "median"}, "center must be one of 'group', 'loo', 'slot', 'none', got 'median'"),
    (TypeError, {"scale": np.zeros(2)}, r"scale must be one of .*, got array\(\[0., 0.\]\)"),
    (TypeError, {"scale": True}, "scale must be one of 'group', 'batch', 'none', got True"),
    (TypeError, {"ddof": 1.0}, "ddof must be an integer >= 0 .*, got 1.0"),
    (ValueError, {"ddof": -1}, "ddof must be an integer >= 0 .*, got -1"),
    (TypeError, {"eps": "0"}, "eps must be a finite number >= 0, got '0'"),
    (ValueError, {"min_std": float("nan")}, "min_std must be a finite number >= 0, got nan"),
    (TypeError, {"mask": np.ones((32, 3))}, "mask: expected dtype bool"),
    (TypeError, {"mask": torch.ones(32, 3, dtype=torch.bool)}, "mask: expected a numpy array"),
    (ValueError, {"mask": np.ones((32, 4), bool)}, r"mask: expected shape \(32, 3\)"),
]


LAYOUT = {"group_ids", "num_generations", "process_group"}


@pytest.mark.parametrize(("error", "arguments", "message"), ERRORS)
def test_errors_name_the_argument_and_the_remedy(error, arguments, message):
    with pytest.raises(error, match=message) as caught:
        grpo_advantages(np.zeros((32, 3)), **arguments)
    assert str(caught.value).startswith("grpo_advantages: ")


CALLS = {
    "RewardAllocator": lambda x, **layout: RewardAllocator().advantages(x, **layout),
    "RewardAllocator ": lambda x, **layout: RewardAllocator().token_advantages(x, np.zeros((32, 2), int), **layout),
    "combine_advantages": lambda x, **layout: combine_advantages([x], **layout),
    "rollout_advantages": lambda x, **layout: rollout_advantages(x[:, 0], **layout),
}


@pytest.mark.parametrize("owner", CALLS)
@pytest.mark.parametrize(("error", "layout", "message"), [case for case in ERRORS if case[1].keys() <= LAYOUT])
def test_errors_about_groups_name_what_was_called(owner, error, layout, message):
    if owner == "rollout_advantages" and "process_group" in layout:
        return
    with pytest.raises(error, match=message) as caught:
        CALLS[owner](np.zeros((32, 3)), **layout)
    assert str(caught.value).startswith(f"{owner.strip()}: ")


def test_errors_about_credits_name_what_was_called():
    for owner in ("RewardAllocator", "RewardAllocator ", "combine_advantages"):
        with pytest.raises(ValueError, match=f"{owner.strip()}: .* small enough to be squared"):
            CALLS[owner](np.repeat([[1e300], [-1e300]], 16, 0))


def test_errors_about_shapes_and_kinds_of_credits():
    for shape in ((3,), (), (1, 2, 3, 4)):
        with pytest.raises(ValueError, match=f"credits must have shape .*, got {re.escape(str(shape))}; reshape"):
            grpo_advantages(np.zeros(shape))
    for arguments in ({"group_ids": [0, 1]}, {"num_generations": 1}):
        with pytest.raises(
            ValueError, match=r"credits must have shape \[rollouts, candidates\], got \(2, 3, 4\); leave"
        ):
            grpo_advantages(np.zeros((2, 3, 4)), **arguments)
    for x in (np.zeros((2, 3), complex), np.array([["a"]])):
        with pytest.raises(TypeError, match="grpo_advantages: credits: expected real numbers"):
            grpo_advantages(x)
    with pytest.raises(TypeError, match="grpo_advantages: credits: expected"):
        grpo_advantages(None)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("center", CENTERS)
def test_credits_too_large_to_be_squared(center, scale):
    """Refused on the CPU, and never 0 or NaN in silence; what needs no squares is served."""
    large = np.array([[1e300, 2e300], [3e300, 0.0]])
    for x in (large, torch.tensor(large)):
        if scale == "none":
            expected = grpo_advantages(large / 1e300, center=center, scale=scale) * 1e300
            np.testing.assert_allclose(grpo_advantages(x, center=center, scale=scale), expected, rtol=1e-14)
        else:
            with pytest.raises(ValueError, match=r"grpo_advantages: .* small enough to be squared.* scale the rewards"):
                grpo_advantages(x, center=center, scale=scale)
    if center == "group":
        with pytest.raises(ValueError, match="small enough"):
            grpo_advantages(np.array([[1.7e308, -1.7e308], [0.0, 0.0]]), scale="none")


@pytest.mark.usefixtures("as_on_a_gpu")
def test_credits_too_large_to_be_squared_are_nan_elsewhere():
    x = torch.tensor([[[1e300, 2e300]], [[1.0, 2.0]]], dtype=torch.float64)
    found = grpo_advantages(x)
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1], grpo_advantages(x[1]))


@pytest.mark.parametrize("call", [grpo_advantages, RewardAllocator().advantages])
def test_rows_that_are_surely_not_grouped_as_meant_draw_a_warning(call):
    credits = np.random.default_rng(0).random((65, 5))
    with pytest.warns(UserWarning, match=r"\(65, 5\) without .* are one group of 65 rollouts, as of one prompt"):
        call(credits)
    with pytest.warns(UserWarning, match="9 different ids of 9 rollouts, .* pass the id of the prompt"):
        call(credits[:9], group_ids=range(9))
    call(credits[:64])
    call(credits[None])
    call(credits, num_generations=1)
    call(credits[:9], group_ids=[0, *range(8)])
