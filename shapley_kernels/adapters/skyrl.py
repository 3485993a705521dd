"""SkyRL: the advantage estimator "shapley_grpo", and rewards for it; and "shapley_rollouts". For skyrl>=0.3,<0.4.

    class Generator(SkyRLGymGenerator):
        async def generate(self, input_batch, **options):
            output = await super().generate(input_batch, **options)
            answers = [extras["reward_spec"]["ground_truth"] for extras in input_batch["env_extras"]]
            return await encode_generator_output(output, scorer, answer=answers)

in the experiment's `get_generator`, `register()` once in the driver, and
trainer.algorithm.advantage_estimator=shapley_grpo. For the rollouts as players, of any generator, `register_rollouts()`
and advantage_estimator=shapley_rollouts. With step_wise_trajectories, the trainer has to be a
`class Trainer(ShapeTrainerMixin, RayPPOTrainer)`, in the experiment's `get_trainer`.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from shapley_kernels.adapters._arguments import check_allocator, supported
from shapley_kernels.adapters._estimator import (
    OWNER,
    ROLLOUTS,
    Joined,
    make,
    make_rollouts,
    option,
    score_rows,
    warn_of_value,
)
from shapley_kernels.rl import RewardAllocator, SetScorer, rollout_advantages

VERSION = supported(OWNER, "skyrl>=0.3,<0.4", "0.3.")

import torch  # noqa: E402
from skyrl.backends.skyrl_train.utils.ppo_utils import AdvantageEstimatorRegistry  # noqa: E402


def register(allocator: RewardAllocator | None = None, name: str = OWNER) -> None:
    """Makes `estimator(allocator)` known to SkyRL under a name, in place of what has that name.

    Call it once, in the driver, before SkyRL's `validate_cfg`, which looks the name up; its registry takes the
    estimator to the other processes of Ray.
    """
    _register(name, estimator(allocator))


def register_rollouts(rollouts: Callable[..., Any] = rollout_advantages, name: str = ROLLOUTS) -> None:
    """As `register`, an estimator for any rewards, whose players are the rollouts of one uid.

    All tokens of a rollout get its advantage; its reward is the sum over its tokens.

    Args:
        rollouts: `rl.rollout_advantages`, or functools.partial of it, such as with value=sk.Stratum(4). Its scale is
            used; SkyRL's grpo_norm_by_std is not, which would make plain GRPO of rewards of 0 and 1.
    """
    _register(name, make_rollouts(rollouts))


def _register(name: str, advantages: Callable[..., tuple[Any, Any]]) -> None:
    if name in AdvantageEstimatorRegistry.list_available():
        AdvantageEstimatorRegistry.unregister(name)
    AdvantageEstimatorRegistry.register(name, advantages)


def estimator(allocator: RewardAllocator | None = None) -> Callable[..., tuple[Any, Any]]:
    """An advantage estimator of SkyRL for rewards of `encode_generator_output`.

    Each token gets the advantage of its candidate, over the rollouts of one uid, in any order. What SkyRL does to
    advantages afterwards, the scaling of its loss reduction, is left to it.

    Args:
        allocator: how advantages are normalised and laid on tokens. The credits are there already: its utility is not
            used, and its value only to know whether `sizes` applies; but where the value sees the group, as
            `rl.SuffixSwap` does, the credits are computed here. None: `RewardAllocator()`, with the scale
            "none" where SkyRL's config says grpo_norm_by_std=False.

    Returns:
        (token_level_rewards [N, T], response_mask [N, T], index=uids [N], grpo_norm_by_std=, config=) -> (advantages,
        returns), both the same [N, T]. Raises ValueError for use_kl_in_reward, without uids, for masked candidates and
        for rewards that were altered; warns if SkyRL drops groups whose set rewards tie, or normalises once more.
    """
    estimate = make(allocator, _by_std)

    def whole(token_level_rewards: Any, response_mask: Any, **options: Any) -> tuple[Any, Any]:
        if response_mask.is_floating_point():  # as SkyRL does with steps only
            raise ValueError(
                f"{OWNER}: response_mask must be the one of the batch, got {response_mask.dtype}, as of the last steps "
                "of step_wise_trajectories; put ShapeTrainerMixin before the class of your trainer"
            )
        return estimate(token_level_rewards, response_mask, **options)

    return whole


class ShapeTrainerMixin:
    """Stands before a RayPPOTrainer of SkyRL, for step_wise_trajectories: the estimator gets whole trajectories, and
    each token the advantage that it gives it, where SkyRL hands it the last step only and spreads the result."""

    cfg: Any

    def compute_advantages_and_returns(self, data: Any) -> Any:
        if not self.cfg.generator.step_wise_trajectories:
            return super().compute_advantages_and_returns(data)  # type: ignore[misc]
        if self.cfg.generator.merge_stepwise_output:
            raise ValueError(
                f"{OWNER}: merge_stepwise_output must be False, got True; it moves tokens of the steps apart"
            )
        written = data["response_mask"] != 0
        written[len(written) - data.metadata.get("pad_size", 0) :] = False  # copies of the first step alone
        last = torch.tensor(data.metadata["is_last_step"])
        join = Joined(written, last.cumsum(0) - last.long())
        tensors = {"rewards": join(data["rewards"]), "response_mask": join(data["response_mask"]), "values": None}
        joined = type(data)(tensors)
        uids = [uid for uid, is_last in zip(data.metadata["uids"], last.tolist(), strict=True) if is_last]
        joined.metadata = {**data.metadata, "uids": uids}
        self.cfg.generator.step_wise_trajectories = False
        try:
            joined = super().compute_advantages_and_returns(joined)  # type: ignore[misc]
        finally:
            self.cfg.generator.step_wise_trajectories = True
        data.metadata["metrics"] = joined.metadata["metrics"]
        data["advantages"] = data["returns"] = join.back(joined["advantages"])
        return data


async def encode_generator_output(
    output: dict[str, Any], scorer: SetScorer, allocator: RewardAllocator | None = None, **columns: Any
) -> dict[str, Any]:
    """A GeneratorOutput with one reward per token: the credit of each candidate, as `encode_credits` writes it, or its
    reward, as `encode_rewards` does, where the allocator's value sees the group; `register` the same allocator then.

    Candidates are found in the sampled token ids, without the tokens of the environment (loss mask 0); those of the
    steps of a trajectory (step_wise_trajectories) are one rollout. A row of rewards, or those of all steps, sums to
    v(all) - v(empty), so SkyRL's avg_raw_reward stays true; not for steps, of which it reads the last, nor does
    pass_at_n, which reads the last token.

    Args:
        output: what a generator of SkyRL gives; rewards in it are replaced. Where it has stop_reasons, rollouts of
            another one than "stop" count as cut.
        scorer: gives the candidates rewards.
        allocator: its utility and value share what a set is worth. None: `RewardAllocator(scorer.utility)`.
        columns: data for the score function by name, each with one entry per rollout.

    Returns:
        a new output with rewards [N] lists of floats, and the metrics of `Scored` in rollout_metrics.

    Raises:
        TypeError, ValueError: no scorer or allocator, and what these and `encode_credits` raise.
    """
    if not isinstance(scorer, SetScorer):
        raise TypeError(f"{OWNER}: scorer must be a SetScorer, got {scorer!r}")
    check_allocator(OWNER, allocator)
    allocator = allocator or RewardAllocator(scorer.utility)
    warn_of_value(allocator)
    responses, reasons = output["response_ids"], output.get("stop_reasons")
    own = [np.asarray(mask, bool) for mask in output["loss_masks"]]
    own = [mask if mask.any() else ~mask for mask in own]  # overlong filtering: none is trained on, all are scored
    last = np.flatnonzero(output.get("is_last_step") or [True] * len(own))
    steps = [part.tolist() for part in np.split(np.arange(len(own)), last[:-1] + 1)]
    finished = None if reasons is None else [reasons[i] == "stop" for i in last]
    rewards, scored = await score_rows(scorer, allocator, responses, own, steps, finished, columns)
    return {
        **output,
        "rewards": [row.tolist() for row in rewards],
        "rollout_metrics": {**(output.get("rollout_metrics") or {}), **scored.metrics},
    }


def _by_std(grpo_norm_by_std: bool = True, config: Any = None, **_: Any) -> bool:
    """Whether SkyRL's config wants advantages divided by a standard deviation."""
    if option(config, "use_kl_in_reward", False):
        raise ValueError(
            f"{OWNER}: use_kl_in_reward must be False, got True; it changes the rewards that hold the candidates. "
            "Put the KL term into the loss instead (trainer.algorithm.use_kl_loss=true)"
        )
    sampling = option(option(config, "dynamic_sampling"), "type")
    if sampling is not None or option(config, "zero_variance_filter", False):
        name = "zero_variance_filter" if sampling is None else f"dynamic_sampling.type={sampling}"
        warnings.warn(
            f"{OWNER}: {name} drops groups whose sets tie, also where candidates differ, from which there is most to "
            "learn; switch it off",
            stacklevel=3,
        )
    if option(config, "advantage_batch_normalize", False):
        warnings.warn(
            f"{OWNER}: advantage_batch_normalize normalises the advantages once more, over the tokens of the batch; "
            "switch it off, or register an allocator with scale='none'",
            stacklevel=3,
        )
    return grpo_norm_by_std
