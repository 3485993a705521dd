"""TRL trains a tiny model on scripted rollouts; run as a program, this is one of two ranks."""

import json
import os
import sys
import tempfile
import warnings

os.environ |= {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1", "TOKENIZERS_PARALLELISM": "false"}

import pytest
import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from shapley_kernels import rl
from shapley_kernels.adapters.trl import RolloutGRPOTrainer, ShapeGRPOMixin, ShapeGRPOTrainer
from tests.frameworks import tool_calls
from tests.frameworks.rollouts import GROUP, TEXTS, tiny_model, tiny_tokenizer

torch.set_num_threads(1)
TOKENIZER = tiny_tokenizer()
UNEVEN = [TEXTS[0], '["1", "2", "7"]', '["2"]', TEXTS[1]]
"""One group of four; where two ranks share it, the largest sets of these have 3 and 2 candidates."""


def scorer(score=float, **options):
    return rl.SetScorer(score, rl.json_list(), TOKENIZER, **options)


def scripted(texts, ends=True):
    """A rollout function: row i of the whole batch, over all ranks, answers with text i."""

    def rollout(prompts, trainer):
        first = trainer.accelerator.process_index * len(prompts)
        rows = [TOKENIZER(text)["input_ids"] + [TOKENIZER.eos_token_id] * ends for text in texts]
        rows = rows[first : first + len(prompts)]
        return {
            "prompt_ids": [TOKENIZER(prompt)["input_ids"] for prompt in prompts],
            "completion_ids": rows,
            "logprobs": [[0.0] * len(row) for row in rows],
        }

    return rollout


def make(
    trainer_class=ShapeGRPOTrainer,
    texts=TEXTS,
    *,
    rollout=None,
    columns=None,
    model=None,
    ranks=1,
    config=None,
    **arguments,
):
    """A trainer, ready to train. rollout: False for TRL's own generation; config: what is different from the GRPOConfig
    here; arguments: of the trainer."""
    settings = {
        "output_dir": tempfile.mkdtemp(),
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 4 // ranks,
        "per_device_eval_batch_size": 4 // ranks,
        "num_generations": GROUP,
        "max_completion_length": 64,
        "max_steps": 1,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "shuffle_dataset": False,
    }
    if issubclass(trainer_class, ShapeGRPOMixin):
        arguments = {"scorer": scorer()} | arguments
    arguments = {"processing_class": TOKENIZER} | arguments
    data = Dataset.from_dict({"prompt": ["a", "b"] * 4} | (columns or {}))
    return trainer_class(
        model=model or tiny_model(TOKENIZER),
        args=GRPOConfig(**settings | (config or {})),
        rollout_func=None if rollout is False else rollout or scripted(texts),
        train_dataset=data,
        eval_dataset=data.select(range(2)),
        **arguments,
    )


def train(*args, **kwargs):
    trainer = make(*args, **kwargs)
    trainer.train()
    return trainer


def with_tools(score=float, parser=tool_calls.PARSER, tools=(tool_calls.rewards_of,), config=None, **arguments):
    """A trainer whose model writes what `tool_calls` says, by TRL's own generation and its loop of tools."""
    try:
        from trl.chat_template_utils import qwen3_chat_template
    except ImportError:
        pytest.skip("this version of TRL has no loop of tools with this template")
    tokenizer = tool_calls.chat_tokenizer(qwen3_chat_template)
    return make(
        model=scripted_model(tokenizer),
        rollout=False,
        columns={"prompt": [[{"role": "user", "content": text}] for text in "ab"] * 4},
        processing_class=tokenizer,
        tools=list(tools),
        scorer=rl.SetScorer(score, parser, tokenizer),
        config={"max_completion_length": 512} | (config or {}),
        **arguments,
    )


def scripted_model(tokenizer):
    """The tiny model; what it samples is forced, token by token, to be what `tool_calls.writes` next."""
    model = tiny_model(tokenizer)
    generate = model.generate

    def scripted(input_ids, **options):
        wanted = [
            tokenizer(tool_calls.writes(text, i))["input_ids"] + [tokenizer.eos_token_id]
            for i, text in enumerate(tokenizer.batch_decode(input_ids))
        ]

        def forced(ids, scores):
            at = ids.shape[1] - input_ids.shape[1]
            following = [row[at] if at < len(row) else tokenizer.pad_token_id for row in wanted]
            return torch.full_like(scores, -torch.inf).scatter(1, torch.tensor(following)[:, None], 0.0)

        return generate(input_ids=input_ids, logits_processor=[forced], **options)

    model.generate = scripted
    return model


def parameters(trainer):
    return torch.cat([x.detach().reshape(-1) for x in trainer.accelerator.unwrap_model(trainer.model).parameters()])


def scored_batch(trainer):
    """What goes into the loss, and the candidate ids of its rows: of a fresh batch, in the order of the rows."""
    rows = [trainer.train_dataset[i] for i in (0, 0, 1, 1)]
    batch = trainer._generate_and_score_completions(rows[: trainer.args.per_device_train_batch_size])
    return batch, trainer._scored[1].ids


def over_ranks(ranks):
    """For each centering, and SuffixSwap: the parameters after two steps on a group that is spread over the ranks, and
    advantages."""
    results = {}
    for center in ("group", "slot", "swap"):
        allocator = rl.RewardAllocator(value=rl.SuffixSwap()) if center == "swap" else rl.RewardAllocator(center=center)
        config = {"num_generations": 4, "max_steps": 2}
        trainer = train(texts=UNEVEN, ranks=ranks, allocator=allocator, config=config)
        results[center] = parameters(trainer), scored_batch(trainer)[0]["advantages"]
        if ranks > 1 and center == "group":
            by_sums = advantages_by_process_group(trainer, allocator)
            torch.testing.assert_close(results[center][1], by_sums, rtol=1e-6, atol=1e-6)
    return results


def best(completions, **_):
    """The reward of a set, as a reward function of TRL."""
    return [max(map(float, json.loads(text))) for text in completions]


def advantages_of_rollouts(ranks):
    """[rollouts of this rank], one group over all ranks."""
    trainer = make(RolloutGRPOTrainer, texts=UNEVEN, ranks=ranks, config={"num_generations": 4}, reward_funcs=[best])
    rows = [{"prompt": "a"}] * (4 // ranks)
    return trainer._generate_and_score_completions(rows)["advantages"]


def advantages_by_process_group(trainer, allocator):
    """The other way over ranks: sums of each group instead of the rewards of all."""
    import torch.distributed as dist

    scored = trainer._scored[1]
    found = allocator.token_advantages(
        scored.rewards, scored.ids, scored.mask, group_ids=[0] * len(scored.ids), process_group=dist.group.WORLD
    )
    lengths = (torch.tensor([len(row) for row in trainer._scored[0]]))[:, None]
    return torch.from_numpy(found).float() * (torch.arange(found.shape[1]) < lengths)


def fail_together(rank):
    """What goes wrong on rank 1 ends the batch on both, and both are then where they were."""

    wrong = None

    def score(text):
        if rank and wrong == "score":
            raise KeyError("mine")
        return float(text)

    class Broken(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            batch = super()._generate_and_score_completions(inputs)
            batch["completion_ids"][0, 1] += rank and wrong == "ids"
            return batch

    class Trainer(ShapeGRPOMixin, Broken):
        pass

    trainer = make(Trainer, ranks=2, scorer=scorer(score))
    for part, error, message in (
        ("score", RuntimeError, "score failed for rollout 0, candidate 0"),
        ("ids", ValueError, "completion_ids .* must be the ids that set_reward was given"),
    ):
        wrong = part
        with pytest.raises(error, match=message + r".*\(rank 1 of the process group\)"):
            scored_batch(trainer)
    wrong = None
    scored_batch(trainer)
    trainer.allocator = rl.RewardAllocator(eps=float(rank))
    with pytest.raises(
        ValueError, match=r"ShapeGRPOTrainer: eps must be the same on all ranks, got 0\.0 at rank 0 and 1\.0"
    ):
        scored_batch(trainer)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    ranks = int(os.environ["WORLD_SIZE"])
    torch.save(over_ranks(ranks) | {"rollouts": advantages_of_rollouts(ranks)}, sys.argv[1])
    fail_together(int(os.environ["RANK"]))
