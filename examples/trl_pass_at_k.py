"""pass@k and MaxRL in TRL: one answer per rollout, and the rollouts of a prompt are the set.

    pip install '.[trl]'                         # trl 1.15.0 needs a GPU
    python examples/trl_pass_at_k.py maxrl       # or pass@4; 15 s of CPU time

MaxRL (arXiv 2602.02710) is the Shapley value of the best rollout of a group, times their number; PKPO (2505.15201)
trains for pass@k by the value that looks at sets of k. A group is paid for one good rollout, so that hard prompts weigh
more than under GRPO.

For a real model, change model, tokenizer, dataset and `correct`, and the config as `trl_lists.py` says; rewards need
not be 0 and 1. All else is TRL's, `rollouts=` is the one new argument.
"""

import functools
import sys

import tiny  # the toy model beside this file; first, since it keeps transformers off the network
from datasets import Dataset

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.adapters.trl import RolloutGRPOTrainer

GENERATIONS = 8
OPTIONS = {
    "maxrl": {"utility": lambda r, mask=None: GENERATIONS * sk.Max(r, mask=mask)},
    "pass@4": {"value": sk.Stratum(4), "center": "none"},
}


def correct(completions, answer, **_):
    """An ordinary reward function of TRL."""
    return [float(text.strip() == right) for text, right in zip(completions, answer, strict=True)]


def main(kind="maxrl"):
    if kind not in OPTIONS:
        raise SystemExit(f"expected one of {', '.join(OPTIONS)}, got {kind}")
    # a product of two digits: the easy ones were seen often in training, the hard ones hardly ever
    tasks = {f"{a} x {b}\n": str(a * b) for a in range(2, 6) for b in range(2, 6)}
    answers = sorted(set(tasks.values()))
    tokenizer = tiny.tokenizer_of([*tasks, *(f"{answer}\n" for answer in answers)])
    rollouts = []
    for i, (task, right) in enumerate(tasks.items()):
        guesses = [right] * (i % 4) + answers
        rollouts += [f"{task}{guess}\n" for guess in guesses]
    trainer = RolloutGRPOTrainer(
        model=tiny.model_of(tokenizer, rollouts),
        reward_funcs=correct,
        rollouts=functools.partial(rl.rollout_advantages, **OPTIONS[kind]),
        args=tiny.config(max_steps=60, learning_rate=4e-3, max_completion_length=2),
        processing_class=tokenizer,
        train_dataset=Dataset.from_dict({"prompt": list(tasks) * 20, "answer": list(tasks.values()) * 20}),
    )
    rewards = tiny.curve(trainer, "reward", "frac_reward_zero_std")
    if sum(rewards[-3:]) / 3 < rewards[0] + 0.2:
        raise SystemExit("the share of right answers did not rise")


if __name__ == "__main__":
    main(*sys.argv[1:])
