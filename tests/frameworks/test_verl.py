"""verl's own code, with the estimator that it loads by itself."""

import asyncio
import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels import rl
from tests import GUARD
from tests.frameworks.rollouts import REWARDS, TEXTS, assert_candidate_advantages, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("default")  # those of verl are its own

UNEVEN = [[4.0, 3.0, 5.0], [1.0, 4.0], [0.0, 1.0, 0.0, 2.0], [1.0]]


def test_loaded_on_import(verl_run):
    """The entry point, and the trainer as an external module, in a fresh process as Ray's workers are."""
    code = (
        "import verl; from verl.trainer.ppo.core_algos import get_adv_estimator_fn as f; print(f('shapley_grpo'))\n"
        "print(f('shapley_rollouts'))\n"
        "from verl.trainer.ppo.v1 import get_trainer_cls as f; print(f('shapley_sync'))"
    )
    setting = os.environ | {"VERL_USE_EXTERNAL_MODULES": "shapley_kernels.adapters.verl_trainer"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=setting)
    assert found.returncode == 0, found.stderr[-3000:]
    assert "estimate" in found.stdout
    assert "ShapeTrainerSync" in found.stdout


@pytest.mark.parametrize("by_std", [True, False])
def test_equals_the_allocator_in_any_order_of_rows(verl_run, by_std):
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

    uids = ["x", "y", "x", "y"]
    data, ids, (rewards, mask) = verl_run.batch(UNEVEN, uids)
    allocator = sk.RewardAllocator(scale="group" if by_std else "none")
    wanted = (
        allocator.token_advantages(rewards, ids.numpy(), mask, group_ids=uids) * data.batch["response_mask"].numpy()
    )
    found = verl_run.advantages(data, norm_adv_by_std_in_grpo=by_std)
    np.testing.assert_allclose(found.batch["advantages"], wanted, rtol=1e-5, atol=1e-6)
    assert (found.batch["returns"] == found.batch["advantages"]).all()
    order = verl_run.torch.tensor([2, 0, 3, 1])
    mixed, _, _ = verl_run.batch(UNEVEN, uids)
    mixed.reorder(order)
    again = verl_run.advantages(mixed, norm_adv_by_std_in_grpo=by_std).batch["advantages"]
    np.testing.assert_allclose(again, found.batch["advantages"][order], rtol=1e-6, atol=1e-7)
    fresh, _, _ = verl_run.batch(UNEVEN, uids)
    config = verl_run.algorithm(norm_adv_by_std_in_grpo=by_std)
    keys = [f"{uid}_{i}_0" for i, uid in enumerate(uids)]
    v1 = compute_advantage_for_multi_trajectories(fresh, batch_keys=keys, adv_estimator="shapley_grpo", config=config)
    assert (v1.batch["advantages"] == found.batch["advantages"]).all()


def test_padding_rows(verl_run):
    """verl fills batches up with rows of zeros and a uid of their own."""
    data, _, _ = verl_run.batch([*REWARDS, [0.0]], [*verl_run.UIDS, "pad0"])
    for name in ("token_level_rewards", "response_mask"):
        data.batch[name][4] = 0
    found = verl_run.advantages(data).batch["advantages"]
    assert (found[4] == 0).all()
    alone = verl_run.advantages(verl_run.batch()[0]).batch["advantages"]
    assert (found[:4, : alone.shape[1]] == alone).all()


def test_reaches_the_policy_loss(verl_run):
    from verl.trainer.ppo.core_algos import compute_policy_loss_vanilla
    from verl.workers.config import ActorConfig

    torch = verl_run.torch
    data = verl_run.advantages(verl_run.batch()[0]).batch
    config = ActorConfig(strategy="fsdp", rollout_n=2, ppo_micro_batch_size_per_gpu=4, ppo_mini_batch_size=4)
    log_p = torch.zeros(data["advantages"].shape, requires_grad=True)
    loss, _ = compute_policy_loss_vanilla(
        log_p.detach(), log_p, data["advantages"], data["response_mask"], "token-mean", config
    )
    loss.backward()
    torch.testing.assert_close(log_p.grad, -data["advantages"] / data["response_mask"].sum())
    assert (log_p.grad != 0).any()


@pytest.mark.parametrize("value", [rl.SuffixSwap(), rl.CandidateSwap()], ids=repr)
def test_credit_against_the_group(verl_run, value):
    """From the reward manager, which sees one rollout, to the estimator, which sees the group."""
    from verl.trainer.ppo.core_algos import register_adv_est

    from shapley_kernels.adapters.verl import estimator

    torch, tokenizer, allocator = verl_run.torch, tiny_tokenizer(), sk.RewardAllocator(value=value)
    manager = verl_run.reward_manager(tokenizer, allocator=allocator)
    responses = [[*tokenizer(text)["input_ids"], tokenizer.eos_token_id] for text in TEXTS]
    found = [asyncio.run(manager.run_single(verl_run.response(row))) for row in responses]
    np.testing.assert_allclose([x["reward_score"] for x in found], [max(row) for row in REWARDS], rtol=1e-6)
    width = max(map(len, responses))
    rewards = torch.zeros(4, width)
    for row, x in zip(rewards, found, strict=True):
        tokens = np.frombuffer(bytes.fromhex(x["reward_extra_info"]["shapley_token_rewards"]), np.float32)
        row[: len(tokens)] = torch.tensor(tokens)
    response_mask = (torch.arange(width) < torch.tensor(list(map(len, responses)))[:, None]).long()
    data = verl_run.batch()[0][:]
    data.batch = verl_run.TensorDict({"token_level_rewards": rewards, "response_mask": response_mask}, batch_size=4)
    name = type(value).__name__
    register_adv_est(name)(estimator(allocator))
    config = verl_run.AlgoConfig(adv_estimator=name)
    batch = verl_run.compute_advantage(data, adv_estimator=name, config=config).batch
    padded, mask = sk.pad(REWARDS)
    ids = rl.candidate_ids(responses, tokenizer, rl.json_list()).ids
    wanted = allocator.token_advantages(padded, ids, mask, group_ids=verl_run.UIDS) * response_mask.numpy()
    np.testing.assert_allclose(batch["advantages"], wanted, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="must hold credits of encode_credits, got rewards of"):
        verl_run.advantages(data)


def of_rollouts(verl_run, rewards, uids, estimator="shapley_rollouts", **config):
    """[N, tokens] advantages by verl's own step, of rewards on the last token, as verl's reward managers give them."""
    from verl.trainer.ppo.v1.utils import compute_advantage_for_multi_trajectories

    torch = verl_run.torch
    lengths = [2 + i % 3 for i in range(len(rewards))]
    mask = (torch.arange(4) < torch.tensor(lengths)[:, None]).long()
    tokens = torch.zeros(len(rewards), 4)
    tokens[range(len(rewards)), [length - 1 for length in lengths]] = torch.tensor(rewards)
    data = verl_run.DataProto(
        batch=verl_run.TensorDict({"token_level_rewards": tokens, "response_mask": mask}, batch_size=len(rewards)),
        non_tensor_batch={"uid": np.array(uids, dtype=object)},
    )
    config = verl_run.AlgoConfig(adv_estimator=estimator, **config)
    keys = [f"{uid}_{i}_0" for i, uid in enumerate(uids)]
    v1 = compute_advantage_for_multi_trajectories(
        data[:], batch_keys=keys, adv_estimator=estimator, config=config
    ).batch
    found = verl_run.compute_advantage(data, adv_estimator=estimator, config=config).batch
    assert (found["returns"] == found["advantages"]).all()
    assert (found["advantages"] == v1["advantages"]).all()
    return found["advantages"].numpy(), mask.numpy()


MIXED = ["x", "y", "x", "y", "z", "x", "y", "z"]


@pytest.mark.parametrize("by_std", [True, False])
def test_rollouts_as_players(verl_run, by_std):
    rewards = np.random.default_rng(0).normal(size=8).astype(np.float32)
    found, mask = of_rollouts(verl_run, rewards, MIXED, norm_adv_by_std_in_grpo=by_std)
    wanted = rl.rollout_advantages(rewards, group_ids=MIXED)
    np.testing.assert_allclose(found, wanted[:, None] * mask, rtol=1e-6, atol=1e-7)


def test_leaving_one_out_is_the_grpo_passk_of_verl(verl_run):
    from verl.trainer.ppo.core_algos import ADV_ESTIMATOR_REGISTRY, register_adv_est

    from shapley_kernels.adapters.verl import rollout_estimator

    how = functools.partial(rl.rollout_advantages, value=sk.LeaveOneOut(), center="none")
    register_adv_est("best_above_second")(rollout_estimator(how))
    try:
        for seed in range(20):
            rewards = np.random.default_rng(seed).integers(0, 5, 8).astype(np.float32)
            found, _ = of_rollouts(verl_run, rewards, MIXED, "best_above_second")
            wanted, _ = of_rollouts(verl_run, rewards, MIXED, "grpo_passk", norm_adv_by_std_in_grpo=False)
            assert (found == wanted).all()
    finally:
        del ADV_ESTIMATOR_REGISTRY["best_above_second"]


def test_filters_of_groups_are_warned_about(verl_run):
    from verl.trainer.config.algorithm import FilterGroupsConfig

    groups = FilterGroupsConfig(enable=True, metric="reward")
    with pytest.warns(UserWarning, match="filter_groups drops groups whose 'reward' ties"):
        verl_run.advantages(verl_run.batch()[0], filter_groups=groups)


def test_errors(verl_run):
    with pytest.raises(ValueError, match="shapley_grpo: use_kl_in_reward must be False, got True"):
        verl_run.advantages(verl_run.batch()[0], use_kl_in_reward=True)


def test_reward_manager(verl_run):
    seen = []

    async def score(text, ground_truth, data_source):
        seen.append((text, ground_truth, data_source))
        return float(text)

    tokenizer = tiny_tokenizer()
    tokens = tokenizer(TEXTS[0])["input_ids"]
    manager = verl_run.reward_manager(tokenizer, score, data={"max_response_length": len(tokens)})
    found = asyncio.run(manager.run_single(verl_run.response(tokens)))
    assert seen == [("4", "42", "here"), ("3", "42", "here"), ("5", "42", "here")]
    assert found["reward_score"] == found["reward_extra_info"]["acc"] == 5.0
    assert all(isinstance(x, float | str) for x in found["reward_extra_info"].values())
    cut = asyncio.run(manager.run_single(verl_run.response(tokens[:-1])))  # shorter than the limit: malformed
    assert cut["reward_score"] == -1.0
    assert cut["reward_extra_info"]["shapley/malformed_rollouts"] == 1.0


@pytest.fixture(scope="module")
def in_ray(verl_run):
    """By estimator: what the rows of `verl_in_ray.KEYS` have after the advantage step of its trainer."""
    setting = os.environ | {"VERL_USE_EXTERNAL_MODULES": "shapley_kernels.adapters.verl_trainer"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.frameworks.verl_in_ray"]
    done = subprocess.run(command, capture_output=True, text=True, env=setting, timeout=GUARD, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_tools_and_sessions_in_ray(in_ray):
    """verl's own loop calls the tool when the model writes so; its worker asks for rewards, its trainer computes
    advantages, of rows out of order and one of padding."""
    from tests.frameworks.tool_calls import PARSER
    from tests.frameworks.verl_in_ray import TOKENIZER

    found = in_ray["shapley_grpo"]
    *advantages, padding = found["advantages"]
    assert not any(padding)
    masks = found["response_mask"][:-1]
    assert [0 in mask for mask in masks] == [True, False, False, True, True]
    for row, mask in zip(advantages, masks, strict=True):
        assert not np.array(row)[np.array(mask) == 0].any()
    told = [
        TOKENIZER.decode(np.array(row)[np.array(mask) == 0])
        for row, mask in zip(found["responses"][:-1], masks, strict=True)
    ]
    assert ["are too good" in text for text in told] == [True, False, False, True, True]
    final = [0, 2, 3, 4]
    rows, own = ([found[name][i] for i in final] for name in ("responses", "response_mask"))
    ids = rl.candidate_ids(rows, TOKENIZER, PARSER, mask=own)
    assert ids.texts == [json.loads(text) for text in TEXTS]
    assert_candidate_advantages(sk.pad([advantages[i] for i in final])[0], ids.ids)
    assert not any(advantages[1])  # the first output of a session has no candidate
    sums = np.array([np.sum(found["rm_scores"][i], dtype=np.float32) for i in (*final, 5)])
    np.testing.assert_array_equal(sums, [*map(max, REWARDS), 0.0])


def test_rollouts_and_sessions_in_ray(verl_run, in_ray):
    """Both outputs of a session get the advantage of its reward, which verl writes on each of them."""
    found = in_ray["shapley_rollouts"]
    rewards = [2.0, 5.0, 1.0, 1.5]
    assert [sum(row) for row in found["rm_scores"]] == [2.0, 5.0, 5.0, 1.0, 1.5, 0.0]
    wanted = rl.rollout_advantages(np.array(rewards), group_ids=verl_run.UIDS)
    rows = zip(found["advantages"], found["response_mask"], wanted[[0, 1, 1, 2, 3]], strict=False)
    for row, mask, advantage in rows:
        np.testing.assert_allclose(row, advantage * np.array(mask), rtol=1e-6)
    assert not any(found["advantages"][-1])


def test_several_turns_and_outputs(verl_run):
    """Turns are the model's runs of tokens, over all outputs of the session; who does not say which is refused."""
    tokenizer = tiny_tokenizer()
    manager = verl_run.reward_manager(tokenizer, lambda text: float(len(text)), parser=rl.segments)
    rows = [tokenizer(text)["input_ids"] for text in TEXTS[:2]]
    own = [[1, 0] + [1] * (len(row) - 2) for row in rows]
    found = asyncio.run(manager.run_single(verl_run.as_verl_asks(rows, own, 4)))["reward_extra_info"]
    rewards = np.frombuffer(bytes.fromhex(found["shapley_token_rewards"]), np.float32)
    _, mask, ids = rl.decode_credits(rewards[None])
    assert mask.sum() == 4
    assert ids[0].tolist() == [
        k for k, row in zip((1, 3), rows, strict=True) for k in [k, 0] + [k + 1] * (len(row) - 2)
    ]
    with pytest.raises(ValueError, match="must say which tokens the model wrote, got none of that"):
        asyncio.run(manager.run_single(verl_run.as_verl_asks(rows, None, 4)))


def test_rewards_of_another_manager(verl_run):
    from shapley_kernels.adapters.verl_trainer import KEY, ShapeRewardManager, _token_rewards

    with pytest.raises(ValueError, match="must hold 'shapley_token_rewards', got none for the rollout 'a_0'"):
        _token_rewards({"reward_extra_info": {"acc": 1.0}}, 3, "a_0")
    with pytest.raises(ValueError, match="each of the 3 tokens of the rollout, got 2 for the rollout 'a_0'"):
        _token_rewards({"reward_extra_info": {KEY: np.zeros(2, np.float32).tobytes().hex()}}, 3, "a_0")
    with pytest.raises(NotImplementedError, match=r"ShapeRewardManager must define scorer\(self, tokenizer\)"):
        ShapeRewardManager({}, tiny_tokenizer(), None)


def test_example(verl_run, tmp_path):
    """The configuration that verl makes of the example, and the reward manager that it loads for it."""
    from omegaconf import OmegaConf
    from verl.trainer.ppo.reward import resolve_reward_manager_cls

    setting = os.environ | {"PATH": f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", "examples/verl_shape_grpo/run.sh", "--cfg", "job"]
    done = subprocess.run(command, capture_output=True, text=True, env=setting, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    config = OmegaConf.create(done.stdout)
    assert config.algorithm.adv_estimator == "shapley_grpo"
    assert config.trainer.v1.trainer_mode == "shapley_sync"
    tokenizer = tiny_tokenizer()
    manager = resolve_reward_manager_cls(config)(config, tokenizer, None)
    tokens = [*tokenizer('["41", "42"]')["input_ids"], tokenizer.eos_token_id]
    assert asyncio.run(manager.run_single(verl_run.response(tokens)))["reward_score"] == 1.0
