"""verl from responses on: a reward manager that scores candidates, and a trainer that hands over what it found.

    VERL_USE_EXTERNAL_MODULES=shapley_kernels.adapters.verl_trainer python -m verl.trainer.main_ppo \\
        algorithm.adv_estimator=shapley_grpo trainer.v1.trainer_mode=shapley_sync \\
        reward.reward_manager.source=importlib reward.reward_manager.name=Rewards \\
        reward.reward_manager.module.path=rewards.py ...

with a class `Rewards(ShapeRewardManager)` in rewards.py.
"""

from typing import Any

import numpy as np

from shapley_kernels.adapters import verl as _verl  # the version first
from shapley_kernels.adapters._columns import parameters
from shapley_kernels.adapters._estimator import token_rewards, warn_of_value
from shapley_kernels.rl import RewardAllocator, SetScorer

import torch  # isort: skip
import transfer_queue  # isort: skip
from tensordict import TensorDict  # isort: skip
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase  # isort: skip
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer  # isort: skip

OWNER = _verl.OWNER
KEY = "shapley_token_rewards"
"""Where in reward_extra_info the token rewards travel, as a string: verl averages what is not one."""


class ShapeRewardManager(RewardManagerBase):
    """Scores the candidates of a response, from its token ids. Write `scorer`; `allocator` shares the set reward.

    The score function gets those of ground_truth, data_source, extra_info and the other columns of the data that are
    parameters of it. The reward that verl sees is the sum of the credits, for efficient values v(all) - v(empty); a
    warning says so for others. Where the value sees the group (`rl.SuffixSwap`), the rewards travel and the credits are
    computed by the estimator: register `adapters.verl.estimator` of the same allocator.
    """

    allocator: RewardAllocator | None = None

    def __init__(self, config: Any, tokenizer: Any, compute_score: Any, **_: Any) -> None:
        super().__init__(config, tokenizer, compute_score)
        self._scorer = self.scorer(tokenizer)
        self._allocator = self.allocator or RewardAllocator(self._scorer.utility)
        warn_of_value(self._allocator)
        self._wanted = parameters(self._scorer.score)

    def scorer(self, tokenizer: Any) -> SetScorer:
        """The scorer of the task."""
        raise NotImplementedError(f"{OWNER}: {type(self).__name__} must define scorer(self, tokenizer) -> SetScorer")

    async def run_single(self, data: Any) -> dict[str, Any]:
        item = data[-1:][0]  # of several outputs, the last is rewarded
        responses = item.batch["responses"]
        ids = responses[item.batch["attention_mask"][-len(responses) :].bool()].tolist()
        columns = dict(item.non_tensor_batch)
        columns["ground_truth"] = (columns.get("reward_model") or {}).get("ground_truth")
        wanted = columns if self._wanted is None else {name: columns[name] for name in self._wanted & set(columns)}
        limit = self.config.get("data", {}).get("max_response_length")
        finished = None if limit is None else [len(ids) < limit or ids[-1] == self.tokenizer.eos_token_id]
        scored = await self._scorer.ascore([ids], finished=finished, **{name: [x] for name, x in wanted.items()})
        rewards = token_rewards(scored, self._allocator)[0]
        info = scored.metrics | {"acc": float(scored.set_rewards[0]), KEY: rewards.tobytes().hex()}
        return {"reward_score": float(rewards.sum()), "reward_extra_info": info}


class ShapeTrainerMixin:
    """Stands before a PPOTrainer of verl: before advantages are computed, the rewards become those per token."""

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        where = {"keys": batch.keys, "partition_id": batch.partition_id}
        found = transfer_queue.kv_batch_get(**where, select_fields=["response_mask", "extra_fields"])
        rows = []
        for i, (key, tag) in enumerate(zip(batch.keys, batch.tags, strict=True)):
            length = len(found["response_mask"][i])
            extra = getattr(found["extra_fields"][i], "data", found["extra_fields"][i])
            rows.append(torch.zeros(length) if tag.get("is_padding", False) else _token_rewards(extra, length, key))
        fields = TensorDict(
            {"rm_scores": torch.nested.as_nested_tensor(rows, layout=torch.jagged)}, batch_size=len(rows)
        )
        transfer_queue.kv_batch_put(**where, fields=fields)
        return super()._compute_advantage(batch, metrics)  # type: ignore[misc]


@register_trainer("shapley_sync")
class ShapeTrainerSync(ShapeTrainerMixin, PPOTrainerSync):
    """verl's synchronous trainer with credit per candidate."""


def _token_rewards(extra: Any, length: int, key: str) -> Any:
    text = (extra.get("reward_extra_info") or {}).get(KEY)
    if text is None:
        raise ValueError(
            f"{OWNER}: reward_extra_info must hold {KEY!r}, got none for the rollout {key!r}; "
            "set reward.reward_manager to a ShapeRewardManager"
        )
    rewards = np.frombuffer(bytes.fromhex(text), np.float32)
    if len(rewards) != length:
        raise ValueError(
            f"{OWNER}: {KEY} must have one reward for each of the {length} tokens of the response, got {len(rewards)} "
            f"for the rollout {key!r}"
        )
    return torch.tensor(rewards)
