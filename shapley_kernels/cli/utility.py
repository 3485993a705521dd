"""From the words on the command line to the library's utilities and values; each takes only the numbers it needs."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import isfinite
from typing import Any

from shapley_kernels.cli.rows import InputError


class UtilityName(str, Enum):
    """Values of --utility."""

    MAX = "max"
    MIN = "min"
    MEAN = "mean"
    MEDIAN = "median"
    RANGE = "range"
    TOP_M = "topm"
    TOP_M_MEAN = "topm-mean"
    KTH_BEST = "kth-best"
    DISCOUNTED = "discounted"
    OWA = "owa"


class ValueName(str, Enum):
    """Values of --value."""

    SHAPLEY = "shapley"
    BANZHAF = "banzhaf"
    BETA = "beta"
    STRATUM = "stratum"
    LEAVE_ONE_OUT = "leave-one-out"
    BROADCAST = "broadcast"
    WINNER_TAKES_ALL = "winner-takes-all"
    PREFIX = "prefix"


@dataclass(frozen=True)
class Takes:
    """The number options that a utility or value needs, and those it may have."""

    needs: tuple[str, ...] = ()
    allows: tuple[str, ...] = ()


UTILITY_TAKES = {
    UtilityName.TOP_M: Takes(("m",)),
    UtilityName.TOP_M_MEAN: Takes(("m",)),
    UtilityName.KTH_BEST: Takes(("k",)),
    UtilityName.DISCOUNTED: Takes(allows=("weights",)),
    UtilityName.OWA: Takes(("weights",)),
}

VALUE_TAKES = {
    ValueName.BANZHAF: Takes(allows=("p",)),
    ValueName.BETA: Takes(("alpha", "beta")),
    ValueName.STRATUM: Takes(("size",)),
}


def utility(name: UtilityName, v_empty: float, **numbers: Any) -> Callable[..., Any]:
    """The game of a padded batch, rewards [rows, players] and mask -> game.

    Args:
        numbers: m, k and weights, None where not given.

    Raises:
        InputError: one that is missing or that the utility does not take.
    """
    import shapley_kernels as sk

    given = _checked("--utility", name, UTILITY_TAKES, numbers)
    if not isfinite(v_empty):
        raise InputError(f"--v-empty: expected a finite number, got {v_empty}")
    games = {
        UtilityName.MAX: sk.Max,
        UtilityName.MIN: sk.Min,
        UtilityName.MEAN: sk.Mean,
        UtilityName.MEDIAN: sk.Median,
        UtilityName.RANGE: sk.Range,
        UtilityName.TOP_M: sk.TopM,
        UtilityName.TOP_M_MEAN: sk.TopMMean,
        UtilityName.KTH_BEST: sk.KthBest,
        UtilityName.DISCOUNTED: sk.Discounted,
        UtilityName.OWA: sk.OWA,
    }
    game: Callable[..., Any] = games[name]

    def of(rewards: Any, mask: Any = None) -> Any:
        return game(rewards, mask=mask, v_empty=v_empty, **given)

    return of


def value(name: ValueName, **numbers: Any) -> Any:
    """How the worth is shared: a semivalue or a baseline.

    Args:
        numbers: p, alpha, beta and size, None where not given.

    Raises:
        InputError: one that is missing or that the value does not take, or out of its range.
    """
    import shapley_kernels as sk
    from shapley_kernels import rl

    given = _checked("--value", name, VALUE_TAKES, numbers)
    kinds: dict[ValueName, Callable[..., Any]] = {
        ValueName.SHAPLEY: sk.Shapley,
        ValueName.BANZHAF: sk.Banzhaf,
        ValueName.BETA: sk.BetaShapley,
        ValueName.STRATUM: sk.Stratum,
        ValueName.LEAVE_ONE_OUT: sk.LeaveOneOut,
        ValueName.BROADCAST: rl.Broadcast,
        ValueName.WINNER_TAKES_ALL: rl.WinnerTakesAll,
        ValueName.PREFIX: rl.PrefixMarginals,
    }
    try:
        return kinds[name](**given)
    except ValueError as error:
        raise InputError(f"--value {name.value}: {error}") from None


def weights(text: str | None) -> list[float] | None:
    """Numbers with commas between them."""
    if text is None:
        return None
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(map(isfinite, numbers)):
        raise InputError(
            f"--weights: expected finite numbers with commas between them such as 1,0.5,0.25, got {text!r}"
        )
    return numbers


def _checked(option: str, name: Any, takes: dict[Any, Takes], numbers: dict[str, Any]) -> dict[str, Any]:
    """The numbers that are given, after a look at whether they are the ones that `name` takes."""
    wanted = takes.get(name, Takes())
    given = {key: number for key, number in numbers.items() if number is not None}
    missing = [f"--{key}" for key in wanted.needs if key not in given]
    if missing:
        raise InputError(f"{option} {name.value} needs {' and '.join(missing)}")
    for key in given:
        if key not in wanted.needs + wanted.allows:
            users = [other.value for other, t in takes.items() if key in t.needs + t.allows]
            raise InputError(f"--{key} does not go with {option} {name.value}, only with {', '.join(users)}")
    return given
