"""Which columns of a data set a score function takes."""

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
