"""The real GRPOTrainer of TRL trains on advantages of candidates: all losses, two ranks, what it refuses."""

import functools
import importlib
import inspect
import json
import os
import socket
import subprocess
import sys

import pytest

import shapley_kernels as sk
from shapley_kernels import rl
from tests import GUARD
from tests.frameworks.rollouts import TEXTS

pytestmark = pytest.mark.filterwarnings("default")  # those of TRL and transformers are theirs

LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo", "cispo", "sapo", "luspo", "vespo")
SCORES = [2.0, 1.0]


def test_sets_that_tie_still_teach(trl_run):
    from trl import GRPOTrainer

    def best(completions, **_):
        return [max(map(float, eval(text))) for text in completions]

    start = trl_run.parameters(trl_run.make())
    plain = trl_run.parameters(trl_run.train(GRPOTrainer, reward_funcs=best))
    assert (plain == start).all()
    ours = trl_run.parameters(trl_run.train())
    assert (ours - start).abs().max() > 1e-4


@pytest.mark.parametrize("tools", [False, True], ids=["plain", "tools"])
def test_each_token_is_trained_by_the_advantage_of_its_candidate(trl_run, tools):
    """One step of gradient descent is the gradient of sum_t A_t log p_t / tokens, computed here from the tokens."""
    import torch

    config = {"optim": "sgd", "learning_rate": 0.5, "lr_scheduler_type": "constant", "max_grad_norm": 0.0}
    texts = ['["4", "3"]', '["7", "7", "1"]', *TEXTS[2:]]
    make = trl_run.with_tools if tools else functools.partial(trl_run.make, texts=texts)
    trainer = make(config=config)
    batch, _ = trl_run.scored_batch(trainer)
    assert len({round(float(x), 4) for x in batch["advantages"][:2].unique()}) > 4
    model = trl_run.tiny_model(trainer.processing_class)
    start = torch.cat([x.detach().reshape(-1) for x in model.parameters()])
    tokens = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    attention = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    width = batch["completion_ids"].shape[1]
    logits = model(tokens, attention_mask=attention).logits[:, -width - 1 : -1]
    log_p = logits.log_softmax(-1).gather(-1, batch["completion_ids"][..., None])[..., 0]
    mask = batch["completion_mask"] * batch.get("tool_mask", 1)
    assert tools == bool((mask != batch["completion_mask"]).any())
    (0.5 * (batch["advantages"] * log_p * mask).sum() / mask.sum()).backward()
    wanted = torch.cat([(x + x.grad).detach().reshape(-1) for x in model.parameters()])
    trainer.train()
    found = trl_run.parameters(trainer)
    assert (found - start).abs().max() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("value", ["SuffixSwap", "CandidateSwap"])
def test_credit_against_the_group(trl_run, value):
    """What goes into the loss is the allocator's, by group; separators lead to the candidate behind them."""
    import numpy as np

    from shapley_kernels import rl

    allocator = rl.RewardAllocator(value=getattr(rl, value)())
    texts = ['["4", "3"]', '["7", "7", "1"]', "2", '["1", "2", "7"]']
    trainer = trl_run.make(texts=texts, allocator=allocator)
    batch, ids = trl_run.scored_batch(trainer)
    scored = trainer._scored[1]
    assert scored.problems[2] == "malformed"
    wanted = allocator.token_advantages(scored.rewards, ids, scored.mask, num_generations=2, stopped=scored.stopped)
    found = batch["advantages"].numpy()
    lengths = batch["completion_mask"].sum(1).tolist()
    for row, length in enumerate(lengths):
        np.testing.assert_allclose(found[row, :length], wanted[row, :length], rtol=1e-6)
        assert (found[row, length:] == 0).all()
        if value == "SuffixSwap":
            first = int(np.flatnonzero(ids[row])[0])
            assert (found[row, :first] == found[row, first]).all()  # the brackets and quotes that open the list
    assert len(np.unique(found.round(4))) > 4
    trainer.train()
    moved = trl_run.parameters(trainer) - trl_run.parameters(trl_run.make())
    assert moved.abs().max() > 1e-4


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(trl_run, loss):
    from trl import GRPOTrainer

    if f'"{loss}"' not in inspect.getsource(GRPOTrainer._compute_loss):
        pytest.skip(f"this version of TRL has no {loss}")
    level = "sequence" if loss == "luspo" else "token"
    texts = ['["4", "3"]', '["7", "7", "1"]', *TEXTS[2:]]  # per rollout, nothing is learnt from sets that tie
    trainer = trl_run.train(texts=texts, config={"loss_type": loss, "importance_sampling_level": level})
    moved = trl_run.parameters(trainer) - trl_run.parameters(trl_run.make())
    assert moved.isfinite().all()
    assert moved.abs().max() > 1e-4


def test_steps_that_reuse_a_batch_and_evaluation(trl_run):
    config = {"steps_per_generation": 2, "num_iterations": 2, "max_steps": 4, "eval_strategy": "steps", "eval_steps": 4}
    trainer = trl_run.train(config=config | {"per_device_train_batch_size": 2, "log_completions": True})
    assert trainer._buffered_inputs[0]["advantages"].shape == trainer._buffered_inputs[0]["completion_ids"].shape
    log = {name: number for entry in trainer.state.log_history for name, number in entry.items()}
    assert log["eval_reward"] == log["eval_shapley/mean_set_worth"] == 3.0
    assert log["eval_shapley/rescued_groups"] == 2


def test_two_ranks_end_with_the_parameters_of_one(trl_run, tmp_path):
    import torch

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    setting = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2"}
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.frameworks.trl_run", str(tmp_path / str(rank))],
            env=setting | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        alone = trl_run.over_ranks(1)
        errors = [process.communicate(timeout=GUARD)[1] for process in ranks]
    finally:
        for process in ranks:
            process.kill()
    assert [process.returncode for process in ranks] == [0, 0], "\n".join(errors)
    start = trl_run.parameters(trl_run.make())
    found = [torch.load(tmp_path / str(rank)) for rank in range(2)]
    for center, (wanted, advantages) in alone.items():
        assert (wanted - start).abs().max() > 1e-3
        for rank in range(2):
            parameters, own = found[rank][center]
            torch.testing.assert_close(parameters, wanted, rtol=0, atol=2e-6)
            rows = advantages[2 * rank : 2 * rank + 2]
            assert (own == rows[:, : own.shape[1]]).all()
            assert (rows[:, own.shape[1] :] == 0).all()
    assert not (alone["group"][1] == alone["slot"][1]).all()
    assert torch.cat([one["rollouts"] for one in found]).tolist() == trl_run.advantages_of_rollouts(1).tolist()


def test_rollouts_as_players(trl_run):
    """Any reward functions with TRL's weights, and numbers of one that is no reward; trained on, evaluated, logged."""
    import torch

    from shapley_kernels.adapters.trl import RolloutGRPOTrainer

    texts = ['["4", "3"]', '["7"]', '["1", "1"]', '["1"]']
    arguments = {"texts": texts, "reward_funcs": [trl_run.best, candidates], "config": {"reward_weights": [1.0, 0.5]}}
    trainer = trl_run.make(RolloutGRPOTrainer, **arguments)
    rewards = [best + 0.5 * count for best, count in ((4, 2), (7, 1), (1, 2), (1, 1))]
    wanted = rl.rollout_advantages(torch.tensor(rewards), num_generations=2)
    assert of_rollouts(trainer).tolist() == pytest.approx(wanted.tolist(), rel=1e-6)
    start = trl_run.parameters(trainer)
    trainer.train()
    assert (trl_run.parameters(trainer) - start).abs().max() > 1e-4
    assert trainer.state.log_history[0]["reward"] == sum(rewards) / 4
    trainer.evaluate()
    assert any("eval_reward" in entry for entry in trainer.state.log_history)


def test_rollouts_as_players_by_a_label(trl_run):
    from shapley_kernels.adapters.trl import RolloutGRPOTrainer

    def clusters(rewards, mask=None, candidates=None):
        return sk.Clusters(candidates.long(), rewards, mask=mask)

    trainer = trl_run.make(
        RolloutGRPOTrainer,
        texts=['["4"]', '["4"]', '["4"]', '["4", "4"]'],
        reward_funcs=[trl_run.best, candidates],
        rollouts=functools.partial(rl.rollout_advantages, utility=clusters, center="none"),
        data=["candidates"],
        config={"reward_weights": [1.0, 0.0]},
    )
    assert of_rollouts(trainer).tolist() == [2.0, 2.0, 4.0, 4.0]  # the first two share


def test_rollouts_without_a_reward_take_no_part(trl_run):
    from shapley_kernels.adapters.trl import RolloutGRPOTrainer

    def some(completions, **_):
        return [
            None if "7" in text else reward for text, reward in zip(completions, trl_run.best(completions), strict=True)
        ]

    texts = ['["4"]', '["7"]', '["1"]', '["3"]']
    trainer = trl_run.make(RolloutGRPOTrainer, texts=texts, reward_funcs=some, rollouts=rl.rollout_advantages)
    assert of_rollouts(trainer).tolist() == pytest.approx([0.0, 0.0, -1.0, 1.0])


def test_options_of_rollouts_that_do_not_fit(trl_run):
    from trl import GRPOTrainer

    from shapley_kernels.adapters.trl import RolloutGRPOMixin, RolloutGRPOTrainer

    for error, message, arguments in (
        (TypeError, "rollouts must be rl.rollout_advantages, or functools.partial .*, got 3", {"rollouts": 3}),
        (ValueError, r"data must be a list of names of reward functions, of \['best'\], got \['x'\]", {"data": ["x"]}),
        (ValueError, "data must be a list .* got 'best'", {"data": "best"}),
        (
            ValueError,
            "multi_objective_aggregation must be 'sum_then_normalize', got 'normalize_then_sum'",
            {"config": {"multi_objective_aggregation": "normalize_then_sum"}},
        ),
    ):
        with pytest.raises(error, match=f"RolloutGRPOTrainer: {message}"):
            trl_run.make(RolloutGRPOTrainer, reward_funcs=[trl_run.best], **arguments)

    class Trainer(RolloutGRPOMixin, GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            self._calculate_rewards = lambda *_: GRPOTrainer._calculate_rewards(self, *_)
            return super()._generate_and_score_completions(inputs)

    trainer = trl_run.make(Trainer, reward_funcs=[trl_run.best])
    with pytest.raises(RuntimeError, match=r"_calculate_rewards must give \(4, 1\) .* got None and \(4,\); TRL"):
        of_rollouts(trainer)


def candidates(completions, **_):
    return [float(len(json.loads(text))) for text in completions]


def of_rollouts(trainer):
    """[rollouts] advantages of a fresh batch."""
    return trainer._generate_and_score_completions([{"prompt": p} for p in "aabb"])["advantages"]


def test_columns_reach_the_score(trl_run):
    seen = []

    async def score(text, answer, prompts):
        seen.append((text, answer, prompts))
        return float(text)

    columns = {"answer": ["x", "y"] * 4, "unused": list(range(8))}
    trainer = trl_run.train(scorer=trl_run.scorer(score), columns=columns)
    assert trainer.state.log_history[0]["reward"] == 3.0
    assert seen[0] == ("4", "x", "a")
    assert seen[-1] == ("1", "y", "b")
    names = set()
    trl_run.train(scorer=trl_run.scorer(lambda text, **columns: names.update(columns) or 1.0), columns=columns)
    assert names == {"answer", "unused", "prompts"}


def test_columns_that_are_missing_are_named_at_once(trl_run):
    message = r"which has \['answer', 'prompt'\], and prompts; got a function that needs \['wants'\], too"
    with pytest.raises(ValueError, match=message):
        trl_run.make(
            rollout=False,
            scorer=trl_run.scorer(lambda text, prompts, wants, more=3: 1.0),
            columns={"answer": ["x", "y"] * 4},
        )


def test_rollouts_cut_at_the_limit(trl_run):
    """Without an end and as long as allowed: not finished, and with the option of TRL, not trained on."""
    length = len(trl_run.TOKENIZER('["2", "1')["input_ids"])
    texts = ['["2", "1', '["9"]', '["9"]', '["2", "1']
    config = {"max_completion_length": length, "mask_truncated_completions": True}
    rollout = trl_run.scripted(texts, ends=False)
    trainer = trl_run.make(rollout=rollout, scorer=trl_run.scorer(floor=-1.0), config=config)
    batch, _ = trl_run.scored_batch(trainer)
    scored = trainer._scored[1]
    assert scored.problems == ["truncated", None, None, "truncated"]
    assert scored.set_rewards.tolist() == [-1, 9, 9, -1]
    masked = batch["completion_mask"].sum(1) == 0
    assert masked.tolist()[::3] == [True, True]
    assert (batch["advantages"][masked] == 0).all()


def test_other_rewards_are_for_the_log(trl_run):
    def words(completions, **_):
        return [float(len(text)) for text in completions]

    with pytest.raises(
        ValueError, match=r"reward_weights must be 1 for set_reward and 0 for \['words'\], got \[1.0, 1.0\]"
    ):
        trl_run.make(reward_funcs=words)
    trainer = trl_run.train(reward_funcs=[words], config={"reward_weights": [1.0, 0.0]})
    log = trainer.state.log_history[0]
    assert log["rewards/words/mean"] > 3
    assert log["reward"] == 3.0


def test_options_that_do_not_fit(trl_run):
    for error, message, arguments in (
        (TypeError, "scorer must be a SetScorer, got 3", {"scorer": 3}),
        (TypeError, "scorer must be a SetScorer, got None; it takes the place of reward functions", {"scorer": None}),
        (TypeError, "allocator must be a RewardAllocator or None, got 3", {"allocator": 3}),
        (
            ValueError,
            "utility of the allocator must be .*Max.* of the scorer",
            {"allocator": sk.RewardAllocator(sk.Min)},
        ),
        (
            ValueError,
            "scale of the allocator must be 'group'.*got 'none'",
            {"allocator": sk.RewardAllocator(scale="none")},
        ),
        (
            ValueError,
            "scale of the allocator must be 'batch'",
            {"allocator": sk.RewardAllocator(), "config": {"scale_rewards": "batch"}},
        ),
    ):
        with pytest.raises(error, match=f"ShapeGRPOTrainer: {message}"):
            trl_run.make(**arguments)
    trainer = trl_run.make(config={"scale_rewards": "none"}, scorer=trl_run.scorer(utility=sk.Min))
    assert trainer.allocator == sk.RewardAllocator(sk.Min, scale="none")
    with pytest.warns(UserWarning, match="'sequence' gives all tokens of a rollout one gradient"):
        trl_run.make(config={"importance_sampling_level": "sequence", "loss_type": "grpo"})


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (
            r"completion_mask \(4, \d+\) must be 1 on the \d+ sampled tokens of row 2 and 0 behind",
            ("completion_mask", 2, 0, 0),
        ),
        (
            r"completion_mask \(4, \d+\) must be 1 on the \d+ sampled tokens of row 1 .* ones, the last at",
            ("completion_mask", 1, -1, 1),
        ),
        (
            r"completion_ids \(4, \d+\) must be the ids that set_reward was given, got 7 for \d+ at row 3, token 1",
            ("completion_ids", 3, 1, 7),
        ),
        (r"advantages must have shape \(4,\), got \(1,\)", ("advantages", None, None, None)),
        (r"tool_mask \(4, \d+\) must be 1 on the tokens of row 1 that were searched", ("tool_mask", 1, 1, 0)),
    ],
)
def test_batches_that_are_not_those_scored(trl_run, message, change):
    from trl import GRPOTrainer

    from shapley_kernels.adapters.trl import ShapeGRPOMixin

    name, row, token, value = change

    class Broken(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            batch = super()._generate_and_score_completions(inputs)
            batch.setdefault("tool_mask", batch["completion_mask"].clone())
            if row is None:
                batch[name] = batch["advantages"][:1]
            else:
                batch[name][row, token] = value
            return batch

    class Trainer(ShapeGRPOMixin, Broken):
        pass

    trainer = trl_run.make(Trainer, scorer=trl_run.scorer())
    with pytest.raises(ValueError, match=f"ShapeGRPOTrainer: {message}"):
        trl_run.scored_batch(trainer)


def test_rollouts_that_are_left_out(trl_run):
    """A cut rollout has no part in the statistics of its group: the others are as in a group without it."""
    texts = ['["2"]', '["2", "1', '["4"]', '["9"]']
    length = len(trl_run.TOKENIZER(texts[1])["input_ids"])
    how = {
        "rollout": trl_run.scripted(texts, ends=False),
        "config": {"num_generations": 4, "max_completion_length": length},
    }
    trainer = trl_run.make(scorer=trl_run.scorer(truncated="abstain"), **how)
    found, _ = trl_run.scored_batch(trainer)
    scored = trainer._scored[1]
    assert scored.counted.tolist() == [True, False, True, True]
    kept = scored.counted
    wanted = trainer.allocator.token_advantages(scored.rewards[kept], scored.ids[kept], scored.mask[kept])
    mask = found["completion_mask"].numpy()
    assert found["advantages"].numpy()[kept] == pytest.approx(wanted * mask[kept], rel=1e-5, abs=1e-6)
    assert not found["advantages"][1].any()
    punished, _ = trl_run.scored_batch(trl_run.make(**how))
    assert (punished["advantages"][1][:3] < 0).all()


def test_processing_classes_stay_with_their_reward_functions(trl_run):
    def words(completions, **_):
        return [0.0] * len(completions)

    for other in ([trl_run.TOKENIZER], trl_run.TOKENIZER):
        trainer = trl_run.make(
            reward_funcs=[words], reward_processing_classes=other, config={"reward_weights": [1.0, 0.0]}
        )
        assert trainer.reward_processing_classes == [None, trl_run.TOKENIZER]


def test_losses_that_may_not_take_advantages_per_token(trl_run):
    """The mixin before a trainer with a loss of its own, such as GMPO's, would train something else."""
    from trl import GRPOTrainer

    from shapley_kernels.adapters.trl import RolloutGRPOMixin, ShapeGRPOMixin

    class Own(GRPOTrainer):
        def _compute_loss(self, model, inputs):
            return super()._compute_loss(model, inputs)

    class Refused(ShapeGRPOMixin, Own):
        pass

    class Known(ShapeGRPOMixin, Own):
        takes_token_advantages = True

    class OfRollouts(RolloutGRPOMixin, Own):
        pass

    with pytest.raises(TypeError, match=r"got Own._compute_loss; if that takes advantages \[rollouts, tokens\], say"):
        trl_run.make(Refused)
    trl_run.make(Known)
    trl_run.make(OfRollouts, reward_funcs=[trl_run.best])


def test_versions(trl_run, monkeypatch):
    from importlib import metadata

    from shapley_kernels.adapters import trl as adapter

    for found in ("0.29.1", "2.0.0"):
        monkeypatch.setattr(metadata, "version", lambda _, found=found: found)
        with pytest.raises(ImportError, match=rf"needs trl>=1.0,<2, found {found}; run: pip install 'trl>=1.0,<2'"):
            importlib.reload(adapter)
    monkeypatch.undo()
    importlib.reload(adapter)
