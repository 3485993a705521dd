"""Volume beyond the laws: singular and nearly singular kernels, long rows, refusals, ranges."""

import numpy as np
import pytest
import torch

import shapley_kernels as sk

RNG = np.random.default_rng(0)


def gram(rows, players, rank):
    x = RNG.standard_normal((rows, players, rank))
    return x @ np.swapaxes(x, 1, 2) / rank


def test_orthogonal_players_are_a_product_game():
    lam = np.array([0.5, 1.0, 2.0, 0.0])
    expected = sk.shapley(sk.Volume(np.diag(lam)))
    total = np.prod(1 + lam) - 1
    np.testing.assert_allclose(expected.sum(), total, rtol=1e-14)
    # v(S) = prod (1 + lam): by two players, lam_1 + lam_1 lam_2 / 2
    np.testing.assert_allclose(sk.shapley(sk.Volume(np.diag(lam[:2]))), [0.75, 1.25], rtol=1e-14)


@pytest.mark.parametrize("rank", [1, 3, 40])
def test_efficiency_on_long_rows_of_any_rank(rank):
    kernel = gram(3, 40, rank)
    mask = RNG.random((3, 40)) < 0.7
    game = sk.Volume(kernel, mask=mask)
    np.testing.assert_allclose(sk.shapley(game).sum(-1), game.worth() - 1, rtol=1e-11)


def test_near_duplicates_share():
    x = RNG.standard_normal((6, 6))
    x[1] = x[0] * (1 + 1e-9)
    credits = sk.shapley(sk.Volume(x @ x.T))
    assert np.isfinite(credits).all()
    assert credits[0] == pytest.approx(credits[1], rel=1e-7)


@pytest.mark.parametrize("value", [sk.Shapley(), sk.Stratum(3)], ids=str)
def test_masked_players_leave_the_game_of_the_others(value):
    kernel = gram(1, 7, 3)[0]
    live = np.array([1, 0, 1, 1, 0, 1, 0], bool)
    masked = sk.semivalue(sk.Volume(kernel, mask=live), value)
    alone = sk.semivalue(sk.Volume(kernel[np.ix_(live, live)]), value)
    np.testing.assert_allclose(masked[live], alone, rtol=1e-12)
    assert (masked[~live] == 0).all()


def test_float32_is_decomposed_in_float64():
    kernel = gram(2, 20, 8).astype(np.float32)
    kernel = (kernel + np.swapaxes(kernel, 1, 2)) / 2 + np.eye(20, dtype=np.float32) / 64
    wide = sk.shapley(sk.Volume(kernel.astype(np.float64)))
    np.testing.assert_allclose(sk.shapley(sk.Volume(kernel)), wide, rtol=2.0**-23)


def test_gradient_at_distinct_eigenvalues():
    x = torch.tensor(RNG.standard_normal((3, 3)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sk.shapley(sk.Volume(x @ x.T)), (x,))


def test_refusals():
    with pytest.raises(ValueError, match=r"Volume: kernel must have shape \[..., players, players\], got \(2, 3\)"):
        sk.Volume(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"kernel must be symmetric, got 0.5 at \[1, 0, 1\] and 0.0 at \[1, 1, 0\]"):
        sk.Volume(np.array([np.eye(2), [[1.0, 0.5], [0.0, 1.0]]]))
    with pytest.raises(ValueError, match=r"must be positive semidefinite, got the eigenvalue -1 in row \[1\]"):
        sk.shapley(sk.Volume(np.array([np.eye(2), [[0.0, 1.0], [1.0, 0.0]]])))
    with pytest.raises(OverflowError, match=r"det\(I \+ L\) must be in the range of float32.*in row \[1\]"):
        sk.shapley(sk.Volume(np.array([np.eye(9), 1e5 * np.eye(9)], np.float32)))


def test_rounding_is_no_asymmetry_and_no_negative_eigenvalue():
    kernel = gram(1, 6, 2)[0]
    kernel[0, 1] *= 1 + 2.0**-52
    assert np.isfinite(sk.shapley(sk.Volume(kernel))).all()
