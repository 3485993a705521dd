"""Interactions of pairs against their definition in rational arithmetic, within the bounds of their docstring."""

from fractions import Fraction

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.arrays import NUMPY, to_float64
from shapley_kernels.games import GAMES, OrderGame, Pairwise, Table
from shapley_kernels.games.order.pairs import pair_tables, pairs
from shapley_kernels.interactions import INDICES
from shapley_kernels.testing import exact_interactions
from shapley_kernels.testing.samples import sample

R = [0.9, 0.5, 0.1]
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
ORDER = [game for game in GAMES if issubclass(game, OrderGame)]


def allowed(game, index, dtype, row):
    """A matrix of error bounds, before the result is rounded to its dtype."""
    eps, n, live = EPS["float64" if dtype == "float64" else "float32"], game.players, game.live_players(row)
    value = INDICES[index][1]
    if isinstance(game, OrderGame):
        v_empty = game.v_empty if isinstance(game.v_empty, float) else to_float64(game.v_empty)[row]
        m, c = len(live), abs(v_empty)
        if m < 2:
            return 0.0
        p, q, r, e = type(game).pair_coefficients(value, m, *game.params)
        ranked = np.append(np.sort(to_float64(game.rewards)[row, live])[::-1], v_empty)
        gaps = np.abs(np.diff(ranked))
        size = gaps @ (np.abs(p) + np.abs(q) + np.abs(r))
        largest = max(np.abs(type(game).weights(s, *game.params)).sum() for s in range(1, m + 1))
        return (2 * m + 4) * eps / 2 * size + c * abs(e) * eps + m * 2.0**-52 * largest * (gaps.sum() + 4 * c)
    worth = game.exact_worth(row)
    largest = max(abs(worth(frozenset(i for i in live if s >> i & 1))) for s in range(1 << n))
    return (n + 10) * eps / 2 * 4 * float(largest)


def check(game, index, dtype, backend="auto"):
    found = sk.interactions(game, index, backend=backend)
    assert found.dtype == game.dtype
    assert type(found) is type(game.data)
    got = to_float64(found)
    assert (got == got.swapaxes(-1, -2)).all()
    diagonal = to_float64(sk.semivalue(game, INDICES[index][0], backend=backend))
    np.testing.assert_array_equal(np.diagonal(got, axis1=-2, axis2=-1), diagonal)  # with its own budget, in test_laws
    for row in range(len(got)):
        exact = exact_interactions(game, index, row)
        bound = allowed(game, index, dtype, row)
        for i in range(game.players):
            for j in range(i):
                error = float(abs(Fraction(float(got[row, i, j])) - exact[i][j]))
                size = abs(float(exact[i][j]))
                limit = bound + EPS[dtype] / 2 * (size + bound) + 2.0**-24 * (dtype == "float16") + 1e-300
                assert error <= limit, (game, index, row, i, j, got[row], error / limit)


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("game", GAMES, ids=lambda g: g.__name__)
def test_equals_enumeration(game, index):
    for players, draw in ((1, 0), (2, 1), (3, 0), (5, 1)):
        check(sample(game, "float64", players, draw).game(), index, "float64")


@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16"])
@pytest.mark.parametrize("game", [sk.Max, sk.Median, Pairwise, Table], ids=lambda g: g.__name__)
def test_torch(game, dtype, index):
    for draw in (0, 1):
        check(sample(game, dtype, 4, draw).placed("torch", dtype).game(), index, dtype)
        if dtype != "bfloat16":
            check(sample(game, dtype, 4, draw).placed("numpy", dtype).game(), index, dtype, "torch")


@pytest.mark.parametrize(
    ("index", "pairs"),
    [("SII", (-9 / 20, -1 / 20, -1 / 20)), ("BII", (-9 / 20, -1 / 20, -1 / 20)), ("STII", (-7 / 15, -1 / 15, -1 / 15))],
)
def test_golden_values(index, pairs):
    found = sk.interactions(sk.Max(R), index)
    np.testing.assert_allclose([found[0, 1], found[0, 2], found[1, 2]], pairs, rtol=0, atol=2e-16)


def test_pairwise_interacts_by_its_weights():
    rng = np.random.default_rng(0)
    w = rng.standard_normal((3, 6, 6))
    w = w + w.swapaxes(1, 2)
    off = ~np.eye(6, dtype=bool)
    for index in INDICES:
        np.testing.assert_allclose(sk.interactions(sk.Pairwise(w, w[:, 0]), index)[:, off], w[:, off], rtol=4e-16)


CLOSED = [*ORDER, sk.FacilityLocation, sk.Coverage, sk.NoisyOr, Pairwise]


@pytest.mark.parametrize("game", CLOSED, ids=lambda g: g.__name__)
def test_shapley_taylor_adds_up_for_many_players(game):
    """The diagonal and the upper triangle sum to v(all) - v(empty)."""
    players = 9 if game in ORDER else 60
    for draw in (0, 1):
        batch = sample(game, "float64", players, draw).game()
        found, nothing = sk.interactions(batch, "STII"), batch.worth(np.zeros(players, bool))
        scale, gain = np.abs(found).sum((1, 2)) + np.abs(nothing), batch.worth() - nothing
        assert (np.abs(np.triu(found).sum((1, 2)) - gain) <= 400 * 2.0**-53 * scale).all()


@pytest.mark.parametrize("index", INDICES)
def test_many_players(index):
    """Fixed weights at 300 players, where O(n^3) coefficients are still allowed and say the same."""
    from shapley_kernels.games.order.pairs import _generic

    value = INDICES[index][1]
    for n, m in ((300, 7), (64, 64)):
        p, q, r, _ = sk.TopM.pair_coefficients(value, n, m)
        generic = _generic(lambda s, m=m: sk.TopM.weights(s, m), value.size_weights(n - 1), n)
        assert np.abs(p - generic[0]).max() <= n * 2.0**-52 * n
        assert not q.any()
        assert not r.any()
        assert np.abs(generic[1:]).max() <= n * 2.0**-52 * n


def test_sums_and_multiples_add():
    rng = np.random.default_rng(2)
    r, w = rng.random((4, 5)), rng.random((4, 5, 5))
    scale = rng.standard_normal(4)
    a, b, c = sk.TopM(r, 2), sk.Pairwise(w + w.swapaxes(1, 2)), sk.Table(rng.random((4, 32)))
    for index in INDICES:
        whole = sk.interactions(0.5 * a - scale * b + c, index)
        parts = 0.5 * sk.interactions(a, index) - scale[:, None, None] * sk.interactions(b, index)
        np.testing.assert_allclose(whole, parts + sk.interactions(c, index), rtol=0, atol=1e-14)


@pytest.mark.parametrize("index", INDICES)
def test_sums_are_as_accurate_as_their_widest_term(index):
    """Games of integers are float32 in torch when alone, as are the others here."""
    rewards = torch.rand((2, 5), generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
    table = torch.rand((2, 32), generator=torch.Generator().manual_seed(1))
    for narrow in (sk.BudgetCap(weights, budget=11), sk.Max(weights), sk.Median(rewards), sk.Table(table)):
        game = sk.Max(torch.zeros(2, 5, dtype=torch.float64)) + narrow / 3
        found = sk.interactions(game, index)
        assert found.dtype == torch.float64
        for row in range(2):
            exact = np.array(exact_interactions(game, index, row), float)
            np.testing.assert_allclose(found[row].numpy(), exact, rtol=0, atol=1e-14)


def test_ties_interact_alike():
    """Players of equal rewards have bitwise equal interactions with everybody else."""
    rewards = np.random.default_rng(3).integers(0, 3, (20, 7)) / 7
    for game in (sk.Max, sk.Mean, sk.Median, sk.Range):
        found = sk.interactions(game(rewards))
        for row, r in zip(found, rewards, strict=True):
            for i, j in np.argwhere(r[:, None] == r):
                others = [k for k in range(7) if k not in (i, j)]
                assert (row[i, others] == row[j, others]).all()


def test_a_game_without_closed_form_goes_through_its_worths():
    """Any game: here one of ours whose closed form is taken away."""

    class Plain(sk.Max):
        pairs = sk.Game.pairs

    rng = np.random.default_rng(4)
    rewards, mask = rng.random((2, 3, 6)), rng.random((2, 3, 6)) < 0.7
    for index in INDICES:
        for backend in ("auto", "numba", "torch"):
            found = sk.interactions(Plain(rewards, mask=mask, v_empty=0.5), index, backend=backend)
            expected = sk.interactions(sk.Max(rewards, mask=mask, v_empty=0.5), index)
            np.testing.assert_allclose(found, expected, rtol=0, atol=2e-15)
    with pytest.raises(ValueError, match=r"no closed form, and 1 games of 17 players have 1,048,576 bytes"):
        sk.interactions(Plain(rng.random(17)))
    with pytest.raises(ValueError, match=r"3,145,728,000 bytes of worths, more than"):
        sk.interactions(Plain(rng.random((6000, 16))))


def test_masked_players_and_bad_data():
    rng = np.random.default_rng(5)
    rewards, mask = rng.random((4, 5)), rng.random((4, 5)) < 0.7
    mask[:, 0] = True
    clean = sk.interactions(sk.Median(rewards, mask=mask))
    assert (clean[~mask] == 0).all()
    for junk in (np.nan, np.inf):
        np.testing.assert_array_equal(sk.interactions(sk.Median(np.where(mask, rewards, junk), mask=mask)), clean)
    for bad in (np.nan, np.inf, -np.inf):
        broken = rewards.copy()
        broken[2, 0] = bad
        with pytest.raises(ValueError, match=r"Median: rewards must be finite, got .* at \[2, 0\]"):
            sk.interactions(sk.Median(broken, mask=mask))
        found = sk.interactions(sk.Median(broken, mask=mask), nan="propagate")
        np.testing.assert_array_equal(np.delete(found, 2, 0), np.delete(clean, 2, 0))
        assert (np.isnan(found[2]) == mask[2][:, None] & mask[2]).all()


@pytest.mark.parametrize("game", [sk.Max, sk.Mean, Pairwise, Table])
def test_empty_shapes(game):
    for rows, players in ((0, 3), (2, 0), (2, 1)):
        found = sk.interactions(sample(game, "float64", players, 0, rows).game())
        assert found.shape == (rows, players, players)


def test_batch_invariance():
    rng = np.random.default_rng(6)
    rewards, mask = rng.random((9, 6)), rng.random((9, 6)) < 0.8
    for game in (sk.Max, sk.Mean):
        whole = sk.interactions(game(rewards, mask=mask))
        for row in range(9):
            np.testing.assert_array_equal(sk.interactions(game(rewards[row], mask=mask[row])), whole[row])


def test_gradients():
    rng = np.random.default_rng(7)
    rewards = torch.tensor(rng.random((2, 4)), requires_grad=True)
    table = torch.tensor(rng.random((2, 16)), requires_grad=True)
    for index in INDICES:
        assert torch.autograd.gradcheck(lambda r, index=index: sk.interactions(sk.Median(r), index), rewards)
        assert torch.autograd.gradcheck(lambda t, index=index: sk.interactions(sk.Table(t), index), table)


def test_backends_are_used_or_refused(monkeypatch):
    for backend in ("numba", "triton"):
        with pytest.raises(sk.BackendUnavailable, match=backend):
            sk.interactions(sk.Max(R), backend=backend)
    with pytest.raises(ValueError, match="backend must be one of"):
        sk.interactions(sk.Max(R), backend="cuda")
    from shapley_kernels import launch

    used, kernel = set(), launch.kernel
    monkeypatch.setattr(launch, "kernel", lambda *a: used.add(a) or kernel(*a))
    sk.interactions(sk.Table([0, 1, 2, 4]), backend="torch")
    assert used == {("table", "torch")}


@pytest.mark.parametrize("bad", ["sii", "SV", None, ["SII"]])
def test_unknown_index(bad):
    error = ValueError if isinstance(bad, str) else TypeError
    with pytest.raises(error, match=r"index must be one of 'SII', 'BII', 'STII', got"):
        sk.interactions(sk.Max(R), bad)


def test_wrong_kind_of_game():
    with pytest.raises(TypeError, match=r"expected a game such as sk.Max\(rewards\), got list"):
        sk.interactions(R)
    with pytest.raises(ValueError, match=r"Median costs O\(n\^3\) = 1.4e\+08 steps for 513 live players"):
        sk.interactions(sk.Median(np.zeros(513)))


def test_coefficients_are_shared():
    """One table for one utility, value and set of live counts."""
    arguments = (sk.Max, (), INDICES["SII"][1], 5, (5,))
    assert pair_tables(*arguments) is pair_tables(*arguments)
    assert pairs(NUMPY, np.ones((2, 5)), None, np.zeros(2), pair_tables(*arguments)).shape == (2, 5, 5)
