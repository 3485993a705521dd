"""SkyRL's trainer on scripted generator outputs; run as a program, the same in a process of Ray."""

import asyncio
import sys
import typing
from types import SimpleNamespace

if sys.version_info < (3, 12):
    import typing_extensions

    typing.TypedDict = typing_extensions.TypedDict  # pydantic refuses the other one in skyrl.tinker.types

from skyrl.train.config import SkyRLTrainConfig
from skyrl.train.trainer import RayPPOTrainer

from shapley_kernels import rl
from shapley_kernels.adapters.skyrl import (
    ShapeTrainerMixin,
    encode_generator_output,
    register,
    register_rollouts,  # noqa: F401
)
from tests.frameworks.rollouts import GROUP, TEXTS, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
UIDS = ["a", "a", "b", "b"]
OPTIONS = {
    "trainer.algorithm.advantage_estimator": "shapley_grpo",
    "trainer.policy_mini_batch_size": 2,
    "trainer.train_batch_size": 2,
    "generator.n_samples_per_prompt": GROUP,
}


def scorer(score=float, **options):
    return rl.SetScorer(score, rl.json_list(), TOKENIZER, **options)


def generated(texts=TEXTS, **changes):
    """What SkyRL's generator gives: no padding, rewards of the environment, and prompts of different lengths."""
    responses = [[*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id] for text in texts]
    return {
        "prompt_token_ids": [[3] * (1 + i) for i in range(len(texts))],
        "response_ids": responses,
        "rewards": [0.0] * len(texts),
        "loss_masks": [[1] * len(row) for row in responses],
        "stop_reasons": ["stop"] * len(texts),
        "rollout_metrics": {"generate/avg_num_tokens": 7.0},
        "rollout_logprobs": None,
        "is_last_step": None,
        **changes,
    }


def encoded(output=None, scores=None, allocator=None, **columns):
    return asyncio.run(encode_generator_output(output or generated(), scores or scorer(), allocator, **columns))


class StepTrainer(ShapeTrainerMixin, RayPPOTrainer):
    pass


def trainer(ranks=1, cls=RayPPOTrainer, **options):
    """A trainer with SkyRL's own configuration, and no models."""
    found = object.__new__(cls)
    overrides = OPTIONS | {name.replace("__", "."): value for name, value in options.items()}
    found.cfg = SkyRLTrainConfig.from_cli_overrides([f"{name}={value}" for name, value in overrides.items()])
    found.all_metrics, found.tokenizer = {}, TOKENIZER
    found.dispatch = SimpleNamespace(get_lcm_dp_size=lambda: ranks)
    return found


def advantages(output=None, uids=UIDS, running=None):
    """The batch, with advantages, by the steps of `RayPPOTrainer.train` behind generation."""
    running = running or trainer()
    output, uids = running.postprocess_generator_output(output or encoded(), list(uids))
    batch = running.convert_to_training_input(output, uids)
    batch["values"] = None
    return running.compute_advantages_and_returns(batch)


def in_steps(texts=TEXTS, cut=3):
    """The same in two steps each, with a tool's list at the end of the first, which has no loss."""
    whole, tool = generated(texts), TOKENIZER('["9"]')["input_ids"]
    responses, masks = [], []
    for row in whole["response_ids"]:
        responses += [row[:cut] + tool, row[cut:]]
        masks += [[1] * cut + [0] * len(tool), [1] * (len(row) - cut)]
    return generated(
        [text for text in texts for _ in range(2)],
        response_ids=responses,
        loss_masks=masks,
        rewards=[0.0] * len(responses),
        is_last_step=[False, True] * len(texts),
    )


def candidate_ids(texts=TEXTS):
    """[N, T], right-aligned as SkyRL's tensors are."""
    import numpy as np

    rows = [rl.candidate_ids([row], TOKENIZER, rl.json_list()).ids[0] for row in generated(texts)["response_ids"]]
    width = max(map(len, rows))
    return np.stack([np.pad(row, (width - len(row), 0)) for row in rows])


def _ray():
    """Registered in the driver, one estimator before Ray starts and one after it, used in a worker."""
    import json

    import ray
    from skyrl.backends.skyrl_train.utils.ppo_utils import sync_registries

    def worker():
        from tests.frameworks import skyrl_run

        names = ("shapley_grpo", "other")
        running = [skyrl_run.trainer(trainer__algorithm__advantage_estimator=name) for name in names]
        return [skyrl_run.advantages(running=one)["advantages"].tolist() for one in running]

    register()
    ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", object_store_memory=100 * 2**20)
    sync_registries()  # as SkyRL's initialize_ray does
    register(name="other")
    print(json.dumps(ray.get(ray.remote(worker).remote())))
    ray.shutdown()


if __name__ == "__main__":
    _ray()
