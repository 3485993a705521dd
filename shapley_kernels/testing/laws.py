"""The law book of credit: one function per law, of a subject (a backend of ours, or a stranger's function) and data.

A law raises `Broken`, which says what happened, on which data. `parametrize_with_checks` runs those that list samples
on ours, `check_axioms` those that hold `for_all` on samples of hypothesis; a new utility, value or backend is checked
by being listed.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from shapley_kernels import launch
from shapley_kernels.allocate import semivalue
from shapley_kernels.arrays import to_float64
from shapley_kernels.games import Clusters, DoubleMajority, Game, Max, Median
from shapley_kernels.testing.budget import assert_like_rewards, error_budget, gap_form
from shapley_kernels.testing.samples import Sample, family, place, rounded, sample
from shapley_kernels.testing.subjects import Broken, Ours, Raised, Subject, worths_of
from shapley_kernels.values import Semivalue, Shapley

PLAYERS = (1, 2, 3, 5)
"""Numbers of players that are enumerated."""

PAIRED = ((0, 3), (1, 2))
"""Draws of `sample`, with and without mask, v_empty per row and as one number: in turns, each of two with each; so that
`OWA` gets weights by size for 2, 3 and 5 players."""

MANY = ((33, 3), (70, 0))
"""Numbers of players beyond enumeration, and beyond the small sorts, and draws of `sample`."""

MANY_ROWS = 37
"""Several blocks and a rest, for a function that works on blocks of 2, 4, 8, 16 or 32 rows."""


@dataclass(frozen=True)
class Law:
    """A law, and what of ours it is checked on."""

    check: Callable[[Any, Sample], Any]
    on: tuple[tuple[int, ...], ...]
    """Arguments of `Ours.sample`."""
    values: str
    """With which values: "all", each in every dtype that is computed in; "pairs", each in some dtype; "one", for laws
    about arrays."""
    holds: Callable[[Ours], bool]
    for_all: bool
    """Whether it is one of strangers' functions too."""

    @property
    def name(self) -> str:
        return self.check.__name__.replace("_", " ")

    @property
    def sentence(self) -> str:
        return " ".join((self.check.__doc__ or "").split())


LAWS: list[Law] = []
"""In the order they are tried, so that the first one that breaks says most."""


def _law(
    on: Iterable[tuple[int, ...]] = (),
    values: str = "one",
    holds: Callable[[Ours], bool] = lambda subject: True,
    for_all: bool = True,
) -> Any:
    def register(check: Callable[[Any, Sample], Any]) -> Callable[[Any, Sample], Any]:
        LAWS.append(Law(check, tuple(on), values, holds, for_all))
        return check

    return register


def is_shapley(subject: Subject) -> bool:
    return isinstance(subject.value, Shapley)


def _far(a: np.ndarray, b: np.ndarray, allowed: Any = 0.0) -> int | None:
    """The first row where not |a - b| <= allowed; 0: where a bit differs, but NaN is as NaN."""
    with np.errstate(invalid="ignore"):
        near = (np.abs(a - b) <= allowed) | (a == b) | (np.isnan(a) & np.isnan(b))
    return None if near.all() else int(np.argwhere(~near)[0, 0])


def _again(
    subject: Subject, how: str, placed: Sample, shown: Sample, got: np.ndarray, nan: str | None = None
) -> np.ndarray:
    """The credits where they should be as before, which was `got`: an error breaks the law, on the data `shown`."""
    try:
        return to_float64(subject.run(placed, nan))
    except Exception as error:
        cause = (error.__cause__ if isinstance(error, Raised) else None) or error
        raise Broken(f"with {how} it raised {cause!r}", shown, got) from cause


def _stays(subject: Subject, how: str, changed: Sample, data: Sample, got: np.ndarray) -> None:
    """Credits of `changed` are those of `data`, which are `got`, in every bit."""
    credits = _again(subject, how, subject.placed(changed), changed, got)
    if (row := _far(credits, got)) is not None:
        raise Broken(f"with {how} it became {credits.tolist()}", data, got, row)


# -- laws of every allocation ------------------------------------------------------------------------------------------


def _formed(subject: Subject, placed: Sample, shown: Sample) -> np.ndarray:
    got = subject.run(placed)
    try:
        assert_like_rewards(got, placed.game())
    except AssertionError as error:
        raise Broken(str(error), shown, got) from None
    return to_float64(got)


@_law(on=[(3, 1), *((players, draw, rows) for players, rows in ((3, 0), (0, 2), (0, 0)) for draw in (0, 1))])
def form(subject: Subject, data: Sample) -> None:
    """credits are an array of the container, dtype, shape and device of the rewards"""
    _formed(subject, subject.placed(data), data)


@_law(on=[(6, 1)])
def inputs(subject: Subject, data: Sample) -> None:
    """the function leaves its inputs alone"""
    placed = subject.placed(data)
    given = {name: x for name, x in {**placed.arrays, "mask": placed.mask}.items() if hasattr(x, "shape")}
    before = {name: np.array(to_float64(x)) for name, x in given.items()}
    subject.run(placed)
    for name, x in given.items():
        if not np.array_equal(to_float64(x), before[name], equal_nan=True):
            raise Broken(f"{name} became {to_float64(x).tolist()}", data, None)


@_law(on=[(5, 1), (40, 0)])
def results(subject: Subject, data: Sample) -> None:
    """credits stay what they are when the function is called again"""
    got = subject.run(subject.placed(data))
    before = np.array(to_float64(got))
    subject.run(subject.placed(data.map(lambda x: 0 * x if x.dtype.kind == "f" else x)))
    if not np.array_equal(to_float64(got), before, equal_nan=True):
        raise Broken(f"with all numbers 0 in the next call they became {to_float64(got).tolist()}", data, before)
    again = subject.credits(data)
    if np.isfinite(before).all() and _far(again, before, subject.drift(data)) is not None:
        raise Broken(f"on the same data again they are {again.tolist()}", data, before)


@_law()
def completeness(subject: Subject, data: Sample) -> np.ndarray:
    """every player is given a finite credit"""
    got = subject.credits(data)
    if not np.isfinite(got).all():
        i = np.argwhere(~np.isfinite(got))[0].tolist()
        raise Broken(f"no credit at {i}", data, got, i[0])
    return got


@_law(on=[(3, 1), (33, 1)])
def masked_players(subject: Subject, data: Sample) -> None:
    """masked players get exactly 0, and what stands there does not matter"""
    if data.mask is None:
        return
    got = subject.credits(data.at_masked(0.0))
    if (got[~data.mask] != 0).any():
        raise Broken("a masked player got credit", data, got)
    for poison in (1.0, np.nan, np.inf, -np.inf, float(rounded(np.array(60000.0), subject.dtype))):
        _stays(subject, f"{poison} at the masked players", data.at_masked(poison), data, got)


@_law(on=[(5, 1)])
def layout(subject: Subject, data: Sample) -> None:
    """it does not matter how the inputs lie in memory"""
    placed = subject.placed(data)
    got = np.array(to_float64(subject.run(placed)))
    same_launch = isinstance(subject.utility, type) or not isinstance(subject, Ours)
    allowed = subject.drift(data) if same_launch else 2 * subject.allowed(data, got)  # sums convert what they merge
    for how, view in subject.layouts().items():
        viewed = placed.map(lambda x: view(x) if len(x.shape) > 1 else x)  # noqa: B023, it is called at once
        credits = _again(subject, how, viewed, data, got)
        if _far(credits, got, allowed) is not None:
            raise Broken(f"with {how} it became {credits.tolist()}", data, got)


@_law(on=[(9, 0), (20, 1)])
def independence_of_rows(subject: Subject, data: Sample) -> None:
    """a row's credits depend on that row alone"""
    got, allowed = subject.credits(data), np.broadcast_to(subject.drift(data), data.shape)
    for i in {0, len(got) // 2, len(got) - 1}:
        alone = subject.credits(data.rows(slice(i, i + 1)))
        if _far(alone, got[i : i + 1], allowed[i]) is not None:
            raise Broken(f"row {i} by itself gets {alone[0].tolist()}", data, got)
    index, how = np.arange(MANY_ROWS) % len(got), f"these rows repeated to {MANY_ROWS}"
    credits = _again(subject, how, subject.placed(data.rows(index)), data, got)
    if (row := _far(credits, got[index], allowed[index])) is not None:
        raise Broken(f"with {how}, row {row} gets {credits[row].tolist()}", data, got)
    rows = np.flatnonzero(data.live.any(-1))
    for name in data.float_arrays() if len(rows) > 1 else ():
        for poison in subject.poisons:
            _nonfinite_stays(subject, data, name, int(rows[len(rows) // 2]), poison, got, allowed)


def _nonfinite_stays(
    subject: Subject, data: Sample, name: str, row: int, poison: float, got: np.ndarray, allowed: np.ndarray
) -> None:
    """A live number that is not finite touches no other row, and makes its own NaN where ours are told to propagate."""
    spoilt, how = data.with_entry(name, data.live_entry(name, row), poison), f"{poison} in row {row}"
    how = how.replace("nan", "NaN")
    try:
        credits = _again(subject, how, subject.placed(spoilt), data, got, "propagate")
    except Broken as broken:
        if isinstance(broken.__cause__, ValueError) and not isinstance(subject, Ours):
            return  # refusing is right as well
        raise
    expected = np.array(got)
    expected[row] = np.where(data.live[row], np.nan, got[row]) if isinstance(subject, Ours) else credits[row]
    if _far(credits, expected, allowed) is not None:
        raise Broken(f"with {how} of {name} it became {credits.tolist()}", data, got)


@_law(on=[(1, 1), (3, 1), (5, 0)], values="pairs", holds=is_shapley)
def efficiency(subject: Subject, data: Sample) -> None:
    """the credits of a row sum to v(all) - v(empty)"""
    got, allowed = completeness(subject, data), subject.allowed(data, _floats(subject.truth(data), data)).sum(axis=-1)
    for row, (_, table) in enumerate(worths_of(data)):
        total, expected = sum(map(Fraction, got[row].tolist())), table[-1] - table[0]
        if abs(total - expected) > Fraction(float(allowed[row])):
            raise Broken(f"row {row} sums to {float(total):g}, v(all) - v(empty) is {float(expected):g}", data, got)


def _floats(truth: list[list[Fraction]], data: Sample) -> np.ndarray:
    return np.array([[float(x) for x in row] for row in truth]).reshape(data.shape)


@_law(on=[(2, 1), (5, 0), (40, 1)], values="pairs")
def symmetry(subject: Subject, data: Sample) -> None:
    """players with equal data get equal credit"""
    players = data.shape[1]
    twin = np.sort(np.random.default_rng(players).integers(0, max(players // 2, 1), players))
    twins = data.players(twin)
    got = subject.credits(twins)
    allowed = np.broadcast_to(subject.slack(twins, got), got.shape)
    for i in np.flatnonzero(np.diff(twin) == 0):
        both = twins.live[:, [i]]
        if (
            row := _far(np.where(both, got[:, [i]], 0), np.where(both, got[:, [i + 1]], 0), allowed[:, [i]])
        ) is not None:
            raise Broken(f"players {i} and {i + 1} of row {row} get {got[row, i : i + 2].tolist()}", twins, got, row)


@_law(on=[(1, 0), (2, 1), (3, 0), (3, 1)], values="pairs")
def null_player(subject: Subject, data: Sample) -> None:
    """a player who adds nothing to any set gets nothing"""
    got, allowed = subject.credits(data), subject.allowed(data)
    for row, (live, table) in enumerate(worths_of(data)):
        for t, i in enumerate(live):
            adds = any(table[s] != table[s | 1 << t] for s in range(len(table)) if not s >> t & 1)
            if not adds and not abs(got[row, i]) <= allowed[row, i]:
                raise Broken(f"player {i} of row {row} adds nothing and gets {got[row, i]:g}", data, got, row)


@_law(on=[(2, 0), (5, 1), (40, 3)], values="pairs")
def relabelling(subject: Subject, data: Sample) -> None:
    """renaming the players renames the credits"""
    got, backwards = subject.credits(data), data.players(np.arange(data.shape[1])[::-1])
    renamed = subject.credits(backwards)
    if (row := _far(renamed, got[:, ::-1], subject.slack(backwards, renamed))) is not None:
        raise Broken(f"with the players in reverse order it is {renamed.tolist()}", data, got, row)


@_law()
def additivity(subject: Subject, data: Sample) -> None:
    """of two games whose rewards are ordered alike, the credits of the sum are the sum of the credits"""
    got, rewards, c = subject.credits(data), data.arrays["rewards"], data.arrays["v_empty"]
    capped = np.minimum(rewards, rewards.mean(axis=-1, keepdims=True))
    credits = subject.credits(data.with_arrays(rewards=rewards + capped, v_empty=2 * c))
    expected = got + subject.credits(data.with_arrays(rewards=capped))
    if _far(credits, expected, 4 * subject.allowed(data)) is not None:
        raise Broken(f"adding min(rewards, their mean) gives {credits.tolist()}", data, got)


@_law()
def definition(subject: Subject, data: Sample) -> None:
    """the credits are the mean marginal contributions"""
    got = subject.credits(data)
    if _far(got, _floats(subject.truth(data), data), subject.allowed(data)) is not None:
        raise Broken("they are not", data, got)


@_law(on=[(players, draw) for i, players in enumerate(PLAYERS) for draw in PAIRED[i % 2]], values="all")
def accuracy(subject: Subject, data: Sample) -> None:
    """the rounding error is within its bound"""
    _accurate(subject, data, subject.truth(data))


def _accurate(subject: Subject, data: Sample, truth: list[list[Fraction]]) -> None:
    got = completeness(subject, data)
    error, allowed, unit = subject.errors(data, got, truth)
    if not (error <= allowed).all():
        i = tuple(map(int, np.unravel_index((error - allowed).argmax(), error.shape)))
        raise Broken(f"{error[i]:.3g} at {list(i)}, {unit} is {allowed[i]:.3g}", data, got, i[0])


# -- laws of ours alone ------------------------------------------------------------------------------------------------


@_law(on=MANY, values="pairs", holds=lambda subject: subject.is_order, for_all=False)
def equals_gap_formula(subject: Ours, data: Sample) -> None:
    """rows too long to enumerate are within the budget of the gap formula in rational arithmetic"""
    _accurate(subject, *_gap_truth(data, subject.value))


@lru_cache(maxsize=4096)
def _gap_truth(data: Sample, value: Semivalue) -> tuple[Sample, list[list[Fraction]]]:
    """Some rows, and their credits."""
    rows = data.rows(slice(1 if data.mask is not None else 0, None, 3))
    return rows, [gap_form(rows.game(), value, row) for row in range(rows.shape[0])]


def _is_not_the_reference(subject: Ours) -> bool:
    reference = find_spec("torch") is not None
    return reference and not subject.is_order and (subject.backend, subject.dtype) != ("torch", "float64")


@_law(on=[(*many, 3) for many in MANY], values="pairs", holds=_is_not_the_reference, for_all=False)
def equals_reference(subject: Ours, data: Sample) -> None:
    """rows too long to enumerate are within the budgets of the torch reference in float64"""
    truth, bound = _reference(data, subject.value)
    got = subject.credits(data)
    if (row := _far(got, truth, subject.allowed(data, truth) + bound)) is not None:
        raise Broken(f"the reference gives {truth.tolist()}", data, got, row)


@lru_cache(maxsize=4096)
def _reference(data: Sample, value: Semivalue) -> tuple[np.ndarray, np.ndarray]:
    """Its credits, and their budget."""
    game = data.placed("torch", "float64").game()
    truth = to_float64(semivalue(game, value, backend="torch"))
    return truth, error_budget(game, value).at(truth)


@_law(on=[(3, 1), (6, 2)], values="pairs", for_all=False)
def sums_of_games(subject: Ours, data: Sample) -> None:
    """credits of a weighted sum of games are that sum of their credits, within the budgets of both sides: numbers and
    [batch] arrays as weights, on the same data (merged) and on other data"""
    placed = subject.placed(data)
    where = subject.container, subject.dtype, subject.device
    second = sample(Max, subject.dtype, data.shape[1], 8).at_masked(0.0).arrays["rewards"]
    other = place(second, *where)
    same = placed.arrays if subject.is_order else {"rewards": other, "v_empty": -0.5}
    factors = [(0.7, -0.3), (place(np.resize([0.5, -1.25, 2.0], data.shape[0]), *where), 1.0)]
    merged = Median(same["rewards"], mask=placed.mask, v_empty=same["v_empty"])
    beside = Max(other, mask=placed.mask, v_empty=0.25)
    # each kind of weights with each kind of data, on samples of an odd number of players and of an even one
    for added, (a, b) in zip((merged, beside), factors[:: 1 if data.shape[1] % 2 else -1], strict=True):
        game = placed.game()
        _is_sum(subject, data, a * game + b * added, [(a, game), (b, added)])


def _is_sum(subject: Ours, data: Sample, total: Game, parts: list[tuple[Any, Game]]) -> None:
    expected, allowed = np.zeros(1), np.zeros(1)
    for weight, game in parts:
        factor = weight if isinstance(weight, float) else to_float64(weight)[:, None]
        credits = to_float64(semivalue(game, subject.value, backend=subject.backend))
        expected = expected + factor * credits
        own_rounding = 2.0**-51 * np.abs(credits)  # of the sum below
        allowed = allowed + np.abs(factor) * (error_budget(game, subject.value).at(credits) + own_rounding)
    allowed = allowed + error_budget(total, subject.value).at(expected)
    got = semivalue(total, subject.value, backend=subject.backend)
    assert_like_rewards(got, total)
    if (row := _far(to_float64(got), expected, allowed)) is not None:
        raise Broken(f"{total!r}: its parts give {expected.tolist()}", data, got, row)


def _shifts(subject: Ours) -> bool:
    """v(r + a, c + a) - v(r, c) is the same for all coalitions, the empty one included (C = 0)."""
    if not subject.is_order:
        return False
    for players in (1, 4):
        data = sample(subject.utility, "float64", players, 0, 1)
        worth = data.with_arrays(rewards=np.ones((1, players)), v_empty=1.0).game().exact_worth(0)
        if len({worth(frozenset(range(size))) for size in range(players + 1)}) > 1:
            return False
    return True


WIDE = [(players, 0, 5) for players in (1, 4, 40)]


@_law(on=WIDE, values="pairs", holds=_shifts, for_all=False)
def shift(subject: Ours, data: Sample) -> None:
    """where a constant added to all rewards and v_empty adds one constant to all worths, it changes no bit of a
    credit"""
    rng, (rows, players) = np.random.default_rng(2), data.shape
    rewards, v_empty = rng.integers(-8, 9, (rows, players)).astype(float), rng.integers(-8, 9, rows).astype(float)
    plain = data.with_arrays(rewards=rewards, v_empty=v_empty)
    got = subject.credits(plain)
    for offset in (100.0, -100.0):
        shifted = plain.with_arrays(rewards=rewards + offset, v_empty=v_empty + offset)
        _stays(subject, f"{offset} added", shifted, plain, got)


@_law(on=WIDE, values="pairs", holds=lambda subject: bool(family(subject.utility).scales), for_all=False)
def scaling(subject: Ours, data: Sample) -> None:
    """positive multiples of the data multiply the credits: twice bitwise, three times within the budgets"""
    one, rng = data, np.random.default_rng(3)
    scales = [name for name in family(subject.utility).scales if name in data.arrays]
    for name in scales:  # to integers and quarters, which can be tripled exactly in every dtype
        x = data.arrays[name]
        one = one.with_arrays(**{name: rng.integers(-20, 21, x.shape) * 1.0 if subject.is_order else np.round(4 * x)})
    two, three = (one.with_arrays(**{name: by * one.arrays[name] for name in scales}) for by in (2, 3))
    if not scales:  # optional arrays, left out in this sample
        return
    single, doubled, tripled = (subject.credits(data) for data in (one, two, three))
    normal = np.abs(single) >= 2.0**-14  # below, float16 rounds to a fixed quantum
    if _far(doubled[normal], 2 * single[normal]) is not None:
        raise Broken(f"doubled data give {doubled.tolist()}", one, single)
    if _far(tripled, 3 * single, 3 * subject.allowed(one, single) + subject.allowed(three, tripled)) is not None:
        raise Broken(f"tripled data give {tripled.tolist()}", one, single)


@_law(on=[(5, 1), (3, 1, 0)], for_all=False)
def batches(subject: Ours, data: Sample) -> None:
    """batches of any shape, and games without batch axes, give the credits of their rows"""
    placed, rows = subject.placed(data), data.shape[0]
    got = to_float64(subject.run(placed))
    split = _formed(subject, placed.map(lambda x: x.reshape(2, rows // 2, *x.shape[1:])), data)
    if _far(split.reshape(got.shape), got) is not None:
        raise Broken(f"a batch of shape [2, {rows // 2}] gives {split.tolist()}", data, got)
    if rows:
        single = _formed(subject, placed.map(lambda x: x[0]), data)
        converted = not isinstance(subject.utility, type)  # sums convert what they merge
        if _far(single, got[0], 2 * subject.allowed(data, got)[0] if converted else 0.0) is not None:
            raise Broken(f"row 0 without batch axis gives {single.tolist()}", data, got)


@_law(on=[(4, 0)], holds=lambda subject: bool(subject.sample(3, 0).float_arrays()), for_all=False)
def nonfinite_raises(subject: Ours, data: Sample) -> None:
    """nan="raise", and on the CPU by default: a ValueError that names the first bad entry"""
    for name in data.float_arrays():
        first, second = data.live_entry(name, 2), data.live_entry(name, 4)
        bad = subject.placed(data.with_entry(name, first, np.nan).with_entry(name, second, np.inf))
        for nan in ("raise",) if subject.device != "cpu" else ("raise", None):
            message = "nothing"
            try:
                subject.run(bad, nan)
            except ValueError as error:
                message = str(error)
            if str(list(first)) not in message:
                raise Broken(f"non-finite data at {list(first)} raised {message}", data, None)


@_law(on=[(1, 0), (5, 1), (40, 0)], for_all=False)
def every_element_is_written(subject: Ours, data: Sample) -> None:
    """the kernels overwrite all of a poisoned `out`"""
    find, ran = launch.kernel, []

    def poisoned(primitive: str, backend: str) -> Any:
        module = find(primitive, backend)

        def watched(work: Any) -> Any:
            def run(*arguments: Any, **form: Any) -> Any:
                out = arguments[-1]
                out[:] = np.nan
                result = work(*arguments, **form)
                unwritten = np.argwhere(np.isnan(to_float64(out)))
                if len(unwritten):
                    raise Broken(f"{primitive}: {unwritten[0].tolist()} was not written", data, out)
                ran.append(primitive)
                return result

            return run

        def bound(*how: Any, **form: Any) -> Any:
            work = getattr(module, "bound", lambda *_, **__: None)(*how, **form)
            return None if work is None else watched(work)

        return SimpleNamespace(run=watched(module.run), bound=bound, MAX_PLAYERS=getattr(module, "MAX_PLAYERS", None))

    with patch.dict(launch.RUNS, clear=True), patch.object(launch, "kernel", poisoned):
        for _ in range(2):  # the second call may go straight to its kernel
            subject.credits(data)
    if not ran and subject.utility not in (Clusters, DoubleMajority):  # which may count, and need none
        raise Broken("no kernel ran", data, None)
