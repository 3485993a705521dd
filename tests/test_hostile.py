"""Data that a careful user would not pass: it is served right, or refused by name."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.games import GAMES
from shapley_kernels.testing import assert_within_budget, error_budget, exact_interactions, exact_semivalue
from shapley_kernels.testing.samples import sample


@pytest.mark.parametrize("game", [sk.FacilityLocation, sk.Coverage])
@pytest.mark.parametrize("weights", [None, np.zeros((2, 0))])
def test_no_topics(game, weights):
    empty = game(np.zeros((2, 3, 0)), weights)
    np.testing.assert_array_equal(sk.shapley(empty), np.zeros((2, 3)))
    assert_within_budget(sk.shapley(empty), exact_semivalue(empty), error_budget(empty))


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("container", ["numpy", "torch"])
def test_the_oracle_of_no_players_and_of_no_rows(game, container):
    for rows, players in ((2, 0), (0, 2), (0, 0)):
        for draw in range(4):
            empty = sample(game, "float64", players, draw, rows).placed(container, "float64").game()
            assert_within_budget(sk.shapley(empty), exact_semivalue(empty), error_budget(empty))
            for row in range(rows):
                assert float(empty.worth()[row]) == empty.exact_worth(row)(frozenset())


@pytest.mark.parametrize("bad", [None, [1.0], np.ones(2), torch.ones(2), {}, b"1", bytearray(b"ab"), np.ma.masked])
def test_a_number_that_is_none(bad):
    with pytest.raises(TypeError, match=r"Table.from_shapiq: the worth of \(\) ?: expected a real number, got "):
        sk.Table.from_shapiq({(): bad})


@pytest.mark.parametrize("ask", [sk.shapley, sk.interactions])
@pytest.mark.parametrize("game", [memoryview(b"ab"), 3, sk.Max])
def test_what_is_no_game(ask, game):
    with pytest.raises(TypeError, match=r"game: expected a game such as sk.Max\(rewards\), got "):
        ask(game)


@pytest.mark.parametrize("library", [np, torch])
def test_rows_of_two_axes_are_not_padded(library):
    with pytest.raises(ValueError, match=r"pad: expected 1-D .* as rows, got shape \(0, 3\) at \[1\]"):
        sk.pad([library.ones(2), library.zeros((0, 3))])
    with pytest.raises(
        ValueError, match=r"pad: expected lists nested to the same depth everywhere, got depths \[2, 3\]"
    ):
        sk.pad([library.ones(2), [library.ones(2)]])


def test_token_ids_that_are_no_integers_of_any_kind():
    for bad in (torch.ones(1, 2).to(torch.float8_e4m3fn), torch.ones(1, 2, dtype=torch.bfloat16)):
        with pytest.raises(TypeError, match=r"candidate_ids: token_ids\[0\] must be integers, got dtype float64"):
            rl.candidate_ids(bad, [b"a"], rl.json_list())
    with pytest.raises(ValueError, match=r"candidate_ids: finished must be bools, one per rollout, got"):
        rl.candidate_ids([[0]], [b"a"], rl.json_list(), finished=[[True], [True, False]])
    scorer = rl.SetScorer(lambda text: torch.ones(1, device="meta"), rl.separated("|"), [b"a"])
    with pytest.raises(TypeError, match=r"SetScorer: score must give a number, got tensor"):
        scorer([[0]])
    with pytest.raises(TypeError, match=r"candidate_ids: token_ids: expected a dense tensor with numbers"):
        rl.candidate_ids(torch.ones(1, 2, dtype=torch.int64, device="meta"), [b"a"], rl.json_list())


GAME = sk.Max(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: exact_semivalue(GAME, row=2), ValueError, r"row must be an integer in 0..1 or None, got 2"),
        (lambda: exact_semivalue(GAME, row=-1), ValueError, r"got -1"),
        (lambda: exact_interactions(GAME, row=0.0), ValueError, r"got 0.0"),
        (lambda: exact_semivalue(GAME, sk.Banzhaf), TypeError, r"make one with brackets, as Banzhaf\(...\)"),
        (lambda: exact_interactions(GAME, "XII"), ValueError, r"index must be one of 'SII', .*, got 'XII'"),
        (lambda: exact_semivalue(7, players=2), TypeError, r"expected a game, or a worth function and players=, got 7"),
        (lambda: exact_semivalue(len), TypeError, r"players=None"),
        (lambda: exact_interactions(len, players=2.0), ValueError, r"players must be an integer in 0..16, got 2.0"),
        (lambda: exact_semivalue(len, players=-1), ValueError, r"got -1"),
    ],
)
def test_what_the_oracle_does_not_take(call, error, message):
    with pytest.raises(error, match=r"exact_(semivalue|interactions): .*" + message):
        call()


def test_the_oracle_of_data_that_require_grad():
    rewards = torch.ones(2, 3, requires_grad=True)
    game = sk.Max(rewards, v_empty=torch.tensor([0.0, 0.5], requires_grad=True))
    assert exact_semivalue(game, row=1) == [Fraction(1, 6)] * 3


@pytest.mark.parametrize("labels", [np.array([1, 1, 200], np.uint8), torch.tensor([1, 1, 200], dtype=torch.uint8)])
def test_narrow_unsigned_labels(labels):
    assert sk.shapley(sk.Clusters(labels)).tolist() == [0.5, 0.5, 1.0]


def test_gradients_after_inference_mode():
    with torch.inference_mode():
        sk.shapley(sk.Range(torch.rand(2, 11)), backend="torch")
    rewards = torch.rand(2, 11, requires_grad=True)
    sk.shapley(sk.Range(rewards)).sum().backward()
    assert torch.isfinite(rewards.grad).all()


def test_sums_beyond_the_range():
    with pytest.raises(ValueError, match=r"LogSum: the sum of w / base must be in the range of float32.*larger base"):
        sk.LogSum(np.array([3e38, 3e38], np.float32))
    np.testing.assert_array_equal(sk.shapley(sk.Pairwise(np.array([[0.0, 1e308], [1e308, 0.0]]))), [5e307, 5e307])
    huge = sk.WeightedVoting([2**62, 2**62, 2**62], quota=5)
    assert huge.worth() == 1.0
    np.testing.assert_allclose(sk.shapley(huge), [1 / 3, 1 / 3, 1 / 3], atol=1e-15)


def test_players_of_a_mapping_are_integers():
    with pytest.raises(ValueError, match=r"number the players from 0"):
        sk.Table.from_shapiq({(0.5,): 1.0, (): 0.0})


def test_interactions_of_weights_that_are_no_argument_in_torch():
    covers = np.array([[1, 0], [1, 1]])
    game = sk.Coverage(covers, weights=[2.0, 1.0])
    np.testing.assert_array_equal(sk.interactions(game, backend="torch"), sk.interactions(game))
    np.testing.assert_array_equal(sk.interactions(game), [[1.0, -2.0], [-2.0, 2.0]])


@pytest.mark.parametrize("value", [sk.Shapley(), sk.rl.Broadcast()])
def test_nonfinite_data_of_any_family_reach_no_advantage(value):
    def utility(rewards, mask=None):
        return sk.Max(rewards, mask=mask) + sk.FacilityLocation(np.full((2, 3, 1), np.nan), mask=mask)

    with pytest.raises(ValueError, match=r"FacilityLocation: scores must be finite, got nan at \[0, 0, 0\]"):
        sk.RewardAllocator(utility=utility, value=value).advantages(np.random.default_rng(0).random((2, 3)))


def test_gradient_of_volume_with_masked_players():
    kernel = (torch.eye(4, dtype=torch.float64) + 0.1 * torch.arange(4.0).outer(torch.arange(4.0)))[None]
    kernel = kernel + torch.diag(torch.tensor([0.1, 0.2, 0.3, 0.4]).double())
    mask = torch.tensor([[True, False, True, False]])
    assert torch.autograd.gradcheck(
        lambda k: sk.shapley(sk.Volume((k + k.mT) / 2, mask=mask)), (kernel.requires_grad_(),)
    )


def test_weights_are_not_rounded_to_the_dtype_of_one_term():
    """An integer game of torch computes in float32, a sum with one in float64 does not."""
    weight = torch.tensor([1 / 3], dtype=torch.float64)
    cap = sk.BudgetCap(torch.tensor([[1, 2, 3]]), budget=4)
    other = sk.Max(torch.zeros(1, 3, dtype=torch.float64))
    found = sk.shapley(weight * cap + other)
    expected = sk.shapley(sk.BudgetCap(np.array([[1, 2, 3]]), budget=4) * (1 / 3))
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-15)


R = np.random.default_rng(0).random((2, 3))
HUGE = 10**400


def moebius(values):
    """As shapiq's InteractionValues of one player."""
    return SimpleNamespace(index="Moebius", n_players=1, interaction_lookup={(0,): 0}, values=values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: sk.BetaShapley(x, 1), "BetaShapley: alpha must be a finite number > 0, got "),
        (lambda x: sk.BetaShapley(1, 1 / Fraction(x)), "BetaShapley: beta must be a finite number > 0, got "),
        (lambda x: sk.SizeWeights([x]), "SizeWeights: w must be at least one finite number, got "),
        (lambda x: sk.OWA(R, [x]), "OWA: weights must be finite, got inf"),
        (lambda x: sk.LogSum(R, x), "LogSum: base must be a finite number > 0, got "),
        (lambda x: sk.shapley(sk.Max(R, v_empty=x)), "Max: v_empty must be finite in float64, got inf"),
    ],
)
@pytest.mark.parametrize("huge", [HUGE, Fraction(HUGE)], ids=["int", "fraction"])
def test_parameters_beyond_the_range(make, message, huge):
    with pytest.raises(ValueError, match=message):
        make(huge)


def test_numbers_beyond_the_range_that_make_sense():
    np.testing.assert_array_equal(sk.shapley(sk.TopMMean(R, HUGE)), sk.shapley(sk.Mean(R)))
    np.testing.assert_array_equal(sk.shapley(sk.Max(R) / HUGE), np.zeros((2, 3)))
    with pytest.raises(ZeroDivisionError, match="a game can be divided by numbers other than 0 only, got 0"):
        sk.Max(R) / Fraction(1, HUGE)


@pytest.mark.parametrize(
    "numbers",
    [np.array([1j, 2]), [np.complex64(1j)], torch.tensor([1j]), ["1"], [np.complex128(1j), Fraction(1, 3)]],
    ids=["array", "list", "torch", "strings", "objects"],
)
@pytest.mark.parametrize(
    ("make", "owner"),
    [
        (lambda x: sk.OWA(R, x), "OWA: weights"),
        (lambda x: sk.Discounted(R, x), "Discounted: weights"),
        (lambda x: sk.SizeWeights(x), "SizeWeights: w"),
        (lambda x: sk.SizeWeights(lambda n: x).size_weights(len(x)), "SizeWeights: w"),
        (lambda x: sk.Max(R[:, :0], v_empty=x[0]), "Max: v_empty"),
        (lambda x: sk.Table.from_shapiq({(): x[0]}), "Table.from_shapiq: the worth of"),
        (lambda x: sk.Table.from_shapiq(moebius(x)), "Table.from_shapiq: values"),
        (lambda x: exact_semivalue(lambda s: x[0], players=1), "worth"),
    ],
)
def test_parameters_that_are_no_real_numbers(make, owner, numbers):
    with pytest.raises(TypeError, match=owner):
        make(numbers)


def test_weights_are_read_as_before():
    for weights in ([Fraction(1, 2), 1], [np.float32(0.5), True], torch.tensor([0.5, 1.0]), (0.5, 1)):
        np.testing.assert_array_equal(sk.OWA(R, weights).params[0].array, [0.5, 1.0])
    assert sk.OWA(R, torch.tensor([2**53 - 1])).params[0].array[0] == 2**53 - 1


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (np.array([1j, 2.0]), TypeError, "scale: expected real numbers .*, got dtype complex128"),
        (torch.tensor([1j, 2.0]), TypeError, "scale: expected"),
        (np.array(["1", "2"]), TypeError, "scale: expected real numbers .*, got dtype <U1"),
        (np.complex128(1j), TypeError, "a game can be scaled by a number or an array"),
        (np.str_("2"), TypeError, "a game can be scaled by a number or an array"),
        (True, TypeError, "a game can be scaled by a number or an array"),
        (10**400, ValueError, "a game can be scaled by finite numbers only, got inf"),
        (-Fraction(10**400), ValueError, "a game can be scaled by finite numbers only, got -inf"),
    ],
)
def test_weights_that_are_no_real_numbers(scale, error, message):
    rewards = np.ones((2, 3))
    game = sk.Max(torch.tensor(rewards) if isinstance(scale, torch.Tensor) else rewards)
    with pytest.raises(error, match=message):
        game * scale
    with pytest.raises(error, match=message):
        scale * game


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(("dtype", "weight"), [("float64", 1e200), ("float32", 1e30), ("float16", 1e30)])
@pytest.mark.parametrize("kind", ["number", "array"])
def test_products_of_weights_that_overflow(library, dtype, weight, kind):
    rewards = np.zeros((2, 3), dtype)
    game = sk.Max(rewards if library == "numpy" else torch.tensor(rewards))
    if kind == "array":
        weight = np.full(2, weight, "float64" if dtype == "float64" else "float32")
        weight = weight if library == "numpy" else torch.tensor(weight)
    assert (np.asarray(sk.shapley(weight * game)) == 0).all()
    with pytest.raises(
        ValueError, match=r"a game of dtype .*float\d\d can be scaled by numbers in the range of float.*Max"
    ):
        weight * (weight * game)


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
    ("make", "place"),
    [
        (lambda: sk.Max([[1, None]]), r"got None at \[0, 1\]; leave players without a number out, or mask them"),
        (lambda: sk.Max([[1, 2], [3, "x"]]), r"got 'x' at \[1, 1\]"),
        (lambda: sk.Max([[1, 2], None]), r"got None at \[1\]"),
        (lambda: sk.Max(np.array([[1.0, {}]], object)), r"got \{\} at \[0, 1\]"),
        (lambda: sk.Max(torch.ones(1, 2), v_empty=[None]), r"v_empty: .* got None at \[0\]"),
        (lambda: sk.OWA(R, [1.0, 1j]), r"OWA: weights: .* got 1j at \[1\]"),
        (lambda: sk.grpo_advantages([[1.0, b"2"]]), r"credits: .* got b'2' at \[0, 1\]"),
        (lambda: sk.pad([[1.0], {}]), r"expected a list of rows, got \{\} at \[1\]"),
        (lambda: sk.pad([[1.0, "2"]]), r"pad: .* got '2' at \[0, 1\]"),
        (lambda: sk.pad([np.array(1.0)]), r"expected a list of rows, got array\(1.\) at \[0\]"),
        (lambda: sk.pad({1.0}), r"expected a list of rows, got \{1.0\}"),
    ],
)
def test_what_is_no_number_is_named_with_its_place(make, place):
    with pytest.raises(TypeError, match=place):
        make()


def test_numbers_that_numpy_keeps_as_objects():
    np.testing.assert_array_equal(sk.Max([[Fraction(1, 2), 2**70]]).rewards, [[0.5, 2.0**70]])
    assert sk.pad([[Fraction(1, 4)], [np.float32(2), 3]])[0].tolist() == [[0.25, 0.0], [2.0, 3.0]]


def test_division_by_an_array():
    for rewards in (R, torch.tensor(R)):
        by = rewards[:, 0] + 1
        np.testing.assert_allclose(sk.shapley(sk.Max(rewards) / by), sk.shapley(sk.Max(rewards)) / by[:, None])
        with pytest.raises(ZeroDivisionError, match="a game can be divided by numbers other than 0 only, got 0"):
            sk.Max(rewards) / (by - by)
    for bad in (True, "2", [1.0, 2.0], None):
        with pytest.raises(TypeError, match="a game can be scaled by a number or an array"):
            sk.Max(R) / bad
