"""Every game, sums of them, and what is asked of a game: credits, worth, interactions."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from math import prod
from typing import Any

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels.arrays import compute_dtype, to_float64
from shapley_kernels.games import GAMES, Game, OrderGame
from shapley_kernels.testing import assert_within_budget, error_budget, exact_interactions, exact_semivalue
from shapley_kernels.testing.budget import PRECISION, dtype_name
from shapley_kernels.testing.samples import Sample, Utility, place
from tests.fuzz.inputs import Form, arguments, batch, hostile, spoiled, value, with_mask
from tests.fuzz.rig import Refused, Target, attempt, chance, pick, run, serve

SMALL = 6
"""Players whose coalitions are enumerated."""

LARGEST = {"float64": 1.797e308, "float32": 3.4e38, "float16": 65504.0, "bfloat16": 3.38e38}


def fits(truth: Any, game: Game) -> bool:
    """Whether all credits are well within the range of the dtype."""
    if isinstance(truth, list):
        return all(fits(x, game) for x in truth)
    return abs(truth) < Fraction(0.99 * LARGEST[dtype_name(game.dtype)])


def judge(game: Game, by: sk.Semivalue, credits: Any, truth: Any = None) -> None:
    """Credits, or the refusal of a game whose data are all finite, against 2^n enumeration."""
    truth = exact_semivalue(game, by) if truth is None else truth
    if not fits(truth, game):
        told = isinstance(credits, Refused) or bool(np.isnan(to_float64(credits)).any())  # by nan="propagate"
        with np.errstate(all="ignore"):  # eigenvalues that may be rounding alone count as 0
            told |= isinstance(game, sk.Volume) and not np.isfinite(error_budget(game, by).computing).all()
        assert told, f"credits that do not fit the dtype came as {credits}"
        return
    if isinstance(credits, Refused):
        raise AssertionError(f"credits that fit the dtype were refused: {credits.error}") from credits.error
    with np.errstate(all="ignore"):
        budget = error_budget(game, by)
    assert_within_budget(credits, truth, budget)


def size(game: Game, row: int) -> float:
    """What no worth, nor a number that it is added up from, is larger than: of one entry of the flattened batch."""
    if isinstance(game, sk.games.base.Combination):
        factors = [w if isinstance(w, float) else float(to_float64(w).reshape(-1)[row]) for w, _ in game.parts]
        return sum(abs(w) * size(part, row) for w, (_, part) in zip(factors, game.parts, strict=True))
    live = game.live_players(row)
    of_row = {name: _row(getattr(game, name), game, row) for name in game.arguments}
    return _size(game, live, of_row)


def _row(x: Any, game: Game, row: int) -> Any:
    if not hasattr(x, "shape"):
        return x
    return np.abs(to_float64(x).reshape(prod(game.batch_shape), *x.shape[len(game.batch_shape) :])[row])


def _size(game: Any, live: list[int], data: dict[str, Any]) -> float:
    n = len(live)
    if isinstance(game, OrderGame):
        weights = [np.abs(type(game).weights(k, *game.params)).sum() for k in range(1, n + 1)]
        return (2 + max(weights, default=0)) * max(data["rewards"][live].max(initial=0), abs(data["v_empty"]))
    if isinstance(game, sk.FacilityLocation | sk.Coverage):
        scores = data["scores" if "scores" in data else "covers"][live].max(initial=0)
        return float(scores * (data["weights"].sum() if data["weights"] is not None else 9))
    if isinstance(game, sk.Clusters):
        return n * float(data["rewards"][live].max(initial=0))
    if isinstance(game, sk.LogSum):
        return float(np.log1p(data["w"][live].sum() / game.base))
    if isinstance(game, sk.Pairwise):
        own = 0 if data["values"] is None else data["values"][live].sum()
        return float(data["w"][np.ix_(live, live)].sum(where=~np.eye(n, dtype=bool)) + own)
    if isinstance(game, sk.Volume):
        return float(np.prod(1 + data["kernel"][np.ix_(live, live)].sum(-1)))
    if isinstance(game, sk.Table):
        return float(data["values"].max(initial=0, where=np.isfinite(data["values"])))
    return float(getattr(game, "budget", 1))


def roundings(game: Game, row: int, factor: float, worth_rounded: bool = False) -> float:
    """So many roundings, of numbers of the size of a row's worths."""
    eps, quantum = PRECISION[dtype_name(game.dtype) if worth_rounded else compute_dtype(game.dtype)]
    with np.errstate(over="ignore"):
        return float(factor * (eps * size(game, row) + quantum))


def check_worth(game: Game, worth: Any, members: np.ndarray | None) -> None:
    """Against the definition in rational numbers; `members` bool [*batch, players], None: all."""
    if isinstance(worth, Refused):
        exact = [game.exact_worth(row)(frozenset(_chosen(game, row, members))) for row in range(prod(game.batch_shape))]
        assert not all(fits(x, game) for x in exact), f"worths that fit the dtype were refused: {worth.error}"
        return
    assert tuple(worth.shape) == game.batch_shape
    assert dtype_name(worth.dtype) == dtype_name(game.dtype)
    eps, quantum = PRECISION[dtype_name(game.dtype)]
    found = to_float64(worth).reshape(-1)
    for row in range(prod(game.batch_shape)):
        exact = game.exact_worth(row)(frozenset(_chosen(game, row, members)))
        allowed = roundings(game, row, 4 * game.players + 24)
        if isinstance(game, sk.Volume):
            largest = size(game, row)  # det of numpy is the exponential of a logarithm
            allowed = allowed * game.players + PRECISION["float64"][0] * largest * np.log1p(largest)
        if not fits(exact, game):
            assert np.isinf(found[row]), f"a worth that does not fit the dtype came as {found[row]}"
            continue
        assert np.isfinite(found[row]), f"worth {found[row]} of row {row}, not {float(exact)}: {game!r}"
        error = abs(Fraction(float(found[row])) - exact)
        assert error <= allowed + eps / 2 * (abs(float(exact)) + allowed) + quantum, (
            f"worth {found[row]} of row {row}, not {float(exact)}: {game!r}"
        )


def _chosen(game: Game, row: int, members: np.ndarray | None) -> list[int]:
    live = game.live_players(row)
    if members is None:
        return live
    inside = members.reshape(prod(game.batch_shape), game.players)[row]
    return [i for i in live if inside[i]]


def check_pairs(game: Game, index: str, pairs: Any) -> None:
    """Against 2^n enumeration, and symmetric in every bit."""
    assert tuple(pairs.shape) == (*game.batch_shape, game.players, game.players)
    assert dtype_name(pairs.dtype) == dtype_name(game.dtype)
    found = to_float64(pairs).reshape(prod(game.batch_shape), game.players, game.players)
    assert np.array_equal(found, found.swapaxes(-1, -2)), f"not symmetric: {found}"
    for row in range(prod(game.batch_shape)):
        exact = np.array([[float(x) for x in line] for line in exact_interactions(game, index, row)])
        exact = exact.reshape(game.players, game.players)
        allowed = roundings(game, row, 16 * game.players + 64, worth_rounded=True) * max(1, game.players)
        if any(isinstance(part, sk.LogSum) for _, part in game._parts()):  # the diagonal is an integral
            allowed += 1e-13 * size(game, row)
        error = np.abs(found[row] - exact)
        assert (error <= allowed).all(), f"{index} {found[row]}, not {exact}, of row {row} of {game!r}"
        dead = [i for i in range(game.players) if i not in game.live_players(row)]
        assert not found[row][dead].any()


def check_read(data: Sample, form: Form, game: Game) -> None:
    """The game holds the numbers that it was given."""
    name = next(iter(game.arguments))
    given = data.arrays[name]
    expected = form.numbers(given) if given.dtype.kind == "f" else given
    live = data._live(name)
    live = np.ones(given.shape, bool) if live is None else np.broadcast_to(live, given.shape)
    held = to_float64(getattr(game, name)).reshape(given.shape)
    assert np.array_equal(held[live], expected[live].astype(float)), f"{name} {given} were read as {held}"


def of_game(utility: Utility, rng: np.random.Generator) -> None:
    """One game: its credits in two backends, its worth, its interactions; and what becomes of it when it is spoiled."""
    form = Form.drawn(rng, integers=utility is not sk.Volume)
    data = batch(rng, utility, form)
    given = arguments(rng, data, form)
    game = serve(utility, **given)
    check_read(data, form, game)
    assert dtype_name(game.dtype) == form.result or data.arrays[next(iter(game.arguments))].dtype.kind != "f"
    ask(rng, game)
    broken = spoiled(rng, {**given, "mask": given.get("mask")})
    if not isinstance(game := attempt(utility, **broken), Refused):
        ask_hostile(rng, game)


def ask(rng: np.random.Generator, game: Game) -> None:
    """Credits, worth and interactions of a game whose data are finite."""
    by, backend = value(rng, game.players), pick(rng, ("auto", "numba", "torch"))
    truth = exact_semivalue(game, by)
    judge(game, by, attempt(sk.semivalue, game, by, backend=backend), truth)
    if isinstance(by, sk.Shapley):
        judge(game, by, attempt(sk.shapley, game), truth)
    members = rng.random((*game.batch_shape, game.players)) < 0.6
    chosen = game.ops.array_like(members, game.data, game.ops.dtype("bool"))
    check_worth(game, attempt(game.worth, chosen), members)
    check_worth(game, attempt(game.worth), None)
    if game.players <= 4 and chance(rng, 0.3):
        index = pick(rng, ("SII", "BII", "STII"))
        pairs = attempt(sk.interactions, game, index, backend=pick(rng, ("auto", "torch")))
        if isinstance(pairs, Refused):
            fitting = fits(exact_interactions(game, index), game)
            assert not fitting, f"interactions that fit the dtype were refused: {pairs.error}"
        else:
            check_pairs(game, index, pairs)


def finite(game: Game) -> bool:
    constants = [x for x in (getattr(game, name) for name in game.arguments) if isinstance(x, float)]
    return bool(np.isfinite(constants).all()) and not to_float64(game.bad_rows()).any()


def ask_hostile(rng: np.random.Generator, game: Game) -> None:
    """A game whose data may be anything that was not refused."""
    by, backend = value(rng, min(game.players, 20)), pick(rng, ("auto", "auto", "numba", "torch"))
    nan = pick(rng, (None, "raise", "propagate"))
    credits = attempt(sk.semivalue, game, by, backend=backend, nan=nan)
    worth = attempt(game.worth)
    small = game.players <= SMALL and prod(game.batch_shape) <= 8
    with np.errstate(all="ignore"):
        sound = all(finite(part) for _, part in game._parts())
    if sound and small and not isinstance(credits, Refused):
        judge(game, by, detached(credits))
    elif isinstance(credits, Refused) and sound and small and isinstance(credits.error, OverflowError):
        judge(game, by, credits)
    if sound and small and not isinstance(worth, Refused):
        check_worth(game, detached(worth), None)
    if nan == "propagate" and small and not sound and not isinstance(credits, Refused):
        bad = to_float64(game.bad_rows()).reshape(-1) > 0
        found = to_float64(credits).reshape(len(bad), game.players)
        for row in range(len(found)):
            live = game.live_players(row)
            missing = np.isnan(found[row][live])
            assert missing.all() or not missing.any(), f"row {row} of {game!r}: {found[row]}"
            if live and missing.any() != bad[row]:
                beyond = not bad[row] and not fits(exact_semivalue(game, by, row=row), game)
                assert beyond, f"row {row} of {game!r}: {found[row]}"


def detached(x: Any) -> Any:
    return x.detach() if hasattr(x, "detach") else x


def of_sum(rng: np.random.Generator) -> None:
    """A weighted sum of two or three games, with numbers and arrays as weights, and with hostile ones."""
    form = Form.drawn(rng, integers=False)
    players, rows = pick(rng, (1, 2, 3, 3, 4)), pick(rng, (1, 2, 3))
    parts, mask = [], None
    for i in range(pick(rng, (2, 2, 3))):
        data = batch(rng, pick(rng, GAMES), form, players, rows, masked=i == 0)
        mask = data.mask if i == 0 else mask
        data = with_mask(data, mask).map(lambda x: form.placed(x) if x.dtype.kind in "fb" else as_labels(x, form))
        parts.append(serve(data.utility, **data.arrays, mask=data.mask, **data.others))
    game = None
    for part in parts:
        weight = pick(
            rng, (1, -1.0, 0.7, np.float32(0.5), Fraction(1, 3), form.placed(rng.integers(-8, 9, rows) / 8.0))
        )
        if isinstance(weight, list):
            weight = np.array(weight)
        term = serve(lambda g, w: pick(rng, (lambda: w * g, lambda: g * w))(), part, weight)
        game = term if game is None else serve(lambda a, b: a + b, game, term)
    ask(rng, game)
    wrong = hostile(rng)
    for operation in (game.__mul__, game.__rmul__, game.__add__, game.__sub__, game.__truediv__):
        found = attempt(operation, wrong, also=ZeroDivisionError)
        if isinstance(found, Game):
            ask_hostile(rng, found)


def as_labels(x: np.ndarray, form: Form) -> Any:
    return place(x, form.container, "int64")


def of_asked(function: Callable[..., Any], rng: np.random.Generator) -> None:
    """`shapley`, `semivalue` and `interactions` with options that are none."""
    game = sk.Max(rng.random((2, 3)))
    given = {"game": game, "backend": "auto", "nan": None}
    if function is sk.semivalue:
        given["value"] = sk.Shapley()
    if function is sk.interactions:
        given["index"] = "SII"
    for _ in range(4):
        attempt(function, **spoiled(rng, given))
    attempt(game.worth, hostile(rng))


def of_shapiq(rng: np.random.Generator) -> None:
    """`Table.from_shapiq` of arrays and mappings."""
    from itertools import combinations

    players = int(rng.integers(0, 5))
    sets = [s for k in range(players + 1) for s in combinations(range(players), k)]
    worths = rng.integers(-8, 9, len(sets)) / 8
    given = pick(rng, (worths, worths.tolist(), dict(zip(sets, worths.tolist(), strict=True))))
    table = serve(sk.Table.from_shapiq, given)
    for members, worth in zip(sets, worths, strict=True):
        assert table.values[sum(1 << i for i in members)] == worth
    attempt(sk.Table.from_shapiq, spoiled(rng, {"x": worths})["x"])
    attempt(
        sk.Table.from_shapiq, {pick(rng, (frozenset({0}), (0,), (5,), ("a",), 0, (0.0,), (-1,))): hostile(rng), (): 0.0}
    )


TARGETS: dict[str, Target] = {
    **{game.__name__: partial(of_game, game) for game in GAMES},
    "Game": of_sum,
    "shapley": partial(of_asked, sk.shapley),
    "semivalue": partial(of_asked, sk.semivalue),
    "interactions": partial(of_asked, sk.interactions),
    "Table.from_shapiq": of_shapiq,
}


@pytest.mark.parametrize("name", TARGETS)
def test_games(name: str) -> None:
    run(name, TARGETS[name])
