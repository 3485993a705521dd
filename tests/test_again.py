"""Calls like one before, which go straight to their kernel, and tensors, which numpy works on: nobody notices."""

from itertools import product

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.launch import MOST_RUNS, RUNS

REWARDS = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
MASK = np.random.default_rng(1).random((6, 5)) < 0.7


def worths(rewards):
    """[rows, 2^players]: of the first and the last member of a set."""
    sets = range(2 ** rewards.shape[-1])
    last, first = [max(s.bit_length() - 1, 0) for s in sets], [max((s & -s).bit_length() - 1, 0) for s in sets]
    return rewards[..., last] * rewards[..., first]


GAMES = {
    "Max": lambda r, mask=None: sk.Max(r, mask=mask),
    "another v_empty": lambda r, mask=None: sk.Max(r, mask=mask, v_empty=-1.0),
    "v_empty of each": lambda r, mask=None: sk.Max(r, mask=mask, v_empty=r[..., 0]),
    "TopM": lambda r, mask=None: sk.TopM(r, 2, mask=mask),
    "another m": lambda r, mask=None: sk.TopM(r, 3, mask=mask),
    "Min": lambda r, mask=None: sk.Min(r, mask=mask),
    "Pairwise": lambda r, mask=None: sk.Pairwise(r[..., None] * r[..., None, :], r, mask=mask),
    "without values": lambda r, mask=None: sk.Pairwise(r[..., None] * r[..., None, :], mask=mask),
    "Table": lambda r, mask=None: sk.Table(worths(r), mask=mask),
    "NoisyOr": lambda r, mask=None: sk.NoisyOr(abs(r) / 8, mask=mask),
    "a sum": lambda r, mask=None: 0.5 * sk.Max(r, mask=mask) + sk.TopM(r, 2, mask=mask),
    "another weight": lambda r, mask=None: 0.25 * sk.Max(r, mask=mask) + sk.TopM(r, 2, mask=mask),
    "another summand": lambda r, mask=None: 0.5 * sk.Max(r, mask=mask) + sk.TopM(r, 3, mask=mask),
    "with another v_empty": lambda r, mask=None: sk.Max(r, mask=mask) + sk.TopM(r, 2, mask=mask, v_empty=1.0),
    "of two data": lambda r, mask=None: 0.5 * sk.Max(r, mask=mask) + sk.TopM(2 * r, 2, mask=mask),
    "weights of each": lambda r, mask=None: r[..., 0] * sk.Max(r, mask=mask) + sk.TopM(r, 2, mask=mask),
    "not merged": lambda r, mask=None: sk.NoisyOr(abs(r) / 8, mask=mask) * 2,
}
VALUES = (sk.Shapley(), sk.Banzhaf(0.3), sk.Banzhaf(0.5), sk.Stratum(2), sk.LeaveOneOut())


@pytest.fixture(autouse=True)
def nothing_known():
    RUNS.clear()


def all_credits(nan=None):
    return [
        sk.semivalue(game(rewards, mask), value, nan=nan).tobytes()
        for rewards in (REWARDS, REWARDS.astype("float64"), REWARDS[::-1, ::-1], REWARDS[:, :3], REWARDS[:0])
        for mask in (None, MASK[: len(rewards), : rewards.shape[-1]])
        for game in GAMES.values()
        for value in VALUES
    ]


def test_credits_are_those_of_the_long_way():
    """`nan` says that they are asked for that way."""
    expected = all_credits(nan="raise")
    assert not RUNS
    for _ in range(2):
        assert all_credits() == expected
    assert 0 < len(RUNS) <= MOST_RUNS


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("masked", [False, True])
def test_advantages_are_those_of_the_long_way(dtype, masked):
    """Which those of groups that stand among each other go."""
    credits = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(dtype)
    mask = np.random.default_rng(1).random((3, 4, 5)) < 0.7 if masked else None
    mixed, of_mixed = (None if x is None else x.swapaxes(0, 1).reshape(12, 5) for x in (credits, mask))
    for center, scale in product(CENTERS, SCALES):
        options = {"center": center, "scale": scale}
        long = sk.grpo_advantages(mixed, of_mixed, group_ids=np.tile(np.arange(3), 4), **options)
        for shown in (credits, credits[:, :, ::-1][:, :, ::-1], credits.swapaxes(1, 2).copy().swapaxes(1, 2)):
            advantages = sk.grpo_advantages(shown, mask, **options)
            assert advantages.tobytes() == long.reshape(4, 3, 5).swapaxes(0, 1).tobytes()
    credits[1, 2, 3] = np.nan
    for _ in range(2):
        if mask is None:
            with pytest.raises(ValueError, match=r"finite, got nan at \[1, 2, 3\]"):
                sk.grpo_advantages(credits, mask)
    assert 0 < len(RUNS) <= MOST_RUNS


def test_bad_data_are_refused_as_at_first():
    bad = REWARDS.copy()
    bad[2, 3] = np.nan
    for game in (GAMES["Max"], GAMES["Pairwise"], GAMES["Table"]):
        messages = []
        for _ in range(2):
            with pytest.raises(ValueError, match="finite") as error:
                sk.shapley(game(bad))
            messages.append(str(error.value))
            sk.shapley(game(REWARDS))  # from here on known
        assert messages[0] == messages[1]


def test_pairs_that_differ_are_refused_as_at_first():
    w = np.ones((6, 5, 5), "float32")
    sk.shapley(sk.Pairwise(w))  # from here on known
    w[3, 1, 2] = 2.0
    with pytest.raises(ValueError, match=r"symmetric, got 2.0 at \[3, 1, 2\]"):
        sk.shapley(sk.Pairwise(w))


@pytest.mark.parametrize("name", ["Max", "Pairwise", "Table"])
def test_a_utility_of_the_user_with_terms_of_its_own_is_asked(name):
    game = GAMES[name](REWARDS)
    once = sk.shapley(game)

    class Twice(type(game)):
        by = 2.0

        def terms(self, value):
            return [term.times(self.by) for term in super().terms(value)]

    twice = object.__new__(Twice)
    twice.__dict__.update(game.__dict__)
    for by in (2.0, 4.0):
        Twice.by = by
        np.testing.assert_array_equal(sk.shapley(twice), by * once)


def test_few_are_kept():
    for players in range(1, 65):
        for value in (sk.Shapley(), sk.LeaveOneOut()):
            sk.semivalue(sk.Max(np.ones(players)), value)
            assert len(RUNS) <= MOST_RUNS


def test_tensors_share_their_memory_with_numpy():
    torch = pytest.importorskip("torch")
    rewards, mask = torch.from_numpy(REWARDS.copy()), torch.from_numpy(MASK)
    twin = sk.Max(rewards, mask=mask).in_numpy(keep_gradient=True)
    assert np.shares_memory(twin.rewards, rewards.numpy())
    assert np.shares_memory(twin.mask, mask.numpy())
    both = (0.5 * sk.Max(rewards) + sk.TopM(rewards, 2)).in_numpy(keep_gradient=True)
    assert both.parts[0][1].rewards is both.parts[1][1].rewards  # one run of a kernel
    assert sk.Max(REWARDS).in_numpy(keep_gradient=True) is None
    assert sk.Max(rewards.bfloat16()).in_numpy(keep_gradient=True) is None
    needs_grad = sk.Max(rewards.clone().requires_grad_())
    assert needs_grad.in_numpy(keep_gradient=True) is None
    assert needs_grad.in_numpy(keep_gradient=False) is not None
    with torch.no_grad():
        assert needs_grad.in_numpy(keep_gradient=True) is not None


@pytest.mark.parametrize("game", ["Max", "Pairwise", "Table"])
def test_what_numpy_does_not_read_goes_the_long_way(game):
    """Gradients flow, and views of opposites are what they show."""
    torch = pytest.importorskip("torch")
    rewards, make = torch.from_numpy(REWARDS.copy()), GAMES[game]
    plain, weights = sk.shapley(make(rewards)), torch.linspace(0.0, 1.0, 5)
    assert RUNS
    opposite = torch.complex(torch.zeros_like(rewards), -rewards).conj().imag
    assert opposite.is_neg()
    assert torch.equal(sk.shapley(make(opposite)), plain)
    needs_grad = rewards.clone().requires_grad_()
    with torch.no_grad():
        assert torch.equal(sk.shapley(make(needs_grad)), plain)

    def weighted(r):
        return (sk.shapley(make(r)) * weights).sum()

    (gradient,) = torch.autograd.grad(weighted(needs_grad), needs_grad)
    assert torch.isfinite(gradient).all()
    assert gradient.abs().sum() > 0
    if game == "Max":
        torch.testing.assert_close(torch.func.grad(weighted)(rewards), gradient)
        assert torch.equal(torch.func.vmap(lambda r: sk.shapley(make(r)))(rewards), plain)


@pytest.mark.parametrize("game", GAMES)
@pytest.mark.parametrize("masked", [False, True])
def test_results_on_tensors_are_those_of_numpy(game, masked):
    torch = pytest.importorskip("torch")
    rewards, mask = torch.from_numpy(REWARDS.copy()), torch.from_numpy(MASK) if masked else None
    allocator, ids = sk.RewardAllocator(GAMES[game]), np.random.default_rng(2).integers(0, 6, (6, 9))
    calls = (
        lambda r, m, i: sk.shapley(GAMES[game](r, m)),
        lambda r, m, i: sk.grpo_advantages(r, m),
        lambda r, m, i: allocator.advantages(r, m),
        lambda r, m, i: allocator.set_advantages(r, m),
        lambda r, m, i: allocator.token_advantages(r, i, m),
        lambda r, m, i: sk.rl.scatter_to_tokens(r, i),
    )
    for call in calls:
        got = call(rewards, mask, torch.from_numpy(ids))
        expected = call(REWARDS, MASK if masked else None, ids)
        assert type(got) is torch.Tensor
        assert got.dtype == torch.float32
        assert got.numpy().tobytes() == expected.tobytes()
    with pytest.raises(TypeError, match="torch tensor"):
        allocator.token_advantages(rewards, ids, mask)


class Scaled:
    """Terms that data decide, and that the class before which this stands is not asked about."""

    def terms(self, value):
        return [term.times(float(self.rewards.max())) for term in super().terms(value)]


class ScaledMax(Scaled, sk.Max):
    pass


def test_terms_of_a_mixin_are_made_each_time():
    alone = sk.shapley(ScaledMax(REWARDS))
    np.testing.assert_allclose(sk.shapley(ScaledMax(2 * REWARDS)), 4 * alone, rtol=1e-6)


@pytest.mark.parametrize("players", [3, 9, 30])
def test_whatever_byte_says_that_a_player_is_live(players):
    """numpy reads masks so; they come from other libraries, or are bytes of something else."""
    live = np.random.default_rng(0).random((5, players)) < 0.6
    odd = (live.astype(np.uint8) * 254).view(bool)
    rewards = np.random.default_rng(1).random((5, players))
    games = {
        "Max": lambda mask: sk.Max(rewards, mask=mask),
        "Mean": lambda mask: sk.Mean(rewards, mask=mask),
        "NoisyOr": lambda mask: sk.NoisyOr(rewards, mask),
        "AtLeast": lambda mask: sk.AtLeast(rewards, 2, mask),
        "Pairwise": lambda mask: sk.Pairwise(np.ones((5, players, players)), rewards, mask=mask),
    }
    if players < 10:
        games["Table"] = lambda mask: sk.Table(np.random.default_rng(2).random((5, 2**players)), mask=mask)
    for game in games.values():
        for _ in range(2):  # the second call goes straight to its kernel
            np.testing.assert_array_equal(sk.shapley(game(odd)), sk.shapley(game(live)))
    np.testing.assert_array_equal(sk.grpo_advantages(rewards, odd), sk.grpo_advantages(rewards, live))
