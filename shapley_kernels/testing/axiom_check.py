"""`check_axioms`: is a function that somebody else wrote the allocation it claims to be?"""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from numbers import Integral, Real
from typing import Any

import numpy as np

from shapley_kernels.arrays import as_float, numbers
from shapley_kernels.games import Max, OrderGame
from shapley_kernels.testing._deps import need
from shapley_kernels.testing.samples import Example, Utility, utility_name
from shapley_kernels.values import Semivalue, Shapley, brackets

try:
    import hypothesis
    from hypothesis import configuration
except ModuleNotFoundError:
    raise need("hypothesis") from None

from shapley_kernels.testing import strategies
from shapley_kernels.testing.axioms import AXIOMS, Broken, Claim, Raised


class AxiomViolation(AssertionError):
    """A function broke an axiom; the message names it and shows the smallest counterexample that was found.

    Attributes:
        axiom: its name, such as "efficiency".
    """

    def __init__(self, axiom: str, message: str) -> None:
        super().__init__(message)
        self.axiom = axiom


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
    claim = Claim(
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
        except Broken as broken:
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
    if not 0 <= as_float(tolerance, "check_axioms: tolerance") < np.inf:
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


def _property(claim: Claim, axiom: Callable[[Claim, Example], None]) -> Callable[[Example], None]:
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


def _message(claim: Claim, name: str, axiom: Callable[..., None], broken: Broken) -> str:
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


def _remedy(claim: Claim, broken: Broken) -> str:
    """What to do where the function raised, and takes v_empty in its other form."""
    if not isinstance(broken, Raised) or claim.v_empty is not True:
        return ""
    example, c = broken.example, broken.example.v_empty
    scalar = isinstance(c, float)
    other = np.full(len(example.rewards), c) if scalar else float(c[0])
    try:
        with np.errstate(all="ignore"):
            claim.raw(Example(example.rewards, example.mask, other))
    except Raised:
        return ""
    if scalar:
        return '; with an array [rows] as v_empty it did not: if it takes no numbers, pass v_empty="batch"'
    return '; with a number as v_empty it did not: if it takes no arrays [rows], pass v_empty="scalar"'


def _short(x: Fraction) -> str:
    return str(x) if x.denominator < 10**4 else repr(float(x))
