"""Lists in TRL, credit per candidate: Multi-Answer RL (arXiv 2603.24844) with credit in place of one advantage for all.

    pip install '.[trl]'                # trl 1.15.0 needs a GPU
    python examples/trl_lists.py        # 15 s of CPU time

The model reasons, then writes three answers, `</think><answer1>..</answer1><answer2>..</answer2><answer3>..</answer3>`;
the set is worth 1 if any of them is right (`Max`). GRPO would pay all three alike; `SuffixSwap` pays each for what it
changes beside what the other rollouts of the prompt wrote.

For a real model, change
- the tokenizer and the model: `AutoTokenizer.from_pretrained("Qwen/Qwen3-0.6B")`, `model="Qwen/Qwen3-0.6B"`, no
  `use_cpu`. The marks must be plain tokens, not special ones; the prompt asks for this format;
- `correct`: your checker, `async def` if it is a service; it takes columns of the dataset by name;
- the dataset: a column "prompt" and what `correct` needs;
- GRPOConfig: lengths, batch sizes, learning rate, `use_vllm=True`; `importance_sampling_level="token"` stays;
- the utility, if more than one right answer counts: distinct ones by labels and `sk.Clusters` (docs/guides/lists.md);
- the value: docs/guides/values.md says which is for what.
"""

import random

import tiny  # the toy model beside this file; first, since it keeps transformers off the network
from datasets import Dataset

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.adapters.trl import ShapeGRPOTrainer

CAPITALS = {"France": "Paris", "Italy": "Rome", "Spain": "Madrid", "Japan": "Tokyo", "Egypt": "Cairo", "Peru": "Lima"}


def correct(text, answer):
    """What one candidate is worth."""
    return float(text.strip() == answer)


def main():
    marks = [mark for k in "123" for mark in (f"<answer{k}>\n", f"</answer{k}>\n")]
    questions = [f"{country}?\n" for country in CAPITALS]
    answers = [f"{city}\n" for city in CAPITALS.values()]
    tokenizer = tiny.tokenizer_of([*questions, "<think>\n", "Hm.\n", "</think>\n", *marks, *answers])

    guess = random.Random(0)
    rollouts = []
    for question in questions * 20:  # the format is known already, the capitals are not
        parts = (f"<answer{k}>\n{guess.choice(answers)}</answer{k}>\n" for k in "123")
        rollouts.append(question + "<think>\nHm.\n</think>\n" + "".join(parts))

    utility = sk.Max
    trainer = ShapeGRPOTrainer(
        model=tiny.model_of(tokenizer, rollouts),
        scorer=rl.SetScorer(
            correct, rl.after("</think>", rl.tagged("answer", numbered=True)), tokenizer, utility, floor=-0.2
        ),
        allocator=sk.RewardAllocator(utility, rl.SuffixSwap()),
        args=tiny.config(max_steps=80, learning_rate=3e-3, max_completion_length=16),
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": questions * 50, "answer": list(CAPITALS.values()) * 50}),
    )
    rewards = tiny.curve(
        trainer, "reward", "shapley/mean_credit", "shapley/rescued_groups", "shapley/malformed_rollouts"
    )
    if sum(rewards[-3:]) / 3 < rewards[0] + 0.1:
        raise SystemExit("the share of sets with a right answer did not rise")


if __name__ == "__main__":
    main()
