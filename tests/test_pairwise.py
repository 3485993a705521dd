"""Pairwise: what its laws (test_laws) do not say."""

import numpy as np
import pytest
import torch

import shapley_kernels as sk


def symmetric(shape, seed=0):
    w = np.random.default_rng(seed).standard_normal((*shape, shape[-1]))
    return w + w.swapaxes(-1, -2)


def test_closed_form():
    w, a = symmetric((3, 6)), np.random.default_rng(1).random((3, 6))
    pairs = w.sum(-1) - np.diagonal(w, axis1=1, axis2=2)
    for value, present in (
        (sk.Shapley(), 0.5),
        (sk.Banzhaf(), 0.5),
        (sk.BetaShapley(1, 3), 0.75),
        (sk.Banzhaf(0.1), 0.1),
    ):
        np.testing.assert_allclose(sk.semivalue(sk.Pairwise(w, a), value), a + present * pairs, rtol=1e-14, atol=1e-14)
        np.testing.assert_allclose(sk.semivalue(sk.Pairwise(w), value), present * pairs, rtol=1e-14, atol=1e-14)


def test_worth():
    w, a = symmetric((4,)), np.arange(4.0)
    game = sk.Pairwise(w, a)
    some = np.array([[True, False, True, True], [False] * 4, [False, True, False, False]])
    expected = [a[0] + a[2] + a[3] + w[0, 2] + w[0, 3] + w[2, 3], 0.0, a[1]]
    np.testing.assert_allclose(game.worth(some), expected, rtol=1e-15)
    masked = sk.Pairwise(np.where(np.eye(4, dtype=bool), np.nan, w), a, mask=[True, True, False, True])
    np.testing.assert_allclose(masked.worth(), a[[0, 1, 3]].sum() + w[0, 1] + w[0, 3] + w[1, 3], rtol=1e-15)


@pytest.mark.parametrize("diagonal", [0.0, 1.0, np.nan, -np.inf])
@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_the_diagonal_is_not_read(backend, diagonal):
    w = symmetric((2, 5))
    filled = w.copy()
    filled[:, range(5), range(5)] = diagonal
    np.testing.assert_array_equal(
        sk.shapley(sk.Pairwise(filled), backend=backend), sk.shapley(sk.Pairwise(w), backend=backend)
    )
    np.testing.assert_array_equal(sk.Pairwise(filled).worth(), sk.Pairwise(w).worth())


def test_dtypes_promote():
    w, a = symmetric((3, 4)).astype(np.float32), np.random.default_rng(2).random((3, 4))
    credits = sk.shapley(sk.Pairwise(w, a))
    assert credits.dtype == np.float64
    np.testing.assert_array_equal(credits, sk.shapley(sk.Pairwise(w.astype(float), a)))
    assert sk.shapley(sk.Pairwise(w, a.astype(np.float32))).dtype == np.float32


def test_multiples_on_the_same_data_are_one_run(monkeypatch):
    from shapley_kernels import launch

    calls, kernel = [], launch.kernel
    monkeypatch.setattr(launch, "kernel", lambda *a: calls.append(a) or kernel(*a))
    game = sk.Pairwise(symmetric((2, 4)))
    np.testing.assert_allclose(sk.shapley(0.7 * game - 0.2 * game), 0.5 * sk.shapley(game), rtol=1e-14)
    assert calls == [("pairwise", "numba")] * 2


def test_gradients():
    w, a = (
        torch.tensor(symmetric((2, 4)), requires_grad=True),
        torch.rand(2, 4, dtype=torch.float64, requires_grad=True),
    )
    mask = torch.tensor([[True, True, True, False], [True] * 4])

    def credits(w, a):
        return sk.shapley(sk.Pairwise((w + w.swapaxes(-1, -2)) / 2, a, mask=mask))

    assert torch.autograd.gradcheck(credits, (w, a))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_asymmetry_within_rounding_is_allowed(dtype):
    x = np.random.default_rng(3).standard_normal((2, 5, 64)).astype(dtype)
    w = x @ x.swapaxes(-1, -2)
    w[0, 1, 3] = np.nextafter(w[0, 3, 1], dtype(np.inf))
    sk.shapley(sk.Pairwise(w))
    for container in (np.asarray, torch.tensor):
        broken = w.copy()
        broken[1, 4, 2] += dtype(0.5) * abs(w[1]).max()
        with pytest.raises(
            ValueError, match=r"Pairwise: w must be symmetric, got .* at \[1, 2, 4\] and .* at \[1, 4, 2\]"
        ):
            sk.Pairwise(container(broken))
    mask = np.ones((2, 5), bool)
    mask[1, 2] = False
    sk.Pairwise(broken, mask=mask)  # the two do not meet


def test_one_triangle_is_refused():
    with pytest.raises(
        ValueError, match=r"pass \(w \+ w.swapaxes\(-1, -2\)\) / 2, or w \+ w.swapaxes\(-1, -2\) if only one"
    ):
        sk.Pairwise(np.triu(symmetric((3,))))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((np.zeros(3),), ValueError, r"Pairwise: w must have shape \[..., players, players\], got .*\(3,\)"),
        ((np.zeros((2, 3)),), ValueError, r"the same number twice, got \(2, 3\)"),
        ((np.zeros((3, 3)), np.zeros(4)), ValueError, r"Pairwise: values: expected shape \(3,\) \[..., players\]"),
        ((np.zeros((3, 3)), None, np.ones(3)), TypeError, r"Pairwise: mask: expected dtype bool"),
        ((np.zeros((3, 3), complex),), TypeError, r"Pairwise: w: expected real numbers"),
        ((np.zeros((3, 3)), torch.zeros(3)), TypeError, r"Pairwise: values: expected a numpy array"),
    ],
)
def test_errors(arguments, error, message):
    with pytest.raises(error, match=message):
        sk.Pairwise(*arguments)


def test_bad_data_is_named():
    w = symmetric((3, 4))
    w[1, 2, 3] = w[1, 3, 2] = np.inf
    with pytest.raises(ValueError, match=r"Pairwise: w must be finite, got inf at \[1, 2, 3\]"):
        sk.shapley(sk.Pairwise(w))
    a = np.zeros((3, 4))
    a[2, 1] = np.nan
    with pytest.raises(ValueError, match=r"Pairwise: values must be finite, got nan at \[2, 1\]"):
        sk.shapley(sk.Pairwise(symmetric((3, 4)), a))
