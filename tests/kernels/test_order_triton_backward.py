"""The Triton gradients of `order` against the formula: interpreted (TRITON_INTERPRET=1, a process of its own) or on a
GPU."""

import numpy as np
import pytest

import shapley_kernels as sk
from tests.gradients import gradients
from tests.kernels.conftest import need
from tests.kernels.test_order_triton import DEVICE, NON_FINITE, bits, case, reward_rows

torch = need("torch")
_backward = need("triton", "shapley_kernels.kernels.order._triton_backward")


def full_case(players, dtype, **how):
    """`grad_out` and the arguments of `case`; NaN at masked players."""
    rewards = reward_rows(np.random.default_rng(players), players)
    tensors = case(players, rewards, dtype, **how)
    g = torch.tensor(np.random.default_rng(1).standard_normal(rewards.shape), dtype=dtype, device=DEVICE)
    return (g if tensors[1] is None else torch.where(tensors[1], g, float("nan")), *tensors)


def launch(tensors, with_c=True, **forced):
    """The kernel on poisoned results between guard bands."""
    rewards = tensors[1]
    rows, size = len(rewards), rewards.numel()
    real = tensors[3].dtype
    r = torch.full((size + 32,), float("nan"), dtype=rewards.dtype, device=DEVICE)
    c = torch.full((rows + 32,), float("nan"), dtype=real, device=DEVICE)
    grad, grad_c = r[16 : 16 + size].view(rewards.shape), c[16 : 16 + rows]
    before = [None if x is None else x.clone() for x in tensors]
    if forced:
        _backward.call(*tensors, grad, grad_c if with_c else None, **forced).on(grad)
    else:
        _backward.run(*tensors, grad, grad_c if with_c else None)
    for band in (r[:16], r[16 + size :], c[:16], c[16 + rows :]):
        assert band.isnan().all()
    for x, y in zip(tensors, before, strict=True):
        assert x is None or torch.equal(bits(x), bits(y))
    return grad, grad_c


def check(tensors, results):
    """Within the bound, 0 at masked players, bitwise equal where tied."""
    arrays = [None if x is None else (x.double() if x.is_floating_point() else x).cpu().numpy() for x in tensors]
    want, bound, want_c, bound_c = gradients(*arrays, eps=torch.finfo(tensors[3].dtype).eps)
    grad, grad_c = (x.double().cpu().numpy() for x in results)
    assert np.isfinite(grad).all()
    assert np.isfinite(grad_c).all()
    # bfloat16 stores truncate in the interpreter, on a device they round to nearest
    rounding = torch.finfo(results[0].dtype).eps
    bound = bound + rounding * (np.abs(want) + bound) + torch.finfo(results[0].dtype).tiny
    assert (np.abs(grad - want) <= bound).all(), float((np.abs(grad - want) / bound).max())
    assert (np.abs(grad_c - want_c) <= bound_c).all()
    rewards, mask = arrays[1:3]
    for row in range(len(grad)):
        live = np.ones(len(grad[row]), bool) if mask is None else mask[row]
        assert (grad[row, ~live] == 0).all()
        for value in np.unique(rewards[row, live]):
            assert len({x.tobytes() for x in grad[row, live & (rewards[row] == value)]}) == 1


@pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "sort"])
@pytest.mark.parametrize("players", [1, 2, 7, 20])
@pytest.mark.parametrize(("masked", "outside"), [(False, False), (True, True), (True, False)])
def test_equals_the_formula(masked, outside, players, pairs):
    tensors = full_case(players, torch.float32, masked=masked, outside=outside, per_row=masked)
    check(tensors, launch(tensors, pairs=pairs))


@pytest.mark.parametrize("players", [64, 65, 200])
def test_long_rows(players):
    tensors = full_case(players, torch.float32, masked=True, outside=True, per_row=True)
    check(tensors, launch(tensors))


@pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "sort"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_dtypes(dtype, pairs):
    tensors = full_case(6, dtype, masked=True, outside=True, per_row=True)
    check(tensors, launch(tensors, pairs=pairs))


@pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "sort"])
def test_rows_do_not_depend_on_the_batch(pairs):
    tensors = full_case(5, torch.float32, masked=True, outside=True, per_row=True)
    whole = launch(tensors, pairs=pairs)
    for rows in (slice(2, 3), slice(1, 8)):
        part = [x if x is None else x[rows].contiguous() for x in tensors[:4]]
        for x, y in zip(launch((*part, *tensors[4:]), pairs=pairs), whole, strict=True):
            assert torch.equal(bits(x), bits(y[rows].contiguous()))


@pytest.mark.parametrize("pairs", [True, False], ids=["pairs", "sort"])
@pytest.mark.parametrize("bad", NON_FINITE)
def test_rows_that_are_not_finite(bad, pairs):
    tensors = list(full_case(5, torch.float32, masked=False, outside=True, per_row=True))
    before, before_c = launch(tensors, pairs=pairs)
    tensors[1], tensors[3] = tensors[1].clone(), tensors[3].clone()
    tensors[1][2, 1] = bad
    tensors[3][4] = bad
    grad, grad_c = launch(tensors, pairs=pairs)
    hit = torch.zeros(len(grad), dtype=torch.bool, device=DEVICE)
    hit[[2, 4]] = True
    assert (grad[hit] == 0).all()
    assert (grad_c[hit] == 0).all()
    assert torch.equal(grad[~hit], before[~hit])
    assert torch.equal(grad_c[~hit], before_c[~hit])


def test_v_empty_without_gradient():
    tensors = full_case(5, torch.float32, masked=True, outside=True, per_row=False)
    grad, grad_c = launch(tensors, with_c=False)
    assert torch.equal(grad, launch(tensors)[0])
    assert grad_c.isnan().all()


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_nothing_to_do(shape):
    tensors = case(0, np.zeros(shape), torch.float32, masked=True)
    grad, grad_c = launch((torch.zeros(shape, device=DEVICE), *tensors))
    assert grad.shape == shape
    assert (grad_c == 0).all()


@pytest.mark.parametrize("masked", [False, True])
def test_gradients_of_games(masked):
    rng = np.random.default_rng(2)
    r, c, w = (torch.tensor(rng.standard_normal(s), device=DEVICE) for s in ((6, 5), (6,), (6, 5)))
    mask = torch.tensor(rng.random((6, 5)) < 0.6, device=DEVICE) if masked else None

    def gradient(backend):
        inputs = r.clone().requires_grad_(), c.clone().requires_grad_()
        credits = sk.shapley(sk.Median(inputs[0], mask=mask, v_empty=inputs[1]), backend=backend)
        return torch.autograd.grad((credits * w).sum(), inputs)

    for got, want in zip(gradient("triton"), gradient("torch"), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-13, atol=1e-13)


def test_forced_rows_per_program():
    tensors = full_case(9, torch.float32, masked=True, outside=True, per_row=True)
    for rows in (1, 16):
        check(tensors, launch(tensors, rows_per_program=rows))
