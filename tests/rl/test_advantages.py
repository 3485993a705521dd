"""grpo_advantages against its definition in plain Python."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import product
from math import sqrt

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.arrays import ops
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.rl import grpo_advantages

EPS = {"float64": 2.3e-16, "float32": 6e-8, "float16": 4.9e-4, "bfloat16": 3.91e-3}  # half a unit in the last place


def mean(values):
    return sum(values) / len(values)


def spread(values, ddof):
    if len(values) <= ddof:
        return 0.0
    middle = mean(values)
    return sqrt(sum((x - middle) ** 2 for x in values) / (len(values) - ddof))


def divided(x, std, min_std, eps):
    return 0.0 if std < min_std or std == 0 else x / (std + eps)


def oracle(credits, mask, ids, center="group", scale="group", ddof=1, min_std=1e-6, eps=1e-4):
    """The definition, one candidate at a time. credits, mask: [N][K] lists; ids: [N]."""
    rollouts, players = range(len(credits)), range(len(credits[0]) if credits else 0)
    live = [(i, k) for i, k in product(rollouts, players) if mask[i][k]]
    everything = [credits[i][k] for i, k in live]
    result = [[0.0 for _ in players] for _ in rollouts]
    for i, k in live:
        x = credits[i][k]
        group = [(j, m) for j, m in live if ids[j] == ids[i]]
        if center == "slot":
            group = [(j, m) for j, m in group if m == k]
        values = [credits[j][m] for j, m in group]
        others = [credits[j][m] for j, m in group if j != i]
        if center == "loo":
            centred = x - mean(others) if others else 0.0
        else:
            centred = x if center == "none" else x - mean(values)
        if scale == "none":
            result[i][k] = centred
        else:
            std = spread(values if scale == "group" else everything, ddof)
            result[i][k] = divided(centred, std, min_std, eps)
    return np.array(result).reshape(len(credits), len(players))


def as_container(x, dtype, container):
    """float64 numpy data in a container and dtype, and the float64 numbers that it then holds."""
    if container == "torch":
        tensor = torch.tensor(x).to(getattr(torch, dtype))
        return tensor, tensor.double().numpy()
    array = x.astype(dtype)
    return array, array.astype(float)


def numbers(x):
    return x.double().numpy() if isinstance(x, torch.Tensor) else x.astype(float)


def check(credits, mask, layout, center, scale, dtype, container, **options):
    """credits [B, G, K] in one of four layouts, against the oracle."""
    groups, size, players = credits.shape
    rng = np.random.default_rng(5)
    ids = np.repeat(np.arange(groups), size)
    credits = credits.reshape(-1, players)
    mask = None if mask is None else mask.reshape(-1, players)
    arguments = {}
    if layout == "one group":
        ids = np.zeros_like(ids)
    if layout == "num_generations":
        arguments["num_generations"] = size
    if layout == "group_ids":
        order = rng.permutation(len(ids))  # interleaved
        ids, credits, mask = ids[order], credits[order], None if mask is None else mask[order]
        arguments["group_ids"] = [f"prompt {i}" for i in ids]
    shape = (groups, size, players) if layout == "groups" else credits.shape
    given, exact = as_container(credits.reshape(shape), dtype, container)
    flags = np.ones(shape, bool) if mask is None else mask.reshape(shape)
    arguments["mask"] = None if mask is None else torch.tensor(flags) if container == "torch" else flags
    before = numbers(given).copy()
    found = grpo_advantages(given, center=center, scale=scale, **arguments, **options)
    assert type(found) is type(given)
    assert found.dtype == given.dtype
    assert tuple(found.shape) == shape
    np.testing.assert_array_equal(numbers(given), before)  # input unmodified
    exact = exact.reshape(-1, players)
    expected = oracle(exact.tolist(), flags.reshape(-1, players).tolist(), ids.tolist(), center, scale, **options)
    found = numbers(found).reshape(-1, players)
    assert np.isfinite(found).all()
    assert (found[~flags.reshape(-1, players)] == 0).all()
    largest = np.abs(exact[flags.reshape(-1, players)]).max(initial=0)
    dust = 1e-13 * (1 + largest) * (1 / options.get("min_std", 1e-6) if largest > 100 else 1)
    np.testing.assert_allclose(
        found, expected, rtol=EPS[dtype] * 1.01 + 1e-12, atol=dust + (6e-8 if dtype == "float16" else 0)
    )


def example(masked, seed=0):
    """Three groups of four rollouts of five candidates: random, constant, and one rollout without live candidates."""
    rng = np.random.default_rng(seed)
    credits = rng.normal(size=(3, 4, 5))
    credits[1] = 0.3
    mask = None
    if masked:
        mask = rng.random(credits.shape) < 0.6
        mask[2, 1] = False
        mask[2, 2, 0] = mask[0, 0, 0] = True
        credits[~mask] = np.nan
    return credits, mask


LAYOUTS = ("groups", "one group", "num_generations", "group_ids")
PLACES = [*product(["numpy"], ["float64", "float32", "float16"]), *product(["torch"], EPS)]


@pytest.mark.parametrize(("i", "center", "scale"), [(i, *both) for i, both in enumerate(product(CENTERS, SCALES))])
def test_equals_the_definition(i, center, scale):
    """Every place with every layout, masked and not; every option with each of them."""
    for j, (container, dtype) in enumerate(PLACES):
        check(*example((i // 4 + j) % 2), LAYOUTS[(i + j) % 4], center, scale, dtype, container)


@pytest.mark.usefixtures("as_on_a_gpu")
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("center", CENTERS)
def test_torch_operations_equal_the_definition(center, scale):
    every = ({}, {"ddof": 0}, {"eps": 0.5}, {"min_std": 0.9})
    for (layout, masked), options in zip(product(("groups", "group_ids"), (False, True)), every, strict=True):
        check(*example(masked), layout, center, scale, "float32", "torch", **options)


@pytest.mark.parametrize("options", [{"ddof": 0}, {"ddof": 3}, {"ddof": 100}, {"eps": 0.5}, {"min_std": 0.9}])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("center", CENTERS)
def test_options_equal_the_definition(center, scale, options):
    for masked in (False, True):
        check(*example(masked), "groups", center, scale, "float64", "numpy", **options)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 1, 4), (1, 5, 1), (4, 1, 1), (3, 1, 3)])
def test_smallest_groups(shape):
    credits = np.random.default_rng(0).normal(size=shape)
    for (center, scale), layout in product(product(CENTERS, SCALES), ("groups", "num_generations", "group_ids")):
        check(credits, None, layout, center, scale, "float64", "numpy")


GOLDEN = [
    ([[4, 3, 5], [5, 4]], [[-0.63238, -1.26475, 0.63238], [1.26475, 0, 0]]),
    ([[0, 1, 0], [1, 1]], [[-0.95595, 1.43393, -0.95595], [0.23899, 0.23899, 0]]),
]


@pytest.mark.parametrize(("rewards", "expected"), GOLDEN)
def test_golden_values(rewards, expected):
    rewards, mask = sk.pad([[float(x) for x in row] for row in rewards])
    found = grpo_advantages(sk.shapley(sk.Max(rewards, mask=mask)), mask)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5.01e-6)
    np.testing.assert_array_equal(
        found, grpo_advantages(sk.shapley(sk.Max(rewards, mask=mask)), mask, group_ids=["x", "x"])
    )
    assert (grpo_advantages(rewards.max(-1)[:, None]) == 0).all()  # plain GRPO: the sets tie


def test_ids_of_any_kind():
    credits = np.random.default_rng(0).normal(size=(6, 2))
    places = [2, 0, 1, 0, 2, 2]
    expected = grpo_advantages(credits, group_ids=places)
    kinds = [
        ["b", "c", "a"],
        [uuid.uuid4() for _ in range(3)],
        [(0, "x"), (1, None), frozenset()],
        [np.int64(4), np.int64(-1), np.int64(2**40)],
        [0, 1, "1"],
        [b"1", 2.5, True],
    ]
    for names in kinds:
        np.testing.assert_array_equal(grpo_advantages(credits, group_ids=[names[i] for i in places]), expected)
    for ids in (tuple(places), np.array(places, np.int8), np.array(["k", "l", "m"])[places], torch.tensor(places)):
        np.testing.assert_array_equal(grpo_advantages(credits, group_ids=ids), expected)
    for far in (
        np.array([2**63, 0, 2**64 - 1], np.uint64),
        np.array([-(2**63), 2**63 - 1, 0]),
        np.array([5, 1, 2], ">i4"),
    ):
        np.testing.assert_array_equal(grpo_advantages(credits, group_ids=far[places]), expected)
    found = grpo_advantages(credits, group_ids=range(6))
    np.testing.assert_array_equal(found, grpo_advantages(credits[:, None])[:, 0])
    found = grpo_advantages(torch.tensor(credits), group_ids=np.array(places, object))
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize("groups", [1, 65536, 65537, 70000])
def test_many_groups_by_integers_and_by_objects(groups):
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.arange(groups), rng.integers(0, groups, 70000)])
    credits = rng.normal(size=(len(ids), 1))
    for names in (ids, np.sort(ids), ids[::-1]):
        found = grpo_advantages(credits, group_ids=names)
        np.testing.assert_array_equal(found, grpo_advantages(credits, group_ids=names.astype(str).tolist()))


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e6 + 0.1, -7e-12])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("center", CENTERS)
def test_constant_groups_leave_no_dust(center, scale, constant):
    """0.1 summed 21 times and divided by 21 is not 0.1: the result has to be 0 all the same."""
    credits = np.full((2, 7, 3), constant)
    credits[1] = np.random.default_rng(0).normal(size=(7, 3))
    for x in (credits, torch.tensor(credits), torch.tensor(credits).float()):
        for arguments in ({}, {"num_generations": 7}, {"group_ids": [0] * 7 + [1] * 7}):
            given = x if not arguments else x.reshape(14, 3)
            found = grpo_advantages(given, center=center, scale=scale, min_std=0.0, eps=0.0, **arguments)
            found = numbers(found).reshape(2, 7, 3)
            if center == "none" and scale != "group":
                assert (found[0] != 0).all()
            else:
                assert (found[0] == 0).all()
                assert not np.signbit(found[0]).any()
            assert (found[1] != 0).all()


@pytest.mark.usefixtures("as_on_a_gpu")
def test_constant_groups_leave_no_dust_in_torch_operations():
    credits = torch.full((2, 7, 3), 0.1, dtype=torch.float64)
    for center, scale in product(CENTERS[:3], SCALES):
        found = grpo_advantages(credits, center=center, scale=scale, min_std=0.0, eps=0.0)
        assert (found == 0).all()
        found = grpo_advantages(credits[0], center=center, scale=scale, group_ids=[1] * 7, min_std=0.0, eps=0.0)
        assert (found == 0).all()


def test_neither_centred_nor_scaled_is_the_identity():
    credits = np.random.default_rng(0).normal(size=(2, 3, 4))
    mask = np.random.default_rng(1).random((2, 3, 4)) < 0.5
    for x, m in ((credits, mask), (torch.tensor(credits), torch.tensor(mask))):
        found = grpo_advantages(x, m, center="none", scale="none")
        np.testing.assert_array_equal(numbers(found), np.where(mask, credits, 0))
        found = grpo_advantages(x, center="none", scale="none")
        found[0, 0, 0] = 100  # not the memory of the input
        assert x[0, 0, 0] == credits[0, 0, 0] != 100


@pytest.mark.parametrize(("dtype", "offset"), [("float32", 1e6), ("float64", 1e10), ("float32", -1e6)])
@pytest.mark.parametrize("center", CENTERS[:3])
def test_a_large_common_offset_costs_nothing(center, dtype, offset):
    """In one pass, E[x^2] - E[x]^2 would leave nothing of the variance."""
    rng = np.random.default_rng(0)
    step = {"float32": 0.0625, "float64": 1e-3}[dtype]
    credits = (offset + step * rng.integers(0, 9, (3, 4, 5))).astype(dtype)
    found = grpo_advantages(credits, center=center, eps=0.0)
    expected = grpo_advantages((credits.astype(float) - offset), center=center, eps=0.0)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_large_common_offset_costs_the_statistics_of_a_batch_nothing():
    whole = np.random.default_rng(0).integers(0, 8, (8, 4, 3)).astype(float)
    expected = (whole - whole.mean((1, 2), keepdims=True)) / whole.std(ddof=1)
    for offset in (1e9, 1e12, 2.0**50):
        for x in (whole + offset, torch.tensor(whole + offset)):
            found = grpo_advantages(x, scale="batch", eps=0.0)
            np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-14, atol=1e-14)


@pytest.mark.usefixtures("as_on_a_gpu")
def test_a_large_common_offset_costs_a_batch_nothing_in_torch_operations():
    test_a_large_common_offset_costs_the_statistics_of_a_batch_nothing()


@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize("scale", SCALES)
def test_a_group_does_not_depend_on_the_batch(center, scale):
    credits = np.random.default_rng(0).normal(size=(9, 8, 5)).astype(np.float32)
    mask = np.random.default_rng(1).random(credits.shape) < 0.8
    for x, m in ((credits, mask), (torch.tensor(credits), torch.tensor(mask))):
        everything = grpo_advantages(x, m, center=center, scale=scale)
        again = grpo_advantages(x, m, center=center, scale=scale)
        assert (again == everything).all()
        if scale != "batch":
            for i in (0, 4):
                assert (grpo_advantages(x[i : i + 1], m[i : i + 1], center=center, scale=scale) == everything[i]).all()
                assert (grpo_advantages(x[i], m[i], center=center, scale=scale) == everything[i]).all()


def test_containers_agree_bitwise():
    credits, mask = example(True)
    for center, scale in product(CENTERS, SCALES):
        expected = grpo_advantages(credits, mask, center=center, scale=scale)
        found = grpo_advantages(torch.tensor(credits), torch.tensor(mask), center=center, scale=scale)
        np.testing.assert_array_equal(found.numpy(), expected)
        found = grpo_advantages(np.asfortranarray(credits), mask, center=center, scale=scale)
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 4), (4, 0)])
def test_nothing_to_do(shape):
    for x in (np.zeros(shape), torch.zeros(shape, dtype=torch.bfloat16)):
        for center, scale in product(CENTERS, SCALES):
            found = grpo_advantages(x, center=center, scale=scale)
            assert tuple(found.shape) == shape
            assert found.dtype == x.dtype
            if len(shape) == 2:
                assert tuple(grpo_advantages(x, group_ids=[0] * shape[0], center=center, scale=scale).shape) == shape


def test_no_live_candidates_at_all():
    for center, scale in product(CENTERS, SCALES):
        for arguments in ({}, {"group_ids": [0, 0, 1]}, {"num_generations": 1}):
            found = grpo_advantages(
                np.full((3, 2), np.nan), np.zeros((3, 2), bool), center=center, scale=scale, **arguments
            )
            np.testing.assert_array_equal(found, 0)


def test_masks_broadcast_and_inputs_may_be_views():
    credits = np.random.default_rng(0).normal(size=(2, 3, 4))
    expected = grpo_advantages(credits, np.broadcast_to([True, True, False, True], credits.shape))
    np.testing.assert_array_equal(grpo_advantages(credits, [True, True, False, True]), expected)
    credits.flags.writeable = False
    np.testing.assert_array_equal(grpo_advantages(credits, np.array([True, True, False, True])), expected)
    view = np.asfortranarray(np.repeat(credits, 2, axis=1))[:, ::2]
    np.testing.assert_allclose(grpo_advantages(view, [True, True, False, True]), expected, rtol=1e-13, atol=1e-14)


def test_no_gradient_flows_back():
    credits = torch.randn(2, 3, 4, requires_grad=True)
    assert not grpo_advantages(credits).requires_grad
    assert not grpo_advantages(credits, center="none", scale="none").requires_grad


def test_integers_and_lists():
    expected = [[-1, 0, 1]]
    assert grpo_advantages([[1, 2, 3]], eps=0.0).tolist() == expected
    assert grpo_advantages(np.array([[1, 2, 3]]), eps=0.0).dtype == np.float64
    assert grpo_advantages(torch.tensor([[1, 2, 3]]), eps=0.0).dtype == torch.float32


def test_threads_do_not_disturb_each_other():
    rng = np.random.default_rng(0)
    batches = [(rng.normal(size=(60, 4)), rng.integers(0, 9, 60)) for _ in range(40)]
    expected = [grpo_advantages(x, group_ids=ids, center="slot") for x, ids in batches]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda batch: grpo_advantages(batch[0], group_ids=batch[1], center="slot"), batches))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("layout", ["equal", "masked", "by id"])
def test_large_batches_on_several_threads(layout, scale):
    rng = np.random.default_rng(0)
    credits = rng.normal(size=(2**16, 9))
    arguments = {"num_generations": 8} if layout != "by id" else {"group_ids": rng.integers(0, 5000, len(credits))}
    if layout == "masked":
        arguments["mask"] = rng.random(credits.shape) < 0.8
    before = sk.get_num_threads()
    found = []
    try:
        for threads in (1, 3):
            sk.set_num_threads(threads)
            found.append(grpo_advantages(credits, scale=scale, **arguments))
            spoiled = credits.copy()
            spoiled[[700, 60000], 3] = np.inf
            spoiled[650, :2] = 1e308, -1e308
            with pytest.raises(ValueError, match=r"finite, got inf at \[700, 3\]"):
                grpo_advantages(spoiled, scale=scale, **{**arguments, "mask": None})
    finally:
        sk.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_wide_accumulation_where_the_device_has_it(monkeypatch):
    assert ops.widest(torch.zeros(1)) == torch.float64
    assert ops.widest(np.zeros(1, np.float16)) == np.float64
    monkeypatch.setattr(ops.TorchOps, "device", lambda self, x: "mps:0")
    monkeypatch.setattr(ops.TorchOps, "on_cpu", lambda self, x: False)
    assert ops.widest(torch.zeros(1, dtype=torch.bfloat16)) == torch.float32
    check(*example(True), "groups", "loo", "batch", "bfloat16", "torch")


def test_options_of_any_kind_of_number():
    credits = np.random.default_rng(0).normal(size=(4, 3))
    expected = grpo_advantages(credits, eps=0.25, min_std=0, ddof=1)
    found = grpo_advantages(credits, eps=Fraction(1, 4), min_std=np.float32(0), ddof=np.int8(1))
    np.testing.assert_array_equal(found, expected)
    assert not grpo_advantages(credits, ddof=2**70).any()
    with pytest.raises(ValueError, match="eps must be a finite number >= 0, got 1"):
        grpo_advantages(credits, eps=10**400)
