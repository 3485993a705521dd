"""Credit against the other rollouts of the group: what all such rules share."""

import pickle
from math import prod
from typing import Any, ClassVar, TypeAlias

import numpy as np

from shapley_kernels.arrays import Array, device, is_float, on_cpu
from shapley_kernels.games import Game
from shapley_kernels.games.mixing import joined, take
from shapley_kernels.games.overflow import within_range
from shapley_kernels.rl.baselines import Baseline
from shapley_kernels.rl.groups import Groups
from shapley_kernels.rl.ranks import ALONE, Ranks
from shapley_kernels.values import Semivalue


class GroupValue:
    """A rule for credit that compares a rollout with the others of its group; subclass it and write `share` to add one.

    The decisions of a rollout are its live candidates, in order, and to stop behind the last of them.
    """

    prices_stop: ClassVar[bool] = False
    """Whether to stop has a credit, which is what tokens behind the last candidate get."""
    splits_worth: ClassVar[bool] = False
    """As of `Baseline`."""

    def decisions(self, game: Game, groups: Groups, stopped: Array | None = None) -> Array:
        """Credits [..., players + 1] of the candidates (exactly 0 at masked ones) and, last, of the stop.

        Args:
            game: of batch shape [B, G], [G] or [N].
            stopped: bool [...], False for rollouts that did not choose to stop; None: all did.

        Returns:
            numpy or torch, in the dtype and on the device of the game.

        Raises:
            TypeError, ValueError: groups that do not fit the game, data between the candidates of one rollout.
            OverflowError: on the CPU, credits beyond the range of the dtype.
        """
        with groups.ranks or ALONE:
            game.refuse_joint_data()
            groups = groups.agreed(device(game.data))
        if groups.ranks is None:
            with np.errstate(over="ignore", invalid="ignore"):  # `within_range` looks
                credits = self._decisions(game, groups)
            if on_cpu(credits) and game.is_eager():
                credits = within_range(
                    game, "credits", credits, lambda small: self._decisions(small, groups), trailing=1
                )
        else:
            credits = self._among_ranks(game, groups, groups.ranks)
        return credits if stopped is None else self.charge_the_end(credits, game.mask, ~stopped)

    def charge_the_end(self, credits: Array, mask: Array | None, cut: Array) -> Array:
        """The credits [..., players + 1], with the end of `cut` rollouts [...] charged to their candidates."""
        return credits

    def _decisions(self, game: Game, groups: Groups) -> Array:
        shape = (*game.batch_shape, game.players + 1)
        if 0 in (*game.batch_shape, game.players):
            return game.ops.zeros(game.data, shape, game.dtype)
        sorted_game, count, index = _live_first(_wide(game))
        credits = self.share(sorted_game, groups, count)
        if not on_cpu(credits):
            credits = game.ops.xp.where(_bad(game, groups), float("nan"), credits)
        if game.mask is not None and index is not None:
            xp, live = game.ops.xp, game.mask.reshape(-1, game.players)
            live = xp.concatenate([live, xp.ones_like(live[:, :1])], -1)
            credits = xp.where(live, game.ops.take(credits, index), 0.0)
        return game.ops.cast(credits, game.dtype).reshape(shape)

    def _among_ranks(self, game: Game, groups: Groups, ranks: Ranks) -> Array:
        """`_decisions` of this rank's rollouts, the data of all of them brought to every rank, on the host."""
        index = groups.group_of()
        with ranks:
            ranks.compare(game=_form(game))
            mine = _wide(game).with_arrays(game.ops.to_host)
            parts = ranks.exchange(pickle.dumps((index, mine)))
            indices, games = zip(*map(pickle.loads, parts), strict=True)
            ranks.exchange()  # whether all could read the others' games
        whole = joined(games)
        everybody = Groups(groups.owner, groups.count, index=np.concatenate(indices))
        credits = self._decisions(whole, everybody)
        first = sum(len(x) for x in indices[: ranks.number])
        own = credits[first : first + len(index)]
        own = np.concatenate([own[:, : game.players], own[:, -1:]], -1)
        return game.ops.array_like(own, game.data, game.dtype)

    def share(self, game: Game, groups: Groups, count: Array) -> Array:
        """Credits [rollouts, players + 1] of the live candidates, then of the stop, then anything.

        Args:
            game: in the compute dtype, with results in numpy or torch; live players come first.
            count: [rollouts] int32, the number of live players.
        """
        raise NotImplementedError


def _form(game: Game) -> list[Any]:
    """What games have to have in common to be joined."""
    parts = [part for _, part in game._parts()]
    return [(type(part), [name for name in part.arguments if getattr(part, name) is None]) for part in parts]


def _wide(game: Game) -> Game:
    """The game in the compute dtype, with results in numpy or torch."""
    ops, dtype = game.ops, game.compute_dtype
    return game.with_arrays(lambda x: ops.cast(x, dtype) if is_float(x.dtype) else x)


def _live_first(game: Game) -> tuple[Game, Array, Array | None]:
    """The game with its live players first; [rollouts] int32, how many; and [rollouts, players + 1] int64, where the
    players are now, and last the stop (None: as they were, and all live)."""
    ops, rows, players = game.ops, prod(game.batch_shape), game.players
    if game.mask is None:
        return game, ops.zeros(game.data, (rows,), ops.dtype("int32")) + players, None
    xp, live, int64 = ops.xp, game.mask.reshape(rows, players), ops.dtype("int64")
    count, place = live.sum(-1), ops.array_like(np.arange(players), live, int64)
    if on_cpu(live) and not (live[:, 1:] > live[:, :-1]).any():
        index = xp.broadcast_to(place, (rows, players))
    else:
        old = xp.argsort(ops.cast(~live, ops.dtype("int8")), stable=True)
        row = ops.array_like(np.arange(rows), live, int64)
        game = take(game, row, xp.broadcast_to(row[:, None], old.shape), old, place < count[:, None])
        index = old.argsort(-1)
    return game, ops.cast(count, ops.dtype("int32")), xp.concatenate([index, count[:, None]], -1)


Value: TypeAlias = Semivalue | Baseline | GroupValue
"""What `RewardAllocator` shares by."""


def _bad(game: Game, groups: Groups) -> Array:
    """[rollouts, 1] bool: those of a group with live data that are not finite."""
    ops = game.ops
    bad = sum(ops.cast(part.bad_rows(), ops.dtype("float32")) for _, part in game._parts()).reshape(-1)
    if groups.size is not None:
        of_group = bad.reshape(-1, groups.size).sum(-1).repeat_interleave(groups.size)
    else:
        index = ops.array_like(groups.group_of(), bad, ops.dtype("int64"))
        of_group = bad.new_zeros(groups.count).index_add_(0, index, bad)[index]
    return of_group[:, None] > 0
