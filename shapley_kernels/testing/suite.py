"""`parametrize_with_checks`: every law on every subject, as one pytest parameter each."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from shapley_kernels.games import GAMES, Game
from shapley_kernels.testing._deps import has_cuda, need, required, unavailable
from shapley_kernels.testing.laws import LAWS, Law
from shapley_kernels.testing.samples import Utility, utility_name
from shapley_kernels.testing.subjects import COMBINATIONS, VALUES, Subject
from shapley_kernels.values import Semivalue, Shapley

try:
    import pytest
except ModuleNotFoundError:
    raise need("pytest") from None

HOME = {"numba": "numpy", "torch": "torch", "triton": "torch"}
"""The container each backend works on; the other one is converted, which the laws about arrays check."""

DTYPES = {"numpy": ("float64", "float32", "float16"), "torch": ("float64", "float32", "float16", "bfloat16")}


@dataclass(frozen=True)
class Check:
    """One law on one subject, to be called without arguments."""

    law: Law
    subject: Subject

    def __call__(self) -> None:
        self.law.check(self.subject)

    def __str__(self) -> str:
        s = self.subject
        parts = [self.law.name, utility_name(s.utility), value_name(s.value), s.backend, s.dtype]
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

    Args:
        games: classes of the order family, or functions (rewards, mask, v_empty) -> game; None: `GAMES` and two
            combinations of them. Functions that return no game are taken for allocations of one's own, and get
            `check_axioms` as one test for each of the values (None: Shapley).
        values: semivalues; laws about arrays are checked on the first one alone. None: one of every kind.
        backends: "numba", "torch", "triton"; None: those, triton only if there is a CUDA device or TRITON_INTERPRET=1.
        dtypes: "float64", "float32", "float16", and "bfloat16" in torch; None: all.
        containers: "numpy", "torch"; None: that of the backend, and the other one for the laws about arrays.

    A backend that cannot run here is one skipped test, or a failing one if SHAPLEY_REQUIRE names it.
    """
    given = tuple(games) if games is not None else (*GAMES, *COMBINATIONS)
    utilities = tuple(game for game in given if games is None or _makes_games(game))
    parameters = [check for game in given if game not in utilities for check in _axioms(game, values or (Shapley(),))]
    if not utilities:
        return pytest.mark.parametrize("check", parameters)
    for backend in backends or ("numba", "torch", "triton"):
        reason = unavailable(backend)
        if reason is not None:
            parameters.append(_absent(backend, reason))
            continue
        checks = _checks(utilities, values or VALUES, backend, _places(backend, dtypes, containers))
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
    from shapley_kernels.testing.axiom_check import check_axioms

    for value in values:
        check = partial(check_axioms, allocate, value=value)
        yield pytest.param(check, id=f"axioms-{utility_name(allocate)}-{value_name(value)}")


def _places(
    backend: str, dtypes: Sequence[str] | None, containers: Sequence[str] | None
) -> Iterator[tuple[str, str, str, bool]]:
    """(container, dtype, device, whether for the laws about arrays alone)."""
    devices = ["cuda"] if backend == "triton" and has_cuda() else ["cpu"]
    if backend == "torch" and has_cuda():
        devices.append("cuda")
    for container in containers or ("numpy", "torch"):
        foreign = container != HOME[backend]
        if (container == "torch" and unavailable("torch")) or (foreign and containers is None and backend == "triton"):
            continue
        for dtype in dtypes or DTYPES[container]:
            if dtype not in DTYPES[container]:
                continue
            for device in devices if container == "torch" else ["cpu"]:
                yield container, dtype, device, foreign and containers is None


def _checks(
    utilities: Iterable[Utility], values: Sequence[Semivalue], backend: str, places: Iterable[Any]
) -> Iterator[Check]:
    places = list(places)
    for law in LAWS:
        for utility in utilities:
            for container, dtype, device, arrays_only in places:
                for value in values if law.each_value and not arrays_only else values[:1]:
                    subject = Subject(utility, value, backend, container, dtype, device)
                    if (not arrays_only or not law.each_value or law.name == "equals_enumeration") and law.holds(
                        subject
                    ):
                        yield Check(law, subject)


def _absent(backend: str, reason: str) -> Any:
    """A test that says why there are none."""

    def check() -> None:
        pytest.fail(f"SHAPLEY_REQUIRE names {backend}: {reason}")

    marks = [] if backend in required() else [pytest.mark.skip(reason=reason)]
    return pytest.param(check, id=f"{backend}-unavailable", marks=marks)
