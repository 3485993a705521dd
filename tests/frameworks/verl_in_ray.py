"""Rollouts by verl's own worker, which calls tools and asks for rewards, in real Ray and TransferQueue; then the
advantage step of its registered trainers. All but a model and its server."""

import asyncio
import json
import tempfile
from pathlib import Path
from types import SimpleNamespace

import ray
import torch
import transfer_queue
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from transformers import Qwen2Config
from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register
from verl.trainer.ppo.v1 import get_trainer_cls
from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ
from verl.workers.rollout.replica import TokenOutput

from tests.frameworks import tool_calls
from tests.frameworks.rollouts import TEXTS
from tests.frameworks.verl_run import UIDS, reward_manager

TOKENIZER = tool_calls.chat_tokenizer(
    """{% for m in messages %}<|im_start|>{% if m.role == 'tool' %}user
<tool_response>
{{ m.content }}
</tool_response>{% else %}{{ m.role }}
{{ m.content }}{% for c in m.tool_calls or [] %}<tool_call>
{{ c.function | tojson }}
</tool_call>{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""
)
KEYS = ["a_0_0", "a_1_0", "a_1_1", "b_0_0", "b_1_0", "pad0_0_0"]
"""Rollout 1 has two outputs, and the last row is one of padding."""


class Server:
    async def generate(self, prompt_ids, **_):
        text = TOKENIZER.decode(prompt_ids)
        written = tool_calls.writes(text, int(text.partition("rollout ")[2][0]))
        return TokenOutput(token_ids=[*TOKENIZER(written)["input_ids"], TOKENIZER.eos_token_id])


@register("two_outputs")
class TwoOutputs(AgentLoopBase):
    async def run(self, sampling_params, **_):
        rows = [[*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id] for text in ('["9"]', TEXTS[1])]
        parts = {"prompt_ids": [1, 2], "num_turns": 2, "metrics": AgentLoopMetrics()}
        return [AgentLoopOutput(response_ids=row, response_mask=[1] * len(row), **parts) for row in rows]


async def of_the_prompt(data):
    """A reward manager that knows nothing of candidates."""
    return {"reward_score": float(data.non_tensor_batch["reward"][-1]), "reward_extra_info": {}}


async def rollouts(worker, rewarding):
    """Four rollouts by verl's worker, in its queue, and the batch of them."""
    worker.reward_loop_worker_handles = [SimpleNamespace(compute_score=SimpleNamespace(remote=rewarding))]
    trajectory = {"step": 0, "sample_index": 0, "rollout_n": 0, "validate": False}
    for i, reward in enumerate([2.0, 5.0, 1.0, 1.5]):
        row = {"raw_prompt": [{"role": "user", "content": f"rollout {i}"}], "reward": reward, "global_steps": 0}
        loop = "two_outputs" if i == 1 else "shapley_tool_agent"
        await worker._run_agent_loop({}, trajectory, agent_name=loop, uid=UIDS[i], session_id=i % 2, **row)
    first = transfer_queue.kv_batch_get(keys=KEYS[:1], partition_id="train")
    for name in ("response_mask", "rm_scores"):
        first[name] = torch.nested.as_nested_tensor([torch.zeros_like(first[name][0])], layout=torch.jagged)
    first["uid"] = ["pad0"]
    tags = [{"is_padding": False}] * 5 + [{"is_padding": True}]
    transfer_queue.kv_batch_put(keys=KEYS[-1:], fields=first, tags=tags[-1:], partition_id="train")
    batch = transfer_queue.KVBatchMeta(partition_id="train", keys=list(KEYS), tags=tags)
    batch.reorder([2, 0, 5, 4, 3, 1])  # as balancing does
    return batch


def agent_worker():
    """verl's worker, with its own configuration, that runs agent loops on a scripted server."""
    path = Path(tempfile.mkdtemp())
    TOKENIZER.save_pretrained(path)
    Qwen2Config(architectures=["Qwen2ForCausalLM"]).save_pretrained(path)
    (path / "tools.py").write_text(
        "from verl.tools.function_tool import function_tool\n"
        "from tests.frameworks.tool_calls import rewards_of\n"
        "function_tool(rewards_of)\n"
    )
    options = {
        "data.max_prompt_length": 2048,
        "data.max_response_length": 1024,
        "actor_rollout_ref.model.path": path,
        "actor_rollout_ref.rollout.name": "vllm",
        "actor_rollout_ref.rollout.multi_turn.enable": True,
        "actor_rollout_ref.rollout.multi_turn.function_tool_path": path / "tools.py",
        "actor_rollout_ref.rollout.multi_turn.max_parallel_calls": 2,
    }
    with initialize_config_module("verl.trainer.config", version_base=None):
        config = compose("ppo_trainer", overrides=[f"{name}={value}" for name, value in options.items()])
    return AgentLoopWorkerTQ.__ray_metadata__.modified_class(config, Server())


def main():
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", object_store_memory=100 * 2**20)
    transfer_queue.init(OmegaConf.create({"backend": {"SimpleStorage": {"num_data_storage_units": 1}}}))
    worker, loop, results = agent_worker(), asyncio.new_event_loop(), {}
    for name, rewarding in (
        ("shapley_grpo", reward_manager(TOKENIZER, parser=tool_calls.PARSER).run_single),
        ("shapley_rollouts", of_the_prompt),
    ):
        batch = loop.run_until_complete(rollouts(worker, rewarding))
        trainer = object.__new__(get_trainer_cls(name.replace("grpo", "sync").replace("rollouts", "rollouts_sync")))
        algorithm = {"adv_estimator": name, "gamma": 1.0, "lam": 1.0, "use_kl_in_reward": False}
        trainer.config = OmegaConf.create({"algorithm": algorithm, "actor_rollout_ref": {"rollout": {"n": 2}}})
        trainer._compute_advantage(batch, {})
        names = ["advantages", "rm_scores", "response_mask", "responses"]
        found = transfer_queue.kv_batch_get(keys=KEYS, partition_id="train", select_fields=names)
        results[name] = {name: [row.tolist() for row in found[name]] for name in names}
        transfer_queue.kv_clear(keys=KEYS, partition_id="train")
    transfer_queue.close()
    ray.shutdown()
    print(json.dumps(results))


if __name__ == "__main__":
    main()
