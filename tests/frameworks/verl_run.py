"""A batch of verl, and what its trainers do with it."""

import numpy as np
import torch
from tensordict import TensorDict
from verl import DataProto
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo.ray_trainer import compute_advantage

import shapley_kernels as sk
from shapley_kernels import rl
from tests.frameworks.rollouts import REWARDS

UIDS = ["a", "a", "b", "b"]


def batch(rewards=REWARDS, uids=UIDS):
    """Candidate k of a rollout has 1 + k % 3 tokens, behind one token that is nobody's; and one at the end."""
    values, mask = sk.pad(rewards)
    rows = [[x for k in range(len(row)) for x in [0] + [k + 1] * (1 + k % 3)] + [0] for row in rewards]
    ids, token_mask = sk.pad([[float(x) for x in row] for row in rows])
    ids = torch.tensor(ids).long()
    credits = torch.tensor(sk.shapley(sk.Max(values, mask=mask)))
    encoded = rl.encode_credits(credits, ids, torch.tensor(mask), token_mask=torch.tensor(token_mask))
    data = DataProto(
        batch=TensorDict(
            {"token_level_rewards": encoded, "response_mask": torch.tensor(token_mask).long()}, batch_size=len(rows)
        ),
        non_tensor_batch={"uid": np.array(uids, dtype=object)},
    )
    return data, ids, (values, mask)


def advantages(data, **config):
    return compute_advantage(data, adv_estimator="shapley_grpo", config=algorithm(**config))


def algorithm(**config):
    return AlgoConfig(adv_estimator="shapley_grpo", **config)


def output(tokens, own, num_turns=2):
    """Of an agent loop, through the mixin that tells which tokens are the model's."""
    import asyncio

    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput

    from shapley_kernels.adapters.verl_trainer import ShapeAgentLoopMixin

    class Loop:
        async def run(self, sampling_params):
            return AgentLoopOutput(
                prompt_ids=[1, 2, 3],
                response_ids=tokens,
                response_mask=own,
                num_turns=num_turns,
                metrics=AgentLoopMetrics(),
            )

    class Told(ShapeAgentLoopMixin, Loop):
        pass

    return asyncio.run(Told().run({}))


def as_verl_asks(outputs):
    """What `AgentLoopWorker._compute_score` hands to a reward manager."""
    rows = [torch.tensor(one.response_ids) for one in outputs]
    inputs = [torch.cat([torch.tensor(one.prompt_ids), row]) for one, row in zip(outputs, rows, strict=True)]
    pad = torch.nn.utils.rnn.pad_sequence
    return DataProto(
        batch=TensorDict(
            {
                "responses": pad(rows, batch_first=True),
                "attention_mask": pad([torch.ones_like(row) for row in inputs], batch_first=True),
            },
            batch_size=len(outputs),
        ),
        non_tensor_batch={
            "reward_model": np.array([{"ground_truth": "42"}] * len(outputs)),
            "__num_turns__": np.array([one.num_turns for one in outputs]),
            "tool_extra_fields": np.array([one.extra_fields for one in outputs], dtype=object),
            "response_len": np.array([len(one.response_ids) for one in outputs]),
        },
    )


def response(tokens, **columns):
    """What verl hands to a reward manager for one rollout."""
    batch = {"responses": torch.tensor([tokens]), "attention_mask": torch.ones(1, 3 + len(tokens), dtype=torch.long)}
    columns = {"reward_model": {"ground_truth": "42"}, "data_source": "here"} | columns
    return DataProto(
        batch=TensorDict(batch, batch_size=1),
        non_tensor_batch={name: np.array([x], dtype=object) for name, x in columns.items()},
    )


def reward_manager(tokenizer, score=float, allocator=None, parser=None, **config):
    from omegaconf import OmegaConf

    from shapley_kernels.adapters.verl_trainer import ShapeRewardManager

    class Rewards(ShapeRewardManager):
        def scorer(self, tokenizer):
            return rl.SetScorer(score, parser or rl.json_list(), tokenizer, floor=-1.0)

    Rewards.allocator = allocator
    return Rewards(OmegaConf.create(config), tokenizer, None)
