"""Rollouts of different numbers of candidates: what makes their credits comparable.

Credits that share out v(all) have the mean v(all) / n over n candidates, so that among short lists, a long one looks
poor. Times n, their mean is v(all), and lists compete by what they are worth.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, cast, first_true, is_traced, namespace, native, numbers, on_cpu
from shapley_kernels.games import Game
from shapley_kernels.games.order.base import OrderGame
from shapley_kernels.rl.baselines import PrefixMarginals, WinnerTakesAll
from shapley_kernels.rl.group_value import Value
from shapley_kernels.values import Semivalue, Shapley

SIZES = ("worth", "share")

EFFICIENT = (Shapley, PrefixMarginals, WinnerTakesAll)
"""Values whose credits sum to v(all) - v(empty)."""


@dataclass(frozen=True)
class TimesLive(Semivalue):
    """A value times the number of live players, for games that take coefficients for each such number."""

    value: Semivalue

    @property
    def fixed_players(self) -> int | None:  # type: ignore[override]
        return self.value.fixed_players

    def size_weights(self, n: int) -> np.ndarray:
        return n * self.value.size_weights(n)

    def expectations(self, f: np.ndarray, n: int) -> np.ndarray:
        return n * self.value.expectations(f, n)


def splits_worth(value: Value) -> bool:
    """Whether its credits share out what a set is worth, and so are smaller in larger sets."""
    return isinstance(value, Semivalue) or value.splits_worth


def multiplies(value: Value, sizes: str) -> bool:
    """Whether credits of the value go through `times_live` before they are normalised."""
    return sizes == "worth" and splits_worth(value)


def factor_is_free(game: Game) -> bool:
    """Whether `TimesLive` costs no more than its value: for games of sorted rewards, and sums of them. Not while torch
    traces, which cannot keep a value that is made meanwhile."""
    return not is_traced(game.data) and all(isinstance(part, OrderGame) for _, part in game._parts())


def times_live(credits: Any, mask: Array | None) -> Any:
    """Credits [..., candidates], each times the number of live candidates of its rollout, in their container and dtype.

    Args:
        mask: [..., candidates] bool, numpy or torch as the credits; None: all are live.

    Raises:
        OverflowError: on the CPU, a product beyond the range of the dtype.
    """
    array, restore = native(credits, "credits")
    with np.errstate(over="ignore"):
        result = array * (array.shape[-1] if mask is None else cast(mask.sum(-1), array.dtype)[..., None])
    if on_cpu(result) and not is_traced(result):
        xp = namespace(result)
        if (where := first_true(xp.isfinite(array) & ~xp.isfinite(result))) is not None:
            raise OverflowError(
                f"RewardAllocator: credits times the number of candidates must be in the range of {result.dtype}, got "
                f"{float(array[where])} of {array.shape[-1]} at {list(where)}; scale the rewards down"
            )
    return restore(result) if restore else result


_told: set[str] = set()


def warn_of_v_empty(owner: str, game: Game, value: Value, sizes: str, outside: str) -> None:
    """Once per process, a warning where sets differ in size and all are worth less than v_empty = 0, the default.

    Of numbers on the CPU only; where the first reward is not negative, or no set is masked, nothing else is looked at.
    """
    if owner in _told or game.mask is None or not on_cpu(game.data) or is_traced(game.data):
        return
    parts, shape = game._parts(), game.data.shape
    if 0 in shape or game.data[(0,) * len(shape)] >= 0:
        return
    if not all(isinstance(x, OrderGame) and isinstance(x.v_empty, float) and x.v_empty == 0 for _, x in parts):
        return
    sets, worth = numbers(game.mask).sum(-1), numbers(native(game.worth(), "worth")[0])
    in_credits = splits_worth(value) and (sizes == "share" or not isinstance(value, EFFICIENT))
    in_sets = outside == "set" and bool((sets == 0).any())
    if (in_credits or in_sets) and sets.min() < sets.max() and (worth[sets > 0] < 0).all():
        _told.add(owner)
        warnings.warn(
            f"{owner}: sets differ in size, and all are worth less than the empty one, v_empty=0.0, so that what they "
            "get depends on their size beside their worth; set v_empty to what an answer without candidates should "
            "earn, such as the lowest reward: functools.partial(sk.Max, v_empty=-1.0)",
            stacklevel=4,
        )
