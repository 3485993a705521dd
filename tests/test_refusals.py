"""What is refused, with words that say what was expected, what came, and what to do."""

from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.testing import exact_interactions, exact_semivalue

R = np.array([[0.5, 1.0, 0.25], [0.0, -1.0, 2.0]])
T = torch.from_numpy(R)
GAME = sk.Max(R)
HUGE = 10**400
META = torch.ones(1, 2, dtype=torch.int64, device="meta")


def nested(layout):
    return torch.nested.nested_tensor([T[0], T[1, :2]], layout=layout)


def moebius(values):
    """As shapiq's InteractionValues of one player."""
    return SimpleNamespace(index="Moebius", n_players=1, interaction_lookup={(0,): 0}, values=values)


def ids(tokens, **options):
    return rl.candidate_ids(tokens, [b"a"], rl.json_list(), **options)


ARRAYS = [
    (lambda: sk.Max(3.0), ValueError, "rewards must have shape"),
    (lambda: sk.Max([[1.0], [1.0, 2.0]]), ValueError, "sk.pad"),
    (lambda: sk.Max(np.array(["a"])), TypeError, "expected real numbers"),
    (lambda: sk.Max(np.array([1j])), TypeError, "complex128"),
    (lambda: sk.Max({"a": 1}), TypeError, "expected a numpy array"),
    (lambda: sk.Max(np.ma.masked_invalid(R)), TypeError, r"mask=~x\.mask"),
    (lambda: sk.Max(T.to_sparse()), TypeError, r"rewards: expected a dense .*sparse_coo; use x.to_dense\(\)"),
    (lambda: sk.Max(T.to_sparse_csr()), TypeError, r"sparse_csr; use x.to_dense\(\)"),
    (lambda: sk.Max(T.to("meta")), TypeError, "numbers, got one on the device meta, which has none"),
    (lambda: sk.Max(nested(torch.jagged)), TypeError, r"got a nested one; use `rewards, mask = sk.pad\(x\)`"),
    (lambda: sk.Max(nested(torch.strided)), TypeError, "got a nested one"),
    (lambda: sk.Max(T, mask=T.to("meta") > 0), TypeError, "mask: .* on the device meta"),
    (lambda: sk.grpo_advantages(T.to_sparse()), TypeError, r"credits: .* use x.to_dense\(\)"),
    (lambda: sk.pad(T.to_sparse()), TypeError, r"pad: .* use x.to_dense\(\)"),
    (lambda: sk.Max(R, mask=np.ones(3)), TypeError, "expected dtype bool"),
    (lambda: sk.Max(R, mask=np.ones((3, 3), bool)), ValueError, r"expected shape \(2, 3\)"),
    (lambda: sk.Max(T, mask=np.ones((2, 3), bool)), TypeError, "got a numpy array"),
    (lambda: sk.Max(R, v_empty=np.zeros(3)), ValueError, r"v_empty: expected shape \(2,\)"),
]

ENTRIES = [
    (lambda: sk.Max([[1, None]]), r"got None at \[0, 1\]; leave players without a number out, or mask them"),
    (lambda: sk.Max([[1, 2], [3, "x"]]), r"got 'x' at \[1, 1\]; make numbers of texts: float\(text\), or of"),
    (lambda: sk.Clusters(["red", "blue"]), r"labels: .* got 'red' at \[0\]; .* of labels numpy.unique"),
    (lambda: sk.Max([[1, 2], None]), r"got None at \[1\]"),
    (lambda: sk.Max(np.array([[1.0, {}]], object)), r"got \{\} at \[0, 1\]"),
    (lambda: sk.Max(torch.ones(1, 2), v_empty=[None]), r"v_empty: .* got None at \[0\]"),
    (lambda: sk.OWA(R, [1.0, 1j]), r"OWA: weights: .* got 1j at \[1\]"),
    (lambda: sk.grpo_advantages([[1.0, b"2"]]), r"credits: .* got b'2' at \[0, 1\]"),
    (lambda: sk.pad([[1.0], "ab"]), "pad"),
    (lambda: sk.pad([[1.0, None]]), r"got None at \[0, 1\]"),
    (lambda: sk.pad([[1.0], {}]), r"expected a list of rows, got \{\} at \[1\]"),
    (lambda: sk.pad([[1.0, "2"]]), r"pad: .* got '2' at \[0, 1\]"),
    (lambda: sk.pad([np.array(1.0)]), r"expected a list of rows, got array\(1.\) at \[0\]"),
    (lambda: sk.pad({1.0}), r"expected a list of rows, got \{1.0\}"),
    (lambda: ids(torch.ones(1, 2).to(torch.float8_e4m3fn)), r"token_ids\[0\] must be integers, got dtype float64"),
    (lambda: ids(torch.ones(1, 2, dtype=torch.bfloat16)), r"token_ids\[0\] must be integers, got dtype float64"),
    (lambda: ids(META), "candidate_ids: token_ids: expected a dense tensor with numbers"),
    (
        lambda: rl.SetScorer(lambda text: torch.ones(1, device="meta"), rl.separated("|"), [b"a"])([[0]]),
        "SetScorer: score must give a number, got tensor",
    ),
]

CALLS = [
    (lambda: sk.TopM(R, 0), ValueError, "m must be an integer >= 1, got 0"),
    (lambda: sk.OWA(R, np.ones((2, 2))), ValueError, r"\[n, n\] with n >= 3"),
    (lambda: sk.OWA(R, np.ones((4, 3))), ValueError, r"\[n, n\] with n >= 3"),
    (lambda: sk.OWA(R, [1.0, 0.0, 0.0, np.nan]), ValueError, "weights must be finite"),
    (lambda: GAME + sk.Max(R[:1]), ValueError, "equal batch shape"),
    (lambda: GAME * np.ones(3), ValueError, "scale"),
    (lambda: GAME * float("nan"), ValueError, "finite"),
    (lambda: GAME / Fraction(1, HUGE), ZeroDivisionError, "a game can be divided by numbers other than 0 only, got 0"),
    (lambda: GAME / (R[:, 0] * 0), ZeroDivisionError, "a game can be divided by numbers other than 0 only, got 0"),
    (lambda: sk.Max(T) / (T[:, 0] * 0), ZeroDivisionError, "divided by numbers other than 0 only, got 0"),
    (lambda: sk.semivalue(GAME, sk.Banzhaf), TypeError, r"with brackets, as Banzhaf\(\.\.\.\)"),
    (lambda: sk.semivalue(GAME, float), TypeError, r"got <class 'float'>$"),
    (lambda: sk.semivalue(GAME, sk.SizeWeights([0.5, 0.5])), ValueError, "expected 3 weights"),
    (lambda: sk.shapley(GAME, nan="ignore"), ValueError, "'propagate'"),
    (lambda: GAME.worth(np.ones((2, 4), bool)), ValueError, "players last"),
    (lambda: GAME.worth(np.ones((5, 3), bool)), ValueError, r"broadcast with those of the games, \(2,\), got"),
    (lambda: sk.Max(T).worth(torch.ones(5, 3) > 0), ValueError, r"broadcast with those of the games, \(2,\), got"),
    (lambda: sk.pad([[1.0], [[1.0]]]), ValueError, "same depth"),
    (lambda: sk.pad([np.ones(2), np.zeros((0, 3))]), ValueError, r"1-D .* as rows, got shape \(0, 3\) at \[1\]"),
    (lambda: sk.pad([T[0], torch.zeros((0, 3))]), ValueError, r"1-D .* as rows, got shape \(0, 3\) at \[1\]"),
    (lambda: sk.pad([T[0], [T[0]]]), ValueError, r"to the same depth everywhere, got depths \[2, 3\]"),
    (lambda: ids([[0]], finished=[[True], [True, False]]), ValueError, "finished must be bools, one per rollout, got"),
    (lambda: sk.LogSum(np.float32([3e38, 3e38])), ValueError, "w / base must be in the range of float32.*larger base"),
    (lambda: sk.Table.from_shapiq({(0.5,): 1.0, (): 0.0}), ValueError, "number the players from 0"),
    (lambda: exact_semivalue(GAME, row=2), ValueError, "exact_semivalue: row must be an integer in 0..1 or .*got 2"),
    (lambda: exact_semivalue(GAME, row=-1), ValueError, "exact_semivalue: .* got -1"),
    (lambda: exact_interactions(GAME, row=0.0), TypeError, "exact_interactions: .* got 0.0"),
    (lambda: exact_semivalue(GAME, sk.Banzhaf), TypeError, r"make one with brackets, as Banzhaf\(...\)"),
    (lambda: exact_interactions(GAME, "XII"), ValueError, "index must be one of 'SII', .*, got 'XII'"),
    (lambda: exact_semivalue(7, players=2), TypeError, "expected a game, or a worth function and players=, got 7"),
    (lambda: exact_semivalue(len), TypeError, "players=None"),
    (lambda: exact_interactions(len, players=2.0), TypeError, r"players must be an integer in 0..16, got 2.0"),
    (lambda: exact_semivalue(len, players=-1), ValueError, "got -1"),
]

NO_NUMBERS = [None, [1.0], np.ones(2), torch.ones(2), {}, b"1", bytearray(b"ab"), np.ma.masked]

CASES = [
    *ARRAYS,
    *((make, TypeError, words) for make, words in ENTRIES),
    *CALLS,
    *((lambda x=x: sk.shapley(x), TypeError, r"sk.Max\(rewards\), got") for x in (memoryview(b"a"), 3, sk.Max, R)),
    *((lambda x=x: sk.interactions(x), TypeError, r"such as sk.Max\(rewards\), got") for x in (3, sk.Max)),
    *(
        (lambda x=x: sk.Table.from_shapiq({(): x}), TypeError, r"the worth of \(\) ?: expected a real number, got ")
        for x in NO_NUMBERS
    ),
    *((lambda x=x: GAME / x, TypeError, "scaled by a number or an array") for x in (True, "2", [1.0, 2.0], None)),
]


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize(("make", "error", "words"), CASES)
def test_wrong_input_says_what_was_expected(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: sk.BetaShapley(x, 1), "BetaShapley: alpha must be a finite number > 0, got "),
        (lambda x: sk.BetaShapley(1, 1 / Fraction(x)), "BetaShapley: beta must be a finite number > 0, got "),
        (lambda x: sk.SizeWeights([x]), "SizeWeights: w must be at least one finite number, got "),
        (lambda x: sk.OWA(R, [x]), "OWA: weights must be finite, got inf"),
        (lambda x: sk.LogSum(R * R, x), "LogSum: base must be a finite number > 0, got "),
        (lambda x: sk.shapley(sk.Max(R, v_empty=x)), "Max: v_empty must be finite in float64, got inf"),
        (lambda x: GAME * x, "a game can be scaled by finite numbers only, got inf"),
        (lambda x: -x * GAME, "a game can be scaled by finite numbers only, got -inf"),
    ],
)
@pytest.mark.parametrize("huge", [HUGE, Fraction(HUGE)], ids=["int", "fraction"])
def test_parameters_beyond_the_range(make, message, huge):
    with pytest.raises(ValueError, match=message):
        make(huge)


INTEGERS = {
    "TopM: m": lambda x: sk.TopM(R, x),
    "TopMMean: m": lambda x: sk.TopMMean(R, x),
    "KthBest: k": lambda x: sk.KthBest(R, x),
    "AtLeast: m": lambda x: sk.AtLeast(R > 0, x),
    "WeightedVoting: quota": lambda x: sk.WeightedVoting([1, 2], quota=x),
    "BudgetCap: budget": lambda x: sk.BudgetCap([1, 2], budget=x),
    "DoubleMajority: members": lambda x: sk.DoubleMajority([1, 2], quota=1, members=x),
    "DoubleMajority: blocking": lambda x: sk.DoubleMajority([1, 2], quota=1, members=1, blocking=x),
    "Stratum: size": sk.Stratum,
    "estimate: players": lambda x: sk.estimate(lambda sets: sets.sum(-1), x, budget=4, seed=0),
    "estimate: budget": lambda x: sk.estimate(lambda sets: sets.sum(-1), 1, budget=x, seed=0),
    "estimate: seed": lambda x: sk.estimate(lambda sets: sets.sum(-1), 2, budget=4, seed=x),
    "grpo_advantages: ddof": lambda x: sk.grpo_advantages(R, ddof=x),
    "grpo_advantages: num_generations": lambda x: sk.grpo_advantages(R, num_generations=x),
    "candidate_ids: pad_to": lambda x: ids([[0]], pad_to=x),
}
NUMBERS = {
    "Banzhaf: p": sk.Banzhaf,
    "BetaShapley: alpha": lambda x: sk.BetaShapley(x, 1),
    "BetaShapley: beta": lambda x: sk.BetaShapley(1, x),
    "LogSum: base": lambda x: sk.LogSum(R > 0, x),
    "SuffixSwap: lam": rl.SuffixSwap,
    "grpo_advantages: min_std": lambda x: sk.grpo_advantages(R, min_std=x),
    "RewardAllocator: eps": lambda x: sk.RewardAllocator(eps=x),
}
NAMES = {
    "backend": lambda x: sk.shapley(GAME, backend=x),
    "nan": lambda x: sk.shapley(GAME, nan=x),
    "index": lambda x: sk.interactions(GAME, x),
    "center": lambda x: sk.grpo_advantages(R, center=x),
    "scale": lambda x: sk.grpo_advantages(R, scale=x),
    "sizes": lambda x: sk.RewardAllocator(sizes=x),
    "outside": lambda x: sk.RewardAllocator(outside=x),
    "length": lambda x: rl.scatter_to_tokens(R, np.zeros((2, 4), int), length=x),
}
WRONG = [
    *((name, INTEGERS[name], x) for name in INTEGERS for x in (2.0, np.float64(2), True, "2", {2}, 2j)),
    *((name, NUMBERS[name], x) for name in NUMBERS for x in (True, "0.5", [0.5], np.array([0.5]), 1j)),
    *((name, NAMES[name], x) for name in NAMES for x in (2, True, ["auto"], np.zeros(2))),
]


@pytest.mark.parametrize(("name", "make", "wrong"), WRONG, ids=lambda x: None if callable(x) else repr(x))
def test_parameters_of_another_type(name, make, wrong):
    with pytest.raises(TypeError, match=f"{name} must be .*, got "):
        make(wrong)


@pytest.mark.parametrize(
    ("make", "x"),
    [*((make, np.int32(2)) for make in INTEGERS.values()), *((make, np.float32(0.5)) for make in NUMBERS.values())],
)
def test_numbers_of_numpy_are_taken(make, x):
    make(x)


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


@pytest.mark.parametrize(
    ("scale", "message"),
    [
        (np.array([1j, 2.0]), "scale: expected real numbers .*, got dtype complex128"),
        (torch.tensor([1j, 2.0]), "scale: expected"),
        (np.array(["1", "2"]), "scale: expected real numbers .*, got dtype <U1"),
        (np.complex128(1j), "a game can be scaled by a number or an array"),
        (np.str_("2"), "a game can be scaled by a number or an array"),
        (True, "a game can be scaled by a number or an array"),
    ],
)
def test_weights_that_are_no_real_numbers(scale, message):
    game = sk.Max(T if isinstance(scale, torch.Tensor) else R)
    for product in (lambda: game * scale, lambda: scale * game):
        with pytest.raises(TypeError, match=message):
            product()


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(("dtype", "weight"), [("float64", 1e200), ("float32", 1e30), ("float16", 1e30)])
@pytest.mark.parametrize("several", [False, True])
def test_products_of_weights_that_overflow(library, dtype, weight, several):
    game = sk.Max(library(np.zeros((2, 3), dtype)))
    if several:
        weight = library(np.full(2, weight, "float64" if dtype == "float64" else "float32"))
    assert (np.asarray(sk.shapley(weight * game)) == 0).all()
    with pytest.raises(ValueError, match=r"of dtype .*float\d\d can be scaled by numbers in the range of float.*Max"):
        weight * (weight * game)


@pytest.mark.parametrize("value", [sk.Shapley(), rl.Broadcast()])
def test_nonfinite_data_of_any_family_reach_no_advantage(value):
    def utility(rewards, mask=None):
        return sk.Max(rewards, mask=mask) + sk.FacilityLocation(np.full((2, 3, 1), np.nan), mask=mask)

    with pytest.raises(ValueError, match=r"FacilityLocation: scores must be finite, got nan at \[0, 0, 0\]"):
        sk.RewardAllocator(utility=utility, value=value).advantages(R)
