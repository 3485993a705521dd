"""Semivalues, the estimator, padding, threads, and what judges them all."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from itertools import permutations
from math import comb
from typing import Any

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels import testing
from shapley_kernels.arrays import to_float64
from shapley_kernels.testing.exact import share
from tests.fuzz.inputs import ORDER, Form, batch, hostile, spoiled, value
from tests.fuzz.rig import Refused, Target, attempt, chance, pick, run, serve


def of_semivalue(kind: type[sk.Semivalue], rng: np.random.Generator) -> None:
    """Size weights against their definition in rational numbers; expectations and nodes against the size weights."""
    n = int(rng.integers(1, 13))
    made = value(rng, n)
    while not isinstance(made, kind):
        made = value(rng, n)
    weights = serve(made.size_weights, n)
    exact = np.array([float(x) for x in made.exact_size_weights(n)])
    assert (np.abs(weights - exact) <= 4 * n * 2.3e-16 * np.abs(exact).max()).all(), (made, weights, exact)
    f = rng.integers(-4, 5, int(rng.integers(1, n + 3))) / 4
    of_size = np.append(f, np.zeros(n))
    expected = [
        sum(
            exact[s] * comb(k - 1, a) * comb(n - k, s - a) / comb(n - 1, s) * of_size[a]
            for s in range(n)
            for a in range(max(0, s - n + k), min(k - 1, s) + 1)
        )
        for k in range(1, n + 1)
    ]
    np.testing.assert_allclose(serve(made.expectations, f, n), expected, rtol=0, atol=1e-13 * np.abs(exact).max())
    if (nodes := serve(made.nodes, n)) is not None:
        sizes = [float(nodes[1] @ (comb(n - 1, s) * nodes[0] ** s * (1 - nodes[0]) ** (n - 1 - s))) for s in range(n)]
        np.testing.assert_allclose(sizes, exact, rtol=0, atol=1e-12)
    arguments = {sk.Banzhaf: ["p"], sk.BetaShapley: ["alpha", "beta"], sk.Stratum: ["size"], sk.SizeWeights: ["w"]}
    names = arguments.get(kind, [])
    for _ in range(3 if names else 0):
        again = attempt(kind, **{name: hostile_but(rng, callable) for name in names})
        if not isinstance(again, Refused):
            attempt(sk.semivalue, sk.Max(rng.random((2, 3))), again)


def of_estimate(rng: np.random.Generator) -> None:
    """A judge of a random game: efficient, exact with the whole budget, each coalition asked once."""
    players = int(rng.integers(1, 7))
    worths, seen = rng.integers(-8, 9, 1 << players) / 8, []
    container = pick(rng, (np.asarray, torch.tensor, list))

    def judge(coalitions: np.ndarray) -> Any:
        assert coalitions.dtype == bool
        assert coalitions.shape[1:] == (players,)
        index = coalitions @ (1 << np.arange(players))
        seen.extend(index.tolist())
        return container(worths[index])

    least = min(2**players, 2 + 4 * (players // 2))
    budget = int(rng.integers(least, 2**players + 3))
    surrogate = sk.Max(rng.random(players)) if chance(rng, 0.3) else None
    given = {"players": players, "budget": budget, "seed": int(rng.integers(1 << 30)), "surrogate": surrogate}
    found = serve(sk.estimate, judge, **given)
    assert len(seen) == len(set(seen)) == found.evaluations <= budget
    assert found.exact == (budget >= 2**players)
    total = worths[-1] - worths[0]
    np.testing.assert_allclose(found.values.sum(), total, rtol=0, atol=1e-12)
    if found.exact:
        truth = share([Fraction(x) for x in worths], sk.Shapley())
        np.testing.assert_allclose(found.values, [float(x) for x in truth], rtol=0, atol=1e-13)
        assert not found.standard_errors.any()
    assert np.isfinite(found.standard_errors).all()
    level = pick(rng, (0.95, 0.5, hostile(rng)))
    if not isinstance(interval := attempt(found.interval, level), Refused):
        assert (interval[0] <= found.values + 1e-12).all()
        assert (found.values <= interval[1] + 1e-12).all()
    answer = hostile(rng)
    attempt(sk.estimate, lambda coalitions: answer, players, budget=budget, seed=0)
    # a budget that is served is spent: not that of a number without bounds
    wrong = spoiled(rng, given)
    if all(not isinstance(x, int) or x < 1000 for x in (wrong["players"], wrong["budget"])):
        knows = chance(rng, 0.5) and wrong["players"] is players  # the judge has a worth for sets of so many
        attempt(sk.estimate, judge if knows else (lambda coalitions: coalitions.sum(1)), **wrong)
    attempt(sk.estimate, hostile_but(rng, callable), **given)


def hostile_but(rng: np.random.Generator, wrong: Callable[[Any], bool]) -> Any:
    """Something hostile for which `wrong` is False."""
    while wrong(found := hostile(rng)):
        pass
    return found


def nested(rng: np.random.Generator, depth: int, make: Callable[[np.ndarray], Any]) -> Any:
    if depth == 0:
        return make(rng.integers(-8, 9, int(rng.integers(0, 4))) / 8)
    return [nested(rng, depth - 1, make) for _ in range(int(rng.integers(1, 4)))]


def leaves(rows: Any, depth: int, path: tuple[int, ...] = ()) -> Any:
    if depth == 0:
        yield path, [float(x) for x in rows]
        return
    for i, row in enumerate(rows):
        yield from leaves(row, depth - 1, (*path, i))


def of_pad(rng: np.random.Generator) -> None:
    """Ragged lists of lists, of arrays, of tensors; and with something else among them."""
    depth, dtype = int(rng.integers(1, 4)), pick(rng, ("float64", "float32", "float16"))
    kind = pick(rng, ("list", "tuple", "numpy", "torch"))
    make: Callable[[np.ndarray], Any] = {
        "list": lambda x: x.tolist(),
        "tuple": lambda x: tuple(x.tolist()),
        "numpy": lambda x: x.astype(dtype),
        "torch": lambda x: torch.tensor(x, dtype=getattr(torch, dtype)),
    }[kind]
    rows = nested(rng, depth, make)
    rewards, mask = serve(sk.pad, rows)
    assert type(rewards) is (torch.Tensor if kind == "torch" else np.ndarray)
    found, flags = to_float64(rewards), to_float64(mask) > 0
    assert found.shape == flags.shape
    assert len(found.shape) == depth + 1
    total = 0
    for path, numbers in leaves(rows, depth):
        assert found[path][: len(numbers)].tolist() == numbers
        assert flags[path].tolist() == [True] * len(numbers) + [False] * (found.shape[-1] - len(numbers))
        total += len(numbers)
    assert flags.sum() == total
    assert not found[~flags].any()
    attempt(sk.pad, hostile(rng))
    attempt(sk.pad, [make(np.ones(2)), hostile(rng)])
    attempt(sk.pad, [[1.0, hostile(rng)], [2.0]])


MANY = np.random.default_rng(0).integers(-8, 9, (4096, 3)) / 8
"""Rows enough for several threads."""

ALONE = np.array([[float(x) for x in row] for row in testing.exact_semivalue(sk.Max(MANY[:4]))])


def of_threads(rng: np.random.Generator) -> None:
    """Results do not depend on the number of threads."""
    before = sk.kernels._threads._State.limit
    try:
        serve(sk.set_num_threads, pick(rng, (1, 2, 3, None)))
        assert serve(sk.get_num_threads) >= 1
        np.testing.assert_allclose(sk.shapley(sk.Max(MANY))[:4], ALONE, rtol=0, atol=1e-15)
        attempt(sk.set_num_threads, hostile(rng))
        assert serve(sk.get_num_threads) >= 1
    finally:
        sk.set_num_threads(before)


def of_warm_up(rng: np.random.Generator) -> None:
    """Refusals alone: what it compiles takes seconds."""
    attempt(
        sk.warm_up,
        pick(
            rng, ([hostile_but(rng, lambda x: isinstance(x, str) and x in ("float32", "float64"))], "float32", 3, None)
        ),
    )


def brute_force(worth: Callable[[frozenset[int]], Any], players: int) -> list[Fraction]:
    """The Shapley value by all orders of arrival."""
    credits, orders = [Fraction(0)] * players, list(permutations(range(players)))
    for order in orders:
        for place, i in enumerate(order):
            credits[i] += Fraction(worth(frozenset(order[: place + 1]))) - Fraction(worth(frozenset(order[:place])))
    return [credit / len(orders) for credit in credits]


def of_exact(function: Callable[..., Any], rng: np.random.Generator) -> None:
    """The oracle against all orders of arrival, and on what is no game."""
    players = int(rng.integers(0, 5))
    worths = (rng.integers(-8, 9, 1 << players) / 8).tolist()

    def worth(members: frozenset[int]) -> float:
        return float(worths[sum(1 << i for i in members)])

    found = serve(function, worth, players=players)
    truth = brute_force(worth, players)
    if function is testing.exact_semivalue:
        assert found == truth
    else:
        assert [found[i][i] for i in range(players)] == truth
        assert [list(column) for column in zip(*found, strict=True)] == found
    option = "value" if function is testing.exact_semivalue else "index"
    given = {"game": sk.Max(rng.random((2, 3))), "row": None, option: {"value": None, "index": "SII"}[option]}
    for _ in range(2):
        attempt(function, **spoiled(rng, given))
    attempt(function, worth, players=pick(rng, (-1, None, 1.5, "2", 40, True)))


def of_budget(rng: np.random.Generator) -> None:
    """Credits that are off by more than the budget are noticed, others are not."""
    form = Form.drawn(rng, integers=False)
    data = batch(rng, pick(rng, ORDER), form, int(rng.integers(1, 4)), int(rng.integers(1, 3)))
    game = data.placed(form.container, form.dtype).game()
    by = value(rng, game.players)
    truth = testing.exact_semivalue(game, by)
    budget = serve(testing.error_budget, game, by)
    credits = sk.semivalue(game, by)
    assert attempt(testing.assert_within_budget, credits, truth, budget) is None
    exact = np.array([[float(x) for x in row] for row in truth])
    off = to_float64(credits)
    where = tuple(int(rng.integers(size)) for size in off.shape)
    off[where] = exact[where] + pick(rng, (-1, 1)) * (4 * budget.at(exact)[where] + 1e-3 * np.abs(exact).max() + 1e-3)
    with pytest.raises(AssertionError):
        testing.assert_within_budget(game.ops.array_like(off, game.data, game.dtype), truth, budget)


def of_check_axioms(rng: np.random.Generator) -> None:
    """It passes what is right, whichever the game; it finds what is wrong; its options are checked."""
    utility = pick(rng, ORDER[:5])
    options = {
        "game": utility,
        "max_examples": 2,
        "max_players": 3,
        "tolerance": None,
        "mask": None,
        "dtype": "float64",
    }
    right = lambda rewards, mask, v_empty: sk.shapley(utility(rewards, mask, v_empty))  # noqa: E731
    assert serve(testing.check_axioms, right, **options) is None
    with pytest.raises(testing.AxiomViolation):
        testing.check_axioms(lambda rewards, mask, v_empty: right(rewards, mask, v_empty) + 1, **options)
    wrong = spoiled(rng, options, 1) | {"max_examples": 1}
    if wrong["game"] is utility:  # what a function of the caller raises is hers
        attempt(testing.check_axioms, right, **wrong, also=testing.AxiomViolation)
    attempt(testing.check_axioms, hostile_but(rng, callable), **options)


KINDS = (sk.Shapley, sk.Banzhaf, sk.BetaShapley, sk.Stratum, sk.LeaveOneOut, sk.SizeWeights)

TARGETS: dict[str, Target] = {
    **{kind.__name__: partial(of_semivalue, kind) for kind in KINDS},
    "estimate": of_estimate,
    "pad": of_pad,
    "set_num_threads": of_threads,
    "warm_up": of_warm_up,
    "testing.exact_semivalue": partial(of_exact, testing.exact_semivalue),
    "testing.exact_interactions": partial(of_exact, testing.exact_interactions),
    "testing.error_budget": of_budget,
    "testing.check_axioms": of_check_axioms,
}


@pytest.mark.parametrize("name", TARGETS)
def test_values(name: str) -> None:
    run(name, TARGETS[name], slow=name == "testing.check_axioms")  # hypothesis in hypothesis
