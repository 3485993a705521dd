"""What all adapters are given: a framework of some version, an allocator, a score function and its columns."""

import inspect
from collections.abc import Callable
from importlib import metadata
from inspect import Parameter
from typing import Any

from shapley_kernels.rl import RewardAllocator


def supported(owner: str, requirement: str, release: str) -> str:
    """The installed version of a framework.

    Args:
        requirement: such as "trl>=1.0,<2"; release: what its versions begin with, "1.".

    Raises:
        ImportError: another one, or none.
    """
    package = requirement.partition(">")[0]
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError:
        found = "none"
    if not found.startswith(release):
        raise ImportError(
            f"{owner}: needs {requirement}, found {found}; run: pip install '{requirement}'", name=package
        )
    return found


def check_allocator(owner: str, allocator: Any) -> None:
    if not isinstance(allocator, RewardAllocator | None):
        raise TypeError(f"{owner}: allocator must be a RewardAllocator or None, got {allocator!r}")


def check_rollouts(owner: str, rollouts: Any) -> None:
    if not callable(rollouts):
        raise TypeError(
            f"{owner}: rollouts must be rl.rollout_advantages, or functools.partial of it with options, "
            f"got {rollouts!r}"
        )


def parameters(score: Callable[..., Any]) -> set[str] | None:
    """The names of the parameters behind the first, which is the text or texts; None for all, with **columns."""
    behind = _behind_first(score)
    return None if any(x.kind is Parameter.VAR_KEYWORD for x in behind) else {x.name for x in behind}


def needed(score: Callable[..., Any]) -> set[str]:
    """The names of those that have no default."""
    variadic = (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
    return {x.name for x in _behind_first(score) if x.default is x.empty and x.kind not in variadic}


def _behind_first(score: Callable[..., Any]) -> list[Parameter]:
    try:
        return list(inspect.signature(score).parameters.values())[1:]
    except ValueError:  # built-in functions without a signature
        return []
