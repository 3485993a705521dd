"""Truth for small games, error budgets, and laws that any allocation can be checked with.

`exact_semivalue`, `exact_interactions`, `exact_decisions`, `error_budget` and `assert_within_budget` need nothing but
the package; `check_axioms` and `strategies` need hypothesis, `parametrize_with_checks` pytest: pip install
'shapley_kernels[testing]'.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from shapley_kernels.testing.budget import Budget, assert_within_budget, error_budget
from shapley_kernels.testing.exact import exact_decisions, exact_interactions, exact_semivalue

if TYPE_CHECKING:
    from shapley_kernels.testing import strategies
    from shapley_kernels.testing.check import AxiomViolation, check_axioms
    from shapley_kernels.testing.suite import parametrize_with_checks

_LATER = {
    "AxiomViolation": "check",
    "check_axioms": "check",
    "parametrize_with_checks": "suite",
    "strategies": "strategies",
}
"""Where the names are that need a package of the extra."""

__all__ = [
    "AxiomViolation",
    "Budget",
    "assert_within_budget",
    "check_axioms",
    "error_budget",
    "exact_decisions",
    "exact_interactions",
    "exact_semivalue",
    "parametrize_with_checks",
    "strategies",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(f"{__name__}.{_LATER[name]}")
    except ModuleNotFoundError as error:
        if error.name not in ("hypothesis", "pytest"):
            raise
        needs = f"{__name__}.{name} needs {error.name}: pip install 'shapley_kernels[testing]'"
        raise ModuleNotFoundError(needs, name=error.name) from None
    return module if name == _LATER[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
