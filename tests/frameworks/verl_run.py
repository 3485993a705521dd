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


def _controller():
    """Rewards by the manager, then the advantage step of the registered trainer, in real Ray and TransferQueue."""
    import asyncio
    import json

    import ray
    import transfer_queue
    from omegaconf import OmegaConf
    from verl.experimental.agent_loop.agent_loop import AgentLoopMetrics, AgentLoopOutput
    from verl.trainer.ppo.v1 import get_trainer_cls
    from verl.utils.tensordict_utils import list_of_dict_to_tensordict

    from tests.frameworks.rollouts import TEXTS, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    manager = reward_manager(tokenizer)
    keys, tags, fields, ids = [], [], [], []
    for i, text in enumerate([*TEXTS, TEXTS[0]]):
        tokens = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        reward = asyncio.run(manager.run_single(response(tokens)))
        padding = i == len(TEXTS)
        output = AgentLoopOutput(
            prompt_ids=[1, 2, 3],
            response_ids=tokens,
            response_mask=[0 if padding else 1] * len(tokens),
            reward_score=0.0 if padding else reward["reward_score"],
            num_turns=1,
            metrics=AgentLoopMetrics(),
            extra_fields={"reward_extra_info": reward["reward_extra_info"]},
        ).as_dict()
        output.pop("metrics")
        output["uid"] = "pad0" if padding else UIDS[i]
        keys.append(f"{output['uid']}_{i}_0")
        fields.append(output)
        tags.append({"status": "success", "seq_len": 3 + len(tokens), "is_padding": padding})
        ids.append(rl.candidate_ids([tokens], tokenizer, rl.json_list()).ids[0].tolist())
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", object_store_memory=100 * 2**20)
    transfer_queue.init(OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1}}}))
    data = list_of_dict_to_tensordict(fields)
    transfer_queue.kv_batch_put(keys=keys, fields=data, tags=tags, partition_id="train")
    batch = transfer_queue.KVBatchMeta(partition_id="train", keys=keys, tags=tags)
    batch.reorder([2, 0, 4, 3, 1])  # as balancing does
    trainer = object.__new__(get_trainer_cls("shapley_sync"))
    algorithm = {"adv_estimator": "shapley_grpo", "gamma": 1.0, "lam": 1.0, "use_kl_in_reward": False}
    trainer.config = OmegaConf.create({"algorithm": algorithm, "actor_rollout_ref": {"rollout": {"n": 2}}})
    trainer._compute_advantage(batch, {})
    names = ["advantages", "rm_scores"]
    found = transfer_queue.kv_batch_get(keys=keys, partition_id="train", select_fields=names)
    results = {name: [found[name][i].tolist() for i in range(len(keys))] for name in names}
    transfer_queue.close()
    ray.shutdown()
    print(json.dumps(results | {"ids": ids}))


def response(tokens, **columns):
    """What verl hands to a reward manager for one response."""
    batch = {"responses": torch.tensor([tokens]), "attention_mask": torch.ones(1, 3 + len(tokens), dtype=torch.long)}
    columns = {"reward_model": {"ground_truth": "42"}, "data_source": "here"} | columns
    return DataProto(
        batch=TensorDict(batch, batch_size=1),
        non_tensor_batch={name: np.array([x], dtype=object) for name, x in columns.items()},
    )


def reward_manager(tokenizer, score=float, allocator=None, **config):
    from omegaconf import OmegaConf

    from shapley_kernels.adapters.verl_trainer import ShapeRewardManager

    class Rewards(ShapeRewardManager):
        def scorer(self, tokenizer):
            return rl.SetScorer(score, rl.json_list(), tokenizer, floor=-1.0)

    Rewards.allocator = allocator
    return Rewards(OmegaConf.create(config), tokenizer, None)


if __name__ == "__main__":
    _controller()
