"""What data came in decides what comes out: containers, dtypes, layouts and numbers that are rarely met are served
right."""

import copy
import pickle
from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.games import GAMES
from shapley_kernels.testing import assert_within_budget, error_budget, exact_semivalue
from shapley_kernels.testing.samples import sample

R = np.random.default_rng(0).random((2, 3))
T = torch.from_numpy(R)
HUGE = 10**400
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
            credits = sk.semivalue(both, FIXED, backend=backend)
            assert_within_budget(credits, exact_semivalue(both, FIXED), error_budget(both, FIXED))

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
        pairs = []
        for value in (sk.Shapley(), rl.Broadcast(), rl.WinnerTakesAll(), rl.SuffixSwap()):
            allocator = rl.RewardAllocator(value=value)
            pairs += [
                (allocator.advantages(rewards), allocator.advantages(plain)),
                (allocator.set_advantages(rewards), allocator.set_advantages(plain)),
                (allocator.token_advantages(rewards, xp.asarray(ids)), allocator.token_advantages(plain, ids)),
            ]
        both = rewards, plain
        for found, truth in (
            *pairs,
            tuple(map(rl.grpo_advantages, both)),
            tuple(map(rl.rollout_advantages, both)),
            tuple(rl.combine_advantages([x, x]) for x in both),
            tuple(rl.scatter_to_tokens(x, i) for x, i in ((rewards, xp.asarray(ids)), (plain, ids))),
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


@pytest.mark.parametrize(
    ("game", "expected"),
    [
        (lambda: sk.Max(np.array([1, 0, 1], np.uint16)), [0.5, 0, 0.5]),
        (lambda: sk.Max(np.array([1, 0, 1], np.int8)), [0.5, 0, 0.5]),
        (lambda: sk.Max(np.array([1, 0, 1], np.bool_)), [0.5, 0, 0.5]),
        (lambda: sk.Max([1, 0, 1]), [0.5, 0, 0.5]),
        (lambda: sk.Clusters(np.array([1, 1, 200], np.uint8)), [0.5, 0.5, 1.0]),
        (lambda: sk.Clusters(torch.tensor([1, 1, 200], dtype=torch.uint8)), [0.5, 0.5, 1.0]),
        (lambda: sk.Max([Fraction(1, 2), 2**70]), [0.25, 2.0**70 - 0.25]),
        (lambda: sk.Pairwise(np.array([[0.0, 1e308], [1e308, 0.0]])), [5e307, 5e307]),
        (lambda: sk.WeightedVoting([2**62, 2**62, 2**62], quota=5), [1 / 3, 1 / 3, 1 / 3]),
        (lambda: sk.TopMMean(R, HUGE), sk.shapley(sk.Mean(R))),
        (lambda: sk.Max(R) / HUGE, np.zeros((2, 3))),
        (lambda: sk.Max(R) / (R[:, 0] + 1), sk.shapley(sk.Max(R)) / (R[:, :1] + 1)),
        (lambda: sk.Max(T) / (T[:, 0] + 1), sk.shapley(sk.Max(R)) / (R[:, :1] + 1)),
    ],
)
def test_numbers_that_make_sense(game, expected):
    found = sk.shapley(game())
    assert found.dtype in (np.float64, torch.float64, torch.get_default_dtype())
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-15, atol=1e-15)


def test_integers_become_the_default_dtype_in_torch():
    assert sk.shapley(sk.Max(torch.tensor([1, 0, 1]))).dtype == torch.get_default_dtype()


def test_weights_of_any_kind():
    for weights in ([Fraction(1, 2), 1], [np.float32(0.5), True], torch.tensor([0.5, 1.0]), (0.5, 1)):
        np.testing.assert_array_equal(sk.OWA(R, weights).params[0].array, [0.5, 1.0])
    assert sk.OWA(R, torch.tensor([2**53 - 1])).params[0].array[0] == 2**53 - 1


def test_pad_nests_and_keeps_gradients():
    rewards, mask = sk.pad([[[1, 2], [3]], [[4, 5, 6]]])
    assert rewards.tolist() == [[[1, 2, 0], [3, 0, 0]], [[4, 5, 6], [0, 0, 0]]]
    assert mask.sum(-1).tolist() == [[2, 1], [3, 0]]
    row = torch.tensor([1.0, 2.0], requires_grad=True)
    rewards, mask = sk.pad([row, torch.tensor([3.0])])
    assert mask.tolist() == [[True, True], [True, False]]
    rewards.sum().backward()
    assert row.grad.tolist() == [1, 1]
    assert [x.shape for x in sk.pad([])] == [(0, 0), (0, 0)]


def test_worth_broadcasts_coalitions_against_the_batch():
    coalitions = np.array([[True, False, True], [False, False, False]])
    assert sk.Max([[0.5, 1.0, 0.25], [0.0, -1.0, 2.0]], v_empty=-5).worth(coalitions[:, None]).tolist() == [
        [0.5, 2.0],
        [-5, -5],
    ]
    assert (2 * sk.Max(R, v_empty=-5)).worth(coalitions[1]).tolist() == [-10, -10]


@pytest.mark.parametrize("game", [sk.FacilityLocation, sk.Coverage])
@pytest.mark.parametrize("weights", [None, np.zeros((2, 0))])
def test_no_topics(game, weights):
    empty = game(np.zeros((2, 3, 0)), weights)
    np.testing.assert_array_equal(sk.shapley(empty), np.zeros((2, 3)))
    assert_within_budget(sk.shapley(empty), exact_semivalue(empty), error_budget(empty))


def test_the_oracle_of_data_that_require_grad():
    rewards = torch.ones(2, 3, requires_grad=True)
    game = sk.Max(rewards, v_empty=torch.tensor([0.0, 0.5], requires_grad=True))
    assert exact_semivalue(game, row=1) == [Fraction(1, 6)] * 3


def test_gradients_after_inference_mode():
    with torch.inference_mode():
        sk.shapley(sk.Range(torch.rand(2, 11)), backend="torch")
    rewards = torch.rand(2, 11, requires_grad=True)
    sk.shapley(sk.Range(rewards)).sum().backward()
    assert torch.isfinite(rewards.grad).all()


def test_interactions_of_weights_that_are_no_argument_in_torch():
    covers = np.array([[1, 0], [1, 1]])
    game = sk.Coverage(covers, weights=[2.0, 1.0])
    np.testing.assert_array_equal(sk.interactions(game, backend="torch"), sk.interactions(game))
    np.testing.assert_array_equal(sk.interactions(game), [[1.0, -2.0], [-2.0, 2.0]])


def test_weights_are_not_rounded_to_the_dtype_of_one_term():
    """An integer game of torch computes in float32, a sum with one in float64 does not."""
    weight = torch.tensor([1 / 3], dtype=torch.float64)
    cap = sk.BudgetCap(torch.tensor([[1, 2, 3]]), budget=4)
    other = sk.Max(torch.zeros(1, 3, dtype=torch.float64))
    found = sk.shapley(weight * cap + other)
    expected = sk.shapley(sk.BudgetCap(np.array([[1, 2, 3]]), budget=4) * (1 / 3))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_narrow_weights_beside_wide_data(library):
    narrow = sk.Max(library(np.float32([[1.0, 2.0]]))) * library(np.float32([0.5]))
    game = 2.0 * (narrow + sk.Max(library(np.array([[1.0, 2.0]]))))
    np.testing.assert_array_equal(np.asarray(sk.shapley(game)), [[1.5, 4.5]])


def opposite(x):
    """The same numbers as a view into complex ones, whose memory holds the opposite."""
    view = torch.complex(torch.zeros_like(x), -x).conj().imag
    assert view.is_neg()
    return view


def test_tensors_with_the_negative_bit():
    generator = torch.Generator().manual_seed(0)
    rewards = torch.rand(2, 3, generator=generator, dtype=torch.float64)
    symmetric, eye = rewards.mT @ rewards, torch.eye(3, dtype=torch.float64)
    calls = [
        lambda f: sk.shapley(sk.Max(f(rewards), v_empty=f(rewards[:, 0]))),
        lambda f: sk.shapley(f(rewards[:, 1]) * sk.OWA(rewards, f(rewards[0]))),
        lambda f: sk.shapley(sk.Volume(f(eye))),
        lambda f: sk.interactions(sk.Pairwise(f(symmetric), f(rewards[0]))),
        lambda f: sk.semivalue(sk.Max(rewards), sk.SizeWeights(f(rewards[0]))),
        lambda f: sk.grpo_advantages(f(rewards)),
        lambda f: rl.encode_credits(f(rewards), torch.tensor([[0, 1, 2, 3]] * 2)),
        lambda f: torch.tensor(list(rl.diagnostics(f(rewards), advantages=f(rewards)).values())),
        lambda f: torch.tensor(sk.estimate(lambda s: f(torch.tensor(s.sum(1) + 0.5)), 3, budget=8, seed=0).values),
    ]
    for call in calls:
        torch.testing.assert_close(call(opposite), call(lambda x: x), rtol=0, atol=0)


def test_a_gradient_with_the_negative_bit():
    rewards, by = torch.rand(2, 3, dtype=torch.float64, requires_grad=True), torch.rand(2, 3, dtype=torch.float64)
    found, expected = (torch.autograd.grad(sk.shapley(sk.Max(rewards)), rewards, grad) for grad in (opposite(by), by))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda game: pickle.loads(pickle.dumps(game))], ids=["copy", "pickle"]
)
@pytest.mark.parametrize("rewards", [np.arange(3.0), torch.arange(3.0)], ids=["numpy", "torch"])
def test_copies_of_games_are_games(rewards, again):
    for game in (sk.Max(rewards), 2 * sk.Max(rewards) - sk.NoisyOr(rewards / 3)):
        other = again(game)
        assert (sk.shapley(other) == sk.shapley(game)).all()
        assert (sk.shapley(other + game) == sk.shapley(game + game)).all()
        assert type(sk.shapley(other, backend="torch")) is type(rewards)
