"""Gradients of `order`: the formula of the contract against autograd of the torch reference, and the
numba kernel against the formula."""

import numpy as np
import pytest
import torch

from shapley_kernels.kernels.order import _numba_backward, _torch
from tests.gradients import gradients

BAD = (np.nan, np.inf, -np.inf)


def case(players, dtype, *, masked, outside, per_row, ties=False, rows=9):
    """Random arguments of the contract, from `grad_out` to `row_of_count`; NaN at masked players."""
    rng = np.random.default_rng(players)

    def table(*shape):
        return rng.standard_normal(shape).astype(dtype)

    rewards = rng.integers(-2, 3, (rows, players)).astype(dtype) if ties else table(rows, players)
    mask = rng.random((rows, players)) < rng.choice([0.0, 0.5, 1.0], (rows, 1)) if masked else None
    grad_out = table(rows, players)
    if masked:
        rewards[~mask] = np.nan
        grad_out[~mask] = np.nan
    row_of_count = rng.integers(0, 3, players + 1).astype(np.int32)
    c = table(rows if per_row else 1)
    tables = table(3, players), table(3, players) if outside else None, table(3)
    return grad_out, rewards, mask, c, *tables, row_of_count


def autograd(grad_out, rewards, mask, v_empty, *tables):
    """Gradients of the torch reference: with respect to rewards, and to v_empty."""
    r, c = (torch.tensor(x, requires_grad=True) for x in (rewards, v_empty))
    live = None if mask is None else torch.tensor(mask)
    out = torch.empty(rewards.shape, dtype=r.dtype)
    _torch.run(r, live, c, *(None if x is None else torch.tensor(x) for x in tables), out)
    g = torch.tensor(grad_out if mask is None else np.where(mask, grad_out, 0))
    grads = torch.autograd.grad((out * g).sum(), (r, c))
    return grads[0].numpy(), grads[1].numpy()


variants = pytest.mark.parametrize(
    ("masked", "outside", "per_row"), [(False, False, False), (True, True, True), (True, False, False)]
)


@variants
@pytest.mark.parametrize("players", [1, 2, 5, 9])
def test_formula_is_the_derivative_of_the_reference(players, masked, outside, per_row):
    args = case(players, np.float64, masked=masked, outside=outside, per_row=per_row)
    grad, _, grad_c, _ = gradients(*args, eps=2.0**-52)
    ref, ref_c = autograd(*args)
    np.testing.assert_allclose(ref, grad.astype(float), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(ref_c, (grad_c if per_row else [grad_c.sum()]), rtol=1e-12, atol=1e-12)


def test_ties_share_what_the_reference_gives_to_one_order_of_them():
    args = case(8, np.float64, masked=False, outside=True, per_row=False, ties=True)
    grad = gradients(*args, eps=2.0**-52)[0]
    ref, _ = autograd(*args)
    for row, values in enumerate(args[1]):
        for value in np.unique(values):
            tied = values == value
            np.testing.assert_allclose(ref[row, tied].sum(), float(grad[row, tied].sum()), atol=1e-12)


def numba(args, with_c=True):
    """The kernel on poisoned results; inputs stay as they are."""
    before = [None if x is None else x.copy() for x in args]
    grad = np.full_like(args[1], np.nan)
    grad_c = np.full(len(grad), np.nan, grad.dtype) if with_c else None
    _numba_backward.run(*args, grad, grad_c)
    for x, y in zip(args, before, strict=True):
        np.testing.assert_array_equal(x, y)
    return grad, grad_c


@variants
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numba(dtype, ties, masked, outside, per_row):
    for players in (1, 2, 7, 40):
        args = case(players, dtype, masked=masked, outside=outside, per_row=per_row, ties=ties)
        eps = np.finfo(dtype).eps
        want, bound, want_c, bound_c = gradients(*args, eps=eps)
        grad, grad_c = numba(args)
        assert np.isfinite(grad).all()
        assert (np.abs(grad - want) <= bound + eps * np.abs(want)).all()
        assert (np.abs(grad_c - want_c) <= bound_c + eps * np.abs(want_c)).all()
        assert (numba(args, with_c=False)[0] == grad).all()


@pytest.mark.parametrize("bad", BAD)
def test_numba_rows_that_are_not_finite(bad):
    args = case(5, np.float32, masked=True, outside=True, per_row=True)
    before, before_c = numba(args)
    row = args[2].all(1).argmax()
    args[1][row, 2] = bad
    args[3][row - 1] = bad
    grad, grad_c = numba(args)
    hit = np.isin(np.arange(len(grad)), [row, row - 1])
    assert args[2][row].all()
    assert (grad[hit] == 0).all()
    assert (grad_c[hit] == 0).all()
    np.testing.assert_array_equal(grad[~hit], before[~hit])
    np.testing.assert_array_equal(grad_c[~hit], before_c[~hit])


@pytest.mark.parametrize("shape", [(0, 4), (3, 0)])
def test_numba_nothing_to_do(shape):
    args = case(shape[1], np.float64, masked=True, outside=True, per_row=False, rows=shape[0])
    grad, grad_c = numba(args)
    assert grad.shape == shape
    assert (grad_c == 0).all()
