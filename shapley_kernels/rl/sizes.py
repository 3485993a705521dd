"""Rollouts of different numbers of candidates: what makes their credits comparable.

Credits that share out v(all) have the mean v(all) / n over n candidates, so that among short lists, a long one looks
poor. Times n, their mean is v(all), and lists compete by what they are worth.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from shapley_kernels.arrays import Array, ops_of
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


def times_live(credits: Array, mask: Array | None) -> Array:
    """Credits [..., candidates], each times the number of live candidates of its rollout, in their dtype.

    Args:
        mask: [..., candidates] bool; None: all are live.

    Raises:
        OverflowError: on the CPU, a product beyond the range of the dtype.
    """
    ops = ops_of(credits)
    with np.errstate(over="ignore"):
        result = credits * (credits.shape[-1] if mask is None else ops.cast(mask.sum(-1), credits.dtype)[..., None])
    if not ops.is_eager(result):
        return result
    if (where := ops.first_true(ops.xp.isfinite(credits) & ~ops.xp.isfinite(result))) is not None:
        raise OverflowError(
            f"RewardAllocator: credits times the number of candidates must be in the range of {result.dtype}, got "
            f"{float(credits[where])} of {credits.shape[-1]} at {list(where)}; scale the rewards down"
        )
    return result


_told: set[str] = set()


def warn_of_v_empty(owner: str, game: Game, value: Value, sizes: str, outside: str) -> None:
    """Once per process, a warning where sets differ in size and all are worth less than v_empty = 0, the default.

    Of numbers on the CPU only; where the first reward is not negative, nothing else is looked at.
    """
    if owner in _told or not game.is_eager():
        return
    parts, shape = game._parts(), game.data.shape
    if 0 in shape or game.data[(0,) * len(shape)] >= 0:
        return
    if not all(isinstance(x, OrderGame) and isinstance(x.v_empty, float) and x.v_empty == 0 for _, x in parts):
        return
    sets, worth = game.ops.to_float64(game.everybody() & game.mask).sum(-1), game.ops.to_float64(game.worth())
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
