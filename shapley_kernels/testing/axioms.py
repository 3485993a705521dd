"""The axioms of `check_axioms`: one function each, on a function and an example, which raises `Broken`."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from shapley_kernels.arrays import numbers
from shapley_kernels.games import Game
from shapley_kernels.testing.budget import PRECISION, error_budget, errors
from shapley_kernels.testing.exact import share, worth_table
from shapley_kernels.testing.samples import Example, Utility, make
from shapley_kernels.values import Semivalue


class Broken(AssertionError):
    """What an axiom raises inside hypothesis: what happened, on which data, and what came out."""

    def __init__(self, what: str, example: Example, got: Any) -> None:
        super().__init__(what)
        self.what, self.example, self.got = what, example, got


class Raised(Broken):
    """The function raised its cause on data that it should take."""


@dataclass(frozen=True)
class Claim:
    """The function, and what it claims to be."""

    function: Callable[..., Any]
    utility: Utility
    value: Semivalue
    dtype: str
    mask: bool
    v_empty: bool | str
    tolerance: float | None

    def __call__(self, example: Example) -> np.ndarray:
        """The credits as float64. What stands at masked players is 0, and unwritten memory is NaN."""
        return numbers(self.raw(example))

    def raw(self, example: Example, place: Callable[[np.ndarray], np.ndarray] = np.asarray) -> Any:
        """What the function returns for arrays that `place` has put elsewhere in memory."""
        rewards, options = self.arguments(example)
        options = {name: place(x) if isinstance(x, np.ndarray) else x for name, x in options.items()}
        rewards = place(rewards)
        _soil_memory(rewards.shape, self.dtype)
        return self.call(example, rewards, options)

    def call(self, example: Example, rewards: np.ndarray, options: dict[str, Any]) -> Any:
        """What the function returns for the arrays of an example."""
        try:
            return self.function(rewards, **options)
        except Exception as error:
            raise Raised(f"it raised {error!r}", example, None) from error

    def otherwise(
        self, how: str, example: Example, got: np.ndarray, place: Any = np.asarray, shown: Example | None = None
    ) -> np.ndarray:
        """The credits where they should be as before, which was `got`: an error breaks the axiom, for the example
        `shown`."""
        try:
            return numbers(self.raw(example, place))
        except Exception as error:
            cause = error.__cause__ or error
            raise Broken(f"with {how} it raised {cause!r}", shown or example, got) from cause

    def arguments(self, example: Example) -> tuple[np.ndarray, dict[str, Any]]:
        options: dict[str, Any] = {}
        if self.mask:
            options["mask"] = np.ones(example.rewards.shape, bool) if example.mask is None else example.mask.copy()
        if self.v_empty:
            c = example.v_empty
            options["v_empty"] = c if isinstance(c, float) else c.astype(self.dtype)
        return example.rewards.astype(self.dtype), options

    def game(self, example: Example) -> Game:
        c = example.v_empty
        v_empty = c if isinstance(c, float) else c.astype(self.dtype)
        return make(self.utility, example.rewards.astype(self.dtype), example.mask, v_empty)

    def truth(self, example: Example) -> list[list[Fraction]]:
        game = self.game(example)
        return [self.truth_of_row(game, row)[0] for row in range(len(example.rewards))]

    def truth_of_row(self, game: Game, row: int) -> tuple[list[Fraction], list[Fraction], list[int]]:
        """Credits, worth table and live players."""
        live = game.live_players(row)
        table = worth_table(game.exact_worth(row), live)
        credits = [Fraction(0)] * game.players
        for i, credit in zip(live, share(table, self.value), strict=True):
            credits[i] = credit
        return credits, table, live

    def coarse(self, example: Example) -> np.ndarray:
        """What is small in a row [rows, 1]: axioms are about what is wrong in kind; accuracy is judged last."""
        c = np.broadcast_to(example.v_empty, len(example.rewards))
        size = np.maximum(np.abs(example.rewards).max(axis=-1), np.abs(c)) * example.rewards.shape[-1]
        eps, quantum = PRECISION[self.dtype]
        return ((max(2.0**-10, 4 * eps) * size + quantum) * max(1.0, self.tolerance or 0.0))[:, None]


def _soil_memory(shape: tuple[int, ...], dtype: str) -> None:
    """Leave NaN in the blocks that numpy hands out next for arrays of this size, so that an element that nobody writes
    shows every time, not now and then. (Replacing numpy.empty would break functions that numba compiles.)"""
    blocks = [np.full(shape, np.nan, dtype) for _ in range(16)]
    del blocks


def _live(example: Example) -> np.ndarray:
    return np.ones(example.rewards.shape, bool) if example.mask is None else example.mask


def _differs(a: np.ndarray, b: np.ndarray, allowed: np.ndarray) -> bool:
    return not (np.abs(a - b) <= allowed).all()


# -- the axioms, in the order they are tried -------------------------------------------------------------------------


def _form(claim: Claim, example: Example) -> None:
    """credits are an array of the shape and dtype of the rewards"""
    got = claim.raw(example)
    shape, dtype = getattr(got, "shape", None), getattr(got, "dtype", None)
    if not isinstance(got, np.ndarray) or shape != example.rewards.shape or dtype != claim.dtype:
        want = f"expected {claim.dtype} of shape {example.rewards.shape}"
        raise Broken(f"{want}, got {type(got).__name__} of dtype {dtype} and shape {shape}", example, got)


def _inputs(claim: Claim, example: Example) -> None:
    """the function leaves its inputs alone"""
    rewards, options = claim.arguments(example)
    before = [np.array(x) for x in (rewards, *options.values())]
    claim.call(example, rewards, options)
    for name, x, old in zip(("rewards", *options), (rewards, *options.values()), before, strict=True):
        if not np.array_equal(x, old):
            raise Broken(f"{name} became {np.asarray(x).tolist()}", example, None)


def _results(claim: Claim, example: Example) -> None:
    """credits stay what they are when the function is called again"""
    got = claim.raw(example)
    before = numbers(got)
    claim.raw(Example(1.0 - example.rewards, example.mask, example.v_empty))
    if not np.array_equal(numbers(got), before, equal_nan=True):
        raise Broken(f"with 1 - rewards in the next call they became {numbers(got).tolist()}", example, before)
    again = claim(example)
    if np.isfinite(before).all() and _differs(again, before, claim.coarse(example)):
        raise Broken(f"on the same data again they are {again.tolist()}", example, before)


def _completeness(claim: Claim, example: Example) -> None:
    """every player is given a finite credit"""
    got = claim(example)
    if not np.isfinite(got).all():
        raise Broken(f"no credit at {np.argwhere(~np.isfinite(got))[0].tolist()}", example, got)


def _masking(claim: Claim, example: Example) -> None:
    """masked players get exactly 0, and what stands there does not matter"""
    live, got = _live(example), claim(example)
    if (got[~live] != 0).any():
        raise Broken("a masked player got credit", example, got)
    for poison in (1.0, np.nan, np.inf, -np.inf):
        dirty = Example(np.where(live, example.rewards, poison), example.mask, example.v_empty)
        how = f"{poison} at the masked players"
        found = claim.otherwise(how, dirty, got)
        if not np.array_equal(found, got):
            raise Broken(f"with {how} it became {found.tolist()}", example, got)


# torch reads no negative strides, so a function around it need not
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed arrays": lambda x: x.T.copy().T,
    "every other element of arrays": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}


def _layout(claim: Claim, example: Example) -> None:
    """it does not matter how the inputs lie in memory"""
    got = claim(example)
    for how, place in LAYOUTS.items():
        found = claim.otherwise(how, example, got, place)
        if _differs(found, got, claim.coarse(example)):
            raise Broken(f"with {how} it became {found.tolist()}", example, got)


def _independence(claim: Claim, example: Example) -> None:
    """a row's credits depend on that row alone"""
    got = claim(example)
    for i in range(len(got)):
        c = example.v_empty if isinstance(example.v_empty, float) else example.v_empty[i : i + 1]
        mask = None if example.mask is None else example.mask[i : i + 1]
        alone = claim(Example(example.rewards[i : i + 1], mask, c))
        if _differs(alone, got[i : i + 1], claim.coarse(example)[i]):
            raise Broken(f"row {i} by itself gets {alone[0].tolist()}", example, got)
    _many_rows(claim, example, got)
    if len(got) > 1:
        _nan_stays(claim, example, got)


MANY_ROWS = 37
"""Several blocks and a rest, for a function that works on blocks of 2, 4, 8, 16 or 32 rows."""


def _many_rows(claim: Claim, example: Example, got: np.ndarray) -> None:
    index = np.arange(MANY_ROWS) % len(got)
    c = example.v_empty if isinstance(example.v_empty, float) else example.v_empty[index]
    many = Example(example.rewards[index], None if example.mask is None else example.mask[index], c)
    how = f"these rows repeated to {MANY_ROWS}"
    found = claim.otherwise(how, many, got, shown=example)
    for row, credits in enumerate(found):
        if _differs(credits, got[index[row]], claim.coarse(many)[row]):
            raise Broken(f"with {how}, row {row} gets {credits.tolist()}", example, got)


def _nan_stays(claim: Claim, example: Example, got: np.ndarray) -> None:
    for i in range(len(got)):
        rewards = example.rewards.copy()
        rewards[i] = np.nan
        poisoned = Example(rewards, example.mask, example.v_empty)
        try:
            found = claim.otherwise(f"NaN in row {i}", poisoned, got, shown=example)
        except Broken as broken:
            if isinstance(broken.__cause__, ValueError):
                return  # refusing is right as well
            raise
        others = np.arange(len(got)) != i
        if _differs(found[others], got[others], claim.coarse(example)[others]):
            raise Broken(f"with NaN in row {i} it became {found.tolist()}", example, got)


def _efficiency(claim: Claim, example: Example) -> None:
    """the credits of a row sum to v(all) - v(empty)"""
    game, got = claim.game(example), claim(example)
    for row, credits in enumerate(got):
        worth = game.exact_worth(row)
        expected = float(worth(frozenset(game.live_players(row))) - worth(frozenset()))
        if abs(credits.sum() - expected) > claim.coarse(example)[row, 0]:
            raise Broken(f"row {row} sums to {credits.sum():g}, v(all) - v(empty) is {expected:g}", example, got)


def _symmetry(claim: Claim, example: Example) -> None:
    """players with equal rewards get equal credit"""
    live, got = _live(example), claim(example)
    for row, rewards in enumerate(example.rewards):
        for reward in np.unique(rewards):
            shares = got[row][(rewards == reward) & live[row]]
            if shares.size and shares.max() - shares.min() > claim.coarse(example)[row, 0]:
                raise Broken(f"players with reward {reward:g} in row {row} get {shares.tolist()}", example, got)


def _null_player(claim: Claim, example: Example) -> None:
    """a player who adds nothing to any set gets nothing"""
    game, got = claim.game(example), claim(example)
    for row in range(len(got)):
        _, table, live = claim.truth_of_row(game, row)
        for t, i in enumerate(live):
            adds = any(table[s] != table[s | 1 << t] for s in range(len(table)) if not s >> t & 1)
            if not adds and abs(got[row, i]) > claim.coarse(example)[row, 0]:
                raise Broken(f"player {i} of row {row} adds nothing and gets {got[row, i]:g}", example, got)


def _relabelling(claim: Claim, example: Example) -> None:
    """renaming the players renames the credits"""
    got = claim(example)
    mask = None if example.mask is None else example.mask[:, ::-1]
    found = claim(Example(example.rewards[:, ::-1], mask, example.v_empty))
    if _differs(found[:, ::-1], got, claim.coarse(example)):
        raise Broken(f"with the players in reverse order it is {found.tolist()}", example, got)


def _additivity(claim: Claim, example: Example) -> None:
    """of two games whose rewards are ordered alike, the credits of the sum are the sum of the credits"""
    got = claim(example)
    capped = np.minimum(example.rewards, example.rewards.mean(axis=-1, keepdims=True))
    other = Example(capped, example.mask, example.v_empty)
    both = _plain(Example(example.rewards + capped, example.mask, 2 * example.v_empty))
    if _differs(claim(both), got + claim(other), 4 * claim.coarse(example)):
        raise Broken(f"adding min(rewards, their mean) gives {claim(both).tolist()}", example, got)


def _plain(example: Example) -> Example:
    c = example.v_empty
    return Example(example.rewards, example.mask, float(c) if np.ndim(c) == 0 else c)


def _definition(claim: Claim, example: Example) -> None:
    """the credits are the mean marginal contributions"""
    got = claim(example)
    truth = np.array([[float(x) for x in row] for row in claim.truth(example)]).reshape(got.shape)
    if _differs(got, truth, claim.coarse(example)):
        raise Broken("they are not", example, got)


def _accuracy(claim: Claim, example: Example) -> None:
    """the rounding error is within its bound"""
    got, truth = claim(example), claim.truth(example)
    error, allowed = errors(got, truth, error_budget(claim.game(example), claim.value))
    if claim.tolerance is not None:
        c = np.broadcast_to(example.v_empty, len(got))
        size = np.maximum(np.abs(np.where(_live(example), example.rewards, 0.0)).max(axis=-1), np.abs(c))
        allowed = np.broadcast_to((claim.tolerance * size)[:, None], got.shape)
    if not (error <= allowed).all():
        i = np.unravel_index((error - allowed).argmax(), error.shape)
        unit = "the a-priori bound" if claim.tolerance is None else "the tolerance"
        raise Broken(f"{error[i]:.3g} at {[int(x) for x in i]}, {unit} is {allowed[i]:.3g}", example, got)


AXIOMS: dict[str, Callable[[Claim, Example], None]] = {
    "form": _form,
    "inputs": _inputs,
    "results": _results,
    "completeness": _completeness,
    "masked players": _masking,
    "layout": _layout,
    "independence of rows": _independence,
    "efficiency": _efficiency,
    "symmetry": _symmetry,
    "null player": _null_player,
    "relabelling": _relabelling,
    "additivity": _additivity,
    "definition": _definition,
    "accuracy": _accuracy,
}
"""Tried in this order, so that the first one that breaks says most."""
