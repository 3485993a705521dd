"""The transformer that writes lists of expressions, trained at once for many rates and seeds."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch

from benchmarks.learning import dice, training
from benchmarks.learning.dice import END, LENGTH, PIECES, STEPS, Cell
from benchmarks.learning.network import LAYERS, Weights, ascend, attend, for_each_rate, new_weights, normal, through
from benchmarks.learning.runs import EXPRESSIONS, TARGETS, TASKS
from benchmarks.learning.schemes import SCHEMES
from shapley_kernels import rl

GENERATIONS, SAMPLES, LAST = 8, 64, 20
"""In a group; lists for the target that is held out; steps that a run's end is the mean of."""
WARM_STEPS, WARM_RATE, KNOWN = 300, 5e-3, 0.2
"""In every second warm start, KNOWN of the expressions are right for their target."""


def write(w: Weights, target: Any) -> Any:
    """Tokens that are drawn for targets [runs, lists], [runs, lists, LENGTH]."""
    row, memory = torch.arange(len(target))[:, None], [None] * LAYERS
    before, going, tokens = w["target"][row, target], torch.ones(target.shape, dtype=torch.bool), []
    with torch.no_grad():
        for t in range(LENGTH):
            x = attend(w, (before + w["place"][:, None, t])[:, :, None], memory, None)[:, :, 0]
            drawn = torch.multinomial((normal(x) @ w["token"].mT).softmax(-1).flatten(0, 1), 1).reshape(target.shape)
            tokens.append(torch.where(going, drawn, END))
            going, before = tokens[-1] != END, w["token"][row, tokens[-1]]
    return torch.stack(tokens, -1)


def log_chances(w: Weights, target: Any, tokens: Any) -> Any:
    """Of the tokens of lists, 0 behind the end, [runs, lists, LENGTH]."""
    row = torch.arange(len(target))[:, None]
    before = [w["target"][row, target][:, :, None], w["token"][row[..., None], tokens[..., :-1]]]
    sees = torch.where(torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril(), 0.0, -torch.inf)
    x = attend(w, torch.cat(before, 2) + w["place"][:, None], [None] * LAYERS, sees)
    logp = through(normal(x), w["token"].mT).log_softmax(-1).gather(-1, tokens[..., None])[..., 0]
    return torch.where(written(tokens), logp, 0.0)


def written(tokens: Any) -> Any:
    """Which are not behind the end."""
    return torch.nn.functional.pad(tokens[..., :-1] != END, (1, 0), value=True)


@cache
def warm_start(seeds: tuple[int, ...]) -> Weights:
    """Weights that know the format, and of odd seeds a little about targets."""
    w = new_weights(seeds, target=len(TARGETS), token=1 + len(PIECES), place=LENGTH)
    adam = training.Adam([x.requires_grad_() for x in w.values()], torch.full((len(seeds),), WARM_RATE))
    rngs = [np.random.default_rng((2, seed)) for seed in seeds]
    known = np.array([KNOWN * (seed % 2) for seed in seeds])[:, None, None]
    right = [np.flatnonzero(t == dice.VALUES) for t in TARGETS]
    of = np.array([[PIECES.index(e[:2]), PIECES.index(f"{e[2]};")] for e in EXPRESSIONS]) + 1
    for step in range(WARM_STEPS):
        target = np.stack([rng.integers(len(TARGETS), size=64) for rng in rngs])
        some = np.stack([rng.integers(len(EXPRESSIONS), size=(64, LENGTH // 2)) for rng in rngs])
        good = np.stack(
            [[rng.choice(right[t], LENGTH // 2) for t in row] for rng, row in zip(rngs, target, strict=True)]
        )
        lucky = np.stack([rng.random(some.shape[1:]) for rng in rngs]) < known
        given = of[np.where(lucky, good, some)].reshape(*target.shape, LENGTH)
        adam.rate = torch.full((len(seeds),), WARM_RATE * (1 - step / WARM_STEPS))
        ascend(adam, log_chances(w, torch.tensor(target), torch.tensor(given)).mean((1, 2)).sum())
    return {name: x.detach() for name, x in w.items()}


def train(cell: Cell, rates: Iterable[float], seeds: Iterable[int], salt: int) -> training.Trained:
    """[rates, seeds]: the worth of the sampled sets, over all steps and the last of them; how many candidates and
    different expressions these hold; whether a run was lost, its end worth less than half of its start; and the
    worth of lists for the target that is held out, before and after."""
    torch.set_num_threads(1)
    rates, seeds = list(rates), list(seeds)
    start, w = (for_each_rate(warm_start(tuple(seeds)), len(rates)) for _ in range(2))
    adam = training.Adam(list(w.values()), torch.tensor(np.repeat(np.float32(rates), len(seeds))))
    hidden = np.array([dice.held_out(seed) for seed in seeds] * len(rates))[:, None]
    scheme, rng = SCHEMES[cell.scheme], np.random.default_rng(salt)
    torch.manual_seed(salt)
    allocator = rl.RewardAllocator(TASKS[cell.utility].utility, scheme.value, sizes=scheme.sizes)
    before = ask(w, cell, hidden.repeat(SAMPLES, 1))[0]
    curves = []
    for _ in range(STEPS[cell.sets]):
        target = targets(hidden, cell.sets, rng)
        tokens = write(w, torch.tensor(target))
        *seen, rewards, mask, ids = worth_of(cell, tokens.numpy(), target)
        curves.append(seen)
        stopped = (tokens == END).any(-1).flatten().numpy()
        advantages = allocator.token_advantages(rewards, ids, mask, num_generations=GENERATIONS, stopped=stopped)
        logp, count = log_chances(w, torch.tensor(target), tokens), written(tokens).sum((1, 2))
        objective = torch.tensor(advantages).reshape(logp.shape) * logp
        if cell.kl:
            with torch.no_grad():
                behind = log_chances(start, torch.tensor(target), tokens)
            behind = behind - logp
            objective = objective - cell.kl * (behind.exp() - behind - 1)
        ascend(adam, (objective.sum((1, 2)) / count).sum())
    worth, candidates, different = np.array(curves).transpose(1, 0, 2)
    final = worth[-LAST:].mean(0)
    found = {
        "mean": worth.mean(0),
        "final": final,
        "candidates": candidates[-LAST:].mean(0),
        "distinct": different[-LAST:].mean(0),
        "lost": final < 0.5 * worth[:5].mean(0),
        "unseen_before": before,
        "unseen": ask(w, cell, hidden.repeat(SAMPLES, 1))[0],
    }
    return {name: x.reshape(len(rates), len(seeds)) for name, x in found.items()}


def targets(hidden: np.ndarray, sets: int, rng: Any) -> np.ndarray:
    """[runs, sets]: as many groups for each target that is seen; of one group alone, for one of them."""
    seen = (hidden + np.arange(1, len(TARGETS))) % len(TARGETS)
    groups = sets // GENERATIONS
    if groups < seen.shape[1]:
        seen = rng.permuted(seen, axis=1)[:, :groups]
    return np.repeat(seen, sets // seen.shape[1], 1)


def worth_of(cell: Cell, tokens: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, ...]:
    """Mean worth, candidates and different expressions, of each run [runs]; and rewards, mask and ids of all lists."""
    which, mask, ids = dice.read(tokens.reshape(-1, LENGTH))
    rewards = dice.rewards(cell.utility, which, np.array(TARGETS)[target.reshape(-1)])
    worth = TASKS[cell.utility].utility(rewards, mask=mask).worth()
    different = (np.diff(np.sort(which, -1), axis=-1, prepend=-1) > 0).sum(-1)
    means = (np.asarray(x, float).reshape(target.shape).mean(-1) for x in (worth, mask.sum(-1), different))
    return (*means, rewards, mask, ids)


def ask(w: Weights, cell: Cell, target: np.ndarray) -> tuple[np.ndarray, ...]:
    """`worth_of` lists for targets [runs, lists]."""
    return worth_of(cell, write(w, torch.tensor(target)).numpy(), target)


def do(cell: Cell) -> dict[str, Any]:
    """In a process of a worker."""
    if cell.fixed is not None:
        return training.record(cell, train, cell.fixed, dice.REPORTED)
    return training.measure(cell, train, dice.RATES, dice.TUNING, dice.REPORTED)
