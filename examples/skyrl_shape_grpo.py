"""GRPO with credit per candidate in SkyRL 0.3, on one machine with GPUs: change `score` and the parser.

    pip install 'skyrl[fsdp]==0.3.0' .
    python examples/skyrl_shape_grpo.py data.train_data='["train.parquet"]' trainer.policy.model.path=Qwen/Qwen3-0.6B

The prompts ask for a JSON list of answers; the right one is in the column reward_spec of the data.
"""

import sys

import ray
import skyrl_gym
from skyrl.train.config import SkyRLTrainConfig
from skyrl.train.entrypoints.main_base import BasePPOExp
from skyrl.train.generators.skyrl_gym_generator import SkyRLGymGenerator
from skyrl.train.utils import validate_cfg
from skyrl.train.utils.utils import initialize_ray
from skyrl_gym.envs.base_text_env import BaseTextEnv, BaseTextEnvStepOutput

from shapley_kernels import rl
from shapley_kernels.adapters.skyrl import encode_generator_output, register

OPTIONS = (
    "trainer.algorithm.advantage_estimator=shapley_grpo",
    "environment.env_class=one_response",
    "generator.n_samples_per_prompt=8",
)


def score(text, answer):
    """What one candidate is worth: here, whether it is the answer. A judge may be `async def`."""
    return float(text.strip() == str(answer))


class OneResponse(BaseTextEnv):
    """An environment that takes one rollout; rewards come from `score`."""

    def __init__(self, env_config=None, extras=None):
        super().__init__()

    def step(self, action):
        return BaseTextEnvStepOutput(observations=[], reward=0.0, done=True, metadata={})


class Generator(SkyRLGymGenerator):
    """SkyRL's generator, with one reward per token: the credits of the candidates of a JSON list."""

    async def generate(self, input_batch, disable_tqdm=False):
        output = await super().generate(input_batch, disable_tqdm)
        answers = [extras["reward_spec"]["ground_truth"] for extras in input_batch["env_extras"]]
        scorer = rl.SetScorer(score, rl.json_list(), self.tokenizer, floor=-0.1)
        return await encode_generator_output(output, scorer, answer=answers)


class Experiment(BasePPOExp):
    """SkyRL's experiment with this generator."""

    def get_generator(self, cfg, tokenizer, inference_engine_client):
        return Generator(cfg.generator, cfg.environment.skyrl_gym, inference_engine_client, tokenizer)


def configuration(options):
    """Checked by SkyRL, to which the estimator has to be known by then."""
    register()
    cfg = SkyRLTrainConfig.from_cli_overrides([*OPTIONS, *options])
    validate_cfg(cfg)
    return cfg


@ray.remote(num_cpus=1)
def train(cfg):
    """The process of the trainer, where environments have to be known."""
    skyrl_gym.register(id="one_response", entry_point=OneResponse)
    Experiment(cfg).run()


if __name__ == "__main__":
    config = configuration(sys.argv[1:])
    initialize_ray(config)
    ray.get(train.remote(config))
