"""The utility of a user: a class of games, or a function, that is called with rewards, a mask and other data."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from shapley_kernels.games import Game


def check_utility(owner: str, utility: Any) -> None:
    if not callable(utility):
        raise TypeError(
            f"{owner}: utility must be a class of games or a function (rewards, mask=) -> game, got {utility!r}; pass "
            "sk.Max, not sk.Max(rewards), and for a game with parameters functools.partial(sk.TopM, m=3)"
        )


def make_game(owner: str, utility: Callable[..., Game], rewards: Any, mask: Any, data: dict[str, Any]) -> Game:
    """utility(rewards, mask=mask, **data), a game of the candidates of the rewards.

    Raises:
        TypeError: it does not take these arguments, or returns no game; what it raises else.
        ValueError: the game has no mask, or other candidates.
    """
    try:
        game = utility(rewards, mask=mask, **data)
    except TypeError as error:
        if takes(utility, rewards, mask=mask, **data):
            raise
        given = "".join(f", {name}=" for name in ("mask", *data))
        remedy = "what is no option of the call goes to the utility by its name; " if data else ""
        raise TypeError(
            f"{owner}: utility is called with (rewards{given}), got {error}; {remedy}for a game with parameters pass "
            "functools.partial(sk.TopM, m=3), or a function (rewards, mask=None) -> game"
        ) from error
    if not isinstance(game, Game):
        raise TypeError(f"{owner}: utility must return a game such as sk.Max(rewards, mask=mask), got {game!r}")
    if mask is not None and game.mask is None:
        raise ValueError(
            f"{owner}: utility must hand its mask on, as in sk.Max(rewards, mask=mask), got a game without"
        )
    shape = (*game.batch_shape, game.players)
    if shape != (rewards.shape if type(rewards) is np.ndarray else np.shape(rewards)):
        raise ValueError(
            f"{owner}: utility must give a game of the candidates of rewards {tuple(np.shape(rewards))}, got one of "
            f"{shape}; what has several numbers per candidate goes by name: "
            "utility=lambda rewards, mask=None, scores=None: sk.FacilityLocation(scores, mask=mask)"
        )
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
