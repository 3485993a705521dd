"""A judge scores whole sets only: what is each member worth, how sure is that, and what does a policy loss get?

    python examples/judge.py            # a second; after `make quickstart` with .venv/bin/python

The judge here stands for a model that reads all answers at once: quality of the best, less what the set repeats. Each
call costs money, so `sk.estimate` asks about at most `budget` of the 2^n sets, never twice about one, and gives
standard errors. A surrogate, any game whose Shapley value is known, takes what it explains off the sampling: here `Max`
of a cheap quality of each answer alone.
"""

import numpy as np

import shapley_kernels as sk

ANSWERS, TOPICS, BUDGET = 12, 6, 120


def make_judge(rng):
    """A judge of one prompt: bool [sets, answers] -> a score each; and the cheap quality of each answer."""
    features = rng.random((ANSWERS, TOPICS)) ** 3
    quality = features.max(1)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    repeats = np.triu(unit @ unit.T, 1)

    def judge(sets):
        pairs = np.maximum(sets.sum(1) * (sets.sum(1) - 1) / 2, 1)
        return (sets * quality).max(1, initial=0.0) - 0.5 * np.einsum("si,ij,sj->s", sets, repeats, sets) / pairs

    return judge, quality


def main():
    rng = np.random.default_rng(0)
    prompts = [make_judge(rng) for _ in range(4)]  # four rollouts of one prompt, a set of answers each
    credits = []
    for judge, quality in prompts:
        found = sk.estimate(judge, ANSWERS, budget=BUDGET, seed=0, surrogate=sk.Max(quality))
        credits.append(found.values)
    judge, _ = prompts[-1]
    truth = sk.estimate(judge, ANSWERS, budget=2**ANSWERS, seed=0)  # every set: exact
    print(f"{found.evaluations} of {2**ANSWERS} sets were judged")
    print("answer  credit  standard error  exact")
    for i in np.argsort(-found.values):
        print(f"{i:6}  {found.values[i]:6.3f}  {found.standard_errors[i]:14.3f}  {truth.values[i]:5.3f}")
    advantages = sk.grpo_advantages(np.stack(credits))  # [rollouts, answers], as credits of any game
    print("advantages of the last set:", advantages[-1].round(2).tolist())
    return found, truth


if __name__ == "__main__":
    main()
