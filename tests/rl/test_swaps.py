"""SuffixSwap and CandidateSwap: their definitions, and what each of them optimises, enumerated over whole groups."""

from functools import partial
from itertools import product

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.games import GAMES
from shapley_kernels.rl import CandidateSwap, RewardAllocator, SuffixSwap, group_value, swaps
from shapley_kernels.rl.groups import Groups
from shapley_kernels.testing import exact_decisions
from tests.rl.policies import PLACES, Policy, worth_of

VALUES = (SuffixSwap(0.0), SuffixSwap(), SuffixSwap(1), CandidateSwap())
JOINT = (sk.Pairwise, sk.Volume, sk.Table, sk.DoubleMajority)
SINGLE = [game for game in GAMES if game not in JOINT]
RAW = {"center": "none", "scale": "none"}

# -- the definition ----------------------------------------------------------------------------------------------------


def utility_of(*games):
    """A function (rewards, mask=, **data), of games with their weights, whose data are named by their place."""

    def utility(rewards, mask=None, **data):
        parts = []
        for i, (weight, game) in enumerate(games):
            own = {name[2:]: x for name, x in data.items() if name.startswith(f"{i}_")}
            parts.append(weight * game(**own, mask=mask))
        return sum(parts[1:], parts[0])

    return utility


def rebuilt(games, data, own, members, players):
    """What candidates (rollout, place) are worth to rollout `own`: the games made anew of their data, by `exact_worth`,
    padded to as many players as there were."""
    padded = [*members, *[(own, 0)] * (players - len(members))]
    total = 0
    for i, (weight, game) in enumerate(games):
        arguments = {}
        for name, x in data.items():
            if name.startswith(f"{i}_"):
                axes = game.arguments.get(name[2:])
                if axes is None or not hasattr(x, "shape"):
                    arguments[name[2:]] = x
                else:
                    arguments[name[2:]] = np.array([x[r, p] for r, p in padded]) if axes else x[own]
        total += weight * game(**arguments).exact_worth(0)(range(len(members)))
    return total


IDS = np.array([3, 1, 3, 3, 0, 1, 3, 1, 2])  # groups of 4, 3, 1 and 1, in any order
ROWS, PLAYERS = len(IDS), 4


def check(games, value, container, masked, seed):
    rng = np.random.default_rng(seed)
    mask = rng.random((ROWS, PLAYERS)) < 0.6 if masked else np.ones((ROWS, PLAYERS), bool)
    data, given = {}, {"rewards": np.zeros((ROWS, PLAYERS)), "mask": mask if masked else None}
    for i, (_, game) in enumerate(games):
        for name, x in game.example(rng, ROWS, PLAYERS).items():
            data[f"{i}_{name}"] = given[f"{i}_{name}"] = x
            if game.arguments.get(name) and x.dtype.kind == "f":
                given[f"{i}_{name}"] = np.where(mask.reshape(*mask.shape, *[1] * (x.ndim - 2)), x, np.nan)
    tokens = np.zeros((ROWS, 1), np.int64)
    if container == "torch":
        given = {name: torch.tensor(x) if np.shape(x)[:1] == (ROWS,) else x for name, x in given.items()}
        tokens = torch.tensor(tokens)
    allocator = RewardAllocator(utility_of(*games), value, **RAW)
    found = allocator.credits(**given, group_ids=IDS)
    assert type(found) is type(given["rewards"])
    leading = allocator.token_advantages(candidate_ids=tokens, **given, group_ids=IDS)
    close = {"rtol": 1e-12, "atol": 1e-13} if "64" in str(found.dtype) else {"rtol": 1e-6, "atol": 1e-6}
    found, leading = np.asarray(found, np.float64), np.asarray(leading, np.float64)
    assert (found[~mask] == 0).all()
    for group in range(4):
        rows = np.flatnonzero(group == IDS)
        lists = [[(r, p) for p in np.flatnonzero(mask[r])] for r in rows]
        expected = exact_decisions(
            value, lists, lambda i, them, rows=rows: rebuilt(games, data, rows[i], them, PLAYERS)
        )
        for row, credits in zip(rows, expected, strict=True):
            exact = np.array([float(x) for x in credits])
            np.testing.assert_allclose(found[row, mask[row]], exact[:-1], **close)
            if isinstance(value, SuffixSwap):  # no token is of a candidate, so all lead to the stop
                np.testing.assert_allclose(leading[row, 0], exact[-1], **close)


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize("game", SINGLE)
def test_equals_the_definition(game, value):
    for seed, (container, masked) in enumerate((("numpy", True), ("torch", True), ("numpy", False))):
        check([(1.0, game)], value, container, masked, seed)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_sums_of_games(value):
    weights = np.linspace(-1, 1, 9)
    check([(0.7, sk.Max), (-0.5, sk.FacilityLocation), (2.0, sk.NoisyOr)], value, "numpy", True, 0)
    check([(0.25, sk.Clusters), (-1.0, sk.TopM)], value, "torch", True, 1)
    game = sk.Max(np.arange(27.0).reshape(9, 3) % 7)
    scaled, plain = weights * game, game
    groups = Groups("test", 3, 3)
    np.testing.assert_allclose(
        value.decisions(scaled, groups), weights[:, None] * value.decisions(plain, groups), rtol=1e-13, atol=1e-14
    )


def test_small_blocks_change_nothing(monkeypatch):
    rewards = np.random.default_rng(0).random((6, 4))
    allocator = RewardAllocator(partial(sk.TopM, m=2), SuffixSwap())
    whole = allocator.advantages(rewards, num_generations=3)
    monkeypatch.setattr(swaps, "BLOCK", 1)
    np.testing.assert_array_equal(allocator.advantages(rewards, num_generations=3), whole)
    monkeypatch.undo()
    labels, mask = (rewards * 4).astype(int), rewards < 0.8
    allocator = RewardAllocator(lambda r, mask=None: sk.Clusters(r, mask=mask), SuffixSwap())
    for container, group_ids in product((np.asarray, torch.tensor), ([0, 0, 0, 1, 1, 1], [2, 1, 2, 2, 0, 1])):
        with monkeypatch.context() as patch:
            whole = allocator.advantages(container(labels), container(mask), group_ids=group_ids)
            patch.setattr(swaps, "BLOCK", 1)
            found = allocator.advantages(container(labels), container(mask), group_ids=group_ids)
        np.testing.assert_array_equal(np.asarray(found), np.asarray(whole))


# -- what they optimise: exact expectations over all groups ------------------------------------------------------------

GROUPS = ((2, 3), (3, 2))  # longest list, rollouts of a group


def followed(policy, value, game, size):
    """E of the mean over the group of sum_k credit_k score_k."""
    index = np.array(list(product(range(len(policy.x)), repeat=size)))  # [groups, rollouts]
    game = worth_of(game, policy.x[index], policy.mask[index])
    credits = value.decisions(game, Groups("test", *index.shape))
    return np.einsum("g,grk,grksa->sa", policy.probs[index].prod(1), credits, policy.scores[index]) / size


@pytest.mark.parametrize("stops", [False, True])
@pytest.mark.parametrize("sequential", [False, True])
@pytest.mark.parametrize("game", PLACES)
def test_with_lam_1_suffix_swap_is_unbiased(game, sequential, stops):
    for size, group in GROUPS:
        policy = Policy(size, sequential, stops)
        found = followed(policy, SuffixSwap(lam=1.0), game, group)
        np.testing.assert_allclose(found, policy.gradient(game), rtol=0, atol=1e-13)


@pytest.mark.parametrize("game", PLACES)
def test_independent_candidates(game):
    """Of lists of one length: both are unbiased, whatever lam is."""
    for size, group in GROUPS:
        policy = Policy(size, False, False)
        for value in (CandidateSwap(), SuffixSwap(0.0), SuffixSwap(0.5)):
            found = followed(policy, value, game, group)
            np.testing.assert_allclose(found, policy.gradient(game), rtol=0, atol=1e-13)


@pytest.mark.parametrize("value", [SuffixSwap(0.5), CandidateSwap()], ids=repr)
def test_candidates_that_depend_on_those_before_are_where_they_are_biased(value):
    policy = Policy(3, True, False)
    assert np.abs(followed(policy, value, "distinct", 2) - policy.gradient("distinct")).max() > 1e-3


def test_without_the_stop_suffix_swap_would_be_biased():
    policy = Policy(2, True, True)
    policy.scores[:, -1] = 0.0
    assert np.abs(followed(policy, SuffixSwap(1.0), "best", 2) - Policy(2, True, True).gradient("best")).max() > 1e-3


# -- laws --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_shapes_without_players_or_rows(value):
    for shape in ((2, 0), (0, 3), (0, 0), (2, 2, 0), (0, 2, 3)):
        found = RewardAllocator(value=value).advantages(np.ones(shape))
        assert found.shape == shape
        assert (
            RewardAllocator(value=value).token_advantages(np.ones(shape), np.zeros((*shape[:-1], 2), int)).shape[-1]
            == 2
        )


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_as_on_a_gpu(value, monkeypatch):
    """Where nobody looks at the data: masks are always sorted, and bad data make their group NaN, and no other."""
    rng = np.random.default_rng(0)
    rewards, mask = torch.tensor(rng.random((12, 4))), torch.tensor(rng.random((12, 4)) < 0.6)
    index = np.array([0, 1, 2, 2, 1, 0, 3, 1, 2, 0, 1, 2])
    groups = Groups("test", 4, index=index)
    wanted = value.decisions(sk.Max(rewards, mask=mask), groups)
    monkeypatch.setattr(group_value, "on_cpu", lambda x: False)
    rewards[~mask] = torch.nan
    assert torch.equal(value.decisions(sk.Max(rewards, mask=mask), groups), wanted)
    bad = torch.tensor(index == 1)
    rewards[1, 0], mask[1, 0] = torch.inf, True
    found = value.decisions(sk.Max(rewards, mask=mask), groups)
    live = torch.cat([mask, torch.ones(12, 1, dtype=torch.bool)], 1)
    assert (found.isnan() == (live & bad[:, None])).all()


def test_gradients_flow_into_credits():
    rewards = torch.rand(2, 3, 4, dtype=torch.float64, requires_grad=True)
    for value, game in product((SuffixSwap(), CandidateSwap()), (sk.Max, sk.Mean)):
        allocator = RewardAllocator(game, value)
        assert torch.autograd.gradcheck(allocator.credits, (rewards,))
        assert not allocator.advantages(rewards).requires_grad


# -- advantages and tokens ---------------------------------------------------------------------------------------------


def test_golden_values():
    """Two rollouts, of three candidates and two: lists go on as the other did, or stop as it did."""
    rewards, mask = sk.pad([[4.0, 3.0, 5.0], [5.0, 4.0]])
    allocator = RewardAllocator(value=SuffixSwap(1.0), **RAW)
    np.testing.assert_array_equal(allocator.credits(rewards, mask), [[0, 1, 1], [0, 0, 0]])
    np.testing.assert_array_equal(
        RewardAllocator(value=SuffixSwap(0.0)).credits(rewards, mask), [[-1, 0, 1], [0, 0, 0]]
    )
    np.testing.assert_array_equal(RewardAllocator(value=CandidateSwap()).credits(rewards, mask), [[0, 0, 1], [1, 0, 0]])
    ids = [[0, 1, 0, 2, 0, 3, 0], [1, 1, 0, 0, 2, 0, 0]]
    found = allocator.token_advantages([[1.0, 2.0, 4.0], [1.0, 8.0, 0.0]], ids, [[True] * 3, [True, True, False]])
    np.testing.assert_array_equal(found, [[-4, -4, -4, -4, 2, 2, 0], [4, 4, 4, 4, 4, 0, 0]])


def test_tokens_outside_get_the_advantage_of_the_decision_they_lead_to():
    rng = np.random.default_rng(1)
    rewards, mask = rng.normal(size=(6, 4)), rng.random((6, 4)) < 0.7
    mask[2] = False
    rewards[~mask] = np.nan
    ids = np.array([[0, 1, 1, 0, 2, 0, 0, 3, 4, 0, 0]] * 6)
    layout = {"group_ids": [0, 1, 0, 0, 1, 1]}
    for center, scale, length in product(
        ("group", "loo", "slot", "none"), ("group", "batch", "none"), ("token", "candidate")
    ):
        allocator = RewardAllocator(value=SuffixSwap(), center=center, scale=scale, length=length, eps=0.5)
        raw = RewardAllocator(value=SuffixSwap(), **RAW)
        advantages = allocator.advantages(rewards, mask, **layout)
        stops = raw.token_advantages(rewards, np.zeros((6, 1), int), mask, **layout)[:, 0]
        credits = raw.credits(rewards, mask, **layout)
        found = allocator.token_advantages(rewards, ids, mask, **layout)
        inside = RewardAllocator(
            value=SuffixSwap(), center=center, scale=scale, length=length, eps=0.5, outside="zero"
        ).token_advantages(rewards, ids, mask, **layout)
        np.testing.assert_array_equal(found[ids > 0], inside[ids > 0])
        for row in range(6):
            group = [r for r in range(6) if layout["group_ids"][r] == layout["group_ids"][row]]
            stop = affine(stops[row], credits, mask, group, row, center, scale, 0.5)
            for t in np.flatnonzero(ids[row] == 0):
                follows = [k for k in ids[row, t:] if k and mask[row, k - 1]]
                expected = advantages[row, follows[0] - 1] if follows else stop
                np.testing.assert_allclose(found[row, t], expected, rtol=1e-12, atol=1e-13)


def affine(number, credits, mask, group, row, center, scale, eps):
    """What the normalisation of the candidates does to another number of a rollout."""
    live = credits[group][mask[group]]
    others = [r for r in group if r != row]
    rest = credits[others][mask[others]]
    if center == "loo" and not len(rest):
        return 0.0
    mean = {"none": 0.0, "loo": rest.mean() if len(rest) else 0.0}.get(center, live.mean())
    over = {"none": None, "batch": credits[mask], "group": live}[scale]
    return (number - mean) / (1.0 if over is None else over.std(ddof=1) + eps)


def test_packed_rows():
    rng = np.random.default_rng(0)
    rewards, ids = rng.random((4, 3)), np.array([[0, 1, 0, 2, 3, 0]] * 4)
    allocator = RewardAllocator(value=SuffixSwap())
    padded = allocator.token_advantages(rewards, ids)
    lengths = [2, 6, 0, 5]
    packed = np.concatenate([row[:n] for row, n in zip(ids, lengths, strict=True)])
    found = allocator.token_advantages(rewards, packed, cu_seqlens=np.cumsum([0, *lengths]))
    np.testing.assert_array_equal(found[2:8], padded[1])
    assert found[0] == found[1] == padded[0, 0]
    tensors = allocator.token_advantages(
        torch.tensor(rewards),
        torch.tensor(packed, dtype=torch.int32),
        cu_seqlens=torch.tensor(lengths).cumsum(0).new_tensor([0, 2, 8, 8, 13]),
    )
    np.testing.assert_allclose(tensors.numpy(), found, rtol=1e-12)


def test_candidate_swap_leaves_tokens_outside_the_advantage_of_the_set():
    rewards, ids = np.random.default_rng(0).random((3, 2)), [[0, 1, 0, 2, 0]] * 3
    allocator = RewardAllocator(value=CandidateSwap())
    found = allocator.token_advantages(rewards, ids)
    np.testing.assert_array_equal(found[:, [0, 2, 4]], np.repeat(allocator.set_advantages(rewards)[:, None], 3, 1))


# -- near the ends of the range ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "largest"), [(np.float64, 6e307), (np.float32, 1e38), (np.float16, 3e4)])
@pytest.mark.parametrize("utility", [sk.Max, sk.Mean], ids=lambda game: game.__name__)
def test_what_fits_is_right(dtype, largest, utility):
    """Sums over seven others, on the way to their mean, do not fit."""
    rewards = np.zeros((8, 2), dtype)
    rewards[0] = largest
    found = RewardAllocator(utility, SuffixSwap(1), **RAW).credits(rewards)
    np.testing.assert_allclose(found[0, 0], rewards[0, 0], rtol=1e-3)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("value", [SuffixSwap(), CandidateSwap()], ids=repr)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_what_does_not_fit_is_refused(value, dtype):
    x = float(np.finfo(dtype).max)
    rewards = np.array([[x, -x], [-x, -x], [x, x]], dtype)
    with pytest.raises(OverflowError, match=r"credits must be in the range of float.*in row \[1\]"):
        RewardAllocator(value=value).credits(rewards)
    if dtype == np.float64:
        with pytest.raises(OverflowError, match=r"credits must be in the range of float64"):
            RewardAllocator(value=value).advantages(rewards)


# -- rollouts that did not choose to stop ------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("container", [np.asarray, torch.as_tensor], ids=["numpy", "torch"])
def test_the_end_of_a_cut_list_is_charged_to_its_candidates(lam, container):
    """A_k with V_{n+1} = v(own), from D_k = v(own) - V_k, which is what lam = 1 gives."""
    rng = np.random.default_rng(0)
    rewards, mask, stopped = rng.random((6, 4, 5)), rng.random((6, 4, 5)) < 0.7, rng.random((6, 4)) < 0.5
    data = [container(x) for x in (rewards, mask)]
    found = np.asarray(RewardAllocator(value=SuffixSwap(lam)).credits(*data, stopped=container(stopped)))
    chosen = np.asarray(RewardAllocator(value=SuffixSwap(lam)).credits(*data))
    above = np.asarray(RewardAllocator(value=SuffixSwap(1)).credits(*data))
    np.testing.assert_array_equal(found[stopped], chosen[stopped])
    for b, g in zip(*np.nonzero(~stopped), strict=True):
        live = np.flatnonzero(mask[b, g])
        expected, total = np.zeros(5), 0.0
        for at, after in zip(live[::-1], [0.0, *above[b, g][live[::-1]]], strict=False):
            total = above[b, g, at] - after + lam * total
            expected[at] = total
        np.testing.assert_allclose(found[b, g], expected, rtol=0, atol=1e-14)
    if lam < 1:
        assert (found != chosen).any()


def test_a_malformed_rollout_is_charged_in_full():
    rewards, mask = sk.pad([[0.5, 1.0, 0.5], [0.5, 0.5, 1.0], [0.0]])
    allocator = RewardAllocator(value=SuffixSwap(0), **RAW)
    assert allocator.advantages(rewards, mask)[2, 0] == 0.0  # with what others go on with, the set is as good as theirs
    found = allocator.token_advantages(rewards, [[1, 2, 3, 0]] * 2 + [[1, 1, 1, 0]], mask, stopped=[True, True, False])
    assert found[2].tolist() == [-1.0] * 4


@pytest.mark.parametrize("value", [sk.Shapley(), CandidateSwap(), sk.LeaveOneOut()], ids=repr)
def test_values_that_price_no_stop_do_not_look_at_it(value):
    rewards = np.random.default_rng(0).random((2, 3, 4))
    one, other = (RewardAllocator(value=value).advantages(rewards, stopped=x) for x in (None, np.zeros((2, 3), bool)))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("error", "stopped", "message"),
    [
        (TypeError, [1, 0], "RewardAllocator: stopped: expected dtype bool"),
        (ValueError, [True] * 3, r"RewardAllocator: stopped: expected shape \(2,\) \[rollouts\]"),
    ],
)
def test_stopped_is_checked(error, stopped, message):
    with pytest.raises(error, match=message):
        RewardAllocator(value=SuffixSwap()).advantages(np.ones((2, 3)), stopped=stopped)


# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lam", [1.5, -0.1, float("nan")])
def test_lam_is_checked(lam):
    with pytest.raises(ValueError, match=rf"SuffixSwap: lam must be a number in \[0, 1\], .*, got {lam}"):
        SuffixSwap(lam)


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_data_between_candidates_are_refused(value):
    w, rewards = np.zeros((2, 3, 4, 4)), np.zeros((2, 3, 4))
    for utility in (
        lambda r, mask=None: sk.Pairwise(w),
        lambda r, mask=None: sk.Volume(w),
        lambda r, mask=None: sk.Table(np.zeros((2, 3, 16))),
        lambda r, mask=None: sk.Max(r) + sk.Pairwise(w),
    ):
        with pytest.raises(
            ValueError, match=r"must belong to single candidates.*use a utility such as Facility.*Shapley"
        ):
            RewardAllocator(utility, value).advantages(rewards)
        with pytest.raises(ValueError, match="must belong to single candidates"):
            value.decisions(utility(rewards), Groups("test", 2, 3))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_blocking_minorities_are_refused(value):
    """Of the members of several rollouts put together, nobody is against it."""
    allocator = RewardAllocator(
        lambda r, mask=None: sk.DoubleMajority(r.astype(int), quota=1, members=1, blocking=1), value
    )
    with pytest.raises(ValueError, match=r"blocking must be 0 where .* got 1"):
        allocator.advantages(np.ones((2, 3, 4)))


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_other_bad_input(value):
    allocator = RewardAllocator(value=value)
    with pytest.raises(ValueError, match=r"Max: rewards must be finite, got nan at \[0, 1\]"):
        allocator.credits([[1.0, np.nan], [0.0, 1.0]])
    with pytest.raises(ValueError, match="RewardAllocator: rewards must have shape"):
        allocator.credits(np.ones(3))
    with pytest.raises(ValueError, match=r"num_generations must be >= 1 and divide the number of rollouts \(3\)"):
        allocator.credits(np.ones((3, 2)), num_generations=2)
    with pytest.raises(ValueError, match="group_ids must have one id per rollout"):
        allocator.credits(np.ones((3, 2)), group_ids=[1, 2])
    scores = np.ones((3, 5, 4, 2))
    with pytest.raises(ValueError, match=r"Facility.*mask: expected shape \(3, 5, 3\)"):
        RewardAllocator(lambda r, mask=None: sk.FacilityLocation(scores[:, :, :3], mask=mask), value).advantages(
            np.ones((3, 5, 4)), np.ones((3, 5, 4), bool)
        )
