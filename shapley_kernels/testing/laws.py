"""The laws of credit: one function per law, each on one subject (a utility, a value, a backend, a dtype).

A law raises an AssertionError that says what broke and shows the data. `parametrize_with_checks` runs all of them under
pytest; a new utility, value or backend is checked by being listed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

from shapley_kernels import launch
from shapley_kernels.allocate import semivalue
from shapley_kernels.arrays import numbers
from shapley_kernels.games import Game, Max, Median, OrderGame
from shapley_kernels.testing._deps import unavailable
from shapley_kernels.testing.budget import assert_like_rewards, assert_within_budget, error_budget, gap_form
from shapley_kernels.testing.exact import share, worth_table
from shapley_kernels.testing.samples import Sample, example, family, make, place, rounded
from shapley_kernels.testing.subjects import MANY, PLAYERS, Subject, truth_of, worths_of
from shapley_kernels.values import Shapley


@dataclass(frozen=True)
class Law:
    """A law, and on which subjects it is checked."""

    name: str
    check: Callable[[Subject], None]
    each_value: bool
    """False: it is about arrays, one value will do."""
    holds: Callable[[Subject], bool]


LAWS: list[Law] = []


def _law(*, each_value: bool = False, holds: Callable[[Subject], bool] = lambda subject: True) -> Any:
    def register(check: Callable[[Subject], None]) -> Callable[[Subject], None]:
        LAWS.append(Law(check.__name__, check, each_value, holds))
        return check

    return register


def _same(a: np.ndarray, b: np.ndarray, what: str) -> None:
    """Bitwise equality of credits (NaN equal to NaN)."""
    differs = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if differs.any():
        where = tuple(int(i[0]) for i in differs.nonzero())
        raise AssertionError(f"{what}: {a[where]!r} and {b[where]!r} at {list(where)} ({differs.sum()} differ)")


def _close(a: np.ndarray, b: np.ndarray, allowed: Any, what: str) -> None:
    """|a - b| <= allowed everywhere; NaN is never close."""
    far = ~(np.abs(a - b) <= allowed)
    if far.any():
        where = tuple(int(i[0]) for i in far.nonzero())
        limit = np.broadcast_to(allowed, a.shape)[where]
        raise AssertionError(f"{what}: {a[where]!r} and {b[where]!r} at {list(where)}, allowed {limit!r}")


def _row(game: Game, row: int) -> str:
    data = numbers(game.data).reshape(game.batch_shape[0], -1)[row].tolist()
    return f"row {row} with data {data}, live {game.live_players(row)}"


def _is_order(subject: Subject) -> bool:
    return issubclass(family(subject.utility), OrderGame)


@_law(each_value=True)
def equals_enumeration(subject: Subject) -> None:
    """Every credit is within the error budget of the 2^n enumeration, masked players and empty rows included."""
    for players in PLAYERS:
        for draw in range(4):
            game = subject.game(subject.sample(players, draw))
            truth = truth_of(subject.utility, subject.value, subject.dtype, players, draw)
            assert_within_budget(subject.credits(game), truth, error_budget(game, subject.value))


@_law(each_value=True, holds=_is_order)
def equals_gap_formula(subject: Subject) -> None:
    """Rows too long to enumerate are within the budget of the gap formula in rational arithmetic."""
    for players in MANY:
        for draw in (0, 3):
            rows = slice(1, None, 3) if draw else slice(0, None, 3)
            game = subject.game(subject.sample(players, draw).rows(rows))
            truth = [gap_form(game, subject.value, row) for row in range(game.batch_shape[0])]
            assert_within_budget(subject.credits(game), truth, error_budget(game, subject.value))


def _is_not_the_reference(subject: Subject) -> bool:
    reference = unavailable("torch") is None
    return reference and not _is_order(subject) and (subject.backend, subject.dtype) != ("torch", "float64")


@_law(each_value=True, holds=_is_not_the_reference)
def equals_reference(subject: Subject) -> None:
    """Rows too long to enumerate are within the budgets of the torch reference in float64."""
    for players in MANY:
        for draw in (0, 3):
            data = subject.sample(players, draw).rows(slice(3))
            truth_game = data.placed("torch", "float64").game()
            truth = numbers(semivalue(truth_game, subject.value, backend="torch"))
            allowed = subject.budget(data, truth) + error_budget(truth_game, subject.value).at(truth)
            _close(subject.values(data), truth, allowed, f"{players} players and the reference")


@_law(each_value=True)
def symmetry(subject: Subject) -> None:
    """Equal players get equal credit, however long the row: bitwise where rewards are compared."""
    rng = np.random.default_rng(0)
    for players in (2, 5, 40):
        players = subject.most(players)
        data = subject.sample(players, 0, 6)
        if players != 5:
            data = _masked(data, rng)
        twin = np.sort(rng.integers(0, max(players // 2, 1), players))
        twins = data.players(twin)
        credits = subject.values(twins)
        allowed = 0.0 if subject.bitwise else 2 * subject.budget(twins, credits)
        live = np.ones(credits.shape, bool) if twins.mask is None else twins.mask
        for i in range(1, players):
            if twin[i] == twin[i - 1]:
                both = live[:, i] & live[:, i - 1]
                bound = np.broadcast_to(allowed, credits.shape)[both, i]
                _close(credits[both, i], credits[both, i - 1], bound, f"twins {i - 1} and {i} of {players} players")


def _masked(data: Sample, rng: np.random.Generator) -> Sample:
    """With a random mask."""
    rows, players = data.shape
    return Sample(data.utility, data.arrays, rng.random((rows, players)) < 0.8, data.others)


@_law(each_value=True)
def null_player(subject: Subject) -> None:
    """A player who adds nothing to any coalition gets 0, within the budget."""
    seen = 0
    for players in PLAYERS[:-1]:
        for draw in (0, 1):
            data = subject.sample(players, draw)
            game, credits = subject.game(data), subject.values(data)
            allowed = subject.budget(data, np.zeros_like(credits))
            for row, (live, table) in enumerate(worths_of(subject.utility, subject.dtype, players, draw)):
                for t, i in enumerate(live):
                    without = [s for s in range(len(table)) if not s >> t & 1]
                    if all(table[s] == table[s | 1 << t] for s in without):
                        seen += 1
                        assert abs(credits[row, i]) <= allowed[row, i], (
                            f"null player {i} got {credits[row, i]}: {_row(game, row)}"
                        )
    assert seen, "no example has a null player"


def _is_shapley(subject: Subject) -> bool:
    return isinstance(subject.value, Shapley)


@_law(each_value=True, holds=_is_shapley)
def efficiency(subject: Subject) -> None:
    """Shapley credits of a row sum to v(all) - v(empty), within the sum of their budgets."""
    for players in PLAYERS:
        for draw in range(4):
            data = subject.sample(players, draw)
            worths = worths_of(subject.utility, subject.dtype, players, draw)
            truth = truth_of(subject.utility, subject.value, subject.dtype, players, draw)
            exact = np.array([[float(x) for x in row] for row in truth])
            game, allowed = subject.game(data), subject.budget(data, exact).sum(axis=-1)
            credits = numbers(subject.credits(game))
            for row, (_, table) in enumerate(worths):
                total, expected = sum(Fraction(float(x)) for x in credits[row]), table[-1] - table[0]
                assert abs(total - expected) <= Fraction(allowed[row]), (
                    f"credits {credits[row]} sum to {float(total)}, not to {float(expected)}: {_row(game, row)}"
                )


@_law(each_value=True)
def additivity(subject: Subject) -> None:
    """Credits of a weighted sum of games are that sum of their credits, within the budgets of both sides: numbers and
    [batch] arrays as weights, on the same data (merged) and on other data."""
    for players, draw in ((1, 0), (3, 1), (6, 2)):
        data = subject.placed(subject.sample(players, draw))
        other = example(subject.dtype, players, draw + 8)
        rewards = place(np.where(np.isnan(other.rewards), 0.0, other.rewards), *_where(subject))
        same = data.arrays if _is_order(subject) else {"rewards": rewards, "v_empty": -0.5}
        weights = place(np.resize([0.5, -1.25, 2.0], data.shape[0]), *_where(subject))
        others = (make(Median, same["rewards"], data.mask, same["v_empty"]), make(Max, rewards, data.mask, 0.25))
        for added in others:
            for a, b in ((0.7, -0.3), (weights, 1.0)):
                game = data.game()
                _is_sum(subject, a * game + b * added, [(a, game), (b, added)])


def _where(subject: Subject) -> tuple[str, str, str]:
    return subject.container, subject.dtype, subject.device


def _is_sum(subject: Subject, total: Game, parts: list[tuple[Any, Game]]) -> None:
    expected, allowed = np.zeros(1), np.zeros(1)
    for weight, game in parts:
        factor = weight if isinstance(weight, float) else numbers(weight)[:, None]
        credits = numbers(subject.credits(game))
        expected = expected + factor * credits
        own_rounding = 2.0**-51 * np.abs(credits)  # of the sum below
        allowed = allowed + np.abs(factor) * (error_budget(game, subject.value).at(credits) + own_rounding)
    allowed = allowed + error_budget(total, subject.value).at(expected)
    got = subject.credits(total)
    assert_like_rewards(got, total)
    _close(numbers(got), expected, allowed, f"the credits of {total!r} and the sum of those of its parts")


@_law(each_value=True)
def relabelling(subject: Subject) -> None:
    """Renaming the players renames the credits: bitwise where rewards are sorted."""
    rng = np.random.default_rng(1)
    for players, draw in ((2, 0), (5, 1), (40, 3)):
        data = subject.sample(players, draw)
        order = rng.permutation(data.shape[1])
        before, after = subject.values(data)[:, order], subject.values(data.players(order))
        allowed = 0.0 if subject.bitwise else 2 * subject.budget(data.players(order), before)
        _close(after, before, allowed, "credits before and after relabelling the players")


@_law(each_value=True)
def one_player(subject: Subject) -> None:
    """A single player gets w_0 (v(i) - v(empty)), alone in its row or the only one that is live."""
    alone = subject.sample(1, 2)
    second = np.broadcast_to(np.arange(3) == 1, (alone.shape[0], 3))
    wide = subject.sample(3, 2)
    padded = Sample(wide.utility, wide.arrays, second, wide.others).at_masked(np.nan)
    for data, live in ((alone, [0]), (padded, [1])):
        game = subject.game(data)
        truth = []
        for row in range(data.shape[0]):
            credits = [Fraction(0)] * data.shape[1]
            credits[live[0]] = share(worth_table(game.exact_worth(row), live), subject.value)[0]
            truth.append(credits)
        assert_within_budget(subject.credits(game), truth, error_budget(game, subject.value))


def _shifts(subject: Subject) -> bool:
    """v(r + a, c + a) - v(r, c) is the same for all coalitions, the empty one included (C = 0)."""
    if not _is_order(subject):
        return False
    for players in (1, 4):
        game = make(subject.utility, np.ones((1, players)), None, 1.0)
        worth = game.exact_worth(0)
        if len({worth(frozenset(range(size))) for size in range(players + 1)}) > 1:
            return False
    return True


@_law(each_value=True, holds=_shifts)
def shift(subject: Subject) -> None:
    """Where a constant added to all rewards and v_empty adds one constant to all worths, it changes no bit of a
    credit."""
    rng = np.random.default_rng(2)
    for players in (1, 4, 40):
        rewards, v_empty = rng.integers(-8, 9, (5, players)).astype(float), rng.integers(-8, 9, 5).astype(float)
        plain = subject.sample(players, 0, 5).with_arrays(rewards=rewards, v_empty=v_empty)
        before = subject.values(plain)
        for offset in (100.0, -100.0):
            shifted = plain.with_arrays(rewards=rewards + offset, v_empty=v_empty + offset)
            _same(subject.values(shifted), before, f"credits after a shift by {offset}")


def _scales(subject: Subject) -> bool:
    return bool(family(subject.utility).scales)


@_law(each_value=True, holds=_scales)
def scaling(subject: Subject) -> None:
    """Positive multiples of the data multiply the credits: twice bitwise, three times within the budgets."""
    for players in (1, 4, 40):
        one = _small_integers(subject, players)
        scales = [name for name in family(subject.utility).scales if name in one.arrays]
        if not scales:  # optional arrays, left out in this sample
            continue
        two, three = (one.with_arrays(**{name: by * one.arrays[name] for name in scales}) for by in (2, 3))
        single, doubled, tripled = (subject.values(data) for data in (one, two, three))
        normal = np.abs(single) >= 2.0**-14  # below, float16 rounds to a fixed quantum
        _same(doubled[normal], 2 * single[normal], "credits of doubled data, and doubled credits")
        allowed = 3 * subject.budget(one, single) + subject.budget(three, tripled)
        _close(tripled, 3 * single, allowed, "credits of tripled data, and tripled credits")


def _small_integers(subject: Subject, players: int) -> Sample:
    """A sample whose arrays that scale can be tripled exactly in every dtype."""
    data, rng = subject.sample(players, 0, 5), np.random.default_rng(3)
    if _is_order(subject):
        integers = {name: rng.integers(-20, 21, data.arrays[name].shape) * 1.0 for name in ("rewards", "v_empty")}
        return data.with_arrays(**integers)
    scales = [name for name in family(subject.utility).scales if name in data.arrays]
    return data.with_arrays(**{name: np.round(4 * data.arrays[name]) for name in scales})


@_law()
def batch_invariance(subject: Subject) -> None:
    """A row's credits do not depend on the batch it stands in, bitwise: f(x)[i] == f(x[i:i+1])."""
    for players, draw in ((3, 1), (9, 0), (33, 1)):
        data = subject.sample(players, draw, 37)
        whole = subject.values(data)
        for part in (slice(0, 1), slice(5, 6), slice(36, 37), slice(11, 30)):
            found = subject.values(data.rows(part))
            _same(found, whole[part], f"rows {part} alone and in the batch")


@_law()
def determinism(subject: Subject) -> None:
    """The same call gives the same bits."""
    for players, draw in ((5, 1), (40, 0)):
        game = subject.game(subject.sample(players, draw))
        first = numbers(subject.credits(game)).copy()
        _same(numbers(subject.credits(game)), first, "the first and the second call")


@_law()
def empty_shapes(subject: Subject) -> None:
    """No rows or no players: a result of the same empty shape."""
    for rows, players in ((0, 3), (2, 0), (0, 0)):
        for draw in (0, 1):
            game = subject.game(subject.sample(players, draw, rows))
            credits = subject.credits(game)
            assert_like_rewards(credits, game)
            assert tuple(credits.shape) == (rows, players)
    none = subject.sample(3, 1, 0)
    game = subject.game(none.map(lambda x: x.reshape(2, 0, *x.shape[1:])))
    assert_like_rewards(subject.credits(game), game)


@_law()
def layout(subject: Subject) -> None:
    """Strided, reversed, transposed, read-only, byte-swapped and otherwise shaped inputs give the credits of a plain
    copy: bitwise for one utility; for sums, which are one launch only on unconverted data, within the budget."""
    data = subject.sample(5, 1)
    placed = subject.placed(data)
    plain = numbers(subject.credits(placed.game()))
    allowed = np.zeros_like(plain) if isinstance(subject.utility, type) else 2 * subject.budget(data, plain)
    for name, view in views(subject.container).items():
        game = placed.map(partial(_viewed, view)).game()
        credits = subject.credits(game)
        assert_like_rewards(credits, game)
        _close(numbers(credits), plain, allowed, f"{name} and plain input")
    blocks = placed.map(lambda x: x.reshape(2, 4, *x.shape[1:])).game()
    _same(numbers(subject.credits(blocks)).reshape(8, 5), plain, "a batch of shape [2, 4] and one of shape [8]")
    single = numbers(subject.credits(placed.map(lambda x: x[0]).game()))
    assert single.shape == (5,)
    _close(single, plain[0], allowed[0], "a row without batch axis, and in a batch")


def _viewed(view: Callable[[Any], Any], x: Any) -> Any:
    return view(x) if len(x.shape) > 1 else x


def views(container: str) -> dict[str, Callable[[Any], Any]]:
    """Ways to lay out the same numbers, of two axes or more; each makes a copy with another layout."""
    if container == "torch":
        import torch

        return {
            "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
            "strided": lambda x: torch.stack([x, x], -1).flatten(-2)[..., ::2],
            "offset": lambda x: torch.cat([x[:1], x])[1:],
        }
    return {
        "Fortran-ordered": np.asfortranarray,
        "strided": lambda x: np.repeat(np.repeat(x, 2, 0), 3, -1)[::2, ..., ::3],
        "reversed": lambda x: np.ascontiguousarray(x[::-1, ..., ::-1])[::-1, ..., ::-1],
        "read-only": _read_only,
        "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder(">")),
    }


def _read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


@_law()
def inputs_unmodified(subject: Subject) -> None:
    """The arrays are as they were."""
    placed = subject.placed(subject.sample(6, 1))
    before = placed.map(lambda x: numbers(x).copy())
    subject.credits(placed.game())
    for x, old in zip((*placed.arrays.values(), placed.mask), (*before.arrays.values(), before.mask), strict=True):
        _same(np.asarray(numbers(x)), np.asarray(old), "an input before and after the call")


@_law()
def masked_players(subject: Subject) -> None:
    """Masked players get exactly 0, and what stands there is never read: NaN, infinities and huge numbers change no
    bit."""
    for players in (3, 40):
        data = subject.sample(players, 1)
        plain = subject.values(data.at_masked(0.0))
        assert (plain[~data.mask] == 0).all(), f"masked players got {plain[~data.mask]}"
        for poison in (np.nan, np.inf, -np.inf, float(rounded(np.array(60000.0), subject.dtype))):
            _same(subject.values(data.at_masked(poison)), plain, f"{poison} and 0 at masked players")


def _has_floats(subject: Subject) -> bool:
    return bool(subject.sample(3, 0).float_arrays())


@_law(holds=_has_floats)
def nonfinite_stays_in_its_row(subject: Subject) -> None:
    """nan="propagate": NaN or infinity in data of live players makes the live players of that row NaN and touches no
    other row."""
    for players, draw in ((3, 0), (40, 1)):
        data = subject.sample(players, draw)
        live = np.ones(data.shape, bool) if data.mask is None else data.mask
        clean = subject.values(data)
        row = int(np.flatnonzero(live.any(-1))[2])
        expected = clean.copy()
        expected[row, live[row]] = np.nan
        for name in data.float_arrays():
            for bad in (np.nan, np.inf, -np.inf):
                found = subject.values(_with(data, name, {data.live_entry(name, row): bad}), "propagate")
                _same(found, expected, f"{name} {bad} in row {row}")


def _with(data: Sample, name: str, entries: dict[tuple[int, ...], float]) -> Sample:
    array = data.arrays[name].copy()
    for where, x in entries.items():
        array[where] = x
    return data.with_arrays(**{name: array})


@_law(holds=_has_floats)
def nonfinite_raises(subject: Subject) -> None:
    """nan="raise", and on the CPU by default: a ValueError that names the first bad entry."""
    data = subject.sample(4, 0)
    for name in data.float_arrays():
        first, second = data.live_entry(name, 2), data.live_entry(name, 4)
        bad = _with(data, name, {first: np.nan, second: np.inf})
        for nan in ("raise",) if subject.device != "cpu" else ("raise", None):
            _refused(partial(subject.values, bad, nan), str(list(first)))


def _refused(call: Callable[[], Any], where: str) -> None:
    message = None
    try:
        call()
    except ValueError as error:
        message = str(error)
    assert message is not None, f"non-finite data at {where} did not raise"
    assert where in message, f"the error does not name {where}: {message}"


@_law()
def every_element_is_written(subject: Subject) -> None:
    """The kernels overwrite all of a poisoned `out`."""
    find = launch.kernel
    ran = []

    def poisoned(primitive: str, backend: str) -> Any:
        module = find(primitive, backend)

        def run(*arguments: Any) -> Any:
            out = arguments[-1]
            out[:] = np.nan
            result = module.run(*arguments)
            unwritten = np.isnan(numbers(out))
            assert not unwritten.any(), f"{primitive}: {np.argwhere(unwritten)[0]} was not written"
            ran.append(primitive)
            return result

        return SimpleNamespace(run=run, MAX_PLAYERS=getattr(module, "MAX_PLAYERS", None))

    for players, draw in ((1, 0), (5, 1), (40, 0)):
        with patch.object(launch, "kernel", poisoned):
            subject.credits(subject.game(subject.sample(players, draw)))
    assert ran, "no kernel ran"
