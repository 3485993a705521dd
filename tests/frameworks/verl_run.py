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
    """Candidate k of a response has 1 + k % 3 tokens, behind one token that is nobody's; and one at the end."""
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
