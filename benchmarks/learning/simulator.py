"""Many small policies that are trained at once: six utilities, every credit, rates tuned for each.

A policy writes up to K of ITEMS items for one of PROMPTS prompts, with logits W[prompt, item] + b[place, item] + the
sum of C[item before, item]: candidates depend on those before them, and can learn not to repeat them. An instance of a
task draws the rewards and the policy to start from. Not a language model: no shared features, one token per candidate,
and no format to lose. The update is Adam along the mean of A grad log p, with the advantages of `RewardAllocator`.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import Any, NamedTuple

import numpy as np

import shapley_kernels as sk
from benchmarks.learning import training
from benchmarks.learning.records import Records
from benchmarks.learning.schemes import POOLED, SCHEMES, Scheme
from shapley_kernels import rl

RECORDS = Records("simulator")
K, ITEMS, PROMPTS, USERS = 6, 32, 8, 16
UTILITIES = ("hit", "cover", "facility", "redundancy", "top-3", "pass@k")
REPEATS = 0.7 / K
"""What the squared cosine of two items takes off, in `redundancy`."""
TUNING, REPORTED = range(1000, 1012), range(40)
"""Instances."""
RATES = tuple(0.02 * 2.0**i for i in range(5))


class Cell(NamedTuple):
    """One comparison. sets: per update, in groups of `GROUPS[sets]`; free: the policy chooses where a list ends; cost:
    of each candidate."""

    utility: str
    scheme: str
    sets: int
    scale: str = "group"
    free: bool = False
    cost: float = 0.0


GROUPS, STEPS = {8: 4, 64: 8}, {8: 400, 64: 150}
TABLES: dict[str, tuple[Any, ...]] = {
    "8 sets": (8,),
    "64 sets": (64,),
    "free": (8, "group", True),
    "cost": (8, "group", True, 0.03),
    "scale none": (8, "none"),
    "64 sets, scale none": (64, "none"),
}
"""What a cell has behind utility and scheme."""


def serves(scheme: str, table: str) -> bool:
    """Whether it says something that the other rows do not: with six candidates in every set, "share" is "worth", and
    pooled sets of other sizes are no J_K."""
    free = len(TABLES[table]) > 2
    return scheme not in ("SuffixSwap(0.25)", POOLED if free else "Shapley, share")


def cells(table: str) -> list[Cell]:
    return [Cell(u, s, *TABLES[table]) for s, u in product(SCHEMES, UTILITIES) if serves(s, table)]


class Instances:
    """Draws of a task. data [instances, PROMPTS, ITEMS, features]: a reward and, of some utilities, what follows it;
    for "pass@k" the chance of a reward of 1."""

    def __init__(self, utility: str, seeds: Iterable[int], cost: float = 0.0) -> None:
        self.utility, self.cost = utility, cost
        drawn = [self.draw(np.random.default_rng(seed)) for seed in seeds]
        self.data, self.logits, self.pairs = (np.stack(x).astype(np.float32) for x in zip(*drawn, strict=True))

    def draw(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Data, and the logits of a policy that leans to good items: W and C."""
        appeal = rng.random((PROMPTS, ITEMS))
        if self.utility == "cover":  # eight right answers per prompt, numbered
            data = np.zeros((PROMPTS, ITEMS, 1))
            for right in data[..., 0]:
                right[rng.permutation(ITEMS)[:8]] = 1 + np.arange(8)
            appeal = data[..., 0] > 0
        elif self.utility == "facility":  # what each user of a prompt thinks of each item, of rank four
            items, prompt = rng.normal(size=(ITEMS, 4)), 0.7 * rng.normal(size=(PROMPTS, 1, 4))
            liked = (prompt + rng.normal(size=(PROMPTS, USERS, 4))) @ items.T + 0.8 * rng.normal(size=ITEMS)
            data = 1 / (1 + np.exp(1 - 0.6 * liked.swapaxes(1, 2)))
            appeal = data.mean(-1)
        elif self.utility == "redundancy":
            items = rng.normal(size=(ITEMS, 4))
            items /= np.linalg.norm(items, axis=1, keepdims=True)
            data = np.concatenate([appeal[..., None] ** 2 * 2 / K, np.broadcast_to(items, (PROMPTS, ITEMS, 4))], -1)
        else:
            data = appeal[..., None] ** 3 * (0.6 if self.utility == "pass@k" else 1.0)
        lean = (appeal - appeal.mean(-1, keepdims=True)) / appeal.std(-1, keepdims=True)
        return data, 0.3 * lean + rng.normal(size=lean.shape), 0.3 * rng.normal(size=(ITEMS, ITEMS))

    def game(self, rewards: Any, mask: Any = None, data: Any = None) -> sk.Game:
        """rewards [..., candidates], those of data [..., candidates, features]."""
        if self.utility == "cover":
            found = sk.Clusters(rewards.astype(int), (rewards > 0).astype(np.float32), mask=mask) * (1 / K)
        elif self.utility == "facility":
            found = sk.FacilityLocation(data, mask=mask) * (1 / USERS)
        elif self.utility == "redundancy":
            found = sk.Pairwise(-REPEATS * alike(data), values=rewards, mask=mask)
        elif self.utility == "top-3":
            found = sk.TopM(rewards, 3, mask=mask) * (1 / 3)
        else:
            found = sk.Max(rewards, mask=mask)
        return found - self.cost * sk.TopM(np.ones_like(rewards), K, mask=mask) if self.cost else found


def alike(data: np.ndarray) -> np.ndarray:
    """Squared cosines of candidates, [..., candidates, candidates]."""
    return np.square(data[..., 1:] @ data[..., 1:].swapaxes(-1, -2))


# -- advantages --------------------------------------------------------------------------------------------------------

Advantages = tuple[np.ndarray, np.ndarray]
"""Of the candidates [groups, rollouts, K], and of stopping [groups, rollouts]."""


def advantages(task: Instances, scheme: Scheme, scale: str, data: np.ndarray, mask: np.ndarray | None) -> Advantages:
    """data [groups, rollouts, K, features], mask [groups, rollouts, K] or None."""
    if task.utility == "redundancy" and isinstance(scheme.value, rl.GroupValue):
        return normalised(*swapped(task, scheme.value, data, mask), mask, scale)
    rewards = data[..., 0]
    if scheme.pooled:
        pooled = data.reshape(len(data), -1, data.shape[-1])
        credits = sk.semivalue(task.game(pooled[..., 0], data=pooled), scheme.value)
        found = sk.grpo_advantages(credits.reshape(rewards.shape), scale=scale)
        return found, np.zeros(rewards.shape[:2])
    allocator = rl.RewardAllocator(task.game, scheme.value, scale=scale, sizes=scheme.sizes)
    if mask is None:
        return allocator.advantages(rewards, data=data), np.zeros(rewards.shape[:2])
    found, outside = allocator.for_tokens(rewards, mask, data=data)
    return found, outside[..., -1] if outside.ndim > 2 else outside


def swapped(task: Instances, value: Any, data: np.ndarray, mask: np.ndarray | None) -> Advantages:
    """Credits of `SuffixSwap` or `CandidateSwap` for `redundancy`, whose pairs the package does not exchange: from the
    worth of each mixed list."""
    rollouts, place = data.shape[1], np.arange(K)
    live = np.ones(data.shape[:3], bool) if mask is None else mask
    less_others = np.eye(rollouts) - ~np.eye(rollouts, dtype=bool) / (rollouts - 1)

    def above(own: np.ndarray) -> np.ndarray:
        """The own worth less that of lists whose other places are those of another rollout, [groups, rollouts]."""
        mixed = np.where(own[:, None], data[:, :, None], data[:, None])
        worth = task.game(mixed[..., 0], np.where(own, live[:, :, None], live[:, None]), data=mixed).worth()
        return np.einsum("gh,bgh->bg", less_others, worth)

    if isinstance(value, rl.CandidateSwap):
        found = np.stack([above(place != k) for k in range(K)], -1)
        return found * live, above(place < 0) * (rollouts - 1) / rollouts
    length = live.sum(-1)
    ahead = np.stack([np.where(k <= length, above(place < k), 0.0) for k in range(K + 1)] + [0.0 * length], -1)
    found = ahead.copy()
    for k in reversed(range(K + 1)):
        found[..., k] = ahead[..., k] - ahead[..., k + 1] + value.lam * found[..., k + 1]
    return found[..., :K] * live, np.take_along_axis(found, length[..., None], -1)[..., 0]


def normalised(credits: np.ndarray, stop: np.ndarray, mask: np.ndarray | None, scale: str) -> Advantages:
    """As `grpo_advantages`, and the stop by the statistics of the candidates."""
    live = np.ones(credits.shape) if mask is None else mask
    count = live.sum((1, 2), keepdims=True)
    mean = (credits * live).sum((1, 2), keepdims=True) / count
    rest, stop = (credits - mean) * live, stop - mean[..., 0]
    if scale == "none":
        return rest, stop
    std = np.sqrt(np.square(rest).sum((1, 2), keepdims=True) / np.maximum(count - 1, 1))
    by = np.where(std < 1e-6, 0.0, 1 / (std + 1e-4))
    return rest * by, stop * by[..., 0]


# -- training ----------------------------------------------------------------------------------------------------------


def train(cell: Cell, rates: Iterable[float], seeds: Iterable[int], salt: int) -> training.Trained:
    """[rates, instances]: the worth of the sampled sets, over all steps and over the last tenth of them, and how many
    candidates and different items these hold."""
    rates, seeds = list(rates), list(seeds)
    task, rollouts, width = Instances(cell.utility, seeds, cell.cost), GROUPS[cell.sets], ITEMS + cell.free
    prompts, policies = cell.sets // rollouts, len(rates) * len(seeds)
    data, w, c = (np.concatenate([x] * len(rates)) for x in (task.data, task.logits, task.pairs))
    b = np.zeros((policies, K, width), np.float32)
    if cell.free:  # the last item ends a list that has one candidate; a tenth do so at first
        w, c = np.pad(w, ((0, 0), (0, 0), (0, 1))), np.pad(c, ((0, 0), (0, 1), (0, 1)))
        b[..., -1], b[:, 0, -1] = 1.7, -1e9
    adam = training.Adam([w, c, b], np.repeat(np.float32(rates), len(seeds)))
    rng, row = np.random.default_rng(salt), np.arange(policies)[:, None]
    curve = []
    for _ in range(STEPS[cell.sets]):
        asked = rng.random((policies, PROMPTS), np.float32).argsort(1)[:, :prompts]
        prompt = np.repeat(asked, rollouts, 1)  # [policies, sets]
        drawn = list(sample(w[row, prompt], b, c, rng))
        items, mask = (np.stack([d[i] for d in drawn], -1) for i in (1, 3))
        found = data[row[..., None], prompt[..., None], np.minimum(items, ITEMS - 1)]
        if cell.utility == "pass@k":
            found = (rng.random(found.shape, np.float32) < found).astype(np.float32)
        found = found.reshape(-1, rollouts, K, found.shape[-1])
        live = mask.reshape(-1, rollouts, K) if cell.free else None
        credit, stop = advantages(task, SCHEMES[cell.scheme], cell.scale, found, live)
        adam.ascend(gradients(drawn, credit.reshape(mask.shape), stop.reshape(prompt.shape), asked))
        worth = task.game(found[..., 0], live, data=found).worth().reshape(prompt.shape).mean(-1)
        ordered = np.sort(np.where(mask, items, -1), -1)
        distinct = (np.diff(ordered, axis=-1, prepend=-1) > 0).sum(-1).mean(-1)
        curve.append((worth, mask.sum(-1).mean(-1), distinct))
    curves, last = np.array(curve), len(curve) // 10
    columns = (curves[:, 0].mean(0), *curves[-last:].mean(0))
    return {
        name: x.reshape(len(rates), -1)
        for name, x in zip(("mean", "final", "candidates", "distinct"), columns, strict=True)
    }


def sample(logits: np.ndarray, b: np.ndarray, c: np.ndarray, rng: Any) -> Iterator[tuple[np.ndarray, ...]]:
    """For each place: chances [policies, sets, width], the item, whether a decision is made, whether it is a candidate,
    and what stands before [policies, sets, width]."""
    policies, sets = logits.shape[:2]
    row, before = np.arange(policies)[:, None], np.zeros_like(logits)
    going = np.ones((policies, sets), bool)
    for k in range(K):
        p = logits + b[:, k, None]
        p = np.exp(p - p.max(-1, keepdims=True))
        upto = p.cumsum(-1)
        item = (upto < rng.random((policies, sets, 1), np.float32) * upto[..., -1:]).sum(-1)
        listed = going & (item < ITEMS)
        yield p / upto[..., -1:], item, going, listed, before.copy()
        logits = logits + c[row, item] * listed[..., None]
        np.put_along_axis(
            before, item[..., None], np.take_along_axis(before, item[..., None], -1) + listed[..., None], -1
        )
        going = listed


def gradients(drawn: list[Any], credit: np.ndarray, stop: np.ndarray, asked: np.ndarray) -> Iterator[np.ndarray]:
    """Of the mean over the sets of A log p, by W, C and b."""
    policies, sets, width = drawn[0][0].shape
    by_place, total, before = [], 0.0, []
    for k, (p, item, going, listed, preceding) in enumerate(drawn):
        a = (np.where(listed, credit[..., k], stop) * going / sets).astype(np.float32)[..., None]
        g = -p * a
        np.put_along_axis(g, item[..., None], np.take_along_axis(g, item[..., None], -1) + a, -1)
        by_place.append(g)
        before.append(preceding)
        total = total + g
    of_prompts = np.zeros((policies, PROMPTS, width), np.float32)
    prompts = asked.shape[1]
    of_prompts[np.arange(policies)[:, None], asked] = total.reshape(policies, prompts, -1, width).sum(2)
    yield of_prompts
    yield np.concatenate(before, 1).swapaxes(1, 2) @ np.concatenate(by_place, 1)
    yield np.stack([g.sum(1) for g in by_place], 1)


def do(cell: Cell) -> dict[str, Any]:
    """In a process of a worker."""
    return training.measure(cell, train, RATES, TUNING, REPORTED)


def plan() -> Iterator[Cell]:
    for table in TABLES:
        yield from cells(table)
