"""The laws of credit: one function per law, each on one subject (a utility, a value, a backend, a dtype).

A law raises an AssertionError that says what broke and shows the data. `parametrize_with_checks` runs all of them under
pytest; a new utility, value or backend is checked by being listed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from typing import Any

import numpy as np

from shapley_kernels import dispatch
from shapley_kernels.allocate import semivalue
from shapley_kernels.arrays import compute_dtype, constant, is_torch
from shapley_kernels.games import Game, Max, Median, TopM
from shapley_kernels.testing.budget import assert_like_rewards, assert_within_budget, error_budget, gap_form
from shapley_kernels.testing.exact import share, worth_table
from shapley_kernels.testing.examples import Example, Utility, example, make, numbers, place, rounded
from shapley_kernels.values import (
    Banzhaf,
    BetaShapley,
    LeaveOneOut,
    Semivalue,
    Shapley,
    SizeWeights,
    Stratum,
)

PLAYERS = (1, 2, 3, 5)
"""Numbers of players that are enumerated."""

MANY = (33, 70)
"""Numbers of players beyond the small sorts, judged by the gap formula."""


def rising_weights(n: int) -> list[float]:
    """Size weights that grow with the size, for `SizeWeights`."""
    return [2 * (s + 1) / (n * (n + 1)) for s in range(n)]


VALUES: tuple[Semivalue, ...] = (
    Shapley(),
    Banzhaf(),
    Banzhaf(0.25),
    BetaShapley(4, 1),
    BetaShapley(0.5, 2),
    Stratum(2),
    LeaveOneOut(),
    SizeWeights(rising_weights),
)
"""At least one value of every kind."""


def difference(rewards: Any, mask: Any, v_empty: Any) -> Game:
    """0.7 TopM(2) - 0.3 Median on the same data: one launch."""
    return 0.7 * TopM(rewards, 2, mask=mask, v_empty=v_empty) - 0.3 * Median(rewards, mask=mask, v_empty=v_empty)


def weighted(rewards: Any, mask: Any, v_empty: Any) -> Game:
    """0.5 TopM(2) + w Max with w by batch entry where v_empty is: two launches then."""
    factor = -1.25 if isinstance(v_empty, float) else np.where(numbers(v_empty) > 0, 0.5, -1.25)
    if is_torch(rewards) and isinstance(factor, np.ndarray):
        factor = constant(factor, rewards, rewards.dtype)
    return 0.5 * TopM(rewards, 2, mask=mask, v_empty=v_empty) + factor * Max(rewards, mask=mask, v_empty=v_empty)


COMBINATIONS: tuple[Callable[..., Game], ...] = (difference, weighted)
"""Sums of games, to be checked as if they were one more utility."""


@dataclass(frozen=True)
class Subject:
    """What a law is checked on."""

    utility: Utility
    value: Semivalue
    backend: str
    container: str = "numpy"
    dtype: str = "float64"
    device: str = "cpu"

    def place(self, x: Any) -> Any:
        """float64 numpy data in the container and dtype of the subject; numbers and None stay."""
        return place(x, self.container, self.dtype, self.device) if isinstance(x, np.ndarray) else x

    def game(self, rewards: Any, mask: Any = None, v_empty: Any = 0.0, draw: int = 0) -> Game:
        return make(self.utility, self.place(np.asarray(rewards)), self.place(mask), self.place(v_empty), draw)

    def example(self, players: int, draw: int) -> tuple[Example, Game]:
        data = example(self.dtype, players, draw)
        return data, self.game(data.rewards, data.mask, data.v_empty, draw)

    def credits(self, game: Game, nan: str | None = None) -> Any:
        return semivalue(game, self.value, backend=self.backend, nan=nan)

    def values(
        self, rewards: Any, mask: Any = None, v_empty: Any = 0.0, draw: int = 0, nan: str | None = None
    ) -> np.ndarray:
        """The credits as float64 numpy."""
        return numbers(self.credits(self.game(rewards, mask, v_empty, draw), nan))


# -- the truth, kept: it is the same for all backends and containers -------------------------------------------------


@lru_cache(maxsize=4096)
def _worths(utility: Utility, dtype: str, players: int, draw: int) -> list[tuple[list[int], list[Fraction]]]:
    """Live players and worth table of each row of an example."""
    data = example(dtype, players, draw)
    game = make(utility, data.rewards, data.mask, data.v_empty, draw)
    rows = [game.live_players(row) for row in range(len(data.rewards))]
    return [(live, worth_table(game.exact_worth(row), live)) for row, live in enumerate(rows)]


@lru_cache(maxsize=16384)
def _truth(utility: Utility, value: Semivalue, dtype: str, players: int, draw: int) -> list[list[Fraction]]:
    credits = []
    for live, table in _worths(utility, dtype, players, draw):
        row = [Fraction(0)] * players
        for i, credit in zip(live, share(table, value), strict=True):
            row[i] = credit
        credits.append(row)
    return credits


# -- the laws --------------------------------------------------------------------------------------------------------


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


def _row(game: Game, row: int) -> str:
    rewards = numbers(game.data).reshape(-1, game.players)[row].tolist()
    return f"row {row} with rewards {rewards}, live {game.live_players(row)}"


@_law(each_value=True)
def equals_enumeration(subject: Subject) -> None:
    """Every credit is within the error budget of the 2^n enumeration, masked players and empty rows included."""
    for players in PLAYERS:
        for draw in range(4):
            _, game = subject.example(players, draw)
            truth = _truth(subject.utility, subject.value, subject.dtype, players, draw)
            assert_within_budget(subject.credits(game), truth, error_budget(game, subject.value))


@_law(each_value=True)
def equals_gap_formula(subject: Subject) -> None:
    """Rows too long to enumerate are within the budget of the gap formula in rational arithmetic."""
    for players in MANY:
        for draw in (0, 3):
            data = example(subject.dtype, players, draw)
            rows = slice(1, None, 3) if draw else slice(0, None, 3)
            mask = None if data.mask is None else data.mask[rows]
            v_empty = data.v_empty[rows] if isinstance(data.v_empty, np.ndarray) else data.v_empty
            game = subject.game(data.rewards[rows], mask, v_empty, draw)
            truth = [gap_form(game, subject.value, row) for row in range(game.batch_shape[0])]
            assert_within_budget(subject.credits(game), truth, error_budget(game, subject.value))


@_law(each_value=True)
def symmetry(subject: Subject) -> None:
    """Equal rewards get bitwise equal credit, however long the row."""
    rng = np.random.default_rng(0)
    for players in (2, 5, 40):
        rewards = rounded(rng.random(players // 2), subject.dtype)[rng.integers(0, players // 2, (6, players))]
        mask = None if players == 5 else rng.random(rewards.shape) < 0.8
        credits = subject.values(rewards, mask, 0.25)
        for row, found in enumerate(credits):
            for reward in np.unique(rewards[row]):
                tied = (rewards[row] == reward) & (True if mask is None else mask[row])
                shares = found[tied]
                assert (shares == shares[:1]).all(), f"players with reward {reward} of {rewards[row]} got {shares}"


@_law(each_value=True)
def null_player(subject: Subject) -> None:
    """A player who adds nothing to any coalition gets 0, within the budget."""
    seen = 0
    for players in PLAYERS[:-1]:
        for draw in (0, 1):
            _, game = subject.example(players, draw)
            allowed = error_budget(game, subject.value).at(np.zeros((game.batch_shape[0], players)))
            credits = numbers(subject.credits(game))
            for row, (live, table) in enumerate(_worths(subject.utility, subject.dtype, players, draw)):
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
            _, game = subject.example(players, draw)
            worths = _worths(subject.utility, subject.dtype, players, draw)
            truth = _truth(subject.utility, subject.value, subject.dtype, players, draw)
            exact = np.array([[float(x) for x in row] for row in truth])
            allowed = error_budget(game, subject.value).at(exact).sum(axis=-1)
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
        data, game = subject.example(players, draw)
        other_data = example(subject.dtype, players, draw + 8)
        other_rewards = np.where(np.isnan(other_data.rewards), 0.0, other_data.rewards)
        weights = np.resize([0.5, -1.25, 2.0], len(data.rewards))
        others = (
            make(Median, subject.place(data.rewards), subject.place(data.mask), subject.place(data.v_empty)),
            make(Max, subject.place(other_rewards), subject.place(data.mask), 0.25),
        )
        for other in others:
            for a, b in ((0.7, -0.3), (weights, 1.0)):
                _is_sum(subject, subject.place(a) * game + b * other, [(a, game), (b, other)])


def _is_sum(subject: Subject, total: Game, parts: list[tuple[Any, Game]]) -> None:
    expected, allowed = np.zeros(1), np.zeros(1)
    for weight, game in parts:
        factor = weight[:, None] if isinstance(weight, np.ndarray) else weight
        credits = numbers(subject.credits(game))
        expected = expected + factor * credits
        own_rounding = 2.0**-51 * np.abs(credits)  # of the sum below
        allowed = allowed + abs(factor) * (error_budget(game, subject.value).at(credits) + own_rounding)
    allowed = allowed + error_budget(total, subject.value).at(expected)
    got = subject.credits(total)
    assert_like_rewards(got, total)
    error = np.abs(numbers(got) - expected)
    row = int((error - allowed).max(axis=-1).argmax())
    assert (error <= allowed).all(), f"the sum got {numbers(got)[row]}, its parts {expected[row]}: {_row(total, row)}"


@_law(each_value=True)
def relabelling(subject: Subject) -> None:
    """Renaming the players renames the credits, bitwise."""
    rng = np.random.default_rng(1)
    for players, draw in ((2, 0), (5, 1), (40, 3)):
        data = example(subject.dtype, players, draw)
        order = rng.permutation(players)
        mask = None if data.mask is None else data.mask[:, order]
        before = subject.values(data.rewards, data.mask, data.v_empty, draw)
        after = subject.values(data.rewards[:, order], mask, data.v_empty, draw)
        _same(after, before[:, order], "credits before and after relabelling the players")


@_law(each_value=True)
def one_player(subject: Subject) -> None:
    """A single player gets w_0 (v(i) - v(empty)), alone in its row or the only one that is live."""
    rewards = rounded(np.array([[0.3], [-2.0], [0.0], [7.5]]), subject.dtype)
    v_empty = rounded(np.array([0.0, 0.7, -1.0, 7.5]), subject.dtype)
    game = subject.game(rewards, None, v_empty)
    truth = [share(worth_table(game.exact_worth(row), [0]), subject.value) for row in range(4)]
    assert_within_budget(subject.credits(game), truth, error_budget(game, subject.value))
    wide = np.where(np.arange(3) == 1, rewards, np.nan)
    game = subject.game(wide, np.broadcast_to(np.arange(3) == 1, wide.shape), v_empty)
    truth = [share(worth_table(game.exact_worth(row), [1]), subject.value) for row in range(4)]
    padded = [[Fraction(0), *row, Fraction(0)] for row in truth]
    assert_within_budget(subject.credits(game), padded, error_budget(game, subject.value))


def _shifts(subject: Subject) -> bool:
    """v(r + a, c + a) - v(r, c) is the same for all coalitions, the empty one included (C = 0)."""
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
        before = subject.values(rewards, None, v_empty)
        for offset in (100.0, -100.0):
            _same(
                subject.values(rewards + offset, None, v_empty + offset),
                before,
                f"credits after a shift by {offset}",
            )


@_law(each_value=True)
def scaling(subject: Subject) -> None:
    """Positive multiples of rewards and v_empty multiply the credits: twice bitwise, three times within the budgets."""
    rng = np.random.default_rng(3)
    for players in (1, 4, 40):
        rewards, v_empty = rng.integers(-20, 21, (5, players)).astype(float), rng.integers(-20, 21, 5).astype(float)
        one, two, three = (subject.game(rewards * by, None, v_empty * by) for by in (1, 2, 3))
        single, doubled, tripled = (numbers(subject.credits(game)) for game in (one, two, three))
        normal = np.abs(single) >= 2.0**-14  # below, float16 rounds to a fixed quantum
        _same(doubled[normal], 2 * single[normal], "credits of doubled rewards, and doubled credits")
        allowed = 3 * error_budget(one, subject.value).at(single) + error_budget(three, subject.value).at(tripled)
        assert (np.abs(3 * single - tripled) <= allowed).all(), f"tripled rewards {rewards}: {single} became {tripled}"


@_law()
def batch_invariance(subject: Subject) -> None:
    """A row's credits do not depend on the batch it stands in, bitwise: f(x)[i] == f(x[i:i+1])."""
    for players, draw in ((3, 1), (9, 0), (33, 1)):
        data = example(subject.dtype, players, draw, 37)
        whole = subject.values(data.rewards, data.mask, data.v_empty, draw)
        for part in (slice(0, 1), slice(5, 6), slice(36, 37), slice(11, 30)):
            mask = None if data.mask is None else data.mask[part]
            v_empty = data.v_empty[part] if isinstance(data.v_empty, np.ndarray) else data.v_empty
            _same(
                subject.values(data.rewards[part], mask, v_empty, draw),
                whole[part],
                f"rows {part} alone and in the batch",
            )


@_law()
def determinism(subject: Subject) -> None:
    """The same call gives the same bits."""
    for players, draw in ((5, 1), (40, 0)):
        _, game = subject.example(players, draw)
        first = numbers(subject.credits(game)).copy()
        _same(numbers(subject.credits(game)), first, "the first and the second call")


@_law()
def empty_shapes(subject: Subject) -> None:
    """No rows or no players: a result of the same empty shape."""
    for shape in ((0, 3), (0,), (2, 0), (2, 0, 3), (0, 0)):
        for masked in (False, True):
            game = subject.game(np.zeros(shape), np.ones(shape, bool) if masked else None)
            credits = subject.credits(game)
            assert_like_rewards(credits, game)


@_law()
def layout(subject: Subject) -> None:
    """Strided, reversed, transposed, read-only, byte-swapped and otherwise shaped inputs give the credits of a plain
    copy: bitwise for one utility; for sums, which are one launch only on unconverted data, within the budget."""
    data = example(subject.dtype, 5, 1)
    assert data.mask is not None
    game = subject.game(data.rewards, data.mask, data.v_empty)
    plain = numbers(subject.credits(game))
    rounding = 2 * error_budget(game, subject.value).at(plain)
    allowed = np.zeros_like(plain) if isinstance(subject.utility, type) else rounding
    v_empty, mask = subject.place(data.v_empty), subject.place(data.mask)
    for name, view in _views(subject).items():
        other = make(subject.utility, view(subject.place(data.rewards)), view(mask), v_empty)
        credits = subject.credits(other)
        assert_like_rewards(credits, other)
        assert (np.abs(numbers(credits) - plain) <= allowed).all(), f"{name} input: {numbers(credits)}, plain: {plain}"
    blocks = subject.values(data.rewards.reshape(2, 4, 5), data.mask.reshape(2, 4, 5), data.v_empty.reshape(2, 4))
    _same(blocks.reshape(8, 5), plain, "a batch of shape [2, 4] and one of shape [8]")
    single = subject.values(data.rewards[0], data.mask[0], float(data.v_empty[0]))
    assert single.shape == (5,)
    assert (np.abs(single - plain[0]) <= allowed[0]).all(), (
        f"a row without batch axis: {single}, in a batch: {plain[0]}"
    )


def _views(subject: Subject) -> dict[str, Callable[[Any], Any]]:
    """Ways to lay out the same numbers; each makes a copy with another layout."""
    if subject.container == "torch":
        import torch

        return {
            "transposed": lambda x: x.t().contiguous().t(),
            "strided": lambda x: torch.stack([x, x], -1).reshape(len(x), -1)[:, ::2],
            "offset": lambda x: torch.cat([x[:1], x])[1:],
        }
    return {
        "Fortran-ordered": np.asfortranarray,
        "strided": lambda x: np.repeat(np.repeat(x, 2, 0), 3, 1)[::2, ::3],
        "reversed": lambda x: np.ascontiguousarray(x[::-1, ::-1])[::-1, ::-1],
        "read-only": _read_only,
        "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder(">")),
    }


def _read_only(x: np.ndarray) -> np.ndarray:
    x = x.copy()
    x.flags.writeable = False
    return x


@_law()
def inputs_unmodified(subject: Subject) -> None:
    """Rewards, mask and v_empty are as they were."""
    data = example(subject.dtype, 6, 1)
    arrays = [subject.place(x) for x in (data.rewards, data.mask, data.v_empty)]
    before = [numbers(x).copy() for x in arrays]
    subject.credits(make(subject.utility, *arrays))
    for x, old in zip(arrays, before, strict=True):
        _same(numbers(x), old, "an input before and after the call")


@_law()
def masked_players(subject: Subject) -> None:
    """Masked players get exactly 0, and what stands there is never read: NaN, infinities and huge numbers change no
    bit."""
    for players in (3, 40):
        data = example(subject.dtype, players, 1)
        assert data.mask is not None
        plain = subject.values(np.where(data.mask, data.rewards, 0.0), data.mask, data.v_empty)
        assert (plain[~data.mask] == 0).all(), f"masked players got {plain[~data.mask]}"
        for poison in (np.nan, np.inf, -np.inf, float(rounded(np.array(60000.0), subject.dtype))):
            dirty = np.where(data.mask, data.rewards, poison)
            _same(subject.values(dirty, data.mask, data.v_empty), plain, f"{poison} and 0 at masked players")


@_law()
def nonfinite_stays_in_its_row(subject: Subject) -> None:
    """nan="propagate": NaN or infinity in a live reward, or in v_empty, makes the live players of that row NaN and
    touches no other row."""
    for players, draw in ((3, 0), (40, 1)):
        data = example(subject.dtype, players, draw)
        live = np.ones(data.rewards.shape, bool) if data.mask is None else data.mask
        clean = subject.values(data.rewards, data.mask, data.v_empty, draw)
        row = int(np.flatnonzero(live.any(-1))[2])
        expected = clean.copy()
        expected[row, live[row]] = np.nan
        for bad in (np.nan, np.inf, -np.inf):
            rewards, v_empty = data.rewards.copy(), np.array(data.v_empty)
            rewards[row, live[row].nonzero()[0][-1]] = bad
            _same(
                subject.values(rewards, data.mask, data.v_empty, draw, "propagate"),
                expected,
                f"a reward {bad} in row {row}",
            )
            v_empty[row] = bad
            _same(
                subject.values(data.rewards, data.mask, v_empty, draw, "propagate"),
                expected,
                f"v_empty {bad} in row {row}",
            )


@_law()
def nonfinite_raises(subject: Subject) -> None:
    """nan="raise", and on the CPU by default: a ValueError that names the first bad row and player."""
    data = example(subject.dtype, 4, 0)
    rewards, v_empty = data.rewards.copy(), np.array(data.v_empty)
    rewards[2, 1] = rewards[4, 0] = np.nan
    modes = ("raise",) if subject.device != "cpu" else ("raise", None)
    for nan in modes:
        _refused(partial(subject.values, rewards, None, data.v_empty, nan=nan), "[2, 1]")
    v_empty[3] = np.inf
    _refused(partial(subject.values, data.rewards, None, v_empty, nan="raise"), "[3]")


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
    """The kernel overwrites all of a poisoned `out`."""
    for players, draw in ((1, 0), (5, 1), (40, 0)):
        data, game = subject.example(players, draw)
        container = "numpy" if subject.backend == "numba" else "torch"
        dtype = compute_dtype(subject.dtype)
        arrays = (data.rewards, data.mask, np.atleast_1d(data.v_empty), np.full(data.rewards.shape, np.nan))
        placed: list[Any] = [None if x is None else place(x, container, dtype, subject.device) for x in arrays]
        rewards, mask, v_empty, out = placed
        for _, term in game.terms(subject.value):
            lives = (players,) if mask is None else tuple(range(players + 1))
            tables = term.tables(lives).on(container, dtype, subject.device)
            out[:] = np.nan
            dispatch.kernel("order", subject.backend).run(rewards, mask, v_empty, *tables, out)
            unwritten = np.isnan(numbers(out))
            assert not unwritten.any(), (
                f"{unwritten.sum()} elements were not written, the first at {np.argwhere(unwritten)[0]}"
            )
