"""Games of sets that are put together from players of several games, such as the rollouts of a group.

For games without joint data (`Game.refuse_joint_data`).
"""

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array
from shapley_kernels.games.base import Combination, Game, without_restore
from shapley_kernels.games.data import is_number


def take(game: Game, own: Array, rows: Array, places: Array, mask: Array) -> Game:
    """Games of sets of players of several games of the batch.

    Args:
        own: [sets] indices into the flattened batch: whose v_empty, topic weights and factors count.
        rows, places: [sets, players]: player i of set s is player places[s, i] of game rows[s, i].
        mask: [sets, players] bool, True = live.

    Returns:
        games of batch shape [sets], with results in numpy or torch.
    """
    if isinstance(game, Combination):
        return Combination(
            [(w if is_number(w) else w.reshape(-1)[own], take(part, own, rows, places, mask)) for w, part in game.parts]
        )
    taken, count = without_restore(game), prod(game.batch_shape)
    taken.players, taken.batch_shape, taken.mask = rows.shape[-1], tuple(own.shape), mask
    for name, axes in game.arguments.items():
        if hasattr(array := getattr(game, name), "shape"):
            flat = array.reshape((count, *array.shape[len(game.batch_shape) :]))
            setattr(taken, name, flat[rows, places] if axes else flat[own])
    return taken


def joined(games: Sequence[Game]) -> Game:
    """The games of several batches [rows] as one, of as many players as the largest of them has, the others masked.

    Args:
        games: of the same utility; all are in numpy.
    """
    if isinstance(games[0], Combination):
        summands = zip(*(game._parts() for game in games), strict=True)
        return Combination([_joined_summand(games, parts) for parts in summands])
    whole = without_restore(games[0])
    whole.players = max(game.players for game in games)
    whole.batch_shape = (sum(game.batch_shape[0] for game in games),)
    live = [game.everybody() if game.mask is None else game.mask for game in games]
    whole.mask = np.concatenate([_padded(mask, (-1,), whole.players) for mask in live])
    for name, axes in whole.arguments.items():
        if getattr(whole, name) is not None:
            arrays = [_by_row(getattr(game, name), game) for game in games]
            setattr(whole, name, np.concatenate([_padded(x, axes, whole.players) for x in arrays]))
    whole.dtype = whole.data.dtype
    return whole


def _joined_summand(games: Sequence[Game], parts: Sequence[tuple[Any, Game]]) -> tuple[np.ndarray, Game]:
    weights, summands = zip(*parts, strict=True)
    return np.concatenate([_by_row(w, game) for w, game in zip(weights, games, strict=True)]), joined(summands)


def _by_row(x: Any, game: Game) -> np.ndarray:
    """A number for all games of a batch [rows] as one for each."""
    return x if hasattr(x, "shape") else np.full(game.batch_shape, x)


def _padded(x: np.ndarray, axes: tuple[int, ...], players: int) -> np.ndarray:
    """`x` with zeros for further players along the `axes` that run over them."""
    grow = [(0, players - size if i - x.ndim in axes else 0) for i, size in enumerate(x.shape)]
    return np.pad(x, grow)
