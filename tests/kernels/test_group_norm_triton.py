"""The Triton kernel of `group_norm` against the kernel of the CPU, which is judged by the definition in
tests/rl/test_advantages.py."""

from itertools import product

import numpy as np
import pytest
import torch

from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.rl import grpo_advantages
from tests.kernels.conftest import need
from tests.kernels.rig import BACKENDS, DEVICE, NON_FINITE, launch

if "triton" not in BACKENDS:
    pytest.skip("needs TRITON_INTERPRET=1 or a GPU", allow_module_level=True)

kernel = need("triton", "shapley_kernels.kernels.group_norm._triton")

SHAPES = [(3, 1, 1), (2, 1, 5), (2, 7, 1), (5, 8, 5), (2, 5, 16), (1, 33, 20)]
PAIRS = [p for p in product(CENTERS, SCALES) if kernel.serves(1, 1, *p)]


def credits(shape, dtype=torch.float64, seed=0, masked=False):
    rng = np.random.default_rng([seed, *shape])
    x = torch.tensor(rng.integers(-8, 9, shape) / 8 + 1000.0).to(dtype)
    mask = torch.tensor(rng.random(shape) < 0.7) if masked else None
    if masked:
        mask[0, 0] = False
        x[~mask] = float("nan")
    return x, mask


def run(x, mask, center="group", scale="group", ddof=1, min_std=1e-6, eps=1e-4, rounding=0.0, out_dtype=None):
    def call(x, mask, out):
        flat = [None if t is None else t.view(-1, t.shape[-1]) for t in (x, mask, out)]
        starts = np.arange(len(x) + 1) * x.shape[1]
        kernel.run(*flat[:2], None, starts, None, center, scale, ddof, min_std, eps, rounding, None, flat[2])

    return launch(call, (x, mask), [(x.shape, out_dtype or x.dtype)], "triton")[0][0]


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("center", "scale"), PAIRS)
def test_equals_the_cpu(center, scale, shape, masked):
    x, mask = credits(shape, masked=masked)
    for ddof, min_std, eps in ((1, 1e-6, 1e-4), (0, 0.3, 0.0), (40, 0.0, 1e-3)):
        options = {"center": center, "scale": scale, "ddof": ddof, "min_std": min_std, "eps": eps}
        found = run(x, mask, **options)
        torch.testing.assert_close(found, grpo_advantages(x, mask, **options), rtol=1e-12, atol=1e-12)
        assert mask is None or (found[~mask] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_other_dtypes_round_once(dtype):
    x, mask = credits((5, 8, 5), dtype, masked=True)
    wide = grpo_advantages(torch.where(mask, x, 0.0).double(), mask)
    for out_dtype in (dtype, torch.float32):
        torch.testing.assert_close(run(x, mask, out_dtype=out_dtype), wide.to(out_dtype))


def test_equal_credits_leave_no_dust():
    x = torch.tensor([0.1, 1 / 3, 1e6 + 0.1, -7e-12])[:, None, None].expand(4, 6, 5).contiguous()
    for center, scale in PAIRS:
        if center != "none":
            assert not run(x, None, center, scale).any()


@pytest.mark.parametrize("center", CENTERS)
def test_a_spread_that_rounding_explains_vanishes(center):
    """To the left and right of it, relative to the mean of the group, or of the slot."""
    one = torch.tensor([[1.0, 1.0], [1.0 + 2.0**-20, 1.0 + 2.0**-20]], dtype=torch.float64)
    x = torch.stack([one, 1000 * one, -one, one - 1, 0 * one])
    vanished = [True, True, True, False, True]
    found = run(x, None, center, min_std=0.0, rounding=2.0**-20, eps=0.0)
    assert [not group.any() for group in found] == vanished
    found = run(x, None, center, min_std=0.0, rounding=2.0**-22, eps=0.0)
    assert [not group.any() for group in found] == [False] * 4 + [True]


# interpreted, NaN that the kernel makes on purpose is a numpy warning
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", NON_FINITE)
def test_non_finite_credits_spoil_their_own_group(bad):
    x, _ = credits((3, 4, 5))
    spoiled = x.clone()
    spoiled[1, 2, 3] = bad
    for center, scale in PAIRS:
        found, expected = run(spoiled, None, center, scale), grpo_advantages(x, center=center, scale=scale)
        wrong = found[1, :, 3] if center == "slot" else found[1]
        assert wrong.isnan().all()
        torch.testing.assert_close(found[[0, 2]], expected[[0, 2]], rtol=1e-12, atol=1e-12)


def test_what_it_serves():
    assert kernel.serves(64, 32, "group", "group")
    assert not kernel.serves(65, 32, "group", "group")
    assert not kernel.serves(2, 2, "group", "batch")
    assert not kernel.serves(2, 2, "none", "none")


@pytest.mark.gpu
@pytest.mark.skipif(DEVICE["triton"] != "cuda", reason="the public function takes it on a GPU only")
def test_public_function_on_the_gpu():
    x, mask = credits((5, 8, 5), masked=True)
    for center, scale in product(CENTERS, SCALES):
        found = grpo_advantages(x.cuda(), mask.cuda(), center=center, scale=scale)
        torch.testing.assert_close(
            found.cpu(), grpo_advantages(x, mask, center=center, scale=scale), rtol=1e-12, atol=1e-12
        )
