"""Five films for a user, from real ratings: a small transformer that learns from each credit.

MovieLens-100K, as the wheel of RecBole brings it: nothing of it is kept here. A user's ratings, in the order of time,
are his history and then his shelf: films that he rated later. The policy reads the history with its stars, and writes
five films of the shelf, whose stars it does not see. So each film has a rating by its user, and none is made up.
"""

from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import shapley_kernels as sk
from benchmarks.learning.records import Records
from shapley_kernels import BackendUnavailable

RECORDS = Records("films")
FILMS, SHELF, K = 300, 24, 5
"""The films with most ratings. A history is as long as a shelf, and users have rated both."""
NEIGHBOURS, GENRES = 16, 18
STEPS, EVERY = 120, 20
"""Updates, and after how many users that are held out are asked."""
TUNING, REPORTED = range(1000, 1004), range(10)
RATES = (2e-3, 4e-3, 8e-3)
UTILITIES = ("neighbours", "discounted", "best", "genres")
CREDITS = ("GRPO", "Shapley", "LeaveOneOut", "Banzhaf", "Stratum(1)", "CandidateSwap")
CREDITS += ("SuffixSwap(0)", "SuffixSwap(0.5)", "SuffixSwap(1)")
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


def scored(split: list[Users], user: np.ndarray, lists: np.ndarray) -> dict[str, np.ndarray]:
    """What `game` takes, of lists [runs, users, rollouts, K] of places on the shelves of users [runs, users], as
    [runs * users, rollouts, K, ..]. A film that the list has already earns nothing."""
    user = user[..., None, None]
    opinions = np.stack([x.opinions[u, y] for x, u, y in zip(split, user, lists, strict=True)])
    again = (lists[..., :, None] == lists[..., None, :]) & np.tri(K, k=-1, dtype=bool)
    rewards = np.where(again.any(-1), np.float32(0), opinions[..., 0])
    genres = ratings().genres[ratings().shelf[user, lists]] & (opinions[..., :1] > gain(np.array(3.5)))
    found = {"rewards": rewards, "opinions": opinions, "genres": genres}
    return {name: x.reshape(-1, *x.shape[2:]) for name, x in found.items()}


def plan() -> Iterator[Cell]:
    yield from (Cell(utility, scheme) for utility, scheme in product(UTILITIES, CREDITS))
