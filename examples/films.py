"""Five films for a user: a policy learns to recommend lists, with GRPO and with credit per film, side by side.

    python examples/films.py            # seconds; after `make quickstart` with .venv/bin/python

A list is worth what it has for each of twelve people like the user: the mean over them of the best-rated film in it
(`FacilityLocation`), so films for the same people share their credit. Ratings are made up here: tastes times genres.
With ratings of your own, `RATINGS` is what is held out of them, [films, people], and the policy a model that writes
titles (examples/trl_lists.py). benchmarks/learning does so for MovieLens-100K (docs/results/learning.md).
"""

import numpy as np

import shapley_kernels as sk
from shapley_kernels import rl

FILMS, PEOPLE, GENRES, LENGTH, ROLLOUTS, UPDATES = 60, 12, 8, 5, 8, 150
WORLD = np.random.default_rng(7)
RATINGS = (
    WORLD.dirichlet(np.full(GENRES, 0.3), FILMS) @ WORLD.dirichlet(np.full(GENRES, 0.3), PEOPLE).T
)  # [films, people]


def utility(rewards, mask=None, ratings=None):
    """What lists are worth; rewards are not asked, ratings are [..., films of the list, people]."""
    return sk.FacilityLocation(ratings, weights=np.full(PEOPLE, 1 / PEOPLE), mask=mask)


def write(logits, rng):
    """Lists [rollouts, 5] of the policy, film after film without repeats, and d log p / d logits of each choice."""
    lists, scores = np.zeros((ROLLOUTS, LENGTH), int), np.zeros((ROLLOUTS, LENGTH, FILMS))
    for films, score in zip(lists, scores, strict=True):
        left = np.ones(FILMS, bool)
        for k in range(LENGTH):
            p = np.where(left, np.exp(logits - logits[left].max()), 0.0)
            p /= p.sum()
            films[k] = rng.choice(FILMS, p=p)
            score[k] = (np.arange(FILMS) == films[k]) - p
            left[films[k]] = False
    return lists, scores


def train(value, seed, rate=0.5):
    """What the policy's lists were worth at each update."""
    rng, logits, worth = np.random.default_rng(seed), np.zeros(FILMS), []
    allocator = sk.RewardAllocator(utility, value)
    for _ in range(UPDATES):
        lists, scores = write(logits, rng)
        ratings = RATINGS[lists]  # [rollouts, 5, people]
        advantages = allocator.advantages(ratings.mean(-1), ratings=ratings)  # one user, one group
        logits += rate * np.einsum("rk,rkf->f", advantages, scores) / ROLLOUTS
        worth.append(utility(None, ratings=ratings).worth().mean())
    return worth


def main():
    values = {"GRPO": rl.Broadcast(), "Shapley": sk.Shapley(), "SuffixSwap": rl.SuffixSwap()}
    runs = {name: np.mean([train(value, seed) for seed in range(4)], 0) for name, value in values.items()}
    print("updates   " + "  ".join(f"{name:>10}" for name in runs))
    for start in range(0, UPDATES, 30):
        print(
            f"{start:3} .. {start + 29:3}"
            + "  ".join(f"{worth[start : start + 30].mean():10.3f}" for worth in runs.values())
        )
    return runs


if __name__ == "__main__":
    main()
