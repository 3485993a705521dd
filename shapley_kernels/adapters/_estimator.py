"""The advantage estimator of trainers that hand it one reward per token and no candidates: verl and SkyRL."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from shapley_kernels.rl import (
    GroupValue,
    RewardAllocator,
    decode_credits,
    decode_rewards,
    encode_credits,
    encode_rewards,
    grpo_advantages,
    scatter_to_tokens,
)
from shapley_kernels.rl.allocator import make_game
from shapley_kernels.rl.scorer import Scored
from shapley_kernels.rl.sizes import EFFICIENT, multiplies, times_live

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
    if not isinstance(allocator, RewardAllocator | None):
        raise TypeError(f"{OWNER}: allocator must be a RewardAllocator or None, got {allocator!r}")

    def estimate(token_level_rewards: Any, response_mask: Any, index: Any = None, **options: Any) -> tuple[Any, Any]:
        scale = "group" if by_std(**options) else "none"
        _check(OWNER, token_level_rewards, response_mask, index)
        how = allocator or RewardAllocator(scale=scale)
        if isinstance(how.value, GroupValue):
            tokens = _against_the_group(token_level_rewards, response_mask, index, how)
            return tokens, tokens
        credits, mask, ids = decode_credits(token_level_rewards, token_mask=response_mask != 0)
        _check_mask(ids, response_mask)
        per_candidate = times_live(credits, mask) if multiplies(how.value, how.sizes) else credits
        advantages = _normalised(per_candidate, mask, index, how)
        outside = "zero"
        if how.outside == "set":
            outside = _of_sets(credits, index, how)
        tokens = scatter_to_tokens(advantages, ids, outside=outside, length=how.length) * response_mask
        return tokens, tokens

    return estimate


def make_rollouts(rollouts: Callable[..., Any]) -> Callable[..., tuple[Any, Any]]:
    """An advantage estimator for any rewards: all tokens of a rollout get its advantage among those of its uid.

    Args:
        rollouts: `rollout_advantages`, or functools.partial of it with other options.

    Returns:
        As of `make`; a rollout's reward is the sum over its tokens.

    Raises:
        TypeError: no function.
    """
    if not callable(rollouts):
        raise TypeError(
            f"{ROLLOUTS}: rollouts must be rl.rollout_advantages, or functools.partial of it with options, "
            f"got {rollouts!r}"
        )

    def estimate(token_level_rewards: Any, response_mask: Any, index: Any = None, **_: Any) -> tuple[Any, Any]:
        _check(ROLLOUTS, token_level_rewards, response_mask, index)
        tokens = rollouts(token_level_rewards.sum(-1), group_ids=index)[:, None] * response_mask
        return tokens, tokens

    return estimate


def _against_the_group(token_level_rewards: Any, response_mask: Any, index: Any, how: RewardAllocator) -> Any:
    rewards, mask, ids, stopped = decode_rewards(token_level_rewards, token_mask=response_mask != 0)
    _check_mask(ids, response_mask)
    return how.token_advantages(rewards, ids, mask, group_ids=index, stopped=stopped) * response_mask


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
    return grpo_advantages(
        credits,
        mask,
        group_ids=index,
        center=how.center,
        scale=how.scale,
        ddof=how.ddof,
        min_std=how.min_std,
        eps=how.eps,
    )


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
