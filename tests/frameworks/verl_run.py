"""A batch of verl, and what its trainers do with it."""

import functools

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


def as_verl_asks(rows, own, num_turns):
    """What `AgentLoopWorker._compute_score` hands to a reward manager for a session of several outputs.

    Args:
        own: which tokens of each the model wrote, as `ShapeAgentLoopMixin` says it; None where nothing does.
    """
    rows = [torch.tensor(row) for row in rows]
    pad = functools.partial(torch.nn.utils.rnn.pad_sequence, batch_first=True)
    tensors = {"responses": pad(rows), "attention_mask": pad([torch.ones(3 + len(row)).long() for row in rows])}
    columns = {
        "reward_model": [{"ground_truth": "42"}] * len(rows),
        "__num_turns__": [num_turns] * len(rows),
        "tool_extra_fields": [{} if own is None else {"shapley_own_tokens": mask} for mask in own or rows],
        "response_len": list(map(len, rows)),
    }
    return DataProto(
        batch=TensorDict(tensors, batch_size=len(rows)),
        non_tensor_batch={name: np.array(column) for name, column in columns.items()},
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
