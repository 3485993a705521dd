"""Lists of expressions: what tokens are worth, and that what is trained is what was drawn."""

import numpy as np
import pytest

from benchmarks.learning import dice, runs
from benchmarks.learning.dice import END, LENGTH, PIECES, Cell
from benchmarks.learning.schemes import SCHEMES
from tests.conftest import need

CLOSING = np.array([1 + i for i, piece in enumerate(PIECES) if piece.endswith(";")])


@pytest.fixture(scope="module")
def tokens():
    """Lists of random tokens, of which many close a candidate, with nothing behind the end."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, len(PIECES) + 1, (2000, LENGTH))
    found = np.where(rng.random(found.shape) < 0.3, rng.choice(CLOSING, found.shape), found)
    return np.where((found == END).cumsum(1) > 0, END, found)


@pytest.mark.parametrize(("utility", "score"), [("hit", runs.closeness), ("cover", runs.solution)])
def test_tokens_are_read_as_their_text_is(tokens, utility, score):
    which, mask, ids = dice.read(tokens)
    target = np.random.default_rng(1).choice(runs.TARGETS, len(tokens))
    rewards = dice.rewards(utility, which, target)
    assert (which >= 0).sum() > 1000
    for i, row in enumerate(tokens):
        pieces = [PIECES[token - 1] if token != END else "" for token in row]
        candidates = "".join(pieces).split(";")[:-1]
        assert mask[i].tolist() == [k < len(candidates) for k in range(LENGTH)]
        np.testing.assert_allclose(rewards[i, mask[i]], score(candidates, [target[i]] * len(candidates)), rtol=1e-6)
        its = ["".join(p for p, at in zip(pieces, ids[i], strict=True) if at == k + 1) for k in range(len(candidates))]
        assert its == [f"{candidate};" for candidate in candidates]


@pytest.fixture
def writer(monkeypatch):
    need("torch")
    from benchmarks.learning import dice_writer

    for name, value in {"WARM_STEPS": 40, "SAMPLES": 16}.items():
        monkeypatch.setattr(dice_writer, name, value)
    monkeypatch.setitem(dice.STEPS, 64, 60)
    dice_writer.warm_start.cache_clear()
    yield dice_writer
    dice_writer.warm_start.cache_clear()


def test_lists_are_drawn_with_the_chances_that_are_trained(writer):
    import torch

    weights, target = writer.warm_start((1, 2)), torch.tensor([[3], [0]])
    first = torch.tensor([[[i] + [END] * (LENGTH - 1) for i in range(len(PIECES) + 1)]] * 2)
    chances = writer.log_chances(weights, target.expand(2, len(PIECES) + 1), first)
    assert (chances[:, 0, 1:] == 0).all()  # behind the end
    torch.testing.assert_close(chances[..., 0].exp().sum(1), torch.ones(2))
    torch.manual_seed(0)
    drawn = writer.write(weights, target.expand(2, 20_000))
    for run in range(2):
        found = np.bincount(drawn[run, :, 0].numpy(), minlength=len(PIECES) + 1) / 20_000
        np.testing.assert_allclose(found, chances[run, :, 0].exp().numpy(), atol=0.015)
    again = writer.log_chances(weights, target.expand(2, 50), drawn[:, :50])
    alone = writer.log_chances(weights, target, drawn[:, :1])
    torch.testing.assert_close(alone, again[:, :1])
    later = drawn[:, :50].clone()
    later[..., -1] = CLOSING[0]
    torch.testing.assert_close(writer.log_chances(weights, target.expand(2, 50), later)[..., :-1], again[..., :-1])


def test_training_sees_all_targets_but_one(writer):
    hidden, rng = np.array([[0], [3]]), np.random.default_rng(0)
    many = writer.targets(hidden, 64, rng)
    for row, left_out in zip(many, (0, 3), strict=True):
        assert np.bincount(row, minlength=5).tolist() == [0 if t == left_out else 16 for t in range(5)]
    few = np.stack([writer.targets(hidden, 8, rng) for _ in range(100)])
    assert (few == few[..., :1]).all()
    assert set(few[:, 0].flat) == {1, 2, 3, 4}
    assert set(few[:, 1].flat) == {0, 1, 2, 4}


def test_training_can_be_repeated_and_raises_the_worth(writer):
    cell = Cell("hit", "SuffixSwap(0.5)", 64)
    found, again = (writer.train(cell, [1e-4, 0.01], [0, 1], 0) for _ in range(2))
    for name, x in found.items():
        np.testing.assert_array_equal(x, again[name])
        assert x.shape == (2, 2)
    assert (found["final"][1] > found["final"][0] + 0.05).all()
    near = writer.train(cell._replace(kl=10.0), [0.01], [0, 1], 0)
    assert (near["final"][0] < found["final"][1]).all()  # the KL term holds it where it was


def test_the_plan_names_credits_that_are_known():
    planned = list(dice.plan())
    assert len(set(planned)) == len(planned) == 60
    assert {cell.scheme for cell in planned} <= set(SCHEMES)
