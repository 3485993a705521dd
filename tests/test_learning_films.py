"""Five films for a user: on ratings that are made up here, as files of the form of RecBole's."""

from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.learning import films
from benchmarks.learning.films import SHELF, Cell, K
from benchmarks.learning.schemes import SCHEMES
from tests.conftest import need

PEOPLE, RATED = 12, 2 * SHELF + 5
STARS = np.random.default_rng(0).integers(1, 6, (PEOPLE, RATED))
STARS[:, ::7] = 5  # which can be learnt


@pytest.fixture(autouse=True)
def ratings(tmp_path, monkeypatch):
    """User 7 u + 1 rates film 3 f + 2 at second f: stars STARS[u, f]; one more rates too few."""
    folder = tmp_path / "dataset_example" / "ml-100k"
    folder.mkdir(parents=True)
    rows = [(7 * u + 1, 3 * f + 2, s, f) for (u, f), s in np.ndenumerate(STARS)] + [(999, 2, 5, 0)]
    lines = ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *("\t".join(map(str, r)) for r in rows)]
    (folder / "ml-100k.inter").write_text("\n".join(lines))
    titles = [f"{3 * f + 2}\tTitle\t1995\t{'Drama' if f % 2 else 'Comedy War'}" for f in range(RATED)]
    (folder / "ml-100k.item").write_text("\n".join(["item_id:token\t...", *titles]))
    monkeypatch.setattr(films, "find_spec", lambda name: SimpleNamespace(submodule_search_locations=[tmp_path]))
    for name, value in {"FILMS": RATED, "NEIGHBOURS": 2, "STEPS": 24, "EVERY": 2}.items():
        monkeypatch.setattr(films, name, value)
    for cached in (films.ratings, films.users):
        cached.cache_clear()
    yield films.ratings()
    for cached in (films.ratings, films.users):
        cached.cache_clear()


@pytest.fixture
def writer(monkeypatch):
    need("torch")
    from benchmarks.learning import writer

    for name, value in {"WARM_STEPS": 3, "USERS": 3, "ROLLOUTS": 4}.items():
        monkeypatch.setattr(writer, name, value)
    writer.warm_start.cache_clear()
    yield writer
    writer.warm_start.cache_clear()


def test_the_shelf_is_what_a_user_rated_after_his_history(ratings):
    middle = RATED // 2  # films, all rated by as many, keep their order
    assert ratings.history.tolist() == [list(range(middle - SHELF, middle))] * PEOPLE
    assert ratings.shelf.tolist() == [list(range(middle, middle + SHELF))] * PEOPLE
    np.testing.assert_array_equal(ratings.matrix, STARS)
    np.testing.assert_array_equal(ratings.seen, np.where(np.arange(RATED) < middle, STARS, 0))
    assert ratings.genres.sum(0).tolist()[:3] == [(RATED + 1) // 2, (RATED + 1) // 2, RATED // 2]


def test_neighbours_are_of_training_and_never_the_user_himself():
    its = films.users(3)
    assert sorted([*its.train, *its.test]) == list(range(PEOPLE))
    assert len(its.test) == PEOPLE // 4
    gains = films.gain(STARS[:, films.ratings().shelf[0]])
    np.testing.assert_array_equal(its.opinions[..., 0], gains)
    for user, opinions in enumerate(its.opinions[..., 1:].transpose(0, 2, 1)):
        for opinion in opinions:
            assert any((opinion == gains[other]).all() for other in its.train if other != user)


def test_what_lists_are_worth():
    its, lists = films.users(3), np.array([[4, 2, 4, 0, 1]])
    data = films.scored([its], np.array([[5]]), lists[None, None])
    opinions, stars = its.opinions[5, lists[0]], STARS[5, films.ratings().shelf[5, lists[0]]]
    own = opinions[:, 0] * [1, 1, 0, 1, 1]  # once more earns nothing
    np.testing.assert_array_equal(data["rewards"][0, 0], own)
    liked = set().union(*({"D"} if f % 2 else {"C", "W"} for f in films.ratings().shelf[5, lists[0][stars > 3]]))
    expected = {
        "best": own.max(),
        "discounted": np.sort(own)[::-1] @ (1 / np.log2(np.arange(K) + 2)) / 2.95,
        "neighbours": opinions.max(0).mean(),
        "genres": len(liked) / films.GENRES,
    }
    rewards = data.pop("rewards")
    for utility, worth in expected.items():
        assert films.game(utility, rewards, **data).worth() == pytest.approx(worth, rel=1e-6)


def test_lists_are_written_one_by_one_and_do_not_see_each_other(ratings, writer):
    import torch

    user, weights = np.array([[0, 3], [5, 6]]), writer.warm_start((1, 2))
    lists, logp = writer.draw(weights, user, 3)
    arrays = [torch.tensor(x[user]).long() for x in (ratings.history, ratings.stars(ratings.history), ratings.shelf)]
    for i in range(3):
        alone = writer.write(weights, *arrays, 1, lists[:, :, i : i + 1])[1]
        torch.testing.assert_close(alone, logp[:, :, i : i + 1])
    every = torch.arange(SHELF).expand(2, 2, SHELF)
    given = torch.stack([every, *([every] * (K - 1))], -1)  # of so many rollouts, one begins with each film
    first = writer.write(weights, *arrays, SHELF, given)[1][..., 0].exp().sum(-1)
    torch.testing.assert_close(first, torch.ones(2, 2))
    changed = [arrays[0], 6 - arrays[1], arrays[2]]
    assert not torch.allclose(writer.write(weights, *changed, 3, lists)[1], logp)  # stars of the history matter


def test_training_can_be_repeated_and_raises_the_worth(writer):
    cell = Cell("discounted", "SuffixSwap(0.5)")
    found, again = (writer.train(cell, [1e-3, 0.03], [0, 1], 0) for _ in range(2))
    for name, x in found.items():
        np.testing.assert_array_equal(x, again[name])
        assert x.shape == ((2, 2, 13) if name == "curve" else (2, 2))
    np.testing.assert_array_equal(found["curve"][..., 1:].mean(-1), found["mean"])
    assert (found["final"][1] > found["curve"][1, :, 0] + 0.1).all()


def test_the_plan_names_credits_that_are_known():
    planned = list(films.plan())
    assert len(set(planned)) == len(planned) == len(films.UTILITIES) * len(films.CREDITS)
    assert set(films.CREDITS) <= set(SCHEMES)
