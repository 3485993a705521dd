"""`check_axioms`: is a function that somebody else wrote the allocation it claims to be?"""

import inspect
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import hypothesis
import numpy as np
from hypothesis import configuration

from shapley_kernels.arrays import integer, number, one_of
from shapley_kernels.games import Max, OrderGame
from shapley_kernels.testing import strategies
from shapley_kernels.testing.laws import LAWS, Law, is_shapley
from shapley_kernels.testing.samples import Sample, Utility, utility_name
from shapley_kernels.testing.subjects import Broken, Raised, Theirs
from shapley_kernels.testing.violation import describe
from shapley_kernels.values import Semivalue, Shapley, brackets


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
    _check_claim(allocate, game, value, mask, v_empty, dtype, tolerance)
    for name, count, most in (("max_examples", max_examples, None), ("max_players", max_players, 16)):
        _check_count(name, count, most)
    kinds = _parameters(allocate)
    for name, taken in (("mask", mask), ("v_empty", v_empty)):
        if kinds.get(name) == inspect.Parameter.POSITIONAL_ONLY and taken is not False:
            raise TypeError(
                f"check_axioms: allocate is called with {name}= by name, got a function whose {name} is "
                f"positional-only; pass a function around it, or {name}=False to check it without"
            )
    subject = Theirs(
        game,
        value or Shapley(),
        dtype,
        allocate,
        "mask" in kinds if mask is None else mask,
        "v_empty" in kinds if v_empty is None else v_empty,
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
    samples = strategies.samples(game, dtype, 3, max_players, subject.mask, subject.v_empty)
    for law in LAWS:
        if law.for_all and (law.name != "efficiency" or is_shapley(subject)):
            _check_law(law, subject, settings(hypothesis.given(samples)(_property(law, subject))))


def _check_law(law: Law, subject: Theirs, holds: Callable[[], None]) -> None:
    try:
        with _no_files():
            holds()
    except Broken as broken:
        what = broken.what + _remedy(subject, broken)
        raise AxiomViolation(law.name, describe(law, subject, what, broken)) from broken.__cause__
    except hypothesis.errors.Flaky as flaky:
        broke = [getattr(error, "what", repr(error)) for error in getattr(flaky, "exceptions", ())]
        raise AxiomViolation(
            law.name,
            f"{law.name}: {law.sentence}; {' and '.join(broke) or 'it broke'} once, and not again on the same data: "
            "the function does not always return the same; seed its random numbers, and keep nothing between calls",
        ) from None


DTYPES = ("float64", "float32", "float16")
KINDS_OF_V_EMPTY = (None, True, False, "scalar", "batch")


def _check_claim(allocate: Any, game: Any, value: Any, mask: Any, v_empty: Any, dtype: Any, tolerance: Any) -> None:
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
    if not isinstance(v_empty, bool):  # it says what allocate takes
        one_of("check_axioms: v_empty", v_empty, KINDS_OF_V_EMPTY)
    one_of("check_axioms: dtype", dtype, DTYPES)
    if tolerance is not None:
        number("check_axioms: tolerance", tolerance, "a number >= 0 or None", lambda x: 0 <= x < np.inf)


def _check_count(name: str, x: Any, most: int | None) -> None:
    expected = "an integer >= 1" if most is None else f"an integer in 1..{most}"
    if integer(f"check_axioms: {name}", x, 1, expected) > (x if most is None else most):
        raise ValueError(f"check_axioms: {name} must be {expected}, got {x}; all 2^n sets of players are enumerated")


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


def _property(law: Law, subject: Theirs) -> Callable[[Sample], None]:
    def holds(data: Sample) -> None:
        with np.errstate(all="ignore"):
            law.check(subject, data)

    return holds


def _parameters(function: Callable[..., Any]) -> dict[str, Any]:
    """Of every parameter by name, how it may be passed."""
    try:
        return {name: parameter.kind for name, parameter in inspect.signature(function).parameters.items()}
    except (TypeError, ValueError):  # builtins and extension functions may have none
        return {}


def _remedy(subject: Theirs, broken: Broken) -> str:
    """What to do where the function raised, and takes v_empty in its other form."""
    if not isinstance(broken, Raised) or subject.v_empty is not True:
        return ""
    c = broken.data.arrays["v_empty"]
    other = np.full(broken.data.shape[0], c) if isinstance(c, float) else float(c[0])
    try:
        with np.errstate(all="ignore"):
            subject.credits(broken.data.with_arrays(v_empty=other))
    except Raised:
        return ""
    if isinstance(c, float):
        return '; with an array [rows] as v_empty it did not: if it takes no numbers, pass v_empty="batch"'
    return '; with a number as v_empty it did not: if it takes no arrays [rows], pass v_empty="scalar"'
