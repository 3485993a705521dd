"""The code of docs/guides/recipes.md, run as it stands there, against the contracts of the frameworks that it names."""

import asyncio
import importlib
import json
import re
import sys
import types
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels import rl
from tests.conftest import need
from tests.frameworks.rollouts import ADVANTAGES, GROUP, TEXTS

PAGE = Path(__file__).parent.parent / "docs" / "guides" / "recipes.md"
BLOCKS = dict(re.findall(r"```python\n# (\w+)\.py[^\n]*\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
END = 256
VOCABULARY = [bytes([i]) for i in range(END)] + [None]
UNEVEN = ['["4", "3", "5"]', ' ["1", "9"]', '["0", "1", "0", "2"]', '["7"]']  # sets that do not tie
PROMPTS = [[0, 0, 66], [0, 0, 66], [66], [66]]  # 0 is also what rows are padded with

torch = None


@pytest.fixture(autouse=True)
def place(monkeypatch):
    """torch, and what the page's first block imports: a tokenizer whose tokens are bytes."""
    global torch
    need("torch")
    torch = importlib.import_module("torch")
    tokenizer = SimpleNamespace(from_pretrained=lambda name: VOCABULARY)
    modules(monkeypatch, {"transformers": {"AutoTokenizer": tokenizer}})
    monkeypatch.setitem(sys.modules, "shape", run("shape"))


def modules(monkeypatch, contents):
    """Puts modules in the place of those of a framework, and gives them by name."""
    for name, names in contents.items():
        parent = ""
        for part in name.split("."):
            path = f"{parent}.{part}" if parent else part
            if path not in sys.modules or path == name:
                module = types.ModuleType(path)
                monkeypatch.setitem(sys.modules, path, module)
                if parent:
                    monkeypatch.setattr(sys.modules[parent], part, module, raising=False)
            parent = path
        vars(sys.modules[name]).update(names)
    return [sys.modules[name] for name in contents]


def run(name, **known):
    """A block of the page as a module."""
    module = types.ModuleType(name)
    vars(module).update(known)
    exec(compile(BLOCKS[name], f"{PAGE.name}: {name}.py", "exec"), vars(module))
    return module


def rollouts(texts):
    return [[*text.encode(), END] for text in texts]


def expected(texts):
    """Advantages of the tokens of each rollout, by `RewardAllocator` alone."""
    found = rl.SetScorer(float, rl.json_list(), VOCABULARY)(rollouts(texts))
    tokens = sk.RewardAllocator().token_advantages(found.rewards, found.ids, found.mask, num_generations=GROUP)
    return [row[: len(ids)] for row, ids in zip(tokens, rollouts(texts), strict=True)]


def check(recipe):
    """`recipe(texts)`: the advantages of the tokens of each rollout."""
    for texts in (TEXTS, UNEVEN):
        for found, wanted in zip(recipe(texts), expected(texts), strict=True):
            np.testing.assert_allclose(np.asarray(found, float), wanted, rtol=0, atol=2e-6)
    for found, ids, wanted in zip(recipe(TEXTS), _candidates(TEXTS), ADVANTAGES, strict=True):
        np.testing.assert_allclose(np.asarray(found), np.array([0.0, *wanted])[ids], rtol=0, atol=7e-6)


def _candidates(texts):
    return [rl.candidate_ids([row], VOCABULARY, rl.json_list()).ids[0] for row in rollouts(texts)]


def padded(rows):
    """[N, T] tensor, and the mask of what is no padding."""
    width = max(map(len, rows))
    filled = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    return filled, torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])


def sequences(texts):
    """Prompt and rollout in a row, right-padded: ids, what is no padding, what is of the rollout."""
    own = rollouts(texts)
    ids, attention = padded([prompt + row for prompt, row in zip(PROMPTS, own, strict=True)])
    mask, _ = padded([[0] * len(prompt) + [1] * len(row) for prompt, row in zip(PROMPTS, own, strict=True)])
    return ids, attention, mask


def within(tokens, mask):
    """Rows of the advantages where the mask is 1; elsewhere they are 0."""
    assert tokens.shape == mask.shape
    assert (tokens[mask == 0] == 0).all()
    return [row[own].tolist() for row, own in zip(tokens, mask.bool(), strict=True)]


def test_every_block_is_run():
    page = PAGE.read_text(encoding="utf-8")
    assert set(BLOCKS) == set(re.findall(r"run\(\"(\w+)\"", Path(__file__).read_text(encoding="utf-8")))
    assert page.count("```python") == len(BLOCKS)
    assert re.findall(r"^\| \[(.*?)\]", page, re.MULTILINE) == re.findall(r"^## (.*)", page, re.MULTILINE)


def test_openrlhf(monkeypatch):
    """Experiences of several rollouts each, out of order; actions are tokens from the second on."""

    class RemoteExperienceMaker:
        args = SimpleNamespace(rollout=SimpleNamespace(n_samples_per_prompt=GROUP))

        def compute_advantages_and_returns(self, experiences, **kwargs):
            for experience in experiences:
                experience.advantages = torch.ones(experience.action_mask.shape) * experience.action_mask
                experience.returns = experience.advantages
            return experiences

    trainer, _ = modules(
        monkeypatch,
        {
            "openrlhf.trainer.ppo_trainer": {"RemoteExperienceMaker": RemoteExperienceMaker},
            "openrlhf.trainer.ppo_utils.experience_maker": {"RemoteExperienceMaker": RemoteExperienceMaker},
        },
    )
    run("shape_openrlhf")

    def recipe(texts):
        experiences = []
        for places in ([2, 0], [3], [1]):
            rows = [PROMPTS[i] + rollouts(texts)[i] for i in places]
            masks = [[0] * len(PROMPTS[i]) + [1] * len(rollouts(texts)[i]) for i in places]
            experiences.append(
                SimpleNamespace(
                    sequences=padded(rows)[0], action_mask=padded(masks)[0].bool()[:, 1:], index=places, advantages=None
                )
            )
        found = {}
        for experience in trainer.RemoteExperienceMaker().compute_advantages_and_returns(experiences):
            assert experience.returns is experience.advantages
            rows = within(experience.advantages, experience.action_mask)
            found.update(zip(experience.index, rows, strict=True))
        return [found[i] for i in range(4)]

    check(recipe)


def test_areal(monkeypatch):
    class PPOActor:
        def _compute_advantages(self, data):
            data["loss_mask"] = torch.roll(data["loss_mask"].float(), shifts=-1, dims=-1)
            data["advantages"] = data["rewards"][:, None] * data["loss_mask"]
            data["returns"] = data["advantages"]
            return data

    modules(monkeypatch, {"areal.trainer.ppo.actor": {"PPOActor": PPOActor}})
    actor = run("shape_areal").ShapePPOActor()

    def recipe(texts):
        ids, attention, mask = sequences(texts)
        data = {"input_ids": ids, "attention_mask": attention, "loss_mask": mask, "rewards": torch.ones(4)}
        data = actor._compute_advantages(data)
        assert data["advantages"].dtype == torch.float32
        assert (data["returns"] == data["advantages"]).all()
        return within(data["advantages"], data["loss_mask"])

    check(recipe)


def test_slime(monkeypatch):
    """Rewards in one process, advantages on the ranks; here, context parallelism gives every other token to a rank."""
    modules(
        monkeypatch,
        {
            "slime.backends.megatron_utils.cp_utils": {
                "slice_log_prob_with_cp": lambda row, total, response: row[total % 2 :: 2]
            }
        },
    )
    module = run("shape_slime")

    def recipe(texts):
        own = rollouts(texts)
        samples = [
            SimpleNamespace(tokens=prompt + row, response_length=len(row), group_index=i // GROUP, metadata={})
            for i, (prompt, row) in enumerate(zip(PROMPTS, own, strict=True))
        ]
        raw, rewards = module.rewards(SimpleNamespace(), samples)
        assert raw == [max(map(float, json.loads(text))) for text in texts]
        parts = []
        for rank in range(2):
            lengths = list(map(len, own))
            data = {"rewards": rewards, "response_lengths": lengths, "total_lengths": [rank] * 4}
            data["kl"] = [torch.zeros(len(row[rank::2])) for row in rewards]
            module.advantages(SimpleNamespace(), data)
            assert [x.shape for x in data["advantages"]] == [x.shape for x in data["kl"]]
            assert all(x.dtype == torch.float32 for x in data["returns"])
            parts.append(data["advantages"])
        whole = [np.zeros(len(row)) for row in own]
        for rank, part in enumerate(parts):
            for row, x in zip(whole, part, strict=True):
                row[rank::2] = x
        return whole

    check(recipe)


def test_prime_rl(monkeypatch):
    class GRPOAlgorithm:
        async def score_group(self, episodes):
            raise AssertionError("replaced")

    def assign_advantages(trace, values):
        assert len(values) == sum(sum(node.mask) for node in trace.nodes)
        trace.advantages = values

    classes = {"grpo": GRPOAlgorithm}
    modules(
        monkeypatch,
        {
            "prime_rl.orchestrator.algo": {"ALGORITHM_CLASSES": classes},
            "prime_rl.orchestrator.algo.routing": {"assign_advantages": assign_advantages},
        },
    )
    run("shape_prime_rl")

    def recipe(texts):
        found = []
        for group in (0, 1):
            traces = [
                SimpleNamespace(
                    nodes=[
                        SimpleNamespace(token_ids=PROMPTS[i], mask=[False] * len(PROMPTS[i])),
                        SimpleNamespace(token_ids=rollouts(texts)[i], mask=[True] * len(rollouts(texts)[i])),
                    ]
                )
                for i in range(GROUP * group, GROUP * group + GROUP)
            ]
            episodes = [SimpleNamespace(traces=[trace]) for trace in traces]
            asyncio.run(classes["grpo"]().score_group(episodes))
            found += [trace.advantages for trace in traces]
        return found

    check(recipe)


def test_nemo_rl(monkeypatch):
    (grpo,) = modules(monkeypatch, {"nemo_rl.algorithms.grpo": {"_create_advantage_estimator": None}})
    run("shape_nemo_rl")

    def recipe(texts):
        """With a fifth rollout, of the first prompt, that is not trained on."""
        rows = [*zip(PROMPTS, rollouts(texts), strict=True), (PROMPTS[0], rollouts(["nothing"])[0])]
        masks, _ = padded([[0] * len(prompt) + [1] * len(row) for prompt, row in rows])
        masks[4] = 0
        logs = [
            [
                {"role": "user", "content": "", "token_ids": torch.tensor(prompt)},
                {"role": "assistant", "content": "", "token_ids": torch.tensor(row)},
            ]
            for prompt, row in rows
        ]
        tokens = grpo._create_advantage_estimator({}).compute_advantage(
            prompt_ids=padded([prompt for prompt, _ in rows])[0],
            rewards=torch.zeros(5),
            mask=masks.float(),
            repeated_batch={"message_log": logs},
            logprobs_policy=torch.zeros(masks.shape),
            logprobs_reference=None,
        )
        return within(tokens, masks)[:4]

    check(recipe)


def test_roll(monkeypatch):
    """Left-padded prompts, and the sum over later rewards that ROLL takes."""

    def compute_token_reward(data, pipeline_config, kl_ctrl):
        data.batch["token_level_rewards"] = torch.zeros(data.batch["input_ids"][:, 1:].shape)
        return data, {"critic/kl": 0.0}

    (pipeline,) = modules(
        monkeypatch, {"roll.pipeline.rlvr.rlvr_pipeline": {"compute_token_reward": compute_token_reward}}
    )
    run("shape_roll")

    def recipe(texts):
        left, start = max(map(len, PROMPTS)), [[0] * (3 - len(prompt)) for prompt in PROMPTS]
        rows, own = padded(rollouts(texts))
        prompt = torch.tensor([gap + tokens for gap, tokens in zip(start, PROMPTS, strict=True)])
        seen = torch.tensor([gap + [1] * (left - len(gap)) for gap in start])
        batch = {
            "input_ids": torch.cat([prompt, rows], 1),
            "attention_mask": torch.cat([seen, own], 1),
            "response_mask": torch.cat([torch.zeros_like(seen), own], 1),
        }
        data, metrics = pipeline.compute_token_reward(SimpleNamespace(batch=batch), None, None)
        assert metrics == {"critic/kl": 0.0}
        rewards = data.batch["token_level_rewards"]
        assert rewards.dtype == torch.float32
        advantages = rewards.flip(1).cumsum(1).flip(1)  # gamma 1
        mask = batch["response_mask"][:, 1:]
        return within(advantages * mask, mask)

    check(recipe)


def test_rllm(monkeypatch):
    registry = {}

    def register(name):
        return lambda function: registry.setdefault(name, function)

    modules(monkeypatch, {"rllm.trainer.algorithms.advantage": {"register_rllm_adv_estimator": register}})
    run("shape_rllm")

    def recipe(texts):
        groups = [
            SimpleNamespace(
                trajectories=[
                    SimpleNamespace(reward=0.0, steps=[SimpleNamespace(response_ids=row, advantage=None)])
                    for row in rollouts(texts)[first : first + GROUP]
                ]
            )
            for first in (0, GROUP)
        ]
        estimator = registry["shapley_grpo"]
        by_group, _ = estimator(rewards=[np.zeros(GROUP)] * 2, algorithm_config=None, traj_groups=groups)
        assert [len(group) for group in by_group] == [GROUP, GROUP]
        assert estimator.writes_step_advantages
        return [trajectory.steps[0].advantage for group in groups for trajectory in group.trajectories]

    check(recipe)


@pytest.mark.parametrize("ranks", [1, 2])
def test_ms_swift(monkeypatch, ranks):
    """The rollouts of a prompt on one rank, or one on each of two; two micro-batches where there are enough."""

    class GRPOTrainer:
        def __init__(self, rank):
            self.accelerator = SimpleNamespace(process_index=rank)

        def split_by_mini_batches(self, samples):
            half = max(1, len(samples) // 2)
            return [samples[:half], samples[half:]]

        def _postprocess_batch(self, samples, batch_encoded_inputs):
            for encoded in batch_encoded_inputs:
                encoded["grpo_batch"].advantages = torch.ones(len(encoded["grpo_batch"].completion_mask))

    shared = {}
    factory = SimpleNamespace(TRAINER_MAPPING={"grpo": "swift.rlhf_trainers.GRPOTrainer"})
    modules(
        monkeypatch,
        {
            "swift.rlhf_trainers.grpo_trainer": {"GRPOTrainer": GRPOTrainer},
            "swift.trainers": {"TrainerFactory": factory},
            "accelerate.utils": {"gather_object": lambda mine: shared["gather"](mine)},
        },
    )
    module = run("shape_swift")
    assert factory.TRAINER_MAPPING["grpo"] == f"shape_swift.{module.ShapeGRPOTrainer.__name__}"

    def recipe(texts):
        def rank_inputs(rank):
            rows = list(range(rank, 4, ranks))
            samples = [
                SimpleNamespace(prompt_id="ab"[i // GROUP], response_token_ids=[rollouts(texts)[i]]) for i in rows
            ]
            chunks = GRPOTrainer(rank).split_by_mini_batches([rollouts(texts)[i] for i in rows])
            batches = [
                {"grpo_batch": SimpleNamespace(completion_mask=padded([[0, 0] + [1] * len(row) for row in chunk])[0])}
                for chunk in chunks
            ]
            return rows, samples, batches

        sent, found = {}, {}
        for step in ("send", "receive"):  # one after the other, what ranks do at the same time
            for rank in range(ranks):
                rows, samples, batches = rank_inputs(rank)

                def gather(mine, rank=rank, step=step):
                    sent[rank] = mine
                    if step == "send":
                        raise InterruptedError
                    return [x for i in range(ranks) for x in sent[i]]

                shared["gather"] = gather
                try:
                    module.ShapeGRPOTrainer(rank)._postprocess_batch(samples, batches)
                except InterruptedError:
                    continue
                advantages = [row for batch in batches for row in within(batch["grpo_batch"].advantages, _mask(batch))]
                found.update(zip(rows, advantages, strict=True))
        return [found[i] for i in range(4)]

    def _mask(batch):
        return batch["grpo_batch"].completion_mask

    check(recipe)


def test_unsloth(monkeypatch, tmp_path):
    """`import unsloth` puts a class of its own where TRL's is."""
    from importlib import metadata

    class Patched:
        """What the adapter uses of a GRPOTrainer."""

        def __init__(self, model, reward_funcs, args, train_dataset, processing_class):
            self.model, self.texts, self.reward_funcs = model, train_dataset, reward_funcs
            self.scale_rewards, self.importance_sampling_level = "group", "token"
            self.num_generations = self.num_generations_eval = GROUP
            self.max_completion_length, self.processing_class = None, processing_class
            self.reward_weights, self.reward_func_names = torch.ones(1), ["set_reward"]
            self.accelerator = SimpleNamespace(
                num_processes=1, process_index=0, device="cpu", reduce=lambda counts, _: counts
            )
            self._metrics = {"train": _Lists()}

        def _generate_and_score_completions(self, inputs):
            rows = rollouts(self.texts)
            self.reward_funcs[0](prompts=["a", "a", "b", "b"], completion_ids=rows)
            ids, mask = padded(rows)
            return {"completion_ids": ids, "completion_mask": mask, "advantages": torch.zeros(4)}

        def _compute_loss(self, model, inputs):
            raise NotImplementedError

    (trl,) = modules(monkeypatch, {"trl": {"GRPOTrainer": object, "Patched": Patched}})
    (tmp_path / "unsloth.py").write_text("import trl\n\ntrl.GRPOTrainer = trl.Patched\n")
    monkeypatch.syspath_prepend(tmp_path)
    plain = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "1.14.0" if name == "trl" else plain(name))
    monkeypatch.delitem(sys.modules, "shapley_kernels.adapters.trl", raising=False)
    model = SimpleNamespace(training=True, generation_config=SimpleNamespace(eos_token_id=END))
    tokenizer = SimpleNamespace(eos_token_id=END, pad_token_id=END)
    try:

        def recipe(texts):
            trl.GRPOTrainer = object
            sys.modules.pop("unsloth", None)
            module = run("train_unsloth", model=model, config=None, dataset=texts, tokenizer=tokenizer)
            assert issubclass(module.ShapeTrainer, Patched)
            batch = module.trainer._generate_and_score_completions(None)
            return within(batch["advantages"], batch["completion_mask"])

        check(recipe)
    finally:
        for name in ("unsloth", "shapley_kernels.adapters.trl"):
            sys.modules.pop(name, None)


class _Lists(dict):
    def __missing__(self, name):
        return self.setdefault(name, [])


@dataclass(frozen=True)
class TrainExample:
    """Of Tunix, here with numpy's arrays; tests/frameworks/test_tunix.py has the real one."""

    completion_ids: np.ndarray
    completion_mask: np.ndarray
    advantages: np.ndarray
    replace = replace


def test_tunix(monkeypatch):
    class GRPOLearner:
        algo_config = SimpleNamespace(num_generations=GROUP)

        def _generate_and_compute_advantage(self, training_input, mode="train"):
            assert mode == "eval"
            ids, mask = (x.numpy() for x in padded(rollouts(training_input["texts"])))
            return TrainExample(ids, mask.astype(bool), np.zeros(4, np.float32))

    modules(
        monkeypatch,
        {
            "jax.numpy": {"asarray": np.asarray, "float32": np.float32},
            "tunix.rl.grpo.grpo_learner": {"GRPOLearner": GRPOLearner},
        },
    )
    learner = run("shape_tunix").ShapeGRPOLearner()

    def recipe(texts):
        example = learner._generate_and_compute_advantage({"texts": texts}, "eval")
        assert example.advantages.dtype == np.float32
        return within(torch.from_numpy(example.advantages), torch.from_numpy(example.completion_mask))

    check(recipe)
