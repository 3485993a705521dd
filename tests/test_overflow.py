"""What is computed near the ends of the range: the right value where the dtype holds it, else an error or NaN."""

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels import allocate, rl
from shapley_kernels.games import GAMES
from shapley_kernels.kernels.order import _numba as order

HUGE = 1.5e308
SCALING = [game for game in GAMES if game.scales]


def enlarged(utility, largest):
    """Arrays whose common multiples multiply the worth, the same times a power of two, near the largest number, the
    other arguments, and the power."""
    for seed in range(20):
        given = utility.example(np.random.default_rng(seed), 6, 4)
        data = {name: np.asarray(given.pop(name), float) for name in utility.scales if name in given}
        if data:  # some of them are optional
            power = 2.0 ** np.floor(np.log2(largest / max(np.abs(x).max() for x in data.values())))
            return data, {name: x * power for name, x in data.items()}, given, power
    raise AssertionError(utility)


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("utility", SCALING, ids=lambda game: game.__name__)
def test_credits_that_fit_are_right_whatever_overflows_on_the_way(utility, backend, library):
    """The game times a power of two has the credits times that power, in every bit, or beyond the range."""
    data, large, given, power = enlarged(utility, HUGE)
    for value in (sk.Shapley(), sk.Banzhaf()):
        expected = sk.semivalue(utility(**data, **given), value, backend=backend)
        for row in range(len(expected)):
            part = {name: x[row] for name, x in {**large, **given}.items() if np.ndim(x) and len(x) == len(expected)}
            others = {name: x for name, x in given.items() if name not in part}
            game = utility(**{name: library(x) for name, x in part.items()}, **others)
            with np.errstate(over="ignore"):
                want = expected[row] * power
            if np.isfinite(want).all():
                np.testing.assert_array_equal(sk.semivalue(game, value, backend=backend), want)
            else:
                with pytest.raises(OverflowError, match=rf"{utility.__name__}: credits must be in the range of"):
                    sk.semivalue(game, value, backend=backend)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("utility", SCALING, ids=lambda game: game.__name__)
def test_narrow_credits_that_fit_are_right(utility, dtype):
    largest = float(np.finfo(dtype).max)
    _, large, given, _ = enlarged(utility, largest)
    numbers = {name: x.astype(dtype) for name, x in {**large, **given}.items() if np.ndim(x) and name != "labels"}
    narrow = utility(**{**given, **numbers})
    wide = sk.shapley(utility(**{**given, **{name: x.astype(float) for name, x in numbers.items()}}))
    beyond = ~(np.abs(wide) <= largest).all(-1)
    credits = sk.shapley(narrow, nan="propagate")
    assert credits.dtype == dtype
    assert np.isnan(credits[beyond]).all()
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(credits[~beyond], wide[~beyond], rtol=4 * eps, atol=4e-7 * largest)
    if beyond.any():
        with pytest.raises(OverflowError, match=rf"range of {dtype}, which those in row \[{beyond.argmax()}\] are not"):
            sk.shapley(narrow)


@pytest.mark.parametrize(
    ("game", "expected"),
    [
        (lambda: sk.Max([1e308, -1e308]), [1.5e308, -0.5e308]),
        (lambda: 1e300 * sk.Max([1e8, -1e8]), [1.5e308, -0.5e308]),
        (lambda: 1e308 * sk.Max([2.0, 0.0]) - 1e308 * sk.Min([1.5, 0.0]), [1.25e308, 0.75e308]),
        (lambda: np.array(1e308) * sk.Max([2.0, 0.0]) - np.array(1e308) * sk.Min([1.5, 0.0]), [1.25e308, 0.75e308]),
        (lambda: sk.Table([0.0, 1e308, -1e308, 1e308]), [1.5e308, -0.5e308]),
        (lambda: sk.Pairwise([[0.0, 1.5e308], [1.5e308, 0.0]], values=[1e308, -1e308]), [1.75e308, -0.25e308]),
        (lambda: sk.FacilityLocation([[3.0, 1.0], [1.0, 2.0]], weights=[1e308, -1.5e308]), [1.75e308, -1.75e308]),
        (lambda: sk.Coverage([[1.0, 1.0], [0.5, 1.0]], weights=[1e308, 1e308]), [1.25e308, 0.75e308]),
        (lambda: 1e308 * sk.NoisyOr([1.0, 1.0]) + 1.5e308 * sk.NoisyOr([1.0, 1.0]), [1.25e308, 1.25e308]),
        (lambda: sk.Max(np.float32([1.0, 2.0] * 4), v_empty=1e39), [-1e39 / 8] * 8),
        (lambda: sk.Max(np.float32([[1.0, 2.0] * 4]), v_empty=np.array([1e39])), [[-1e39 / 8] * 8]),
        (lambda: sk.Max(torch.tensor([1.0] * 8), v_empty=1e39), [-1e39 / 8] * 8),
    ],
)
def test_values_that_fit(game, expected):
    credits = np.asarray(sk.shapley(game()), float)
    np.testing.assert_allclose(credits, expected, rtol=1e-15 if credits[..., 0].max() > 1e40 else 1e-7)


ROWS = np.array([[0.25, 0.0, 0.125], [1.0, -1.0, -1.0]])
COVERS = np.array([[[0.1] * 3] * 3, [[1.0] * 3] * 3])


@pytest.mark.parametrize(
    "game",
    [
        sk.Max(1.7e308 * ROWS),
        1e308 * sk.Max(1.7 * ROWS),
        sk.Max(3e38 * ROWS.astype(np.float32)),
        sk.TopM(60000 * ROWS.astype(np.float16), 2),
        sk.Max(ROWS.astype(np.float32), v_empty=np.array([0.0, -3e39])),
        sk.Max(torch.tensor(ROWS)) * torch.tensor([1.0, 1.7e308], dtype=torch.float64),
        1.7e308 * sk.Coverage(COVERS) + 1.7e308 * sk.NoisyOr(COVERS[..., 0]),
    ],
)
def test_rows_beyond_the_range_are_named_or_nan(game):
    with pytest.raises(OverflowError, match=r"credits must be in the range of [\w.]+, which those in row \[1\]"):
        sk.shapley(game)
    credits = np.asarray(sk.shapley(game, nan="propagate"))
    assert np.isfinite(credits[0]).all()
    assert np.isnan(credits[1]).all()


def test_masked_players_stay_zero_where_a_row_is_beyond_the_range():
    r, mask = np.array([[1.7e308, np.nan, -1.7e308], [1.0, 2.0, 4.0]]), np.array([[True, False, True], [True] * 3])
    for backend in ("numba", "torch"):
        credits = sk.shapley(sk.Max(r, mask=mask), nan="propagate", backend=backend)
        np.testing.assert_array_equal(np.isnan(credits), [[True, False, True], [False] * 3])
        assert credits[0, 1] == 0
        np.testing.assert_array_equal(credits[1], sk.shapley(sk.Max(r[1]), backend=backend))


def test_bad_data_beside_what_overflows():
    r = np.array([[1e308, -1e308], [np.inf, 0.0], [1.0, 2.0]])
    credits = sk.shapley(sk.Max(r), nan="propagate")
    np.testing.assert_allclose(credits, [[1.5e308, -0.5e308], [np.nan] * 2, [0.5, 1.5]])
    with pytest.raises(ValueError, match=r"must be finite, got inf at \[1, 0\]"):
        sk.shapley(sk.Max(r))


@pytest.mark.parametrize("v_empty", [np.inf, -np.inf, np.nan])
def test_a_number_for_all_rows_that_is_not_finite(v_empty):
    r, mask = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[True, True], [True, False]])
    for utility in (sk.Max, sk.Min, sk.Median):
        game = utility(r, mask=mask, v_empty=v_empty)
        by_row = utility(r, mask=mask, v_empty=np.full(2, v_empty))
        assert game.bad_rows().all()
        np.testing.assert_array_equal(game.worth(np.zeros(2, bool)), by_row.worth(np.zeros(2, bool)))
        for call in (sk.shapley, lambda game, nan: sk.interactions(game, "SII", nan=nan)):
            np.testing.assert_array_equal(call(game, nan="propagate"), call(by_row, nan="propagate"))
        with pytest.raises(ValueError, match="v_empty must be finite in float64"):
            sk.shapley(game)


def test_rows_of_sums_that_are_not_finite():
    r = np.array([[1.0, 2.0], [np.inf, 4.0], [1e308, -1e308]])
    game = 2.0 * sk.Max(r) + sk.Min(np.ones((3, 2)))
    np.testing.assert_array_equal(game.bad_rows(), [False, True, False])
    np.testing.assert_array_equal(game.worth(np.array([[True, False]] * 2 + [[False, False]])), [3.0, np.inf, 0.0])
    credits = sk.shapley(game, nan="propagate")
    np.testing.assert_array_equal(np.isnan(credits).all(1), [False, True, True])
    np.testing.assert_array_equal(np.isnan(credits).any(1), [False, True, True])


def test_ordinary_calls_take_no_second_look(monkeypatch):
    monkeypatch.setattr(allocate, "within_range", None)
    r = np.random.default_rng(0).random((5, 7))
    for dtype in (np.float32, np.float64):
        assert np.isfinite(sk.shapley(sk.Max(r.astype(dtype)))).all()
        assert np.isfinite(sk.shapley(sk.Pairwise(np.zeros((5, 7, 7), dtype), r.astype(dtype)))).all()


@pytest.mark.parametrize(
    "game",
    [
        lambda: 1e308 * sk.NoisyOr(np.full(3, 0.5)),
        lambda: 1e308 * sk.NoisyOr(np.full(12, 0.5) / 12),
        lambda: sk.AtLeast(np.full(3, 0.5, "float32"), 2),
    ],
    ids=["NoisyOr", "NoisyOr of many", "AtLeast"],
)
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # of weights
def test_products_and_sums_of_chances_see_their_credits_overflow(game):
    for backend in ("numba", "torch"):
        with pytest.raises(OverflowError, match="credits must be in the range"):
            sk.semivalue(game(), sk.SizeWeights(lambda m: [1e39] * m), backend=backend)


@pytest.mark.parametrize(("form", "players"), [("lanes", 5), ("lanes", 40), ("rows", 40)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("utility", [sk.Max, sk.Range])
def test_every_cpu_kernel_sees_its_credits_overflow(utility, masked, dtype, form, players):
    rng = np.random.default_rng(0)
    rewards = rng.random((40, players)).astype(dtype)
    mask = rng.random(rewards.shape) < 0.8
    mask[17, :2] = True
    rewards[17] = -np.finfo(dtype).max
    rewards[17, 0] *= -1
    game = utility(rewards, mask=mask if masked else None)
    tables = game.terms(sk.Shapley())[0].tables().on("numpy", np.dtype(dtype).name, "cpu")
    out = np.full_like(rewards, 7)
    bad = order.run(rewards, game.mask, np.zeros(1, dtype), *tables, out, form=form)
    assert bad == 17
    assert np.isnan(out[17][mask[17] if masked else slice(None)]).all()
    assert np.isfinite(np.delete(out, 17, 0)).all()


@pytest.mark.parametrize("compiled", [False, True])
def test_traced_calls_make_such_rows_nan(compiled):
    rewards = torch.tensor([[1.7e308, -1.7e308, 0.0], [1.0, 2.0, 3.0]], dtype=torch.float64)

    def credits(r):
        return sk.shapley(sk.Max(r))

    call = torch.compile(credits, fullgraph=True, backend="eager") if compiled else torch.func.vmap(credits)
    found = call(rewards)
    assert found[0].isnan().all()
    assert torch.equal(found[1], credits(rewards[1]))


def test_gradients_where_something_overflows():
    rewards = torch.tensor([1e308, -1e308], dtype=torch.float64, requires_grad=True)
    for backend in ("auto", "torch"):
        credits = sk.shapley(sk.Max(rewards), backend=backend)
        np.testing.assert_allclose(credits.detach(), [1.5e308, -0.5e308])
        (slope,) = torch.autograd.grad(credits[0], rewards)
        np.testing.assert_allclose(slope, [1.0, -0.5])


def test_worths():
    r = np.array([[1.0, 2.0], [1e308, -1e308]])
    for game in (sk.Range(r), 3.0 * sk.Max(r), sk.FacilityLocation(r[..., None] * [1.0, 1.0])):
        with pytest.raises(OverflowError, match=r"worths must be in the range of float64, .* row \[1\]"):
            game.worth()
    with pytest.raises(OverflowError, match=r"Max: worths must be in the range of float16"):
        sk.Max(np.float16([1.0]), v_empty=1e5).worth(np.array([False]))
    np.testing.assert_array_equal((sk.Max(r) + sk.Max(r) - sk.Max(r)).worth(), [2.0, 1e308])
    np.testing.assert_array_equal(sk.TopM(np.array([1e308, 1e308, -1e308]), 3).worth(), 1e308)
    np.testing.assert_array_equal(sk.Max(np.array([np.inf, 1.0])).worth(np.eye(2, dtype=bool)), [np.inf, 1.0])


@pytest.mark.parametrize("index", ["SII", "BII", "STII"])
def test_interactions(index):
    rewards, table = np.array([1.1, -1.1, -1.1]), np.array([0.0, 1.1, -1.1, 0.0, 0.0, 1.1, -1.1, 0.0])
    for utility, data in ((sk.Max, rewards), (sk.Mean, rewards), (sk.Table, table)):
        expected = sk.interactions(utility(data), index)
        np.testing.assert_array_equal(sk.interactions(utility(data * 2.0**1023), index), expected * 2.0**1023)
    with pytest.raises(OverflowError, match=r"interactions must be in the range of float64"):
        sk.interactions(3.0 * sk.Pairwise(np.full((2, 2), 1e308)), index)
    found = sk.interactions(sk.Pairwise(np.full((2, 2, 2), 1e308)) * np.array([1.0, 2.0]), index, nan="propagate")
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1, 0, 1])


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_weights_beyond_the_dtype_of_the_rewards(backend):
    small, nobody = np.float32([[3e-30, 1e-30, 0.0]]), np.zeros((1, 3), bool)
    for utility in (sk.OWA, sk.Discounted):
        expected = sk.shapley(utility(small.astype(float), [1e60, 0.0, -1e30]))
        found = sk.shapley(utility(small, [1e60, 0.0, -1e30]), backend=backend)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert not sk.shapley(utility(small, [1e60], mask=nobody), backend=backend).any()


def test_baselines():
    credits = rl.PrefixMarginals().credits(sk.Min(np.float32([3e38, -3e38, -3.2e38, -3.3e38]) / 2))
    np.testing.assert_allclose(credits, [1.5e38, -3e38, -0.1e38, -0.05e38], rtol=1e-5)
    with pytest.raises(OverflowError, match=r"Min: credits must be in the range of float32"):
        rl.PrefixMarginals().credits(sk.Min(np.float32([3e38, -3e38])))
