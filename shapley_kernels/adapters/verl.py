"""verl: the advantage estimator "shapley_grpo". For verl>=0.9,<0.10, which loads this on `import verl`."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from shapley_kernels.rl import RewardAllocator, decode_credits, grpo_advantages, scatter_to_tokens

OWNER = "shapley_grpo"
SUPPORTED = "verl>=0.9,<0.10"

try:
    _found = version("verl")
except PackageNotFoundError:
    _found = "none"
if _found.split(".")[:2] != ["0", "9"]:
    raise ImportError(f"{OWNER}: needs {SUPPORTED}, found {_found}; run: pip install '{SUPPORTED}'", name="verl")

from verl.trainer.ppo.core_algos import register_adv_est  # noqa: E402


def estimator(allocator: RewardAllocator | None = None) -> Callable[..., tuple[Any, Any]]:
    """An advantage estimator of verl for rewards of `encode_credits`; register it with verl's `register_adv_est`.

    verl hands estimators one reward per token and no candidates, so `encode_credits` puts these into the rewards. Each
    token gets the advantage of its candidate, over the rollouts of one uid, in any order.

    Args:
        allocator: how advantages are normalised and laid on tokens; utility and value are not used, the credits are
            there already. None: `RewardAllocator()`, with the scale "none" where verl's config says
            norm_adv_by_std_in_grpo=False.

    Returns:
        (token_level_rewards [N, T], response_mask [N, T], index=uids [N], config=) -> (advantages, returns), both the
        same [N, T]. Raises ValueError without uids, for masked candidates and for rewards that were altered; warns if
        verl drops groups whose set rewards tie.
    """
    if not isinstance(allocator, RewardAllocator | None):
        raise TypeError(f"{OWNER}: allocator must be a RewardAllocator or None, got {allocator!r}")

    def estimate(
        token_level_rewards: Any, response_mask: Any, index: Any = None, config: Any = None, **_: Any
    ) -> tuple[Any, Any]:
        _check_config(config)
        if index is None:
            raise ValueError(f"{OWNER}: index must be the uids of the {len(response_mask)} rollouts, got None")
        credits, mask, ids = decode_credits(token_level_rewards)
        _check_mask(ids, response_mask)
        how = allocator or RewardAllocator(
            scale="group" if _option(config, "norm_adv_by_std_in_grpo", True) else "none"
        )
        advantages = _normalised(credits, mask, index, how)
        outside = "zero"
        if how.outside == "set":
            center = "group" if how.center == "slot" else how.center
            outside = _normalised(credits.sum(1, keepdim=True), None, index, replace(how, center=center))[:, 0]
        tokens = scatter_to_tokens(advantages, ids, outside=outside, length=how.length) * response_mask
        return tokens, tokens

    return estimate


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


def _option(config: Any, name: str, default: Any = None) -> Any:
    return default if config is None else config.get(name, default)


def _check_config(config: Any) -> None:
    if _option(config, "use_kl_in_reward", False):
        raise ValueError(
            f"{OWNER}: use_kl_in_reward must be False, got True; it changes the rewards that hold the candidates. "
            "Put the KL term into the loss instead (actor.use_kl_loss=True)"
        )
    groups = _option(config, "filter_groups")
    if groups is not None and groups.get("enable", False):
        warnings.warn(
            f"{OWNER}: filter_groups drops groups whose {groups.get('metric')!r} ties, also where candidates differ, "
            "from which there is most to learn; switch it off, or filter on a metric of the candidates",
            stacklevel=3,
        )


def _check_mask(ids: Any, response_mask: Any) -> None:
    if tuple(response_mask.shape) != tuple(ids.shape):
        raise ValueError(
            f"{OWNER}: response_mask must have the shape of token_level_rewards, {tuple(ids.shape)}, "
            f"got {tuple(response_mask.shape)}"
        )
    wrong = ((ids > 0) & (response_mask == 0)).nonzero()
    if len(wrong):
        row, token = wrong[0].tolist()
        raise ValueError(
            f"{OWNER}: response_mask {tuple(ids.shape)} must be 1 on all tokens of candidates, got 0 at row {row}, "
            f"token {token}; give encode_credits ids of tokens that the model wrote"
        )


shapley_grpo = register_adv_est(OWNER)(estimator())
