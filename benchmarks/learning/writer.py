"""The transformer that writes lists of films. A seed gives the users that are held out, and the warm start."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch

from benchmarks.learning import films, training
from benchmarks.learning.films import SHELF, Cell, K, Users, ratings
from benchmarks.learning.network import LAYERS, Weights, ascend, attend, for_each_rate, new_weights, normal
from benchmarks.learning.schemes import SCHEMES
from shapley_kernels import rl

USERS, ROLLOUTS, SAMPLES = 4, 8, 2
"""Of an update; and lists of each user that is held out."""
WARM_STEPS, WARM_RATE = 200, 3e-3


def write(w: Weights, history: Any, stars: Any, shelf: Any, rollouts: int, given: Any = None) -> tuple[Any, Any]:
    """history, stars [runs, users, films], shelf [runs, users, places] -> places that are drawn, or given, and their
    log p, both [runs, users, rollouts, K]."""
    row = torch.arange(len(history))[:, None, None]
    options = w["film"][row, shelf].mT
    memory: list[Any] = [None] * LAYERS
    attend(w, w["film"][row, history] + w["star"][row, stars], memory, None)
    # keys are those of the history and, place after place, those of all rollouts, of which each sees its own
    own = torch.where(torch.eye(rollouts, dtype=torch.bool), 0.0, -torch.inf)
    sees = torch.zeros(rollouts, history.shape[2])
    last = torch.full((*history.shape[:2], rollouts), films.FILMS)  # what stands before a list
    places, chances = [], []
    for k in range(K):
        sees = torch.cat([sees, own], 1)
        x = attend(w, w["film"][row, last] + w["place"][:, None, None, k], memory, sees)
        logp = (normal(x) @ options).log_softmax(-1)
        if given is None:
            drawn = torch.multinomial(logp.detach().exp().flatten(0, 2), 1).reshape(last.shape)
        else:
            drawn = given[..., k]
        places.append(drawn)
        chances.append(logp.gather(-1, drawn[..., None])[..., 0])
        last = shelf.gather(2, drawn)
    return torch.stack(places, -1), torch.stack(chances, -1)


@cache
def warm_start(seeds: tuple[int, ...]) -> Weights:
    """Weights that continue the histories of users in training: half of one is read, and five others of its films,
    rather those with many stars, are written."""
    w, its = new_weights(seeds, film=films.FILMS + 1, star=6, place=K), ratings()
    rngs = [np.random.default_rng((2, seed)) for seed in seeds]
    adam = training.Adam([x.requires_grad_() for x in w.values()], torch.full((len(seeds),), WARM_RATE))
    stars = its.stars(its.history)
    for step in range(WARM_STEPS):
        batch = []
        for seed, rng in zip(seeds, rngs, strict=True):
            user = rng.choice(films.users(seed).train, 32)[:, None]
            order = rng.random((32, SHELF)).argsort(1)
            half, rest = np.split(order, 2, 1)
            chosen = (stars[user, rest] + rng.gumbel(size=rest.shape)).argsort(1)[:, : -K - 1 : -1]
            batch.append((its.history[user, half], stars[user, half], its.history[user, rest], chosen[:, None]))
        history, seen, shelf, given = (torch.tensor(np.stack(x)).long() for x in zip(*batch, strict=True))
        adam.rate = torch.full((len(seeds),), WARM_RATE * (1 - step / WARM_STEPS))
        ascend(adam, write(w, history, seen, shelf, 1, given)[1].mean((1, 2, 3)).sum())
    return {name: x.detach() for name, x in w.items()}


# -- training ----------------------------------------------------------------------------------------------------------


def train(cell: Cell, rates: Iterable[float], seeds: Iterable[int], salt: int) -> training.Trained:
    """[rates, seeds]: the worth of lists for users that are held out, over all of training and at its last two
    points, and how many different films a list has at these; curve: at each point, before training first."""
    torch.set_num_threads(1)
    rates, seeds = list(rates), list(seeds)
    split = [films.users(seed) for seed in seeds] * len(rates)
    w = for_each_rate(warm_start(tuple(seeds)), len(rates))
    adam = training.Adam(list(w.values()), torch.tensor(np.repeat(np.float32(rates), len(seeds))))
    scheme, rng = SCHEMES[cell.scheme], np.random.default_rng(salt)
    torch.manual_seed(salt)
    allocator = rl.RewardAllocator(
        lambda r, mask=None, **data: films.game(cell.utility, r, mask, **data), scheme.value, sizes=scheme.sizes
    )
    points = [ask(w, cell.utility, split)]
    for step in range(1, films.STEPS + 1):
        user = np.stack([rng.choice(x.train, USERS, replace=False) for x in split])
        lists, logp = draw(w, user, ROLLOUTS)
        data = films.scored(split, user, lists.numpy())
        advantages = torch.tensor(allocator.advantages(**data)).reshape(logp.shape)
        ascend(adam, (advantages * logp).sum() / (USERS * ROLLOUTS))
        if step % films.EVERY == 0:
            points.append(ask(w, cell.utility, split))
    worth, distinct = np.array(points).transpose(1, 2, 0).reshape(2, len(rates), len(seeds), -1)
    ends = {"final": worth[..., -2:].mean(-1), "distinct": distinct[..., -2:].mean(-1)}
    return {"mean": worth[..., 1:].mean(-1), **ends, "curve": worth}


def draw(w: Weights, user: np.ndarray, rollouts: int) -> tuple[Any, Any]:
    """For users [runs, users]."""
    its = ratings()
    arrays = its.history[user], its.stars(its.history)[user], its.shelf[user]
    return write(w, *(torch.tensor(x).long() for x in arrays), rollouts)


def ask(w: Weights, utility: str, split: list[Users]) -> tuple[np.ndarray, np.ndarray]:
    """[runs]: mean worth of lists for the users that are held out, and how many different films they have."""
    user = np.stack([x.test for x in split])
    with torch.no_grad():
        lists = draw(w, user, SAMPLES)[0].numpy()
    data = films.scored(split, user, lists)
    worth = films.game(utility, data.pop("rewards"), **data).worth().reshape(len(user), -1).mean(1)
    distinct = (np.diff(np.sort(lists, -1), axis=-1) > 0).sum(-1) + 1
    return worth, distinct.mean((1, 2))


def do(cell: Cell) -> dict[str, Any]:
    """In a process of a worker."""
    return training.measure(cell, train, films.RATES, films.TUNING, films.REPORTED)
