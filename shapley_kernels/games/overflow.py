"""Results beyond the range of their dtype: computed anew in double precision where only the way to them overflowed."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, ops_of

COALITIONS = "coalitions"
"""In `Game.arguments`: the last axis runs over all 2^players coalitions, index sum_{i in S} 2^i."""


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


def live_entries(mask: Array | None, axes: Any, array: Array) -> Array | None:
    """Where an entry of `array` concerns live players alone: bool, broadcasts to it; None: everywhere.

    Args:
        mask: [batch..., players]; axes: as in `Game.arguments`.
    """
    if mask is None or axes == ():
        return None
    *batch, players = mask.shape
    if axes == COALITIONS:
        ops = ops_of(mask)
        integers = ops.dtype("int64")
        bits, every = (ops.array_like(x, mask, integers) for x in (1 << np.arange(players), np.arange(1 << players)))
        masked = (ops.cast(~mask, integers) * bits).sum(-1)  # as an index
        return every & masked[..., None] == 0
    live, own = None, len(array.shape) - len(batch)
    for axis in axes:
        part = mask.reshape((*batch, *(players if a == axis else 1 for a in range(-own, 0))))
        live = part if live is None else live & part
    return live
