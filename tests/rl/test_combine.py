"""Several rewards, each normalised alone."""

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.rl import combine_advantages, grpo_advantages

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(size=(6, 4)), 100 * RNG.normal(size=(6, 4))
MASK = RNG.random((6, 4)) < 0.8
LAYOUTS = ({"num_generations": 3}, {"group_ids": list("abcabc")}, {"group_ids": list("aabbbb")})


@pytest.mark.parametrize("center", ["group", "loo", "slot", "none"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=repr)
def test_is_the_weighted_sum(layout, center):
    options = {"center": center, "ddof": 0, **layout}
    expected = 2.0 * grpo_advantages(FIRST, MASK, **options) - 0.5 * grpo_advantages(SECOND, MASK, **options)
    found = combine_advantages([FIRST, SECOND], MASK, weights=[2.0, -0.5], **options)
    np.testing.assert_allclose(found, expected, rtol=1e-14, atol=1e-14)
    assert (found[~MASK] == 0).all()
    given = [torch.tensor(x) for x in (FIRST, SECOND)]
    in_torch = combine_advantages(given, torch.tensor(MASK), weights=torch.tensor([2.0, -0.5]), **options)
    np.testing.assert_allclose(in_torch, expected, rtol=1e-14, atol=1e-14)


def test_rollouts_of_one_sum_are_told_apart():
    """Two rewards of 0 and 1: those of the same sum get one advantage when they are summed first."""
    rewards = np.array([[1.0], [0.0], [0.0], [0.0]]), np.array([[0.0], [1.0], [1.0], [0.0]])
    summed = grpo_advantages(rewards[0] + rewards[1])
    assert summed[0] == summed[1]
    found = combine_advantages(list(rewards))
    assert found[0] > found[1] > 0


def test_dtypes_promote_and_round_once():
    low = [torch.tensor(FIRST).half(), torch.tensor(FIRST).bfloat16()]
    found = combine_advantages(low, num_generations=3)
    assert found.dtype == torch.float32
    wide = combine_advantages([x.double() for x in low], num_generations=3)
    torch.testing.assert_close(found.double(), wide, rtol=1e-5, atol=1e-5)
    assert combine_advantages(low[:1], num_generations=3).dtype == torch.float16
    assert combine_advantages([FIRST.astype(np.float32), SECOND], num_generations=3).dtype == np.float64
    assert not combine_advantages([torch.tensor(FIRST, requires_grad=True)], num_generations=3).requires_grad


@pytest.mark.parametrize(
    ("error", "credits", "options", "message"),
    [
        (TypeError, FIRST, {}, "credits must be a list of arrays, one for each reward, got numpy.ndarray"),
        (TypeError, [], {}, r"credits must be a list of arrays, one for each reward, got \[\]"),
        (ValueError, [FIRST, SECOND[:, :1]], {}, r"credits\[1\] must have the shape of credits\[0\], \(6, 4\)"),
        (TypeError, [FIRST, torch.tensor(SECOND)], {}, r"credits\[1\]: expected a numpy array"),
        (ValueError, [FIRST, SECOND], {"weights": [1.0]}, "weights must be 2 finite numbers, one for each reward"),
        (ValueError, [FIRST], {"weights": [float("nan")]}, "weights must be 1 finite numbers"),
        (TypeError, [FIRST], {"weights": 1.0}, "weights must be a list of numbers, one for each reward, got 1.0"),
        (TypeError, [FIRST], {"weights": torch.ones(1, device="meta")}, "weights: expected a dense tensor"),
        (TypeError, [FIRST], {"weights": torch.ones(1).to_sparse()}, "weights: expected a dense tensor with numbers"),
        (ValueError, [FIRST], {"scale": "std"}, "scale must be one of"),
    ],
)
def test_errors(error, credits, options, message):
    with pytest.raises(error, match=f"^combine_advantages: {message}"):
        combine_advantages(credits, **options)


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(("dtype", "weights"), [("float64", [1.7e308] * 2), ("float32", [1e39]), ("float16", [1e6])])
def test_sums_beyond_the_dtype(library, dtype, weights):
    credits = [library(np.array([[1.0], [0.0], [5.0]], dtype))] * len(weights)
    with pytest.raises(OverflowError, match=rf"combine_advantages: advantages must be in the range of .*{dtype}"):
        combine_advantages(credits, weights=weights)


def test_is_public():
    assert sk.rl.combine_advantages is combine_advantages
