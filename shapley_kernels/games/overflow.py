"""Results beyond the range of their dtype: computed anew in double precision where only the way to them overflowed."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array
from shapley_kernels.games.data import live_entries


def within_range(
    game: Any,
    what: str,
    result: Array,
    compute: Callable[[Any], Array],
    trailing: int = 0,
    propagate: bool = False,
) -> Array:
    """`result`, its numbers that are not finite computed anew where only something on the way to them overflowed.

    Args:
        game: a `Game`.
        what: its name, in the plural.
        result: compute(game) in the dtype of the game: [..., *trailing axes], which broadcasts with the batch.
        compute: linear in the worth, of games that `Game.scaled_down` made; in float64.
        propagate: NaN for whole rows with numbers that the dtype does not hold, instead of an error.

    Raises:
        OverflowError: a number that the dtype does not hold, in a row whose data are finite.

    Cost: one look at the result; what it would take in float64 where that is not finite.
    """
    ops, xp, dtype = game.ops, game.ops.xp, result.dtype
    good = xp.isfinite(result)
    if bool(good.all()):
        return result
    rows = tuple(good.shape[: len(good.shape) - trailing])
    bad = xp.broadcast_to(game.bad_rows(), rows)
    small, root = game.scaled_down()
    with np.errstate(over="ignore", invalid="ignore"):
        anew = ops.cast(ops.cast(compute(small), ops.dtype("float64")) * root * root, dtype)
    result = xp.where(good | _spread(bad, trailing), result, anew)
    beyond = ~bad & (~xp.isfinite(result)).reshape((*rows, prod(good.shape[len(rows) :]))).any(-1)
    where = ops.first_true(beyond)
    if where is None:
        return result
    if not propagate:
        remedy = "" if dtype == ops.dtype("float64") else ", or pass float64"
        raise OverflowError(
            f"{type(game).__name__}: {what} must be in the range of {dtype}, which those in row {list(where)} are not; "
            f"scale the data down{remedy}"
        )
    lost, live = _spread(beyond, trailing), live_entries(game.mask, tuple(range(-trailing, 0)), result)
    return xp.where(lost if live is None else lost & live, float("nan"), result)


def _spread(x: Array, axes: int) -> Array:
    return x.reshape((*x.shape, *(1 for _ in range(axes))))
