"""`parametrize_with_checks`: every law on every subject, as one pytest parameter each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import product
from typing import Any

import numpy as np
import pytest

from shapley_kernels.games import GAMES, Game
from shapley_kernels.testing.laws import LAWS, Law
from shapley_kernels.testing.samples import Utility, utility_name
from shapley_kernels.testing.subjects import COMBINATIONS, DTYPES, HOME, VALUES, Broken, Ours, devices, why_not
from shapley_kernels.testing.violation import describe
from shapley_kernels.values import Semivalue, Shapley

COMPUTED = ("float64", "float32")
"""The dtypes that kernels compute in."""


@dataclass(frozen=True)
class Check:
    """One law on one subject, to be called without arguments."""

    law: Law
    subject: Ours

    def __call__(self) -> None:
        try:
            for arguments in self.law.on:
                self.law.check(self.subject, self.subject.sample(*arguments))
        except Broken as broken:
            raise AssertionError(describe(self.law, self.subject, broken.what, broken)) from broken.__cause__

    def __str__(self) -> str:
        s = self.subject
        parts = [self.law.name.replace(" ", "_"), utility_name(s.utility), value_name(s.value), s.backend, s.dtype]
        parts += [s.container] if s.container != HOME[s.backend] else []
        parts += [s.device] if s.device != "cpu" else []
        return "-".join(parts)


def value_name(value: Semivalue) -> str:
    """The class and what is not standard about it: Shapley, Banzhaf_0.25, BetaShapley_4_1."""
    standard = type(value)() if type(value).__name__ in ("Banzhaf", "BetaShapley") else None
    numbers = [str(x) for x in vars(value).values() if isinstance(x, (int, float))] if value != standard else []
    return "_".join([type(value).__name__, *numbers])


def parametrize_with_checks(
    games: Iterable[Utility | Callable[..., Any]] | None = None,
    values: Sequence[Semivalue] | None = None,
    backends: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    containers: Sequence[str] | None = None,
) -> Any:
    """A pytest decorator that runs every law on every game, value, backend and dtype.

        @parametrize_with_checks()
        def test_laws(check):
            check()

    Accuracy is judged under each value in float64 and float32, in which all is computed; in narrower dtypes, and laws
    about sums and renamed players, under each value in one dtype, and in each dtype under one value; laws about arrays
    under the first value.

    Args:
        games: classes of the order family, or functions (rewards, mask, v_empty) -> game; None: `GAMES` and two
            combinations of them. Functions that return no game are taken for allocations of one's own, and get
            `check_axioms` as one test for each of the values (None: Shapley).
        values: semivalues; None: one of every kind.
        backends: "numba", "torch", "triton"; None: those, triton only if there is a CUDA device or TRITON_INTERPRET=1.
        dtypes: "float64", "float32", "float16", and "bfloat16" in torch; None: all.
        containers: "numpy", "torch"; None: that of the backend, and the other one for accuracy and laws about arrays,
            in one of its dtypes in turns.

    A backend that cannot run here is one skipped test, which says why.
    """
    given = tuple(games) if games is not None else (*GAMES, *COMBINATIONS)
    utilities = tuple(game for game in given if games is None or _makes_games(game))
    parameters = [check for game in given if game not in utilities for check in _axioms(game, values or (Shapley(),))]
    for backend in backends or tuple(HOME) if utilities else ():
        if (reason := why_not(backend)) is not None:
            skip = pytest.mark.skip(reason=reason)
            parameters.append(pytest.param(lambda: None, id=f"{backend}-unavailable", marks=[skip]))
            continue
        checks = _checks(utilities, values or VALUES, backend, list(_places(backend, dtypes, containers)))
        parameters += [pytest.param(check, id=str(check)) for check in checks]
    return pytest.mark.parametrize("check", parameters)


def _makes_games(utility: Any) -> bool:
    """Whether it is a utility, and not an allocation from rewards to credits."""
    if isinstance(utility, type):
        return True
    try:
        return isinstance(utility(np.zeros((1, 2)), None, 0.0), Game)
    except Exception:
        return False


def _axioms(allocate: Any, values: Sequence[Semivalue]) -> Iterator[Any]:
    from shapley_kernels.testing.check import check_axioms

    for value in values:
        check = partial(check_axioms, allocate, value=value)
        yield pytest.param(check, id=f"axioms-{utility_name(allocate)}-{value_name(value)}")


def _places(
    backend: str, dtypes: Sequence[str] | None, containers: Sequence[str] | None
) -> Iterator[tuple[str, str, str, bool]]:
    """(container, dtype, device, whether the container is not that of the backend, and was not asked for)."""
    for container in containers or ("numpy", "torch"):
        foreign = container != HOME[backend] and containers is None
        if (container == "torch" and find_spec("torch") is None) or (foreign and backend == "triton"):
            continue
        for dtype in dtypes or DTYPES[container]:
            for device in devices(backend) if container == "torch" else ["cpu"]:
                if dtype in DTYPES[container]:
                    yield container, dtype, device, foreign


def _checks(
    utilities: Iterable[Utility], values: Sequence[Semivalue], backend: str, places: Sequence[Any]
) -> Iterator[Check]:
    own = [place for place in places if not place[-1]]
    foreign = [place for place in places if place[-1]]
    for (u, utility), (n, law) in product(enumerate(utilities), enumerate(law for law in LAWS if law.on)):
        turn = foreign[(u + n) % len(foreign)] if foreign else None
        for i, place in enumerate([*own, turn] if turn else own):
            for v, value in enumerate(values):
                every = law.values == "all" and place[1] in COMPUTED
                due = v == 0 or every or (law.values != "one" and v % len(own) == i)
                if place is turn:
                    due = v == 0 and (law.values == "one" or law.check.__name__ == "accuracy")
                subject = Ours(utility, value, place[1], backend, place[0], place[2])
                if due and law.holds(subject):
                    yield Check(law, subject)
