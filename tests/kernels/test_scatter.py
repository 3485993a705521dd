"""The `scatter` kernels against plain Python, on every backend."""

import importlib

import numpy as np
import pytest
import torch

from tests.kernels import rig

backends = pytest.mark.parametrize("backend", rig.BACKENDS)

# tokens of each rollout: fewer and more than a program takes, of one length and of many
LENGTHS = [
    [1],
    [5, 5, 5],
    [1024, 1024],
    [1023] * 3,
    [2500, 2500],
    [1] * 1100,
    [3] * 400,
    [0, 0],
    [],
    [0, 2, 1500, 0, 0, 3, 1024, 0],
    [0, 0, 1],
]
shapes = pytest.mark.parametrize("lengths", LENGTHS, ids=lambda x: f"{len(x)}x{sum(x)}")


def case(lengths, players=4, dtype=torch.float32, ids=torch.int64):
    """table, ids, starts: without starts where the lengths are equal."""
    rng = np.random.default_rng([players, *lengths])
    table = torch.tensor(rng.normal(size=(len(lengths), players + 1))).to(dtype)
    found = torch.tensor(rng.integers(0, players + 1, sum(lengths))).to(ids)
    equal = len(set(lengths)) <= 1
    return table, found, None if equal else torch.tensor(np.cumsum([0, *lengths]))


def rollouts(lengths):
    return [i for i, length in enumerate(lengths) for _ in range(length)]


def module(backend):
    return importlib.import_module(f"shapley_kernels.kernels.scatter._{backend}")


def scattered(backend, table, ids, starts):
    run, dtype = module(backend).run, table.dtype
    if backend == "numba":  # numpy has no bfloat16
        table = table.view(getattr(torch, f"int{8 * table.itemsize}"))
    [out], bad = rig.launch(run, (table, ids, starts), [(ids.shape, table.dtype)], backend)
    return out.view(dtype), bad


def counted(backend, table, ids, starts):
    count = module(backend).count
    [counts], bad = rig.launch(count, (ids, starts), [(table.shape, torch.int64)], backend)
    return counts, bad


@backends
@shapes
@pytest.mark.parametrize("given", [False, True])
def test_equals_the_definition(backend, lengths, given):
    table, ids, starts = case(lengths)
    if given:
        starts = torch.tensor(np.cumsum([0, *lengths]))
    out, bad = scattered(backend, table, ids, starts)
    assert bad == -1
    rows = rollouts(lengths)
    assert out.tolist() == [table[r, k].item() for r, k in zip(rows, ids.tolist(), strict=True)]
    if len(lengths) < 100:  # the interpreter takes long for each rollout
        counts, bad = counted(backend, table, ids, starts)
        assert bad == -1
        expected = np.zeros(table.shape, int)
        np.add.at(expected, (rows, ids.numpy()), 1)
        assert np.array_equal(counts, expected)


@backends
@pytest.mark.parametrize("ids", [torch.int32, torch.int64])
@pytest.mark.parametrize("players", [0, 1, 7, 1023])
@pytest.mark.parametrize("dtype", rig.DTYPES, ids=str)
def test_moves_any_bits(backend, dtype, players, ids):
    table, ids, starts = case([40, 0, 90], players, dtype, ids)
    table[0] = float("nan")
    table[2, ::2] = -0.0
    out, _ = scattered(backend, table, ids, starts)
    assert torch.equal(rig.bits(out), rig.bits(table[rollouts([40, 0, 90]), ids.long()]))
    assert counted(backend, table, ids, starts)[0].sum(1).tolist() == [40, 0, 90]


@backends
@pytest.mark.parametrize("lengths", [[700] * 3, [0, 1400, 700]], ids=str)
@pytest.mark.parametrize("ids", [torch.int32, torch.int64])
def test_the_first_bad_id_is_found(backend, lengths, ids):
    table, good, starts = case(lengths, ids=ids)
    for wrong in (-1, 5, torch.iinfo(ids).min, torch.iinfo(ids).max):
        for places in ([2099], [701, 1500, 2000]):
            spoilt = good.clone()
            spoilt[places] = wrong
            assert scattered(backend, table, spoilt, starts)[1] == places[0]
            assert _count_alone(backend, table, spoilt, starts) == places[0]


def _count_alone(backend, table, ids, starts):
    """The count of ids some of which are bad, which does not finish."""
    place = rig.DEVICE[backend]
    arguments = [None if x is None else x.to(place) for x in (ids, starts, torch.zeros_like(table, dtype=torch.int64))]
    if backend == "numba":
        arguments = [None if x is None else x.numpy() for x in arguments]
    return module(backend).count(*arguments)


@pytest.mark.skipif(rig.INTERPRETED, reason="of numba")
def test_several_threads_change_nothing():
    lengths = [4096] * 200
    table, ids, starts = case(lengths)
    assert sum(lengths) > 2 * importlib.import_module("shapley_kernels.kernels._marshal").THREADED
    whole, _ = scattered("numba", table, ids, starts)
    assert torch.equal(whole.view(200, 4096), table.gather(1, ids.view(200, 4096)))
    ids[3 * 4096 + 5] = ids[150 * 4096] = 9
    assert scattered("numba", table, ids, starts)[1] == 3 * 4096 + 5
