"""SkyRL's own trainer, from what its generators give to the policy loss."""

import asyncio
import functools
import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels import rl
from tests import GUARD
from tests.frameworks.rollouts import REWARDS, TEXTS, assert_candidate_advantages

pytestmark = pytest.mark.filterwarnings("default")  # those of SkyRL are its own

UNEVEN = ['["4", "3", "5"]', '["1", "4"]', '["0", "1", "0", "2"]', '["1"]']
SHIM = "import typing, typing_extensions; typing.TypedDict = typing_extensions.TypedDict\n"


@pytest.fixture(autouse=True)
def registered(skyrl_run):
    skyrl_run.register()


@pytest.mark.parametrize("by_std", [True, False])
def test_equals_the_allocator_in_any_order_of_rows(skyrl_run, by_std):
    uids = ["x", "x", "y", "y"]
    running = skyrl_run.trainer(trainer__algorithm__grpo_norm_by_std=by_std)
    batch = skyrl_run.advantages(skyrl_run.encoded(skyrl_run.generated(UNEVEN)), uids, running)
    rewards, mask = sk.pad([[float(x) for x in json.loads(text)] for text in UNEVEN])
    allocator = sk.RewardAllocator(scale="group" if by_std else "none")
    ids = skyrl_run.candidate_ids(UNEVEN)
    wanted = allocator.token_advantages(rewards, ids, mask, group_ids=uids) * batch["response_mask"].numpy()
    np.testing.assert_allclose(batch["advantages"], wanted, rtol=1e-5, atol=1e-6)
    assert (batch["returns"] == batch["advantages"]).all()
    order = [2, 0, 3, 1]
    mixed = type(batch)({name: x if x is None else x[order] for name, x in batch.items()})
    mixed.metadata = batch.metadata | {"uids": [uids[i] for i in order]}
    again = running.compute_advantages_and_returns(mixed)["advantages"]
    np.testing.assert_allclose(again, batch["advantages"][order], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("by_std", [True, False])
def test_rollouts_as_players_of_any_generator(skyrl_run, by_std):
    """Against SkyRL's own MaxRL, for rewards of 0 and 1, on its own path to the loss."""
    skyrl_run.register_rollouts()
    uids, rewards = ["x", "x", "y", "y"], [1.0, 0.0, 0.0, 0.0]
    found = {}
    for name in ("shapley_rollouts", "maxrl"):
        running = skyrl_run.trainer(
            trainer__algorithm__advantage_estimator=name, trainer__algorithm__grpo_norm_by_std=by_std
        )
        batch = skyrl_run.advantages(skyrl_run.generated(rewards=rewards), uids, running)
        assert (batch["returns"] == batch["advantages"]).all()
        found[name] = batch["advantages"].numpy()
    np.testing.assert_allclose(2 * found["shapley_rollouts"], found["maxrl"], rtol=1e-5, atol=1e-6)
    assert sorted(set(found["shapley_rollouts"].reshape(-1))) == [-0.5, 0.0, 0.5]


def test_rollouts_as_players_with_another_value(skyrl_run):
    how = functools.partial(rl.rollout_advantages, value=sk.Stratum(2), center="none")
    skyrl_run.register_rollouts(how, "max_at_2")
    rewards = [3.0, 1.0, 2.0, 5.0]
    running = skyrl_run.trainer(trainer__algorithm__advantage_estimator="max_at_2")
    batch = skyrl_run.advantages(skyrl_run.generated(rewards=rewards), ["x", "x", "x", "y"], running)
    wanted = np.array([1.5, 0.0, 0.5, 5.0])[:, None] * batch["response_mask"].numpy()
    np.testing.assert_allclose(batch["advantages"], wanted, rtol=1e-6)


def test_padding_rows(skyrl_run):
    """SkyRL fills batches up with copies of the first row, without loss and with a uid of their own."""
    batch = skyrl_run.advantages(running=skyrl_run.trainer(ranks=3))
    assert batch.metadata["uids"] == [*skyrl_run.UIDS, "pad0", "pad1"]
    assert (batch["loss_mask"][4:] == 0).all()
    assert (batch["advantages"][:4] == skyrl_run.advantages()["advantages"]).all()


def test_the_loss_reduction_scales_once(skyrl_run):
    """The gradient of SkyRL's policy loss is the advantage over the number of tokens."""
    import torch
    from skyrl.backends.skyrl_train.utils.ppo_utils import PolicyLossRegistry

    running = skyrl_run.trainer()
    batch = skyrl_run.advantages(running=running)
    advantages = batch["advantages"].clone()
    batch = running._normalize_advantages(batch, batch.metadata["policy_mini_batch_boundaries"])
    tokens = batch["loss_mask"].sum()
    torch.testing.assert_close(batch["advantages"], advantages / tokens)
    log_p = torch.zeros(advantages.shape, requires_grad=True)
    loss, _ = PolicyLossRegistry.get("regular")(
        log_p, log_p.detach(), batch["advantages"], running.cfg.trainer.algorithm, batch["loss_mask"]
    )
    loss.backward()
    torch.testing.assert_close(log_p.grad, -advantages / tokens)
    assert (log_p.grad != 0).any()


def test_metrics(skyrl_run):
    """Curves of rewards stay true; what counts passes reads the last token, so it does not."""
    running = skyrl_run.trainer()
    output = skyrl_run.encoded()
    assert output["rollout_metrics"]["generate/avg_num_tokens"] == 7.0
    assert output["rollout_metrics"]["shapley/malformed_rollouts"] == 0.0
    skyrl_run.advantages(output, running=running)
    assert running.all_metrics["reward/avg_raw_reward"] == np.mean(list(map(max, REWARDS)))
    assert running.all_metrics["loss/avg_final_rewards"] == np.mean(list(map(max, REWARDS)))
    assert running.all_metrics["reward/avg_pass_at_2"] == 0.0


def test_columns_and_async_scores(skyrl_run):
    seen = []

    async def score(text, answer):
        seen.append((text, answer))
        return float(text)

    before = skyrl_run.generated()
    after = skyrl_run.encoded(before, skyrl_run.scorer(score), answer=["x", "x", "y", "y"])
    assert seen[:3] == [("4", "x"), ("3", "x"), ("5", "x")]
    assert seen[-1] == ("1", "y")
    assert before["rewards"] == [0.0] * 4
    assert [sum(row) for row in after["rewards"]] == list(map(max, REWARDS))


def test_tokens_of_the_environment(skyrl_run):
    """Tokens that the model did not write hold no candidates. Overlong rollouts, where all have no loss, are read."""
    output = skyrl_run.generated()
    tail = skyrl_run.TOKENIZER('["9"]')["input_ids"]
    output["response_ids"][0] = tail + output["response_ids"][0]
    output["loss_masks"][0] = [0] * len(tail) + output["loss_masks"][0]
    output["loss_masks"][3] = [0] * len(output["loss_masks"][3])
    found = skyrl_run.encoded(output)["rewards"]
    assert [sum(row) for row in found] == list(map(max, REWARDS))
    assert not any(found[0][: len(tail)])
    batch = skyrl_run.advantages(skyrl_run.encoded(output))
    ids = np.pad(skyrl_run.candidate_ids(), ((0, 0), (len(tail), 0)))
    assert_candidate_advantages(batch["advantages"], ids)


def test_steps(skyrl_run):
    """Steps of a trajectory are one rollout: its tokens have the advantages that they have in one piece."""
    options = {"generator__step_wise_trajectories": True}
    uids = [uid for uid in skyrl_run.UIDS for _ in range(2)]
    wanted = skyrl_run.advantages()
    for value, ranks in ((sk.Shapley(), 1), (sk.Shapley(), 3), (rl.SuffixSwap(), 1)):
        allocator = sk.RewardAllocator(value=value)
        from shapley_kernels.adapters.skyrl import register

        register(allocator)
        running = skyrl_run.trainer(ranks, skyrl_run.StepTrainer, **options)
        output = skyrl_run.encoded(skyrl_run.in_steps(), allocator=allocator)
        assert [len(row) for row in output["rewards"]] == [len(row) for row in output["response_ids"]]
        sums = [sum(a) + sum(b) for a, b in zip(output["rewards"][::2], output["rewards"][1::2], strict=True)]
        np.testing.assert_allclose(sums, list(map(max, REWARDS)), rtol=1e-6)
        batch = skyrl_run.advantages(output, uids, running)
        wanted = skyrl_run.advantages(skyrl_run.encoded(allocator=allocator))
        one_piece = wanted["response_mask"].bool()
        for i, (row, mask) in enumerate(zip(wanted["advantages"], one_piece, strict=True)):
            steps = [batch["advantages"][k][batch["loss_mask"][k].bool()] for k in (2 * i, 2 * i + 1)]
            np.testing.assert_allclose(np.concatenate(steps), row[mask], rtol=1e-5, atol=1e-6)
        assert running.all_metrics["loss/avg_final_rewards"] == pytest.approx(np.mean(list(map(max, REWARDS))))
        assert not batch["advantages"][8:].any()
    with pytest.raises(ValueError, match="put ShapeTrainerMixin before the class of your trainer"):
        skyrl_run.advantages(output, uids, skyrl_run.trainer(**options))
    running = skyrl_run.trainer(1, skyrl_run.StepTrainer, generator__merge_stepwise_output=True, **options)
    running.cfg.generator.merge_stepwise_output = True
    with pytest.raises(ValueError, match="merge_stepwise_output must be False"):
        running.compute_advantages_and_returns(batch)


def test_steps_as_candidates(skyrl_run):
    """What the model wrote in each step is a player."""
    scorer = rl.SetScorer(lambda text: float(len(text)), rl.segments, skyrl_run.TOKENIZER)
    output = skyrl_run.encoded(skyrl_run.in_steps(), scorer)
    running = skyrl_run.trainer(1, skyrl_run.StepTrainer, generator__step_wise_trajectories=True)
    batch = skyrl_run.advantages(output, [uid for uid in skyrl_run.UIDS for _ in range(2)], running)
    for row, mask in zip(batch["advantages"], batch["loss_mask"].bool(), strict=True):
        assert row[mask].unique().numel() == 1
    assert batch["advantages"].unique().numel() > 3


def test_cut_rollouts(skyrl_run):
    output = skyrl_run.generated([*TEXTS[:3], '["2", "1'], stop_reasons=["stop", "stop", "stop", "length"])
    found = skyrl_run.encoded(output, skyrl_run.scorer(floor=-1.0))
    assert sum(found["rewards"][3]) == -1.0
    assert found["rollout_metrics"]["shapley/truncated_rollouts"] == 1.0
    output["stop_reasons"][3] = "stop"
    found = skyrl_run.encoded(output, skyrl_run.scorer(floor=-1.0))
    assert found["rollout_metrics"]["shapley/malformed_rollouts"] == 1.0


def test_own_estimator(skyrl_run):
    from shapley_kernels.adapters.skyrl import register

    allocator = sk.RewardAllocator(center="loo", outside="zero", length="candidate")
    register(allocator, "mine")
    running = skyrl_run.trainer(trainer__algorithm__advantage_estimator="mine")
    batch = skyrl_run.advantages(running=running)
    rewards, mask = sk.pad(REWARDS)
    wanted = allocator.token_advantages(rewards, skyrl_run.candidate_ids(), mask, num_generations=2)
    np.testing.assert_allclose(batch["advantages"], wanted, rtol=1e-5, atol=1e-6)
    register(name="mine")
    assert_candidate_advantages(skyrl_run.advantages(running=running)["advantages"], skyrl_run.candidate_ids())
    half = sk.RewardAllocator(lambda r, mask=None: 0.5 * sk.Max(r, mask=mask))
    output = skyrl_run.encoded(allocator=half)
    assert [sum(row) for row in output["rewards"]] == [max(row) / 2 for row in REWARDS]


@pytest.mark.parametrize("value", [rl.SuffixSwap(), rl.CandidateSwap()], ids=repr)
def test_credit_against_the_group(skyrl_run, value):
    from shapley_kernels.adapters.skyrl import register

    allocator = sk.RewardAllocator(value=value)
    register(allocator, "against")
    running = skyrl_run.trainer(trainer__algorithm__advantage_estimator="against")
    output = skyrl_run.encoded(allocator=allocator)
    np.testing.assert_allclose([sum(row) for row in output["rewards"]], [max(row) for row in REWARDS], rtol=1e-6)
    batch = skyrl_run.advantages(output, running=running)
    rewards, mask = sk.pad(REWARDS)
    wanted = allocator.token_advantages(rewards, skyrl_run.candidate_ids(), mask, num_generations=2)
    np.testing.assert_allclose(batch["advantages"], wanted * batch["response_mask"].numpy(), rtol=1e-5, atol=1e-6)
    assert len(np.unique(batch["advantages"][0])) > 2
    with pytest.raises(ValueError, match="must hold rewards of encode_rewards, got credits"):
        skyrl_run.advantages(running=running)
    with pytest.raises(ValueError, match="must hold credits of encode_credits, got rewards of"):
        skyrl_run.advantages(output)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("dynamic_sampling__type", "filter", "dynamic_sampling.type=filter drops groups whose sets tie"),
        ("zero_variance_filter", True, "zero_variance_filter drops groups whose sets tie"),
        ("advantage_batch_normalize", True, "advantage_batch_normalize normalises the advantages once more"),
    ],
)
def test_options_that_are_warned_about(skyrl_run, option, value, said):
    running = skyrl_run.trainer(**{f"trainer__algorithm__{option}": value})
    with pytest.warns(UserWarning, match=f"shapley_grpo: {said}"):
        skyrl_run.advantages(running=running)


def test_errors(skyrl_run):
    running = skyrl_run.trainer(trainer__algorithm__use_kl_in_reward=True)
    with pytest.raises(ValueError, match="shapley_grpo: use_kl_in_reward must be False, got True"):
        skyrl_run.advantages(running=running)
    with pytest.raises(TypeError, match="shapley_grpo: scorer must be a SetScorer, got 3"):
        skyrl_run.encoded(scores=3)
    with pytest.raises(TypeError, match="shapley_grpo: allocator must be a RewardAllocator or None, got 3"):
        skyrl_run.encoded(allocator=3)
    plain = skyrl_run.generated(rewards=[1.0, 0.0, 1.0, 0.0])
    with pytest.raises(ValueError, match="must be as encode_credits gave them"):
        skyrl_run.advantages(plain)


def test_registered_in_the_driver_used_in_a_worker_of_ray(skyrl_run, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(SHIM if sys.version_info < (3, 12) else "")
    setting = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.frameworks.skyrl_run"]
    done = subprocess.run(command, capture_output=True, text=True, env=setting, timeout=GUARD, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    for found in json.loads(done.stdout.splitlines()[-1]):
        assert_candidate_advantages(found, skyrl_run.candidate_ids())


def test_example(skyrl_run):
    """Its configuration passes SkyRL's checks; SkyRL's generator, with scripted rollouts, gives it its rewards."""
    import skyrl_gym

    spec = importlib.util.spec_from_file_location("skyrl_shape_grpo", "examples/skyrl_shape_grpo.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    cfg = example.configuration(["trainer.logger=console"])
    assert cfg.trainer.algorithm.advantage_estimator == "shapley_grpo"
    skyrl_gym.register(id="one_response", entry_point=example.OneResponse)
    tokenizer = skyrl_run.TOKENIZER
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    texts = iter(['["41", "42"]', '["42"]'])

    class Client:
        async def generate(self, engine_input, model=None):
            text = next(texts)
            ids = [*tokenizer(text)["input_ids"], tokenizer.eos_token_id]
            return {"responses": [text], "response_ids": [ids], "stop_reasons": ["stop"]}

        async def finish_session(self, session_id):
            pass

    generator = example.Experiment.get_generator(None, cfg, tokenizer, Client())
    found = asyncio.run(
        generator.generate(
            {
                "prompts": [[{"role": "user", "content": "6 * 7?"}]] * 2,
                "env_classes": ["one_response"] * 2,
                "env_extras": [{"reward_spec": {"ground_truth": 42}} for _ in range(2)],
                "sampling_params": None,
            },
            disable_tqdm=True,
        )
    )
    assert [sum(row) for row in found["rewards"]] == [1.0, 1.0]
    running = skyrl_run.trainer(trainer__train_batch_size=1, trainer__policy_mini_batch_size=1)
    tokens = skyrl_run.advantages(found, ["a", "a"], running)["advantages"]
    assert tokens.unique().numel() == 3  # 41, 42 and whatever is outside


def test_versions(skyrl_run, monkeypatch):
    from importlib import metadata

    from shapley_kernels.adapters import skyrl as adapter

    for found in ("0.2.0", "0.4.1"):
        monkeypatch.setattr(metadata, "version", lambda _, found=found: found)
        with pytest.raises(ImportError, match=rf"needs skyrl>=0.3,<0.4, found {found}; run: pip install"):
            importlib.reload(adapter)
    monkeypatch.undo()
    importlib.reload(adapter)
