"""verl from rollouts on: a reward manager that scores candidates, and a trainer that hands over what it found.

    VERL_USE_EXTERNAL_MODULES=shapley_kernels.adapters.verl_trainer python -m verl.trainer.main_ppo \\
        algorithm.adv_estimator=shapley_grpo trainer.v1.trainer_mode=shapley_sync \\
        reward.reward_manager.source=importlib reward.reward_manager.name=Rewards \\
        reward.reward_manager.module.path=rewards.py ...

with a class `Rewards(ShapeRewardManager)` in rewards.py.
"""

from typing import Any

import numpy as np

from shapley_kernels.adapters import verl as _verl  # the version first
from shapley_kernels.adapters._arguments import parameters
from shapley_kernels.adapters._estimator import JOIN, Joined, score_rows, warn_of_value
from shapley_kernels.rl import RewardAllocator, SetScorer, segments

import torch  # isort: skip
import transfer_queue  # isort: skip
from tensordict import TensorDict  # isort: skip
from verl.experimental.agent_loop.agent_loop import register  # isort: skip
from verl.experimental.agent_loop.tool_agent_loop import ToolAgentLoop  # isort: skip
from verl.experimental.reward_loop.reward_manager.base import RewardManagerBase  # isort: skip
from verl.trainer.ppo.v1 import PPOTrainerSync, register_trainer  # isort: skip

OWNER = _verl.OWNER
OWN_TOKENS = "shapley_own_tokens"
"""Where in extra_fields a `ShapeAgentLoopMixin` says which tokens the model wrote."""
KEY = "shapley_token_rewards"
"""Where in reward_extra_info the token rewards travel, as a string: verl averages what is not one."""


class ShapeRewardManager(RewardManagerBase):
    """Scores the candidates of a rollout, from its token ids. Write `scorer`; `allocator` shares the set reward.

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
        columns = {name: column[-1] for name, column in data.non_tensor_batch.items()}
        columns["ground_truth"] = (columns.get("reward_model") or {}).get("ground_truth")
        wanted = columns if self._wanted is None else {name: columns[name] for name in self._wanted & set(columns)}
        rows = _outputs(data)
        own = [_own_tokens(data.non_tensor_batch, i, row) for i, row in enumerate(rows)]
        if self._scorer.parser is not segments:  # the last of several outputs is rewarded
            own[:-1] = [[False] * len(row) for row in rows[:-1]]
        limit = self.config.get("data", {}).get("max_response_length")
        ended = limit is None or len(rows[-1]) < limit or rows[-1][-1] == self.tokenizer.eos_token_id
        parts, scored = await score_rows(
            self._scorer,
            self._allocator,
            rows,
            own,
            [list(range(len(rows)))],
            None if limit is None else [ended],
            {name: [x] for name, x in wanted.items()},
        )
        rewards = np.concatenate(parts)
        info = scored.metrics | {"acc": float(scored.set_rewards[0]), KEY: rewards.tobytes().hex()}
        return {"reward_score": float(rewards.sum()), "reward_extra_info": info}


def _outputs(data: Any) -> list[list[int]]:
    """The token ids of each output of a session; mostly there is one."""
    responses, lengths = data.batch["responses"], data.non_tensor_batch.get("response_len")
    if lengths is None:
        lengths = data.batch["attention_mask"][:, -responses.shape[1] :].sum(1).tolist()
    return [row[: int(length)].tolist() for row, length in zip(responses, lengths, strict=True)]


def _own_tokens(columns: dict[str, Any], i: int, row: list[int]) -> list[Any]:
    """Which tokens of output i the model wrote."""
    told = columns["tool_extra_fields"][i].get(OWN_TOKENS) if "tool_extra_fields" in columns else None
    if told is None and int(columns["__num_turns__"][i] if "__num_turns__" in columns else 0) > 2:
        raise ValueError(
            f"{OWNER}: an agent loop of several turns must say which tokens the model wrote, got none of that; put "
            "ShapeAgentLoopMixin before its class"
        )
    return [True] * len(row) if told is None else list(told)[: len(row)]


class ShapeAgentLoopMixin:
    """Stands before an AgentLoopBase of several turns: tells the reward manager which tokens the model wrote."""

    async def run(self, *args: Any, **kwargs: Any) -> Any:
        outputs = await super().run(*args, **kwargs)  # type: ignore[misc]
        for output in outputs if isinstance(outputs, list) else [outputs]:
            output.extra_fields[OWN_TOKENS] = list(output.response_mask)
        return outputs


@register("shapley_tool_agent")
class ShapeToolAgentLoop(ShapeAgentLoopMixin, ToolAgentLoop):
    """verl's loop of tools, for actor_rollout_ref.rollout.agent.default_agent_loop=shapley_tool_agent."""


class SessionTrainerMixin:
    """Stands before a PPOTrainer of verl: the estimators of `adapters.verl` get the outputs of a session, which are
    several sequences of one rollout, as one. (verl's own GRPO takes the final ones.)"""

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        masks = transfer_queue.kv_batch_get(
            keys=batch.keys, partition_id=batch.partition_id, select_fields=["response_mask"]
        )["response_mask"]
        lengths = torch.tensor([len(mask) for mask in masks])
        rollouts = torch.zeros(len(lengths), dtype=torch.long)
        for number, rows in enumerate(sessions := _sessions(batch.keys)):
            rollouts[rows] = number
        order = torch.tensor([i for rows in sessions for i in rows])
        written = torch.arange(int(lengths.max())) < lengths[:, None]
        reset = JOIN.set(Joined(written, rollouts, order))
        try:
            return super()._compute_advantage(batch, metrics)  # type: ignore[misc]
        finally:
            JOIN.reset(reset)


class ShapeTrainerMixin(SessionTrainerMixin):
    """Stands before a PPOTrainer of verl: before advantages are computed, the rewards become those per token.

    Of a session with several outputs, the tokens of those without candidates get what others outside candidates get.
    """

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        where = {"keys": batch.keys, "partition_id": batch.partition_id}
        fields = transfer_queue.kv_batch_get(**where, select_fields=["response_mask", "extra_fields"])
        lengths = [len(mask) for mask in fields["response_mask"]]
        rewards = [torch.zeros(length) for length in lengths]
        for rows in _sessions(batch.keys):
            if not batch.tags[rows[-1]].get("is_padding", False):
                extra = getattr(fields["extra_fields"][rows[-1]], "data", fields["extra_fields"][rows[-1]])
                own = [lengths[i] for i in rows]
                whole = _token_rewards(extra, sum(own), batch.keys[rows[-1]])
                for i, row in zip(rows, whole.split(own), strict=True):
                    rewards[i] = row
        scores = {"rm_scores": torch.nested.as_nested_tensor(rewards, layout=torch.jagged)}
        transfer_queue.kv_batch_put(**where, fields=TensorDict(scores, batch_size=len(rewards)))
        return super()._compute_advantage(batch, metrics)


def _sessions(keys: list[str]) -> list[list[int]]:
    """The rows of each session, in the order of its outputs, from keys uid_session_output."""
    sessions: dict[str, list[int]] = {}
    for i in sorted(range(len(keys)), key=lambda i: int(keys[i].rpartition("_")[2])):
        sessions.setdefault(keys[i].rpartition("_")[0], []).append(i)
    return list(sessions.values())


@register_trainer("shapley_rollouts_sync")
class SessionTrainerSync(SessionTrainerMixin, PPOTrainerSync):
    """verl's synchronous trainer for shapley_rollouts where sessions have several outputs."""


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
            f"{OWNER}: {KEY} must have one reward for each of the {length} tokens of the rollout, got {len(rewards)} "
            f"for the rollout {key!r}"
        )
    return torch.tensor(rewards)
