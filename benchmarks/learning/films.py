"""Five films for a user, from real ratings: a small transformer that learns from each credit.

MovieLens-100K, as the wheel of RecBole brings it: nothing of it is kept here. A user's ratings, in the order of time,
are his history and then his shelf: films that he rated later. The policy reads the history with its stars, and writes
five films of the shelf, whose stars it does not see. So each film has a rating by its user, and none is made up.

Policies of many rates and seeds are trained at once: all arrays begin with [runs]. A seed gives the users that are held
out, and the warm start.
"""

from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import shapley_kernels as sk
from benchmarks.learning import training
from benchmarks.learning.records import Records
from benchmarks.learning.schemes import SCHEMES
from shapley_kernels import BackendUnavailable, rl

RECORDS = Records("films")
FILMS, SHELF, K = 300, 24, 5
"""The films with most ratings. A history is as long as a shelf, and users have rated both."""
NEIGHBOURS, GENRES = 16, 18
USERS, ROLLOUTS, STEPS, EVERY, SAMPLES = 4, 8, 120, 20, 2
"""Of an update; the lists of users that are held out are asked every so many, so many of each."""
WIDTH, LAYERS = 32, 2
WARM_STEPS, WARM_RATE = 200, 3e-3
TUNING, REPORTED = range(1000, 1004), range(10)
RATES = (2e-3, 4e-3, 8e-3)
UTILITIES = ("neighbours", "discounted", "best", "genres")
CREDITS = (
    "GRPO",
    "SuffixSwap(0.5)",
    "Shapley",
    "LeaveOneOut",
    "CandidateSwap",
    "Banzhaf",
    "Stratum(1)",
    "SuffixSwap(1)",
)
"""With five films in every list, sizes="share" is the same as "worth"."""


class Cell(NamedTuple):
    utility: str
    scheme: str


class Ratings(NamedTuple):
    """history, shelf [users, SHELF]: films; matrix [users, FILMS]: all stars, 0 for none; seen: those of the history;
    genres [FILMS, GENRES] bool."""

    history: np.ndarray
    shelf: np.ndarray
    matrix: np.ndarray
    seen: np.ndarray
    genres: np.ndarray

    def stars(self, films: np.ndarray) -> np.ndarray:
        """Of the users' own films [users, films]."""
        return np.take_along_axis(self.matrix, films, 1)


@cache
def ratings() -> Ratings:
    """Raises:
    BackendUnavailable: RecBole is not installed.
    """
    package = find_spec("recbole")
    if package is None or not package.submodule_search_locations:
        raise BackendUnavailable(
            "ratings of films come with the wheel of RecBole, found none; pip install --no-deps recbole==1.2.1, or "
            "`make learning`, which does so"
        )
    folder = Path(package.submodule_search_locations[0], "dataset_example", "ml-100k")
    user, film, stars, when = np.loadtxt(folder / "ml-100k.inter", skiprows=1, dtype=int).T
    most = np.argsort(-np.bincount(film), kind="stable")[:FILMS]
    rows = np.isin(film, most) & (np.bincount(user)[user] >= 2 * SHELF)
    place = np.zeros(film.max() + 1, int)
    place[most] = np.arange(FILMS)
    user, film, stars, when = user[rows], place[film[rows]], stars[rows], when[rows]
    order = np.lexsort((np.random.default_rng(0).random(len(user)), when))  # films rated in one second: by lot
    found = []
    for its in (order[user[order] == u] for u in np.unique(user)):
        middle = len(its) // 2
        if middle >= SHELF:
            matrix, seen = np.zeros((2, FILMS), np.float32)
            matrix[film[its]], seen[film[its[:middle]]] = stars[its], stars[its[:middle]]
            found.append((film[its[middle - SHELF : middle]], film[its[middle : middle + SHELF]], matrix, seen))
    kinds: dict[str, int] = {}
    genres = np.zeros((FILMS, GENRES), bool)
    for line in (folder / "ml-100k.item").read_text(encoding="utf-8").splitlines()[1:]:
        number, _, _, names = line.split("\t")
        if int(number) in most:
            genres[place[int(number)], [kinds.setdefault(name, len(kinds)) for name in names.split()]] = True
    return Ratings(*(np.stack(x) for x in zip(*found, strict=True)), genres)


def gain(stars: np.ndarray) -> np.ndarray:
    """That of DCG: 1 for five stars, 0.48 for four, 0.23 for three, 0 for no rating."""
    return ((2.0**stars - 1) / 31).astype(np.float32)


class Users(NamedTuple):
    """How the users of a seed are split, and what each of them and of his nearest in training think of his shelf:
    opinions [users, SHELF, 1 + NEIGHBOURS], his own first."""

    train: np.ndarray
    test: np.ndarray
    opinions: np.ndarray


@cache
def users(seed: int) -> Users:
    """Neighbours by the cosine of what lies in the history, less its mean, to all ratings of users in training."""
    its = ratings()
    test, train = np.split(np.random.default_rng(seed).permutation(len(its.matrix)), [len(its.matrix) // 4])
    history, others = (
        np.where(x > 0, x - x.sum(1, keepdims=True) / (x > 0).sum(1, keepdims=True), 0) for x in (its.seen, its.matrix)
    )
    others = others[train] / np.linalg.norm(others[train], axis=1, keepdims=True)
    alike = np.where(np.arange(len(history))[:, None] == train, -np.inf, history @ others.T)
    nearest = train[np.argsort(-alike, axis=1)[:, :NEIGHBOURS]]
    stars = its.matrix[nearest[..., None], its.shelf[:, None]].swapaxes(1, 2)
    return Users(train, test, gain(np.concatenate([its.stars(its.shelf)[..., None], stars], -1)))


def game(utility: str, rewards: Any, mask: Any = None, opinions: Any = None, genres: Any = None) -> sk.Game:
    """rewards [..., K], opinions [..., K, 1 + NEIGHBOURS], genres [..., K, GENRES]: those of films with four or five
    stars."""
    match utility:
        case "best":
            return sk.Max(rewards, mask=mask)
        case "discounted":
            return sk.Discounted(rewards, mask=mask) * (1 / 2.95)
        case "neighbours":
            return sk.FacilityLocation(opinions, mask=mask) * (1 / (1 + NEIGHBOURS))
        case "genres":
            return sk.Coverage(genres, mask=mask) * (1 / GENRES)
    raise ValueError(f"utility: expected one of {', '.join(UTILITIES)}, got {utility!r}")


def scored(its: Users, user: np.ndarray, lists: np.ndarray) -> dict[str, np.ndarray]:
    """Of lists [lists, K] of places on the shelves of users [lists]: a film that the list has already earns nothing."""
    opinions = its.opinions[user[:, None], lists]
    again = (lists[:, :, None] == lists[:, None]) & np.tri(K, k=-1, dtype=bool)
    rewards = np.where(again.any(-1), np.float32(0), opinions[..., 0])
    films = ratings().shelf[user[:, None], lists]
    liked = opinions[..., :1] > 0.4
    return {"rewards": rewards, "opinions": opinions, "genres": ratings().genres[films] & liked}


# -- the policy --------------------------------------------------------------------------------------------------------

Weights = dict[str, Any]


def new_weights(seeds: Iterable[int]) -> Weights:
    import torch

    shapes = {"film": (FILMS + 1, WIDTH), "star": (6, WIDTH), "place": (K, WIDTH)}
    for i in range(LAYERS):
        shapes |= {f"qkv{i}": (WIDTH, 3 * WIDTH), f"out{i}": (WIDTH, WIDTH)}
        shapes |= {f"up{i}": (WIDTH, 2 * WIDTH), f"down{i}": (2 * WIDTH, WIDTH)}
    drawn = [np.random.default_rng((1, seed)) for seed in seeds]
    return {
        name: torch.tensor(np.stack([rng.normal(0.0, 0.2, shape) for rng in drawn]), dtype=torch.float32)
        for name, shape in shapes.items()
    }


def write(w: Weights, history: Any, stars: Any, shelf: Any, rollouts: int, given: Any = None) -> tuple[Any, Any]:
    """history, stars [runs, users, films], shelf [runs, users, places] -> places that are drawn, or given, and their
    log p, both [runs, users, rollouts, K]."""
    import torch

    row = torch.arange(len(history))[:, None, None]
    options = w["film"][row, shelf].mT
    memory: list[Any] = [None] * LAYERS
    attend(w, w["film"][row, history] + w["star"][row, stars], memory, None)
    # keys are those of the history and, place after place, those of all rollouts, of which each sees its own
    own = torch.where(torch.eye(rollouts, dtype=torch.bool), 0.0, -torch.inf)
    sees = torch.zeros(rollouts, history.shape[2])
    films = torch.full((*history.shape[:2], rollouts), FILMS)  # what stands before a list
    places, chances = [], []
    for k in range(K):
        sees = torch.cat([sees, own], 1)
        x = attend(w, w["film"][row, films] + w["place"][:, None, None, k], memory, sees)
        logp = (normal(x) @ options).log_softmax(-1)
        if given is None:
            drawn = torch.multinomial(logp.detach().exp().flatten(0, 2), 1).reshape(films.shape)
        else:
            drawn = given[..., k]
        places.append(drawn)
        chances.append(logp.gather(-1, drawn[..., None])[..., 0])
        films = shelf.gather(2, drawn)
    return torch.stack(places, -1), torch.stack(chances, -1)


def attend(w: Weights, x: Any, memory: list[Any], sees: Any) -> Any:
    """What all layers make of x [runs, users, tokens, WIDTH]; its keys and values join those in memory."""
    import torch

    for i in range(LAYERS):
        q, *kv = through(normal(x), w[f"qkv{i}"]).chunk(3, -1)
        memory[i] = kv if memory[i] is None else [torch.cat(both, 2) for both in zip(memory[i], kv, strict=True)]
        scores = q @ memory[i][0].mT / WIDTH**0.5
        scores = scores if sees is None else scores + sees
        x = x + through(scores.softmax(-1) @ memory[i][1], w[f"out{i}"])
        x = x + through(through(normal(x), w[f"up{i}"]).relu(), w[f"down{i}"])
    return x


def normal(x: Any) -> Any:
    from torch.nn.functional import layer_norm

    return layer_norm(x, (WIDTH,))


def through(x: Any, weight: Any) -> Any:
    """[runs, .., in] by [runs, in, out]."""
    return (x.flatten(1, -2) @ weight).unflatten(1, x.shape[1:-1])


def ascend(adam: training.Adam, objective: Any) -> None:
    import torch

    gradients = torch.autograd.grad(objective, adam.arrays)
    with torch.no_grad():
        adam.ascend(gradients)


@cache
def warm_start(seeds: tuple[int, ...]) -> Weights:
    """Weights that continue the histories of users in training: half of one is read, and five others of its films,
    rather those with many stars, are written."""
    import torch

    w, its = new_weights(seeds), ratings()
    rngs = [np.random.default_rng((2, seed)) for seed in seeds]
    adam = training.Adam([x.requires_grad_() for x in w.values()], torch.full((len(seeds),), WARM_RATE))
    stars = its.stars(its.history)
    for step in range(WARM_STEPS):
        batch = []
        for seed, rng in zip(seeds, rngs, strict=True):
            user = rng.choice(users(seed).train, 32)[:, None]
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
    import torch

    torch.set_num_threads(1)
    rates, seeds = list(rates), list(seeds)
    split = [users(seed) for seed in seeds] * len(rates)
    w = {
        name: x.repeat(len(rates), *(1,) * (x.ndim - 1)).requires_grad_()
        for name, x in warm_start(tuple(seeds)).items()
    }
    adam = training.Adam(list(w.values()), torch.tensor(np.repeat(np.float32(rates), len(seeds))))
    scheme, rng = SCHEMES[cell.scheme], np.random.default_rng(salt)
    torch.manual_seed(salt)
    allocator = rl.RewardAllocator(
        lambda r, mask=None, **data: game(cell.utility, r, mask, **data), scheme.value, sizes=scheme.sizes
    )
    points = [ask(w, cell.utility, split)]
    for step in range(1, STEPS + 1):
        user = np.stack([rng.choice(x.train, USERS, replace=False) for x in split])
        lists, logp = draw(w, user, ROLLOUTS)
        data = scores(split, user, lists.numpy())
        advantages = torch.tensor(allocator.advantages(**data)).reshape(logp.shape)
        ascend(adam, (advantages * logp).sum() / (USERS * ROLLOUTS))
        if step % EVERY == 0:
            points.append(ask(w, cell.utility, split))
    worth, distinct = np.array(points).transpose(1, 2, 0).reshape(2, len(rates), len(seeds), -1)
    ends = {"final": worth[..., -2:].mean(-1), "distinct": distinct[..., -2:].mean(-1)}
    return {"mean": worth[..., 1:].mean(-1), **ends, "curve": worth}


def draw(w: Weights, user: np.ndarray, rollouts: int) -> tuple[Any, Any]:
    """For users [runs, users]."""
    import torch

    its = ratings()
    arrays = its.history[user], its.stars(its.history)[user], its.shelf[user]
    return write(w, *(torch.tensor(x).long() for x in arrays), rollouts)


def scores(split: list[Users], user: np.ndarray, lists: np.ndarray) -> dict[str, np.ndarray]:
    """`scored` of lists [runs, users, rollouts, K], as [runs * users, rollouts, K, ..]."""
    shape = (-1, *lists.shape[2:])
    found = [
        scored(x, np.repeat(u, lists.shape[2]), y.reshape(-1, K)) for x, u, y in zip(split, user, lists, strict=True)
    ]
    return {
        name: np.concatenate([x[name] for x in found]).reshape(*shape, *found[0][name].shape[2:]) for name in found[0]
    }


def ask(w: Weights, utility: str, split: list[Users]) -> tuple[np.ndarray, np.ndarray]:
    """[runs]: mean worth of lists for the users that are held out, and how many different films they have."""
    import torch

    user = np.stack([x.test for x in split])
    with torch.no_grad():
        lists = draw(w, user, SAMPLES)[0].numpy()
    data = scores(split, user, lists)
    worth = game(utility, data.pop("rewards"), **data).worth().reshape(len(user), -1).mean(1)
    distinct = (np.diff(np.sort(lists, -1), axis=-1) > 0).sum(-1) + 1
    return worth, distinct.mean((1, 2))


def do(cell: Cell) -> dict[str, Any]:
    """In a process of a worker."""
    return training.measure(cell, train, RATES, TUNING, REPORTED)


def plan() -> Iterator[Cell]:
    yield from (Cell(utility, scheme) for utility, scheme in product(UTILITIES, CREDITS))
