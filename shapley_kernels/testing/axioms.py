"""`check_axioms`: is a function that somebody else wrote the allocation it claims to be?"""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

import numpy as np

from shapley_kernels.arrays import numbers
from shapley_kernels.games import Game, Max, OrderGame
from shapley_kernels.testing._deps import need
from shapley_kernels.testing.budget import PRECISION, error_budget, errors
from shapley_kernels.testing.exact import share, worth_table
from shapley_kernels.testing.examples import Example, Utility, make, utility_name
from shapley_kernels.values import Semivalue, Shapley, brackets

try:
    import hypothesis
    from hypothesis import configuration
except ModuleNotFoundError:
    raise need("hypothesis") from None

from shapley_kernels.testing import strategies


class AxiomViolation(AssertionError):
    """A function broke an axiom; the message names it and shows the smallest counterexample that was found.

    Attributes:
        axiom: its name, such as "efficiency".
    """

    def __init__(self, axiom: str, message: str) -> None:
        super().__init__(message)
        self.axiom = axiom


class _Broken(AssertionError):
    """What an axiom raises inside hypothesis: what happened, on which data, and what came out."""

    def __init__(self, what: str, example: Example, got: Any) -> None:
        super().__init__(what)
        self.what, self.example, self.got = what, example, got


class _Raised(_Broken):
    """The function raised its cause on data that it should take."""


@dataclass(frozen=True)
class _Claim:
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
            raise _Raised(f"it raised {error!r}", example, None) from error

    def otherwise(
        self, how: str, example: Example, got: np.ndarray, place: Any = np.asarray, shown: Example | None = None
    ) -> np.ndarray:
        """The credits where they should be as before, which was `got`: an error breaks the axiom, for the example
        `shown`."""
        try:
            return numbers(self.raw(example, place))
        except Exception as error:
            cause = error.__cause__ or error
            raise _Broken(f"with {how} it raised {cause!r}", shown or example, got) from cause

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


def _form(claim: _Claim, example: Example) -> None:
    """credits are an array of the shape and dtype of the rewards"""
    got = claim.raw(example)
    shape, dtype = getattr(got, "shape", None), getattr(got, "dtype", None)
    if not isinstance(got, np.ndarray) or shape != example.rewards.shape or dtype != claim.dtype:
        want = f"expected {claim.dtype} of shape {example.rewards.shape}"
        raise _Broken(f"{want}, got {type(got).__name__} of dtype {dtype} and shape {shape}", example, got)


def _inputs(claim: _Claim, example: Example) -> None:
    """the function leaves its inputs alone"""
    rewards, options = claim.arguments(example)
    before = [np.array(x) for x in (rewards, *options.values())]
    claim.call(example, rewards, options)
    for name, x, old in zip(("rewards", *options), (rewards, *options.values()), before, strict=True):
        if not np.array_equal(x, old):
            raise _Broken(f"{name} became {np.asarray(x).tolist()}", example, None)


def _results(claim: _Claim, example: Example) -> None:
    """credits stay what they are when the function is called again"""
    got = claim.raw(example)
    before = numbers(got)
    claim.raw(Example(1.0 - example.rewards, example.mask, example.v_empty))
    if not np.array_equal(numbers(got), before, equal_nan=True):
        raise _Broken(f"with 1 - rewards in the next call they became {numbers(got).tolist()}", example, before)
    again = claim(example)
    if np.isfinite(before).all() and _differs(again, before, claim.coarse(example)):
        raise _Broken(f"on the same data again they are {again.tolist()}", example, before)


def _completeness(claim: _Claim, example: Example) -> None:
    """every player is given a finite credit"""
    got = claim(example)
    if not np.isfinite(got).all():
        raise _Broken(f"no credit at {np.argwhere(~np.isfinite(got))[0].tolist()}", example, got)


def _masking(claim: _Claim, example: Example) -> None:
    """masked players get exactly 0, and what stands there does not matter"""
    live, got = _live(example), claim(example)
    if (got[~live] != 0).any():
        raise _Broken("a masked player got credit", example, got)
    for poison in (1.0, np.nan, np.inf, -np.inf):
        dirty = Example(np.where(live, example.rewards, poison), example.mask, example.v_empty)
        how = f"{poison} at the masked players"
        found = claim.otherwise(how, dirty, got)
        if not np.array_equal(found, got):
            raise _Broken(f"with {how} it became {found.tolist()}", example, got)


# torch reads no negative strides, so a function around it need not
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "transposed arrays": lambda x: x.T.copy().T,
    "every other element of arrays": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
}


def _layout(claim: _Claim, example: Example) -> None:
    """it does not matter how the inputs lie in memory"""
    got = claim(example)
    for how, place in LAYOUTS.items():
        found = claim.otherwise(how, example, got, place)
        if _differs(found, got, claim.coarse(example)):
            raise _Broken(f"with {how} it became {found.tolist()}", example, got)


def _independence(claim: _Claim, example: Example) -> None:
    """a row's credits depend on that row alone"""
    got = claim(example)
    for i in range(len(got)):
        c = example.v_empty if isinstance(example.v_empty, float) else example.v_empty[i : i + 1]
        mask = None if example.mask is None else example.mask[i : i + 1]
        alone = claim(Example(example.rewards[i : i + 1], mask, c))
        if _differs(alone, got[i : i + 1], claim.coarse(example)[i]):
            raise _Broken(f"row {i} by itself gets {alone[0].tolist()}", example, got)
    _many_rows(claim, example, got)
    if len(got) > 1:
        _nan_stays(claim, example, got)


MANY_ROWS = 37
"""Several blocks and a rest, for a function that works on blocks of 2, 4, 8, 16 or 32 rows."""


def _many_rows(claim: _Claim, example: Example, got: np.ndarray) -> None:
    index = np.arange(MANY_ROWS) % len(got)
    c = example.v_empty if isinstance(example.v_empty, float) else example.v_empty[index]
    many = Example(example.rewards[index], None if example.mask is None else example.mask[index], c)
    how = f"these rows repeated to {MANY_ROWS}"
    found = claim.otherwise(how, many, got, shown=example)
    for row, credits in enumerate(found):
        if _differs(credits, got[index[row]], claim.coarse(many)[row]):
            raise _Broken(f"with {how}, row {row} gets {credits.tolist()}", example, got)


def _nan_stays(claim: _Claim, example: Example, got: np.ndarray) -> None:
    for i in range(len(got)):
        rewards = example.rewards.copy()
        rewards[i] = np.nan
        poisoned = Example(rewards, example.mask, example.v_empty)
        try:
            found = claim.otherwise(f"NaN in row {i}", poisoned, got, shown=example)
        except _Broken as broken:
            if isinstance(broken.__cause__, ValueError):
                return  # refusing is right as well
            raise
        others = np.arange(len(got)) != i
        if _differs(found[others], got[others], claim.coarse(example)[others]):
            raise _Broken(f"with NaN in row {i} it became {found.tolist()}", example, got)


def _efficiency(claim: _Claim, example: Example) -> None:
    """the credits of a row sum to v(all) - v(empty)"""
    game, got = claim.game(example), claim(example)
    for row, credits in enumerate(got):
        worth = game.exact_worth(row)
        expected = float(worth(frozenset(game.live_players(row))) - worth(frozenset()))
        if abs(credits.sum() - expected) > claim.coarse(example)[row, 0]:
            raise _Broken(f"row {row} sums to {credits.sum():g}, v(all) - v(empty) is {expected:g}", example, got)


def _symmetry(claim: _Claim, example: Example) -> None:
    """players with equal rewards get equal credit"""
    live, got = _live(example), claim(example)
    for row, rewards in enumerate(example.rewards):
        for reward in np.unique(rewards):
            shares = got[row][(rewards == reward) & live[row]]
            if shares.size and shares.max() - shares.min() > claim.coarse(example)[row, 0]:
                raise _Broken(f"players with reward {reward:g} in row {row} get {shares.tolist()}", example, got)


def _null_player(claim: _Claim, example: Example) -> None:
    """a player who adds nothing to any set gets nothing"""
    game, got = claim.game(example), claim(example)
    for row in range(len(got)):
        _, table, live = claim.truth_of_row(game, row)
        for t, i in enumerate(live):
            adds = any(table[s] != table[s | 1 << t] for s in range(len(table)) if not s >> t & 1)
            if not adds and abs(got[row, i]) > claim.coarse(example)[row, 0]:
                raise _Broken(f"player {i} of row {row} adds nothing and gets {got[row, i]:g}", example, got)


def _relabelling(claim: _Claim, example: Example) -> None:
    """renaming the players renames the credits"""
    got = claim(example)
    mask = None if example.mask is None else example.mask[:, ::-1]
    found = claim(Example(example.rewards[:, ::-1], mask, example.v_empty))
    if _differs(found[:, ::-1], got, claim.coarse(example)):
        raise _Broken(f"with the players in reverse order it is {found.tolist()}", example, got)


def _additivity(claim: _Claim, example: Example) -> None:
    """of two games whose rewards are ordered alike, the credits of the sum are the sum of the credits"""
    got = claim(example)
    capped = np.minimum(example.rewards, example.rewards.mean(axis=-1, keepdims=True))
    other = Example(capped, example.mask, example.v_empty)
    both = _plain(Example(example.rewards + capped, example.mask, 2 * example.v_empty))
    if _differs(claim(both), got + claim(other), 4 * claim.coarse(example)):
        raise _Broken(f"adding min(rewards, their mean) gives {claim(both).tolist()}", example, got)


def _plain(example: Example) -> Example:
    c = example.v_empty
    return Example(example.rewards, example.mask, float(c) if np.ndim(c) == 0 else c)


def _definition(claim: _Claim, example: Example) -> None:
    """the credits are the mean marginal contributions"""
    got = claim(example)
    truth = np.array([[float(x) for x in row] for row in claim.truth(example)]).reshape(got.shape)
    if _differs(got, truth, claim.coarse(example)):
        raise _Broken("they are not", example, got)


def _accuracy(claim: _Claim, example: Example) -> None:
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
        raise _Broken(f"{error[i]:.3g} at {[int(x) for x in i]}, {unit} is {allowed[i]:.3g}", example, got)


AXIOMS: dict[str, Callable[[_Claim, Example], None]] = {
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


def check_axioms(
    allocate: Callable[..., Any],
    *,
    game: Utility = Max,
    value: Semivalue | None = None,
    mask: bool | None = None,
    v_empty: bool | str | None = None,
    dtype: str = "float64",
    tolerance: float | None = None,
    max_examples: int = 100,
    max_players: int = 6,
    derandomize: bool = True,
) -> None:
    """Check a function against the axioms of an allocation, and against 2^n enumeration.

        check_axioms(my_shapley_of_the_best)                             # rewards -> credits
        check_axioms(mine, game=sk.Median, value=sk.Banzhaf())

    Args:
        allocate: called as allocate(rewards[, mask=][, v_empty=]), rewards [rows, players] numpy, returns credits of
            that shape and dtype; on NaN it may raise ValueError.
        game: the utility it allocates: a class of the order family, or a function (rewards, mask, v_empty) -> game.
        value: None: Shapley.
        mask: whether it takes mask= bool [rows, players]; None: if its signature names it.
        v_empty: whether it takes v_empty=: True: [rows] and numbers, "scalar": numbers only, "batch": [rows] only;
            None: if its signature names it. Otherwise v_empty is 0.
        dtype: of the rewards: "float64", "float32" or "float16".
        tolerance: largest error, relative to the largest |reward| or |v_empty| of the row; None: the a-priori bound
            of the dtype, which a sum over sorted gaps meets (`error_budget`).
        max_examples: examples per axiom.
        max_players: at most 16.
        derandomize: False: other examples in every run.

    Raises:
        AxiomViolation: naming the axiom, with the smallest counterexample found and what the 2^n enumeration gives; or
            saying that the function does not always return the same. What the function raised is its cause.
        TypeError, ValueError: an argument of the wrong kind, or out of its range; mask or v_empty can be passed by
            position alone.

    Works in plain scripts too, and writes no files.
    """
    _check(allocate, game, value, mask, v_empty, dtype, tolerance)
    for name, count, most in (("max_examples", max_examples, None), ("max_players", max_players, 16)):
        _check_count(name, count, most)
    names = _parameters(allocate)
    for name, taken in (("mask", mask), ("v_empty", v_empty)):
        if names.get(name) == inspect.Parameter.POSITIONAL_ONLY and taken is not False:
            raise TypeError(
                f"check_axioms: allocate is called with {name}= by name, got a function whose {name} is "
                f"positional-only; pass a function around it, or {name}=False to check it without"
            )
    claim = _Claim(
        allocate,
        game,
        value or Shapley(),
        dtype,
        "mask" in names if mask is None else mask,
        "v_empty" in names if v_empty is None else v_empty,
        tolerance,
    )
    settings = hypothesis.settings(
        max_examples=max_examples,
        derandomize=derandomize,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        report_multiple_bugs=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    examples = strategies.examples(dtype, 3, max_players, claim.mask, claim.v_empty)
    for name, axiom in AXIOMS.items():
        if name == "efficiency" and not isinstance(claim.value, Shapley):
            continue
        try:
            with _no_files():
                settings(hypothesis.given(examples)(_property(claim, axiom)))()
        except _Broken as broken:
            raise AxiomViolation(name, _message(claim, name, axiom, broken)) from broken.__cause__
        except hypothesis.errors.Flaky as flaky:
            found = [getattr(error, "what", repr(error)) for error in getattr(flaky, "exceptions", ())]
            raise AxiomViolation(
                name,
                f"{name}: {axiom.__doc__}; {' and '.join(found) or 'it broke'} once, and not again on the same data: "
                "the function does not always return the same; seed its random numbers, and keep nothing between calls",
            ) from None


DTYPES = ("float64", "float32", "float16")
KINDS_OF_V_EMPTY = (None, True, False, "scalar", "batch")


def _check(allocate: Any, game: Any, value: Any, mask: Any, v_empty: Any, dtype: Any, tolerance: Any) -> None:
    if not callable(allocate):
        raise TypeError(f"check_axioms: allocate must be a function of rewards [rows, players], got {allocate!r}")
    if not callable(game) or (isinstance(game, type) and not issubclass(game, OrderGame)):
        raise TypeError(
            f"check_axioms: game must be a class of the order family, such as sk.Max, or a function "
            f"(rewards, mask, v_empty) -> game, got {utility_name(game)}"
        )
    if value is not None and not isinstance(value, Semivalue):
        raise TypeError(
            f"check_axioms: value must be a semivalue such as sk.Shapley(), or None, got {value!r}"
            f"{brackets(value, Semivalue)}"
        )
    if mask is not None and not isinstance(mask, bool):
        raise TypeError(f"check_axioms: mask must be True, False or None, got {mask!r}")
    if not isinstance(v_empty, (bool, str, type(None))) or v_empty not in KINDS_OF_V_EMPTY:
        raise ValueError(
            f"check_axioms: v_empty must be one of {', '.join(map(repr, KINDS_OF_V_EMPTY))}, got {v_empty!r}; "
            "it says what allocate takes"
        )
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ValueError(
            f"check_axioms: dtype must be one of {', '.join(map(repr, DTYPES))}, which numpy has, got {dtype!r}"
        )
    if tolerance is None:
        return
    if not isinstance(tolerance, Real) or isinstance(tolerance, bool):
        raise TypeError(f"check_axioms: tolerance must be a number >= 0 or None, got {tolerance!r}")
    if not 0 <= float(tolerance) < np.inf:
        raise ValueError(f"check_axioms: tolerance must be a number >= 0 or None, got {tolerance!r}")


def _check_count(name: str, x: Any, most: int | None) -> None:
    expected = f"check_axioms: {name} must be an integer {'>= 1' if most is None else f'in 1..{most}'}, got {x!r}"
    if not isinstance(x, Integral) or isinstance(x, bool):
        raise TypeError(expected)
    if int(x) < 1:
        raise ValueError(expected)
    if most is not None and int(x) > most:
        raise ValueError(f"{expected}; all 2^n sets of players are enumerated")


@contextmanager
def _no_files() -> Iterator[None]:
    """Hypothesis keeps notes in .hypothesis even without its database; here they go where they are deleted."""
    home = getattr(configuration, "__hypothesis_home_directory", None)
    with tempfile.TemporaryDirectory() as directory:
        configuration.set_hypothesis_home_dir(directory)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(home)


def _property(claim: _Claim, axiom: Callable[[_Claim, Example], None]) -> Callable[[Example], None]:
    def holds(example: Example) -> None:
        with np.errstate(all="ignore"):
            axiom(claim, example)

    return holds


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Of every parameter by name, whether it may be passed so."""
    try:
        return {name: parameter.kind for name, parameter in inspect.signature(function).parameters.items()}
    except (TypeError, ValueError):  # builtins and extension functions may have none
        return {}


def _message(claim: _Claim, name: str, axiom: Callable[..., None], broken: _Broken) -> str:
    example = broken.example
    truth = claim.truth(example)
    expected = "], [".join(", ".join(map(_short, row)) for row in truth)
    lines = [
        f"{name}: {axiom.__doc__}; {broken.what}{_remedy(claim, broken)}",
        f"  game      {utility_name(claim.utility)} under {claim.value}, {claim.dtype}",
        f"  rewards   {example.rewards.tolist()}",
        f"  mask      {None if example.mask is None else example.mask.tolist()}",
        f"  v_empty   {example.v_empty if isinstance(example.v_empty, float) else example.v_empty.tolist()}",
        f"  expected  [[{expected}]]",
        f"  got       {None if broken.got is None else numbers(broken.got).tolist()}",
    ]
    return "\n".join(lines)


def _remedy(claim: _Claim, broken: _Broken) -> str:
    """What to do where the function raised, and takes v_empty in its other form."""
    if not isinstance(broken, _Raised) or claim.v_empty is not True:
        return ""
    example, c = broken.example, broken.example.v_empty
    scalar = isinstance(c, float)
    other = np.full(len(example.rewards), c) if scalar else float(c[0])
    try:
        with np.errstate(all="ignore"):
            claim.raw(Example(example.rewards, example.mask, other))
    except _Raised:
        return ""
    if scalar:
        return '; with an array [rows] as v_empty it did not: if it takes no numbers, pass v_empty="batch"'
    return '; with a number as v_empty it did not: if it takes no arrays [rows], pass v_empty="scalar"'


def _short(x: Fraction) -> str:
    return str(x) if x.denominator < 10**4 else repr(float(x))
