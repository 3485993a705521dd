"""The advantage estimator of trainers that hand it one reward per token and no candidates: verl and SkyRL."""

import warnings
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from shapley_kernels.adapters._arguments import check_allocator, check_rollouts
from shapley_kernels.arrays import ops_of
from shapley_kernels.rl import (
    GroupValue,
    RewardAllocator,
    SetScorer,
    decode_credits,
    decode_rewards,
    encode_credits,
    encode_rewards,
    scatter_to_tokens,
)
from shapley_kernels.rl.advantages import Normalisation, normalised
from shapley_kernels.rl.allocator import rounding_of
from shapley_kernels.rl.groups import read_groups
from shapley_kernels.rl.scorer import Scored
from shapley_kernels.rl.sizes import EFFICIENT, multiplies, times_live
from shapley_kernels.rl.utility import make_game

OWNER = "shapley_grpo"
ROLLOUTS = "shapley_rollouts"


def make(allocator: RewardAllocator | None, by_std: Callable[..., bool]) -> Callable[..., tuple[Any, Any]]:
    """An advantage estimator for rewards of `token_rewards`.

    Args:
        allocator: the one that `token_rewards` got, if its value sees the group. Else how advantages are normalised and
            laid on tokens; of its value, only whether `sizes` applies to its credits. None: `RewardAllocator()`, with
            the scale "group" or "none", as by_std says.
        by_std: told the options that the trainer passes; raises or warns if these do not fit.

    Returns:
        (token_level_rewards [N, T], response_mask [N, T], index=uids [N], **options) -> (advantages, returns), both the
        same [N, T].

    Raises:
        TypeError: not an allocator.
    """
    check_allocator(OWNER, allocator)

    def alone(token_level_rewards: Any, response_mask: Any, index: Any, **options: Any) -> Any:
        scale = "group" if by_std(**options) else "none"
        _check(OWNER, token_level_rewards, response_mask, index)
        how = allocator or RewardAllocator(scale=scale)
        decode = _rewards if isinstance(how.value, GroupValue) else _credits
        numbers, mask, ids, stopped = decode(token_level_rewards, response_mask)
        _check_mask(ids, response_mask)
        kept = mask.any(1)  # without candidates, a rollout has no part in the statistics of its group
        uids = [uid for uid, on in zip(index, kept.tolist(), strict=True) if on]
        tokens = response_mask.new_zeros(response_mask.shape, dtype=numbers.dtype)
        chose = None if stopped is None else stopped[kept]
        tokens[kept] = _on_tokens(numbers[kept], mask[kept], ids[kept], uids, how, chose)
        return tokens * response_mask

    def estimate(token_level_rewards: Any, response_mask: Any, index: Any = None, **options: Any) -> tuple[Any, Any]:
        if (join := _join_now()) is None:
            tokens = alone(token_level_rewards, response_mask, index, **options)
        else:
            together = [index[i] for i in join.final]
            tokens = join.back(alone(join(token_level_rewards), join(response_mask), together, **options))
        return tokens, tokens

    return estimate


def make_rollouts(rollouts: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """An advantage estimator for any rewards: all tokens of a rollout get its advantage among those of its uid.

    Args:
        rollouts: `rollout_advantages`, or functools.partial of it with other options.

    Returns:
        As of `make`; a rollout's reward is the sum over its tokens, of its final row where several are of one rollout.

    Raises:
        TypeError: no function.
    """
    check_rollouts(ROLLOUTS, rollouts)

    def estimate(token_level_rewards: Any, response_mask: Any, index: Any = None, **_: Any) -> tuple[Any, Any]:
        _check(ROLLOUTS, token_level_rewards, response_mask, index)
        rewards = token_level_rewards.sum(-1)
        if (join := _join_now()) is None:
            advantages = rollouts(rewards, group_ids=index)
        else:
            advantages = rollouts(rewards[join.final], group_ids=[index[i] for i in join.final])[join.rollouts]
        tokens = advantages[:, None] * response_mask
        return tokens, tokens

    return estimate


def _credits(token_level_rewards: Any, response_mask: Any) -> tuple[Any, Any, Any, Any]:
    return *decode_credits(token_level_rewards, token_mask=response_mask != 0), None


def _rewards(token_level_rewards: Any, response_mask: Any) -> tuple[Any, Any, Any, Any]:
    return decode_rewards(token_level_rewards, token_mask=response_mask != 0)


def _on_tokens(numbers: Any, mask: Any, ids: Any, uids: list[Any], how: RewardAllocator, stopped: Any) -> Any:
    """Advantages of tokens, from credits; or from rewards, where the value sees the group."""
    if isinstance(how.value, GroupValue):
        return how.token_advantages(numbers, ids, mask, group_ids=uids, stopped=stopped)
    per_candidate = times_live(numbers, mask) if multiplies(how.value, how.sizes) else numbers
    outside = _of_sets(numbers, uids, how) if how.outside == "set" else "zero"
    return scatter_to_tokens(_normalised(per_candidate, mask, uids, how), ids, outside=outside, length=how.length)


def token_rewards(scored: Scored, allocator: RewardAllocator, token_mask: Any = None) -> np.ndarray:
    """What an estimator of `make` takes, [N, T]: credits, or rewards where the value sees the group.

    Args:
        scored: of a `SetScorer`, in numpy.
        token_mask: as in `encode_credits`.
    """
    if not isinstance(allocator.value, GroupValue):
        credits = allocator.credits(scored.rewards, scored.mask)
        return encode_credits(credits, scored.ids, scored.mask, token_mask=token_mask)
    game = make_game(OWNER, allocator.utility, scored.rewards, scored.mask, {})
    game.refuse_joint_data()
    worth = game.worth() - game.worth(np.zeros(scored.mask.shape[-1], bool))
    return encode_rewards(scored.rewards, worth, scored.ids, scored.mask, stopped=scored.stopped, token_mask=token_mask)


async def score_rows(
    scorer: SetScorer,
    allocator: RewardAllocator,
    rows: list[list[int]],
    own: list[Any],
    rollouts: list[list[int]],
    finished: Any,
    columns: dict[str, Any],
) -> tuple[list[np.ndarray], Scored]:
    """Token rewards of each row, where several may be of one rollout: the steps of a trajectory, outputs of a session.

    Args:
        rows: token ids; own: bools, the tokens of each that candidates are looked for in.
        rollouts: which rows make up each, in order.
        finished, columns: as of `SetScorer`, by rollout.
    """
    apart = [_joined(part, rollouts) for part in (rows, own, [[True] * len(row) for row in rows])]
    scored = await scorer.ascore(apart[0], apart[1], finished=finished, **columns)
    written = np.zeros(scored.ids.shape, bool)  # not what stands between two rows, so that they do not touch
    for live, row in zip(written, apart[2], strict=True):
        live[: len(row)] = row
    lengths = written.sum(1)
    token_mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    ids = np.zeros(token_mask.shape, np.int64)
    ids[token_mask] = scored.ids[written]
    rewards = token_rewards(replace(scored, ids=ids), allocator, token_mask)[token_mask]
    order = [i for of_one in rollouts for i in of_one]
    parts = np.split(rewards, np.cumsum([len(rows[i]) for i in order])[:-1])
    return [part for _, part in sorted(zip(order, parts, strict=True))], scored


def _joined(rows: list[Any], rollouts: list[list[int]]) -> list[list[Any]]:
    return [list(chain(*([0, *rows[i]] for i in of_one)))[1:] for of_one in rollouts]


class Joined:
    """Rows [N, T] as one for each rollout, and back.

    Args:
        written: bool [N, T], the tokens of the rows that are there.
        rollouts: int64 [N], of which rollout each is, 0 .. rollouts - 1.
        order: int64 [N], the rows by rollout, and as they come within one; None: they come in order.

    Attributes:
        final: the last row of each rollout.
    """

    def __init__(self, written: Any, rollouts: Any, order: Any = None) -> None:
        import torch

        self.torch, self.rollouts = torch, rollouts
        self.order = torch.arange(len(rollouts)) if order is None else order
        self.written, rollouts = written[self.order], rollouts[self.order]
        self.final = list(dict(zip(rollouts.tolist(), self.order.tolist(), strict=True)).values())
        lengths = self.written.sum(1)
        self.lengths = torch.zeros(int(rollouts.max()) + 1, dtype=torch.long).index_add(0, rollouts, lengths)
        self.row = rollouts.repeat_interleave(lengths)  # [tokens]
        self.place = torch.arange(len(self.row)) - (self.lengths.cumsum(0) - self.lengths)[self.row]

    def __call__(self, x: Any) -> Any:
        """[rollouts, tokens of the longest]"""
        out = x.new_zeros(len(self.lengths), int(self.lengths.max()))
        out[self.row, self.place] = x[self.order][self.written]
        return out

    def back(self, x: Any) -> Any:
        """[N, T]"""
        rows = x.new_zeros(self.written.shape).masked_scatter(self.written, x[self.row, self.place])
        return self.torch.empty_like(rows).index_copy(0, self.order, rows)


JOIN: ContextVar[Joined | None] = ContextVar("JOIN", default=None)
"""Set while an estimator is called with rows that are not whole rollouts."""


def _join_now() -> Joined | None:  # by its name, an estimator can be sent to another process
    return JOIN.get()


def warn_of_value(allocator: RewardAllocator) -> None:
    """Token rewards carry what the set is worth as the sum of credits only: a warning where that is something else."""
    if not isinstance(allocator.value, (*EFFICIENT, GroupValue)):
        warnings.warn(
            f"{OWNER}: credits of {allocator.value!r} do not sum to v(all) - v(empty): the reward that is logged and "
            "the advantage of tokens outside candidates are those of their sum; for the latter, register an estimator "
            f"of RewardAllocator(value={allocator.value!r}, outside='zero')",
            stacklevel=3,
        )


def option(config: Any, name: str, default: Any = None) -> Any:
    """An option of a trainer, by name, of a mapping or an object."""
    if hasattr(config, "get"):
        return config.get(name, default)
    return getattr(config, name, default)


def _normalised(credits: Any, mask: Any, index: Any, how: RewardAllocator) -> Any:
    """As `how.advantages` does with credits of this dtype: a spread that their rounding explains is none."""
    groups = read_groups(OWNER, "credits", tuple(credits.shape), index, None)
    options = Normalisation(how.center, how.scale, how.ddof, how.min_std, how.eps)
    return normalised(ops_of(credits), credits, mask, groups, options, rounding_of(credits.dtype))


def _of_sets(credits: Any, index: Any, how: RewardAllocator) -> Any:
    """Advantages [N] of the sums of the credits. Those of sets that tie may differ by the rounding of credits to
    float32, so a spread that small counts as none."""
    rounding = credits.shape[1] * 2.0**-23 * float(credits.abs().max()) if credits.numel() else 0.0
    center = "group" if how.center == "slot" else how.center
    how = replace(how, center=center, min_std=max(how.min_std, rounding))
    return _normalised(credits.double().sum(1, keepdim=True), None, index, how)[:, 0].to(credits.dtype)


def _check(owner: str, token_level_rewards: Any, response_mask: Any, index: Any) -> None:
    if index is None:
        raise ValueError(f"{owner}: index must be the uids of the {len(response_mask)} rollouts, got None")
    if tuple(response_mask.shape) != tuple(token_level_rewards.shape):
        raise ValueError(
            f"{owner}: response_mask must have the shape of token_level_rewards, {tuple(token_level_rewards.shape)}, "
            f"got {tuple(response_mask.shape)}"
        )


def _check_mask(ids: Any, response_mask: Any) -> None:
    wrong = ((ids > 0) & (response_mask == 0)).nonzero()
    if len(wrong):
        row, token = wrong[0].tolist()
        raise ValueError(
            f"{OWNER}: response_mask {tuple(ids.shape)} must be 1 on all tokens of candidates, got 0 at row {row}, "
            f"token {token}; give encode_credits ids of tokens that the model wrote"
        )
