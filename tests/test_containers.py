"""What data came in decides what comes out: dtypes, containers, tolerances and memory layouts that are rarely met."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.games import GAMES
from shapley_kernels.testing.samples import sample

R = np.random.default_rng(0).random((2, 3))
FIXED = sk.SizeWeights([0.5, 0.3, 0.2])


def games(draw=0, rows=3, players=3):
    """One sample of every family."""
    return [pytest.param(sample(game, "float64", players, draw, rows), id=game.__name__) for game in GAMES]


class TestTolerancesOfTheGivenDtype:
    """Sums widen their summands; how far data may be from what they should be goes by the dtype they came in."""

    def test_volume(self):
        x = np.float32([[0.3], [0.5]])
        for kernel in (x @ x.T, torch.tensor(x @ x.T)):
            other = sk.Max(np.zeros(2) if isinstance(kernel, np.ndarray) else torch.zeros(2).double())
            np.testing.assert_allclose(sk.shapley(sk.Volume(kernel) + other), [0.09, 0.25], rtol=1e-6)
            np.testing.assert_allclose(sk.interactions(sk.Volume(kernel) + other).diagonal(), [0.09, 0.25], rtol=1e-6)

    @pytest.mark.parametrize("dtype", ["float16", "float32"])
    def test_volume_of_any_rounded_gram_matrix(self, dtype):
        vectors = np.random.default_rng(1).random((50, 6, 2))
        kernel = (vectors @ vectors.swapaxes(1, 2)).astype(dtype)
        alone = sk.shapley(sk.Volume(kernel))
        summed = sk.shapley(sk.Volume(kernel) + sk.Max(np.zeros((50, 6))))
        assert summed.dtype == np.float64
        np.testing.assert_allclose(summed, alone, rtol=float(np.finfo(dtype).eps))
        with pytest.raises(ValueError, match="positive semidefinite"):
            sk.shapley(sk.Volume(kernel.astype(np.float64)))

    def test_pairwise(self):
        w = np.float32([[0.0, 0.3], [np.float32(0.3) * (1 + 2.0**-22), 0.0]])
        with pytest.raises(ValueError, match="w must be symmetric"):
            sk.Pairwise(w.astype(np.float64))
        for given, values in ((w, np.zeros(2)), (torch.tensor(w), torch.zeros(2).double())):
            found = sk.shapley(sk.Pairwise(given, values=values))
            np.testing.assert_allclose(found, [0.15, 0.15], rtol=1e-6)
            assert found.dtype == values.dtype

    def test_what_is_wrong_in_its_own_dtype_stays_refused(self):
        kernel = np.float32([[1.0, 2.0], [2.0, 1.0]])
        with pytest.raises(ValueError, match=r"got the eigenvalue -1; use a Gram matrix"):
            sk.shapley(sk.Volume(kernel) + sk.Max(np.zeros(2)))
        with pytest.raises(ValueError, match=r"got the eigenvalue -1 in row \[1\]; use"):
            sk.shapley(sk.Volume(np.stack([np.eye(2), kernel])))
        with pytest.raises(ValueError, match="w must be symmetric"):
            sk.Pairwise(np.float32([[0.0, 1.0], [1.001, 0.0]]), values=np.zeros(2))


class TestFixedSizeWeights:
    """Rows without live players are 0, however many players the weights are for."""

    @pytest.mark.parametrize("backend", ["numba", "torch"])
    @pytest.mark.parametrize("data", games())
    def test_rows_without_live_players(self, data, backend):
        any_number = sk.SizeWeights(lambda n: [0.5, 0.3, 0.2] if n == 3 else [1.0 / n] * n)
        everybody = np.ones((3, 3), bool)
        for dead in ([1], [0, 1, 2]):
            mask = everybody.copy()
            mask[dead] = False
            game = replace(data, mask=mask).game()
            found = sk.semivalue(game, FIXED, backend=backend)
            np.testing.assert_array_equal(found, sk.semivalue(game, any_number, backend=backend))
            assert not found[dead].any()
            assert not sk.interactions(game)[dead].any()
            both = 2.0 * game + game
            np.testing.assert_allclose(sk.semivalue(both, FIXED, backend=backend), 3 * found, rtol=1e-14)

    @pytest.mark.parametrize("data", games())
    def test_fewer_live_players_are_refused(self, data):
        mask = np.array([[True, True, True], [False] * 3, [True, True, False]])
        game = replace(data, mask=mask).game()
        with pytest.raises(ValueError, match="expected 2 weights for 2 live players, got 3; pass a function"):
            sk.semivalue(game, FIXED)


class TestWorthOfSums:
    """Rounded once, to the dtype of the sum."""

    @pytest.mark.parametrize("other", [torch.float32, torch.bfloat16, torch.float16])
    def test_of_a_narrow_dtype_and_another(self, other):
        generator = torch.Generator().manual_seed(0)
        narrow = torch.rand(200, 5, generator=generator).bfloat16()
        wide = torch.rand(200, 5, generator=generator).to(other)
        game = sk.TopM(narrow, 3) + sk.Mean(wide)
        exact = narrow.double().topk(3).values.sum(-1) + wide.double().mean(-1)
        found = game.worth()
        assert found.dtype == game.dtype == torch.promote_types(torch.bfloat16, other)
        eps = max(torch.finfo(found.dtype).eps / 2, 2e-7)
        assert ((found.double() - exact).abs() <= 1.01 * eps * exact.abs()).all()

    @pytest.mark.parametrize("value", [rl.PrefixMarginals(), rl.WinnerTakesAll()])
    def test_baselines_round_once(self, value):
        """Steps between worths that the dtype would round to one and the same."""
        rewards = torch.tensor([[1.0, 1.0, 1.0, 1.0]]).bfloat16()
        credits = rl.RewardAllocator(lambda r, mask=None: 256 * sk.Max(r) + sk.TopM(r, 4), value=value).credits(rewards)
        assert credits.tolist() == ([[256, 1, 1, 1]] if isinstance(value, rl.PrefixMarginals) else [[65] * 4])


def bfloat16():
    return pytest.importorskip("ml_dtypes").bfloat16


class TestBfloat16OfNumpy:
    """It is no dtype of numpy's own, so that a Python number beside it would make it float64."""

    @pytest.mark.parametrize("data", games(rows=2))
    @pytest.mark.parametrize("nan", [None, "raise", "propagate"])
    def test_credits_and_worth(self, data, nan):
        narrow = data.map(lambda x: x.astype(bfloat16()) if x.dtype.kind == "f" else x)
        game = narrow.game()
        wide = narrow.map(lambda x: x.astype(np.float32) if x.dtype.kind == "V" else x).game()
        if game.dtype.kind != "V":
            pytest.skip("its data are integers")
        for backend in ("numba", "torch"):
            found = sk.shapley(game, nan=nan, backend=backend)
            assert found.dtype == bfloat16()
            np.testing.assert_array_equal(found, sk.shapley(wide, nan=nan, backend=backend).astype(bfloat16()))
        assert sk.interactions(game, nan=nan).dtype == game.worth().dtype == bfloat16()
        np.testing.assert_array_equal(game.worth(), wide.worth().astype(bfloat16()))

    @pytest.mark.parametrize("value", [sk.Shapley(), rl.Broadcast(), rl.WinnerTakesAll(), rl.PrefixMarginals()])
    def test_allocators(self, value):
        rewards, allocator = R.astype(bfloat16()), rl.RewardAllocator(value=value)
        tokens = partial(allocator.token_advantages, candidate_ids=np.array([[0, 1, 2, 2], [1, 2, 3, 0]]))
        for mask in (None, np.array([[True, True, False], [True] * 3])):
            for f in (allocator.credits, allocator.advantages, allocator.set_advantages, tokens):
                assert f(rewards, mask=mask).dtype == bfloat16()

    def test_it_promotes_as_in_torch(self):
        rewards = R.astype(bfloat16())
        for other in (np.float16, np.float32, np.float64):
            wide = np.promote_types(other, np.float32)
            assert sk.shapley(sk.Max(rewards) + sk.Max(R.astype(other))).dtype == wide
            assert sk.pad([rewards[0], R[1].astype(other)])[0].dtype == wide
        assert sk.pad([rewards[0], rewards[1, :2]])[0].dtype == bfloat16()

    def test_nan_marks_its_row_alone(self):
        rewards = R.astype(bfloat16())
        rewards[0, 0] = np.nan
        for game in (sk.Max(rewards), sk.NoisyOr(rewards), sk.LogSum(rewards)):
            found = sk.shapley(game, nan="propagate")
            assert found.dtype == bfloat16()
            assert np.isnan(found.astype(float)).tolist() == [[True] * 3, [False] * 3]


@pytest.mark.parametrize("name", ["array_api_strict", "jax.numpy"])
class TestOtherContainers:
    """Without batch axes numpy's results are scalars, which other libraries do not read."""

    def test_without_batch_axes(self, name):
        xp = pytest.importorskip(name)
        rewards, mask = xp.asarray(R[0].astype(np.float32)), xp.asarray(np.array([True, False, True]))
        plain = R[0].astype(np.float32), np.array([True, False, True])
        for family in (sk.Max, sk.NoisyOr, sk.LogSum):
            game, expected = family(rewards, mask=mask), family(plain[0], mask=plain[1])
            for found, truth in (
                (game.worth(), expected.worth()),
                (game.worth(mask), expected.worth(plain[1])),
                ((game / 2 + game).worth(), (expected / 2 + expected).worth()),
                (sk.shapley(game), sk.shapley(expected)),
                (sk.interactions(game), sk.interactions(expected)),
            ):
                assert type(found) is type(rewards)
                np.testing.assert_array_equal(np.from_dlpack(found), truth)
        for value in (sk.Shapley(), rl.Broadcast(), rl.WinnerTakesAll(), rl.PrefixMarginals()):
            found = rl.RewardAllocator(value=value).credits(rewards, mask)
            assert type(found) is type(rewards)
            np.testing.assert_array_equal(np.from_dlpack(found), rl.RewardAllocator(value=value).credits(*plain))

    def test_with_batch_axes(self, name):
        xp = pytest.importorskip(name)
        plain = R.astype(np.float32)
        rewards, ids = xp.asarray(plain), np.array([[0, 1, 2, 2], [1, 2, 3, 0]])
        allocator = rl.RewardAllocator()
        for found, truth in (
            (allocator.advantages(rewards), allocator.advantages(plain)),
            (allocator.set_advantages(rewards), allocator.set_advantages(plain)),
            (allocator.token_advantages(rewards, xp.asarray(ids)), allocator.token_advantages(plain, ids)),
            (sk.Max(rewards, v_empty=rewards[:, 0]).worth(), sk.Max(plain, v_empty=plain[:, 0]).worth()),
            (sk.shapley(sk.Max(rewards) / rewards[:, 0]), sk.shapley(sk.Max(plain) / plain[:, 0])),
        ):
            assert type(found) is type(rewards)
            np.testing.assert_array_equal(np.from_dlpack(found), truth)


LAYOUTS = {
    "backwards along one row": np.arange(3.0).reshape(1, 3)[::-1],
    "backwards along one player": np.arange(2.0).reshape(2, 1)[:, ::-1],
    "backwards everywhere": np.arange(6.0).reshape(2, 3)[::-1, ::-1],
    "backwards and empty": np.zeros((0, 3))[:, ::-1],
    "a column of records": np.zeros((1, 1), [("x", "f8"), ("y", "f4")])["x"],
    "at an odd address": np.frombuffer(b"\0" + np.arange(6.0).tobytes(), offset=1).reshape(2, 3),
    "read-only and repeated": np.broadcast_to(np.arange(3.0), (2, 3)),
}


@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_of_memory(name, backend):
    data = LAYOUTS[name]
    plain, mask = data.copy(), (data >= 0)[..., ::-1]
    for make in (
        lambda x: sk.Max(x, mask=mask),
        lambda x: sk.Max(x, v_empty=x.max(-1, initial=0.0)[::-1][::-1]),
        lambda x: sk.LogSum(x, mask=mask),
        lambda x: sk.FacilityLocation(x[..., None][..., ::-1]),
        lambda x: sk.Pairwise(x[..., :, None] * x[..., None, :], values=x),
        lambda x: sk.Clusters(np.zeros(x.shape, int)[..., ::-1], rewards=x),
    ):
        np.testing.assert_array_equal(sk.shapley(make(data), backend=backend), sk.shapley(make(plain), backend=backend))
        array_code = "torch" if backend == "torch" else "auto"
        found = sk.interactions(make(data), backend=array_code)
        np.testing.assert_array_equal(found, sk.interactions(make(plain), backend=array_code))
