"""Credits and advantages in one launch, against the two kernels of the CPU."""

from itertools import product

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.rl import RewardAllocator, allocator, grpo_advantages
from tests.kernels.conftest import INTERPRETED, need

kernel = need("triton", "shapley_kernels.kernels.order._gpu_fused_norm")

if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("needs TRITON_INTERPRET=1 or a GPU", allow_module_level=True)

DEVICE = "cpu" if INTERPRETED else "cuda"
PAIRS = [p for p in product(CENTERS, SCALES) if kernel.serves(1, 1, False, *p)]
SHAPES = [(3, 1, 1), (2, 1, 5), (2, 7, 1), (5, 8, 5), (20, 8, 5), (2, 5, 16), (1, 33, 12), (2, 128, 3)]


@pytest.fixture(autouse=True)
def served(monkeypatch):
    """The path of a GPU, and no other."""
    if INTERPRETED:
        monkeypatch.setattr(allocator, "_may_fuse", lambda *_: True)
        monkeypatch.setattr(sk.Game, "in_numpy", lambda *_, **__: None)
    monkeypatch.setattr(allocator, "semivalue", None)


def rewards(shape, dtype=torch.float64, seed=0):
    rng = np.random.default_rng([seed, *shape])
    mask = torch.tensor(rng.random(shape) < 0.7)
    mask[0, 0] = False
    return torch.tensor(rng.integers(-8, 9, shape) / 8).to(dtype), mask


def expected(game, value=None, mask=None, **options):
    count = game.players if mask is None else mask.sum(-1, keepdim=True)
    return grpo_advantages(sk.semivalue(game, value or sk.Shapley()) * count, mask, **options)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("center", "scale"), PAIRS)
def test_equals_both_in_turn(center, scale, shape, masked):
    x, mask = rewards(shape, torch.float64 if shape[2] <= 8 else torch.float32)
    mask = mask if masked else None
    if masked:
        x[~mask] = float("nan")
    for utility, options in ((sk.Max, {}), (sk.Range, {"ddof": 0, "min_std": 0.3, "eps": 0.0})):
        allocate = RewardAllocator(utility, center=center, scale=scale, **options).advantages
        found = allocate(x.to(DEVICE), mask if mask is None else mask.to(DEVICE)).cpu()
        want = expected(utility(x, mask=mask), mask=mask, center=center, scale=scale, **options)
        tolerance = 1e-12 if x.dtype == torch.float64 else 2e-5  # credits of about 1, divided by a std of 0.05 and more
        torch.testing.assert_close(found, want, rtol=tolerance, atol=tolerance)
        assert mask is None or (found[~mask] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("value", [sk.Banzhaf(), sk.LeaveOneOut()], ids=str)
def test_other_values_and_dtypes_round_once(value, dtype):
    if INTERPRETED and dtype == torch.bfloat16:
        pytest.skip("the interpreter turns float64 into wrong bfloat16; compiled, the cast is right")
    x, _ = rewards((5, 8, 5), dtype)
    found = RewardAllocator(sk.Max, value).advantages(x.to(DEVICE))
    assert found.dtype == dtype
    want = expected(sk.Max(x.double()), value)
    torch.testing.assert_close(found.cpu(), want.to(dtype))


# interpreted, NaN that the kernel makes on purpose is a numpy warning
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_rewards_spoil_their_own_group(bad):
    x, _ = rewards((40, 8, 5), torch.float32)
    good = RewardAllocator(sk.Max).advantages(x.to(DEVICE)).cpu()
    x[7, 2, 3] = bad
    found = RewardAllocator(sk.Max).advantages(x.to(DEVICE)).cpu()
    assert found[7].isnan().all()
    others = torch.arange(40) != 7
    assert torch.equal(found[others], good[others])


def test_v_empty_per_rollout_and_groups_by_number():
    x, _ = rewards((24, 5))
    v_empty = torch.linspace(-1, 1, 24, dtype=torch.float64)

    def utility(r, mask=None):
        return sk.Max(r, mask=mask, v_empty=v_empty.to(r.device))

    found = RewardAllocator(utility).advantages(x.to(DEVICE), num_generations=8)
    torch.testing.assert_close(found.cpu(), expected(utility(x), num_generations=8))


def test_what_it_serves():
    assert kernel.serves(128, 16, False, "group", "group")
    assert not kernel.serves(129, 16, False, "group", "group")
    assert not kernel.serves(8, 17, False, "group", "group")
    assert not kernel.serves(8, 9, True, "group", "group")
    assert not kernel.serves(2, 2, False, "group", "batch")
    assert not kernel.serves(2, 2, False, "none", "none")
