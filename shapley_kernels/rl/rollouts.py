"""The rollouts of a prompt as the players: what each adds to what their group is worth."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, describe, device, like, narrowed, ops_of, read
from shapley_kernels.games import Game, Max
from shapley_kernels.rl.advantages import Normalisation, normalised, read_mask
from shapley_kernels.rl.allocator import check_value, credits_of, rounding_of
from shapley_kernels.rl.baselines import Baseline
from shapley_kernels.rl.group_value import GroupValue
from shapley_kernels.rl.groups import Groups, read_flat, refuse_ranks_without_ids
from shapley_kernels.rl.ranks import ALONE, Ranks, ranks_of
from shapley_kernels.rl.utility import check_utility, make_game, name_of
from shapley_kernels.values import Semivalue, Shapley

OWNER = "rollout_advantages"


def rollout_advantages(
    rewards: Any,
    *,
    utility: Callable[..., Game] = Max,
    value: Semivalue | Baseline = Shapley(),  # noqa: B008, it is frozen
    mask: Any = None,
    group_ids: Any = None,
    num_generations: int | None = None,
    center: str = "group",
    scale: str = "none",
    ddof: int = 1,
    min_std: float = 1e-6,
    eps: float = 1e-4,
    process_group: Any = None,
    **data: Any,
) -> Any:
    """Advantages of rollouts whose group earns utility(rewards of the group): A = phi - mean(phi), phi the value.

    With the worth of the best (`Max`), a group is trained to have one good rollout among many, as by pass@k. For G
    rollouts and rewards of 0 and 1, G times the result is MaxRL's (r - mean) / mean; with value=Stratum(k) and
    center="none", k / G times it are PKPO's weights for max@k of k of the G; LeaveOneOut and center="none" pay the best
    for what it is above the second best.

    Args:
        rewards: [B, G], B prompts of G rollouts; [N] with `group_ids` or `num_generations`; or [N], one group.
        utility: what a group is worth: a game such as `Max`, or a function (rewards, mask=, **data) -> game, which is
            called with [groups, rollouts of the largest group] and a mask where groups differ in size.
        value: how that is shared: a semivalue such as `Stratum(k)`, or a baseline.
        mask: bool, broadcasts to the rewards, True = takes part. What stands elsewhere is never read.
        group_ids: [N] hashables, in any order; num_generations: rollouts per group, consecutive. As in
            `grpo_advantages`.
        center: what is subtracted from phi, over the rollouts of a group: "group" (or "slot"): the mean. "loo": the
            mean of the others. "none": nothing.
        scale, ddof, min_std, eps: what phi is then divided by, as in `grpo_advantages`; a std that the rounding of phi
            explains counts as 0.
        process_group: as in `grpo_advantages`, with group_ids only. Every rank computes for all of them, on the host.
        data: what else the utility takes, an entry per rollout: the axes of the rewards, then any others, such as
            labels [N] or features [N, topics]. What is the same for all belongs into the utility.

    Returns:
        advantages of the shape, container, dtype and device of the rewards; 0 where the mask is False.

    Raises:
        TypeError, ValueError: arguments of the wrong kind, shape or value; as `RewardAllocator`, `grpo_advantages` and
            the utility.

    Cost: that of the value of [groups, largest group], and one copy of rewards and data where group_ids are given. On a
        GPU the rewards and data stay there.
    Source: Tajwar et al. (2026), arXiv 2602.02710 (MaxRL); Walder and Karkhanis (2025), arXiv 2505.15201 (PKPO); Tang
        et al. (2025), arXiv 2503.19595 (the best against the second best).

    >>> (4 * rollout_advantages([1.0, 0.0, 0.0, 1.0])).tolist()
    [1.0, -1.0, -1.0, 1.0]
    """
    ranks = ranks_of(OWNER, process_group)
    with ranks or ALONE:
        how = Normalisation.checked(OWNER, center, scale, ddof, min_std, eps)
        check_utility(OWNER, utility)
        if isinstance(value, GroupValue):
            raise TypeError(
                f"{OWNER}: value must be a semivalue such as sk.Shapley() or a baseline, got {value!r}, which compares "
                "the candidates of a rollout with those of others; here the rollouts are the players"
            )
        check_value(OWNER, value, (Semivalue, Baseline))
        ops, array, restore = read(rewards, f"{OWNER}: rewards")
        array = ops.detached(array)
        groups = _groups(shape := tuple(array.shape), group_ids, num_generations, ranks)
        columns = {name: ops.detached(_column(name, x, array)) for name, x in data.items()}
        live = read_mask(OWNER, mask, array, shape, "rewards")
        if ranks is not None:
            ranks.compare(utility=name_of(utility), value=value, **asdict(how))
            groups = groups.agreed(device(array))
    call = _Call(utility, value, how, groups, array, live, columns)
    result = call.advantages() if ranks is None else call.among(ranks)
    return restore(result) if restore else result


def _groups(shape: tuple[int, ...], group_ids: Any, num_generations: Any, ranks: Ranks | None) -> Groups:
    """The groups of rewards of this shape."""
    refuse_ranks_without_ids(OWNER, group_ids, ranks)
    named = group_ids is not None or num_generations is not None
    if len(shape) != 1 and (len(shape) != 2 or named):
        raise ValueError(
            f"{OWNER}: rewards must have shape [groups, rollouts], or [rollouts] with or without group_ids or "
            f"num_generations, got {shape}; reshape them"
        )
    return read_flat(OWNER, shape[0], group_ids, num_generations, ranks) if named else Groups(OWNER, *(1, *shape)[-2:])


@dataclass(frozen=True)
class _Call:
    """The arguments of `rollout_advantages`, checked, arrays in numpy or torch."""

    utility: Callable[..., Game]
    value: Semivalue | Baseline
    how: Normalisation
    groups: Groups
    rewards: Array
    live: Array | None
    columns: dict[str, Array]

    def advantages(self) -> Array:
        stack, rewards = _Stack(tuple(self.rewards.shape), self.groups), self.rewards
        live = stack.mask(self.live, rewards)
        columns = {name: stack.put(x) for name, x in self.columns.items()}
        game = make_game(OWNER, self.utility, stack.put(rewards), live, columns)
        credits = game.ops.detached(credits_of(game, self.value, wide=True))
        alone, groups = None if live is None else live[..., None], Groups(OWNER, *stack.shape)
        rounding = rounding_of(credits.dtype)
        advantages = normalised(game.ops, credits[..., None], alone, groups, self.how, rounding)[..., 0]
        return stack.back(narrowed(advantages, rewards.dtype, f"{OWNER}: advantages"))

    def among(self, ranks: Ranks) -> Array:
        """The advantages of this rank's rollouts, the data of all of them brought to every rank, on the host."""
        ops, rewards, live = ops_of(self.rewards), self.rewards, self.live
        with ranks:
            wide = ops.cast(rewards, ops.compute_dtype(rewards.dtype))
            live = ops.zeros(rewards, rewards.shape, ops.dtype("bool")) == 0 if live is None else live
            mine = {"index": self.groups.group_of(), "live": live, "rewards": wide, **self.columns}
            ranks.compare(data=sorted(self.columns))
            parts = ranks.exchange({k: x if isinstance(x, np.ndarray) else ops.to_host(x) for k, x in mine.items()})
        whole = {name: np.concatenate([part[name] for part in parts]) for name in mine}
        everybody = Groups(OWNER, self.groups.count, index=whole.pop("index"))
        rewards, live = whole.pop("rewards"), whole.pop("live")
        advantages = _Call(self.utility, self.value, self.how, everybody, rewards, live, whole).advantages()
        first = sum(len(part["index"]) for part in parts[: ranks.number])
        return ops.array_like(advantages[first : first + len(self.rewards)], self.rewards, self.rewards.dtype)


class _Stack:
    """From the rollouts as they come to [groups, rollouts of the largest group], and back.

    Args:
        given: the shape of the rewards.
    """

    def __init__(self, given: tuple[int, ...], groups: Groups) -> None:
        self.given = given
        self.rollouts: np.ndarray | None = None  # which one stands at a place of [groups, largest group]
        self.places: np.ndarray | None = None  # where each one stands there, flat
        self.exists: np.ndarray | None = None  # whether one does; None: everywhere
        if groups.size is not None:
            self.shape = (groups.count, groups.size)
            return
        order, starts = groups.runs
        sizes = np.diff(starts)
        self.shape = (groups.count, int(sizes.max(initial=0)))
        exists = np.arange(self.shape[1]) < sizes[:, None]  # [groups, largest]
        order = np.arange(given[0]) if order is None else order
        self.rollouts = np.zeros(self.shape, np.int64)
        self.rollouts[exists] = order
        self.places = np.empty(given[0], np.int64)
        self.places[order] = np.flatnonzero(exists)
        self.exists = None if exists.all() else exists

    def put(self, x: Array) -> Array:
        """[N, ...] -> [groups, largest group, ...]."""
        if self.rollouts is not None:
            ops = ops_of(x)
            return x[ops.array_like(self.rollouts, x, ops.dtype("int64"))]
        return x.reshape((*self.shape, *x.shape[len(self.given) :]))

    def mask(self, live: Array | None, reference: Array) -> Array | None:
        """That of the caller, stacked, and False where a group has no rollout."""
        stacked = None if live is None else self.put(live)
        if self.exists is None:
            return stacked
        ops = ops_of(reference)
        exists = ops.array_like(self.exists, reference, ops.dtype("bool"))
        return exists if stacked is None else stacked & exists

    def back(self, x: Array) -> Array:
        """[groups, largest group] -> the shape of the rewards."""
        if self.places is not None:
            ops = ops_of(x)
            return x.reshape(-1)[ops.array_like(self.places, x, ops.dtype("int64"))]
        return x.reshape(self.given)


def _column(name: str, x: Any, rewards: Array) -> Array:
    """Data of the utility, beside the rewards."""
    array = like(x, rewards, f"{OWNER}: {name}")
    shape = tuple(rewards.shape)
    if tuple(array.shape[: len(shape)]) != shape:
        raise ValueError(
            f"{OWNER}: {name} must have an entry per rollout, shape {shape} or with more axes behind, "
            f"got {describe(array)}; what is the same for all belongs into the utility, as by functools.partial"
        )
    return array
