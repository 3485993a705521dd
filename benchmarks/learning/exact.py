"""The gradient estimate of each scheme, g = sum_k credit_k grad log p(candidate_k): its mean and its noise, exactly.

A policy writes K candidates out of five; candidates are independent, or each depends on the one before it. All 5^K sets
are enumerated in float64, for large groups: what a scheme learns from the other rollouts is its expectation.
`python -m benchmarks.learning exact` does this for random policies.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

import shapley_kernels as sk
from benchmarks.learning.records import Records
from benchmarks.learning.schemes import POOLED, SCHEMES
from shapley_kernels import rl

RECORDS = Records("exact")
POLICIES = 50
K = 4
SETS_PER_UPDATE = (8, 64, 512)

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


def worths(game: str, size: int = K) -> np.ndarray:
    """Of all sets of so many candidates, [5] * size."""
    numbers, utility = GAMES[game]
    sets = np.array(list(product(range(len(numbers)), repeat=size)))
    return utility(numbers[sets]).worth().reshape((len(numbers),) * size)


# -- credits that see the group: [sets, K] from the worths and the chances of all sets, both [5] * K -------------------


def suffix_swap(lam: float) -> Callable[..., np.ndarray]:
    """`rl.SuffixSwap(lam)`: V_k is the mean worth of o_1 .. o_{k-1} with the rest of another set, and the credit of o_k
    sums the steps V_{j+1} - V_j from k on, times lam^(j - k)."""

    def credits(worth: np.ndarray, chances: np.ndarray, scores: np.ndarray) -> np.ndarray:
        values = []
        for k in range(worth.ndim):
            rest = chances.sum(tuple(range(k)))
            mean = np.tensordot(worth, rest, (range(k, worth.ndim), range(rest.ndim)))
            values.append(np.broadcast_to(mean.reshape(mean.shape + (1,) * rest.ndim), worth.shape).ravel())
        steps = np.diff([*values, worth.ravel()], axis=0)
        for k in reversed(range(len(steps) - 1)):
            steps[k] += lam * steps[k + 1]
        return steps.T

    return credits


def candidate_swap(worth: np.ndarray, chances: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """`rl.CandidateSwap()`: the worth less its mean with o_k exchanged for the k-th candidate of another set."""
    found = []
    for k in range(worth.ndim):
        kth = chances.sum(tuple(i for i in range(worth.ndim) if i != k))
        found.append((worth - np.expand_dims(np.tensordot(worth, kth, (k, 0)), k)).ravel())
    return np.stack(found, 1)


def pooled_stratum(worth: np.ndarray, chances: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """`sk.Stratum(K)` with all candidates of a group as one set: the mean worth of o_k beside K - 1 candidates of other
    sets, less that of K of these. For independent candidates."""
    found = []
    for k in range(worth.ndim):
        mean = np.tensordot(np.moveaxis(worth, k, 0), chances.sum(k), worth.ndim - 1) - (worth * chances).sum()
        shape = [-1 if i == k else 1 for i in range(worth.ndim)]
        found.append(np.broadcast_to(mean.reshape(shape), worth.shape).ravel())
    return np.stack(found, 1)


def quietest_unbiased(worth: np.ndarray, chances: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The bound for credits of one set that are unbiased under every policy, v(all) - b_k(o_1 .. o_{k-1}): those with
    the least noise, b_k = E[(sum_j s_j).s_k v | prefix] / E[|s_k|^2 | prefix] with s_k = grad log p(o_k)."""
    total, found = scores.sum(1), []
    for k in range(worth.ndim):
        behind = tuple(range(k, worth.ndim))
        along, length = (total * scores[:, k]).sum(1), np.square(scores[:, k]).sum(1)
        top = (chances * worth * along.reshape(worth.shape)).sum(behind, keepdims=True)
        found.append((worth - top / (chances * length.reshape(worth.shape)).sum(behind, keepdims=True)).ravel())
    return np.stack(found, 1)


GROUP_SCHEMES = {
    **{name: suffix_swap(x.value.lam) for name, x in SCHEMES.items() if isinstance(x.value, rl.SuffixSwap)},
    "CandidateSwap": candidate_swap,
    POOLED: pooled_stratum,
    "quietest unbiased": quietest_unbiased,
}
ALL: dict[str, Any] = {
    **{name: x.value for name, x in SCHEMES.items() if name not in ("Shapley, share", *GROUP_SCHEMES)},
    "WorthToGo": WorthToGo(),
    **GROUP_SCHEMES,
}
"""In the order of the records."""


def serves(scheme: str, sequential: bool) -> bool:
    """Whether the scheme is meant for such candidates."""
    return not (sequential and scheme == POOLED)


def credits_of(policy: Policy, game: str, scheme: Any, size: int = K) -> np.ndarray:
    """Credits of all sets, [sets, size]."""
    numbers, utility = GAMES[game]
    sets = policy.sets(size)
    if scheme in GROUP_SCHEMES.values():
        worth = worths(game, size)
        return scheme(worth, policy.chances(sets).reshape(worth.shape), policy.scores(sets))
    return rl.RewardAllocator(lambda r, mask=None: utility(r), scheme).credits(numbers[sets])


def estimate(policy: Policy, game: str, scheme: Any, size: int = K, center: str = "none") -> tuple[np.ndarray, float]:
    """E[g] [logits] and the trace of its covariance. center: "none", or credits less their mean over the "group" or
    over the candidates of one "slot"."""
    sets = policy.sets(size)
    chances, credits = policy.chances(sets), credits_of(policy, game, scheme, size)
    if center != "none":
        mean = chances @ credits
        credits = credits - (mean if center == "slot" else mean.mean())
    g = np.einsum("sk,skp->sp", credits, policy.scores(sets))
    mean = chances @ g
    return mean, float(chances @ np.square(g - mean).sum(1))


def gain(cosine: Any, snr: Any, sets: Any) -> Any:
    """Progress of the best step along the mean of so many estimates, in units of the exact gradient's, where curvature
    is alike in all directions: cosine^2 B snr / (1 + B snr), and 0 where the estimate points away."""
    return np.square(np.maximum(cosine, 0.0)) * sets * snr / (1 + sets * snr)


def overtaken(cosine: Any, snr: Any, unbiased: Any) -> Any:
    """B*: with more sets per update than these, an unbiased estimate whose signal to noise is `unbiased` gains more. 0:
    always; infinite: never."""
    square = np.square(np.maximum(cosine, 0.0))
    ahead, short = square * snr / unbiased - 1, 1 - square
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(ahead > 1e-9, ahead / (snr * np.where(short < 1e-12, 0.0, short)), 0.0)


def random_policy(sequential: bool, seed: int) -> Policy:
    return Policy(np.random.default_rng(seed).normal(size=(6 if sequential else 1, 5)))


def measure(policy: Policy, game: str, scheme: Any) -> dict[str, float]:
    """How E[g] compares with grad E[worth]; |E g|^2 / tr Cov(g) of one set for each way to centre; and B*, after which
    GRPO gains more, both centred over the group."""
    truth = gradient(policy, game)
    mean, _ = estimate(policy, game, scheme)
    cosine = float(mean @ truth / np.linalg.norm(mean) / np.linalg.norm(truth))
    plain, group, slot = (mean @ mean / estimate(policy, game, scheme, center=c)[1] for c in ("none", "group", "slot"))
    grpo = truth @ truth / estimate(policy, game, ALL["GRPO"], center="group")[1]
    return {
        "bias": float(np.linalg.norm(mean - truth) / np.linalg.norm(truth)),
        "cosine": cosine,
        "snr": float(plain),
        "centred_snr": float(group),
        "slot_snr": float(slot),
        "overtaken": float(overtaken(cosine, group, grpo)),
    }


def measure_all() -> Iterator[dict[str, Any]]:
    """A record per game, kind of policy and scheme, with a list over the policies for each number."""
    for game, sequential, name in product(GAMES, (False, True), ALL):
        if not serves(name, sequential):
            continue
        found = [measure(random_policy(sequential, seed), game, ALL[name]) for seed in range(POLICIES)]
        columns = {key: [float(f"{row[key]:.4g}") for row in found] for key in found[0]}
        yield {"game": game, "sequential": sequential, "scheme": name, **columns}
