"""RewardAllocator is the composition of its parts, and nothing else."""

from itertools import product

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.rl import Broadcast, RewardAllocator, WinnerTakesAll, grpo_advantages, scatter_to_tokens

VALUES = (sk.Shapley(), sk.Banzhaf(0.3), Broadcast(), WinnerTakesAll())


def example(container="numpy", seed=0):
    rng = np.random.default_rng(seed)
    rewards, mask = rng.normal(size=(3, 4, 5)), rng.random((3, 4, 5)) < 0.8
    rewards[~mask] = np.nan
    ids = rng.integers(0, 6, (3, 4, 11))
    if container == "torch":
        return torch.tensor(rewards).float(), torch.tensor(mask), torch.tensor(ids)
    return rewards, mask, ids


@pytest.mark.parametrize("container", ["numpy", "torch"])
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_is_the_composition_of_its_parts(value, container):
    rewards, mask, ids = example(container)
    for center, scale, outside, length in product(
        ("group", "loo", "slot", "none"), ("group", "batch", "none"), ("set", "zero"), ("token", "candidate")
    ):
        options = {"center": center, "scale": scale}
        allocator = RewardAllocator(sk.Min, value, **options, outside=outside, length=length)
        game = sk.Min(rewards, mask=mask)
        credits = sk.semivalue(game, value) if isinstance(value, sk.Semivalue) else value.credits(game)
        compared = credits if value == Broadcast() else credits * mask.sum(-1)[..., None]
        advantages = grpo_advantages(compared, mask, **options)
        of_sets = grpo_advantages(game.worth()[..., None], center="group" if center == "slot" else center, scale=scale)[
            ..., 0
        ]
        tokens = scatter_to_tokens(advantages, ids, outside=of_sets if outside == "set" else "zero", length=length)
        for found, expected in (
            (allocator.credits(rewards, mask), credits),
            (allocator.advantages(rewards, mask), advantages),
            (allocator.set_advantages(rewards, mask), of_sets),
            (allocator.token_advantages(rewards, ids, mask), tokens),
        ):
            assert type(found) is type(rewards)
            assert found.dtype == rewards.dtype
            few = 8 * np.finfo(np.asarray(rewards).dtype).eps  # the number of candidates is in the coefficients
            np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=few, atol=few)


def test_layouts_reach_the_normalisation():
    rewards, mask, ids = example()
    allocator = RewardAllocator(length="candidate", ddof=0, eps=0.5, min_std=0.2)
    expected = (
        allocator.advantages(rewards, mask),
        allocator.set_advantages(rewards, mask),
        allocator.token_advantages(rewards, ids, mask),
    )
    assert np.abs(expected[0] - RewardAllocator().advantages(rewards, mask)).max() > 0.1
    flat, flags = rewards.reshape(12, 5), mask.reshape(12, 5)
    for layout in ({"num_generations": 4}, {"group_ids": [f"prompt {i // 4}" for i in range(12)]}):
        found = (
            allocator.advantages(flat, flags, **layout),
            allocator.set_advantages(flat, flags, **layout),
            allocator.token_advantages(flat, ids.reshape(12, 11), flags, **layout),
        )
        for x, y in zip(found, expected, strict=True):
            np.testing.assert_allclose(x, y.reshape(x.shape), rtol=1e-13, atol=1e-14)
        packed = allocator.token_advantages(flat, ids.reshape(-1), flags, cu_seqlens=np.arange(13) * 11, **layout)
        np.testing.assert_array_equal(packed.reshape(12, 11), found[2])


def test_golden_values():
    """Two sets that tie: plain GRPO learns nothing, the candidates differ all the same."""
    rewards, mask = sk.pad([[4.0, 3.0, 5.0], [5.0, 4.0]])
    allocator = RewardAllocator()
    np.testing.assert_allclose(allocator.credits(rewards, mask), [[1.5, 1, 2.5], [3, 2, 0]])
    expected = [[-0.28283, -1.13131, 1.41413], [0.56565, -0.56565, 0]]
    np.testing.assert_allclose(allocator.advantages(rewards, mask), expected, rtol=0, atol=5.01e-6)
    expected = [[-0.63238, -1.26475, 0.63238], [1.26475, 0, 0]]
    shares = RewardAllocator(sizes="share").advantages(rewards, mask)
    np.testing.assert_allclose(shares, expected, rtol=0, atol=5.01e-6)
    assert (allocator.set_advantages(rewards, mask) == 0).all()
    assert (RewardAllocator(value=Broadcast()).advantages(rewards, mask) == 0).all()
    ids = [[1, 1, 0, 2, 3], [0, 1, 2, 0, 0]]
    expected = [[-0.28283, -0.28283, 0, -1.13131, 1.41413], [0, 0.56565, -0.56565, 0, 0]]
    np.testing.assert_allclose(allocator.token_advantages(rewards, ids, mask), expected, rtol=0, atol=5.01e-6)


def test_tokens_outside_candidates_get_the_advantage_of_the_set():
    rewards, ids = [[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]], [[0, 1, 2]] * 3
    found = RewardAllocator(eps=0.0).token_advantages(rewards, ids)
    np.testing.assert_array_equal(found[:, 0], [0, -1, 1])
    assert (found[:, 1:] != 0).all()
    found = RewardAllocator(eps=0.0, outside="zero").token_advantages(rewards, ids)
    np.testing.assert_array_equal(found[:, 0], 0)


def test_rollouts_without_candidates_count_as_sets_worth_v_empty():
    rewards, mask = sk.pad([[2.0], [], [1.0, 1.5]])
    found = RewardAllocator(eps=0.0).set_advantages(rewards, mask, v_empty=1.0)
    np.testing.assert_allclose(found, [1, -1, 0], atol=1e-15)
    np.testing.assert_array_equal(RewardAllocator().advantages(rewards, mask)[1], 0)


def test_utilities_take_data_and_combine():
    rewards, mask, _ = example()
    v_empty = np.linspace(-1, 1, 12).reshape(3, 4)
    found = RewardAllocator(sk.TopM).credits(rewards, mask, m=2, v_empty=v_empty)
    np.testing.assert_array_equal(found, sk.shapley(sk.TopM(rewards, 2, mask=mask, v_empty=v_empty)))

    def mixture(r, mask=None, bonus=None):
        return 0.7 * sk.TopM(r, 3, mask=mask) + 0.3 * sk.Max(bonus, mask=mask)

    found = RewardAllocator(mixture).credits(rewards, mask, bonus=-rewards)
    expected = 0.7 * sk.shapley(sk.TopM(rewards, 3, mask=mask)) + 0.3 * sk.shapley(sk.Max(-rewards, mask=mask))
    np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)
    found = RewardAllocator(mixture).set_advantages(rewards, mask, bonus=-rewards)
    worth = 0.7 * sk.TopM(rewards, 3, mask=mask).worth() + 0.3 * sk.Max(-rewards, mask=mask).worth()
    np.testing.assert_allclose(found, grpo_advantages(worth[..., None])[..., 0], rtol=1e-12, atol=1e-13)


def test_rewards_that_require_grad():
    rewards, mask, ids = example("torch")
    rewards = torch.nan_to_num(rewards).requires_grad_()
    found = RewardAllocator().token_advantages(rewards, ids, mask)
    assert not found.requires_grad
    torch.testing.assert_close(found, RewardAllocator().token_advantages(rewards.detach(), ids, mask))


def test_is_a_value():
    assert RewardAllocator(sk.Min, sk.Banzhaf()) == RewardAllocator(sk.Min, sk.Banzhaf())
    assert RewardAllocator(sk.Min) != RewardAllocator(sk.Max)
    assert "value=Banzhaf(p=0.5)" in repr(RewardAllocator(value=sk.Banzhaf()))


ERRORS = [
    (TypeError, {"utility": sk.Max([1.0])}, r"utility must be a class of games .* pass sk.Max, not sk.Max\(rewards\)"),
    (TypeError, {"value": sk.Banzhaf}, r"value must be a semivalue such as .* make one with brackets, as Banzhaf\("),
    (TypeError, {"value": Broadcast}, r"a baseline, got .*; make one with brackets, as Broadcast\(\.\.\.\)$"),
    (TypeError, {"value": float}, r"value must be a semivalue such as .* got <class 'float'>$"),
    (TypeError, {"value": "shapley"}, "value must be a semivalue such as .* got 'shapley'"),
    (ValueError, {"center": "mean"}, "center must be one of"),
    (ValueError, {"scale": "std"}, "scale must be one of"),
    (ValueError, {"outside": "none"}, "outside must be one of 'set', 'zero', got 'none'"),
    (ValueError, {"sizes": "count"}, "sizes must be one of 'worth', 'share', got 'count'"),
    (ValueError, {"length": "sequence"}, "length must be one of 'token', 'candidate', got 'sequence'"),
    (TypeError, {"ddof": 0.5}, "ddof must be an integer"),
    (ValueError, {"eps": -1}, "eps must be a finite number >= 0, got -1"),
]


@pytest.mark.parametrize(("error", "arguments", "message"), ERRORS)
def test_errors_name_the_argument_when_it_is_made(error, arguments, message):
    with pytest.raises(error, match=message) as caught:
        RewardAllocator(**arguments)
    assert str(caught.value).startswith("RewardAllocator: ")


def test_errors_in_use():
    with pytest.raises(TypeError, match="RewardAllocator: utility must return a game such as"):
        RewardAllocator(lambda r, mask=None: r).advantages([[1.0]])
    for call in (RewardAllocator().set_advantages, RewardAllocator().credits, RewardAllocator().advantages):
        with pytest.raises(ValueError, match=r"rewards must be finite, got nan at \[1, 0\]"):
            call(np.array([[1.0, 2.0], [np.nan, 3.0]]))
    with pytest.raises(ValueError, match=r"candidate_ids must be in 0\.\.2"):
        RewardAllocator().token_advantages([[1.0, 2.0]], [[3]])


def test_a_utility_that_drops_the_mask_is_refused():
    allocator = sk.RewardAllocator(lambda r, mask=None: sk.Max(r))
    rewards, mask = np.ones((2, 3)), np.array([[True, False, True]] * 2)
    with pytest.raises(ValueError, match="utility must hand its mask on"):
        allocator.advantages(rewards, mask)
    assert not allocator.advantages(rewards).any()


def test_utilities_that_cannot_be_called_so_say_how():
    for utility in (sk.TopM, lambda r: sk.Max(r)):
        with pytest.raises(TypeError, match=r"utility is called with .* got .*; .* functools.partial\(sk.TopM, m=3\)"):
            sk.RewardAllocator(utility).credits(np.ones((2, 3)))


def test_what_a_utility_raises_itself_is_raised():
    def utility(rewards, mask=None):
        raise TypeError("not today")

    with pytest.raises(TypeError, match=r"^not today$"):
        sk.RewardAllocator(utility).credits(np.ones((2, 3)))


EQUAL = (
    sk.Mean,
    sk.Median,
    sk.Max,
    lambda r, mask=None: sk.TopMMean(r, 4, mask=mask),
    lambda r, mask=None: 0.3 * sk.Mean(r, mask=mask) + 0.7 * sk.TopMMean(r, 3, mask=mask),
)
"""Utilities of which a set of equal rewards is worth such a reward, whatever its size."""


@pytest.mark.parametrize("library", [np.asarray, torch.tensor], ids=["numpy", "torch"])
@pytest.mark.parametrize(
    ("dtype", "reward"), [("float16", 33.3), ("float32", 33333), ("float64", 1e12), ("float32", 1e30)]
)
@pytest.mark.parametrize("utility", EQUAL)
def test_rounding_is_no_advantage(utility, dtype, reward, library):
    """Sets of 1, 3, 6, 7 and 96 equal rewards: their worths differ by a unit in the last place or more."""
    mask = np.arange(96) < np.array([1, 3, 6, 7, 96])[:, None]
    rewards, live = library(np.where(mask, reward, 0).astype(dtype)), library(mask)
    ids = library(np.zeros((5, 2), int))
    for center, scale in product(("group", "loo", "none"), ("group", "batch")):
        allocator = RewardAllocator(utility, Broadcast(), center=center, scale=scale)
        assert (allocator.set_advantages(rewards, live) == 0).all()
        assert (allocator.advantages(rewards, live) == 0).all()
        assert (allocator.token_advantages(rewards, ids, live) == 0).all()


@pytest.mark.usefixtures("as_on_a_gpu")
def test_rounding_is_no_advantage_in_torch_operations():
    test_rounding_is_no_advantage(sk.Mean, "float32", 33333, torch.tensor)


def test_credits_that_differ_by_rounding_are_no_advantage():
    """Stratum(1) of a mean: v of the player alone, above and below it in its last place."""
    for dtype, unit, wide in (("float32", 2.0**-23, 2.0**-18), ("float64", 2.0**-52, 2.0**-44)):
        near, apart = (np.array([[1000.0], [1000.0 * (1 + by)]], dtype) for by in (unit, wide))
        allocator = RewardAllocator(sk.Mean, sk.Stratum(1), min_std=0.0, eps=0.0)
        assert (allocator.advantages(near) == 0).all()
        np.testing.assert_allclose(allocator.advantages(apart), [[-(0.5**0.5)], [0.5**0.5]], rtol=1e-5)
        np.testing.assert_allclose(grpo_advantages(near, min_std=0.0, eps=0.0), [[-(0.5**0.5)], [0.5**0.5]], rtol=1e-5)


def test_worths_apart_by_a_unit_of_float32_are_told_apart():
    rewards = np.array([[1e6, 0.0], [1e6 + 0.0625, 0.0]], np.float32)
    found = RewardAllocator(sk.Max).set_advantages(rewards)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [-0.7055, 0.7055], atol=1e-4)


def test_advantages_that_the_dtype_does_not_hold():
    rewards = np.array([[65504.0], [-65504.0], [-65504.0]], np.float16)
    allocator = RewardAllocator(sk.Max, Broadcast(), scale="none")
    for call in (allocator.advantages, allocator.set_advantages):
        with pytest.raises(OverflowError, match=r"advantages must be in the range of float16, got 87338.* at \[0"):
            call(rewards)


def test_utilities_whose_games_have_other_candidates_are_refused():
    """Rewards [B, G, K] as scores [.., candidates, topics] would make the rollouts players."""
    with pytest.raises(ValueError, match=r"candidates of rewards \(2, 3, 4\), got one of \(2, 3\); what has several"):
        RewardAllocator(sk.FacilityLocation).advantages(np.ones((2, 3, 4)))
    with pytest.raises(ValueError, match=r"of rewards \(3, 4\), got one of \(3, 5\)"):
        RewardAllocator(lambda r, mask=None: sk.Max(np.ones((3, 5)))).credits(np.ones((3, 4)))
