"""Which columns of a data set a score function takes, and which it needs."""

import inspect
from collections.abc import Callable
from typing import Any


def parameters(score: Callable[..., Any]) -> set[str] | None:
    """The names of the parameters behind the first, which is the text or texts; None for all, with **columns."""
    try:
        behind = list(inspect.signature(score).parameters.values())[1:]
    except ValueError:  # built-in functions without a signature
        return set()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in behind):
        return None
    return {parameter.name for parameter in behind}


def needed(score: Callable[..., Any]) -> set[str]:
    """The names of the parameters behind the first that have no default."""
    try:
        behind = list(inspect.signature(score).parameters.values())[1:]
    except ValueError:
        return set()
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {x.name for x in behind if x.default is x.empty and x.kind not in variadic}
