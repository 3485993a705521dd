"""What a set is worth, as users say it: a game, or a function that makes one."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from shapley_kernels.games import Game


def make_game(owner: str, utility: Callable[..., Game], rewards: Any, mask: Any, data: dict[str, Any]) -> Game:
    """utility(rewards, mask=mask, **data).

    Raises:
        TypeError: it does not take these arguments, or returns no game; what it raises else.
    """
    try:
        game = utility(rewards, mask=mask, **data)
    except TypeError as error:
        if takes(utility, rewards, mask=mask, **data):
            raise
        raise TypeError(
            f"{owner}: utility is called with (rewards, mask=, **data), got {error}; for a game with parameters pass "
            "functools.partial(sk.TopM, m=3), or a function (rewards, mask=None) -> game"
        ) from error
    if not isinstance(game, Game):
        raise TypeError(f"{owner}: utility must return a game such as sk.Max(rewards, mask=mask), got {game!r}")
    return game


def name_of(utility: Callable[..., Game]) -> str:
    """What tells utilities of different processes apart: the name of the class or function, and plain parameters.

    Not their repr, in which the order of a set or the device of a tensor may differ where the utilities do not.
    """
    if not isinstance(utility, partial):
        return str(getattr(utility, "__qualname__", type(utility).__qualname__))
    plain = {name: x for name, x in utility.keywords.items() if isinstance(x, (bool, int, float, str))}
    return f"{name_of(utility.func)}{plain or ''}"


def takes(function: Callable[..., Any], *arguments: Any, **named: Any) -> bool:
    """Whether the parameters of a function of the user are those of a call."""
    try:
        inspect.signature(function).bind(*arguments, **named)
    except TypeError:
        return False
    except ValueError:  # built-in functions without a signature
        return True
    return True
