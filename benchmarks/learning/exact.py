"""The gradient estimate of each scheme, g = sum_k credit_k grad log p(candidate_k): its mean and its noise, exactly.

A policy writes K candidates out of five; candidates are independent, or each depends on the one before it. All 5^K sets
are enumerated in float64. `python -m benchmarks.learning exact` does this for random policies.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

import shapley_kernels as sk
from benchmarks.learning.tasks import SCHEMES
from shapley_kernels import rl

RECORDS = Path(__file__).with_name("exact.jsonl")
POLICIES = 50
K = 4

Utility = Callable[[np.ndarray], sk.Game]
GAMES: dict[str, tuple[np.ndarray, Utility]] = {
    "best": (np.array([0.0, 0.2, 0.4, 0.7, 1.0]), sk.Max),
    "distinct": (np.array([0, 0, 1, 2, 3]), lambda found: sk.Clusters(found, (found > 0).astype(float))),
}
"""Name -> a number for each of the five candidates, and what a set of them is worth: the best of these numbers, or how
many different ones there are, 0 aside."""


class WorthToGo(rl.Baseline):
    """credit_k = v(all) - v(o_1 .. o_{k-1}): what a candidate and those behind it add. A baseline of one's own."""

    def share(self, game: sk.Game, worth: Any) -> Any:
        return rl.PrefixMarginals().share(game, worth)[..., ::-1].cumsum(-1)[..., ::-1]


VALUES = [name for name, scheme in SCHEMES.items() if isinstance(scheme, sk.Semivalue)]
ALL = {name: SCHEMES[name] for name in ["GRPO", *VALUES, *SCHEMES]} | {"WorthToGo": WorthToGo()}
"""In the order of the records: GRPO, the semivalues, the other baselines."""


@dataclass(frozen=True)
class Policy:
    """Softmax of logits [1, 5], the same for all candidates; or [6, 5], row 0 for the first and 1 + j behind a j."""

    logits: np.ndarray

    def sets(self, size: int) -> np.ndarray:
        """All sets of so many candidates, [sets, size]."""
        return np.array(list(product(range(self.logits.shape[1]), repeat=size)))

    def places(self, sets: np.ndarray) -> np.ndarray:
        """Which row of the logits each candidate comes from, [sets, size]."""
        before = np.concatenate([np.zeros_like(sets[:, :1]), 1 + sets[:, :-1]], axis=1)
        return before if len(self.logits) > 1 else np.zeros_like(sets)

    def chances(self, sets: np.ndarray) -> np.ndarray:
        """Probability of each set, [sets]."""
        return softmax(self.logits)[self.places(sets), sets].prod(1)

    def scores(self, sets: np.ndarray) -> np.ndarray:
        """grad log p of each candidate, [sets, size, logits]."""
        places, p = self.places(sets), softmax(self.logits)
        found = np.zeros((*sets.shape, *self.logits.shape))
        np.put_along_axis(found, places[..., None, None], (np.eye(p.shape[1])[sets] - p[places])[:, :, None], axis=2)
        return found.reshape(*sets.shape, -1)


def softmax(logits: np.ndarray) -> np.ndarray:
    p = np.exp(logits - logits.real.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def expected_worth(policy: Policy, game: str, size: int = K) -> Any:
    """J_size = E[worth of a set of so many candidates]."""
    numbers, utility = GAMES[game]
    sets = policy.sets(size)
    return policy.chances(sets) @ utility(numbers[sets]).worth()


def gradient(policy: Policy, game: str, size: int = K) -> np.ndarray:
    """grad J_size [logits], by complex steps, which round but do not cancel; no score function is used."""
    found = []
    for i in range(policy.logits.size):
        step = np.zeros(policy.logits.size, complex)
        step[i] = 1e-30j
        moved = Policy(policy.logits + step.reshape(policy.logits.shape))
        found.append(expected_worth(moved, game, size).imag / 1e-30)
    return np.array(found)


def estimate(
    policy: Policy, game: str, value: sk.Semivalue | rl.Baseline, size: int = K, centred: bool = False
) -> tuple[np.ndarray, float]:
    """E[g] [logits] and the trace of its covariance. centred: credits less their mean, as in large groups."""
    numbers, utility = GAMES[game]
    sets = policy.sets(size)
    chances = policy.chances(sets)
    credits = rl.RewardAllocator(lambda r, mask=None: utility(r), value).credits(numbers[sets])
    if centred:
        credits = credits - chances @ credits.mean(1)
    g = np.einsum("sk,skp->sp", credits, policy.scores(sets))
    mean = chances @ g
    return mean, float(chances @ np.square(g - mean).sum(1))


def random_policy(sequential: bool, seed: int) -> Policy:
    return Policy(np.random.default_rng(seed).normal(size=(6 if sequential else 1, 5)))


def measure(policy: Policy, game: str, value: sk.Semivalue | rl.Baseline) -> dict[str, float]:
    """How E[g] compares with grad E[worth], and |E g|^2 / tr Cov(g) of one set, without and with centring."""
    truth = gradient(policy, game)
    mean, noise = estimate(policy, game, value)
    _, centred_noise = estimate(policy, game, value, centred=True)
    return {
        "bias": float(np.linalg.norm(mean - truth) / np.linalg.norm(truth)),
        "cosine": float(mean @ truth / np.linalg.norm(mean) / np.linalg.norm(truth)),
        "snr": float(mean @ mean / noise),
        "centred_snr": float(mean @ mean / centred_noise),
    }


def measure_all() -> Iterator[dict[str, Any]]:
    """A record per game, kind of policy and scheme, with a list over the policies for each number."""
    for game, sequential, name in product(GAMES, (False, True), ALL):
        found = [measure(random_policy(sequential, seed), game, ALL[name]) for seed in range(POLICIES)]
        columns = {key: [float(f"{row[key]:.4g}") for row in found] for key in found[0]}
        yield {"game": game, "sequential": sequential, "scheme": name, **columns}


def read(path: Path = RECORDS) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
