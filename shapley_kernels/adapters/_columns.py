"""Which columns of a data set a score function takes, and which it needs."""

import inspect
from collections.abc import Callable
from inspect import Parameter
from typing import Any


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
