"""verl: the advantage estimators "shapley_grpo" and "shapley_rollouts". For verl>=0.9,<0.10, which loads this on
`import verl`."""

import warnings
from collections.abc import Callable
from typing import Any

from shapley_kernels.adapters._arguments import supported
from shapley_kernels.adapters._estimator import OWNER, ROLLOUTS, make, make_rollouts, option
from shapley_kernels.rl import RewardAllocator, rollout_advantages

VERSION = supported(OWNER, "verl>=0.9,<0.10", "0.9.")

from verl.trainer.ppo.core_algos import register_adv_est  # noqa: E402


def estimator(allocator: RewardAllocator | None = None) -> Callable[..., tuple[Any, Any]]:
    """An advantage estimator of verl for rewards of `encode_credits`; register it with verl's `register_adv_est`.

    verl hands estimators one reward per token and no candidates, so `encode_credits` puts these into the rewards. Each
    token gets the advantage of its candidate, over the rollouts of one uid, in any order.

    Args:
        allocator: how advantages are normalised and laid on tokens. The credits are there already: its utility is not
            used, and its value only to know whether `sizes` applies; but where the value sees the group, as
            `rl.SuffixSwap` does, the credits are computed here. None: `RewardAllocator()`, with the scale
            "none" where verl's config says norm_adv_by_std_in_grpo=False.

    Returns:
        (token_level_rewards [N, T], response_mask [N, T], index=uids [N], config=) -> (advantages, returns), both the
        same [N, T]. Raises ValueError without uids, for masked candidates and for rewards that were altered; warns if
        verl drops groups whose set rewards tie.
    """
    return make(allocator, _by_std)


def rollout_estimator(rollouts: Callable[..., Any] = rollout_advantages) -> Callable[..., tuple[Any, Any]]:
    """An advantage estimator of verl for any rewards, whose players are the rollouts of one uid; register it as the
    other.

    Args:
        rollouts: `rl.rollout_advantages`, or functools.partial of it, such as with value=sk.Stratum(4). Its scale is
            used; verl's norm_adv_by_std_in_grpo is not, which would make plain GRPO of rewards of 0 and 1.

    Returns:
        (token_level_rewards [N, T], response_mask [N, T], index=uids [N]) -> (advantages, returns), both the same
        [N, T]: on each token of a rollout its advantage; its reward is the sum over its tokens.
    """
    return make_rollouts(rollouts)


def _by_std(config: Any = None, **_: Any) -> bool:
    """Whether verl's config wants advantages divided by a standard deviation."""
    if option(config, "use_kl_in_reward", False):
        raise ValueError(
            f"{OWNER}: use_kl_in_reward must be False, got True; it changes the rewards that hold the candidates. "
            "Put the KL term into the loss instead (actor.use_kl_loss=True)"
        )
    groups = option(config, "filter_groups")
    if option(groups, "enable", False):
        warnings.warn(
            f"{OWNER}: filter_groups drops groups whose {option(groups, 'metric')!r} ties, also where candidates "
            "differ, from which there is most to learn; switch it off, or filter on a metric of the candidates",
            stacklevel=3,
        )
    return bool(option(config, "norm_adv_by_std_in_grpo", True))


shapley_grpo = register_adv_est(OWNER)(estimator())
shapley_rollouts = register_adv_est(ROLLOUTS)(rollout_estimator())
