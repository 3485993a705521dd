"""The primitives `multilinear` and `knapsack` on numba and torch, against their contracts in rational arithmetic."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from shapley_kernels.kernels.knapsack import _numba as knapsack_numba
from shapley_kernels.kernels.knapsack import _torch as knapsack_torch
from shapley_kernels.kernels.multilinear import _numba as multilinear_numba
from shapley_kernels.kernels.multilinear import _torch as multilinear_torch
from shapley_kernels.values import Shapley
from tests.primitives import knapsack_case, multilinear_case

MODULES = {
    "multilinear": {"numba": multilinear_numba, "torch": multilinear_torch},
    "knapsack": {"numba": knapsack_numba, "torch": knapsack_torch},
}
forms = pytest.mark.parametrize("form", ["nodes", "sizes"])
backends = pytest.mark.parametrize("backend", ["numba", "torch"])
reals = pytest.mark.parametrize("real", ["float64", "float32"])


def tensor(x):
    return None if x is None else torch.from_numpy(np.array(x))


def run(primitive, backend, case):
    """On a poisoned `out`; the inputs stay as they are."""
    out = np.full(case.live.shape, np.nan, next(x.dtype for x in case.tables if x is not None))
    inputs = [*case.arrays, *case.tables]
    before = [None if x is None else x.copy() for x in inputs]
    module = MODULES[primitive][backend]
    if backend == "torch":
        module.run(*map(tensor, inputs), torch.from_numpy(out))
    else:
        for x in inputs:
            if x is not None:
                x.flags.writeable = False
        assert module.run(*inputs, out) == -1
    for x, y in zip(inputs, before, strict=True):
        assert x is None or np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
    return out


@reals
@forms
@backends
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("players", [1, 2, 3, 5, 9])
def test_multilinear(players, masked, backend, form, real):
    case = multilinear_case(0, form, players, real, masked)
    case.check(run("multilinear", backend, case))


@forms
@backends
@pytest.mark.parametrize(
    ("players", "cap", "given", "real"),
    [
        (1, 3, "chances", "float64"),
        (2, 1, "chances mask", "float64"),
        (7, 6, "chances mask", "float64"),
        (7, 6, "chances mask", "float32"),
        (3, 0, "weights mask", "float64"),
        (6, 5, "weights mask", "float64"),
        (5, 4, "chances weights mask", "float64"),
    ],
)
def test_knapsack(players, cap, given, backend, form, real):
    chances, weights, masked = (name in given for name in ("chances", "weights", "mask"))
    case = knapsack_case(0, form, players, cap, real, masked, chances, weights, per_row=players % 2 == 0)
    case.check(run("knapsack", backend, case))


@forms
@backends
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("primitive", ["multilinear", "knapsack"])
def test_non_finite_data_stay_in_their_row(primitive, bad, backend, form):
    case = multilinear_case(1, form, 5) if primitive == "multilinear" else knapsack_case(1, form, 5, 4)
    clean = run(primitive, backend, case)
    row = int(case.live.sum(1).argmax())
    first = case.arrays[0].copy()
    first[row, np.flatnonzero(case.live[row])[-1]] = bad
    out = np.zeros_like(clean)
    inputs = [first, *case.arrays[1:], *case.tables]
    if backend == "torch":
        MODULES[primitive][backend].run(*map(tensor, inputs), torch.from_numpy(out))
    else:
        assert MODULES[primitive][backend].run(*inputs, out) == row
    expected = clean.copy()
    expected[row, case.live[row]] = np.nan
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("primitive", ["multilinear", "knapsack"])
def test_a_null_player_changes_no_bit_of_the_node_form(primitive):
    """A masked player and one with x = 0 or chance 0 are the same there (by size they are not)."""
    backend = "torch"
    case = multilinear_case(2, "nodes", 6) if primitive == "multilinear" else knapsack_case(2, "nodes", 6, 5)
    masked = run(primitive, backend, case)
    filled = case.arrays[0].copy()
    filled[~case.live] = 0.0
    arrays = (filled, None)
    if primitive == "knapsack":
        arrays = (filled, np.where(case.live, case.arrays[1], 3).astype(np.int32), None)
    found = run(primitive, backend, replace(case, arrays=arrays))
    np.testing.assert_array_equal(found[case.live], masked[case.live])


@forms
@pytest.mark.parametrize("primitive", ["multilinear", "knapsack"])
def test_chunks_of_rows_change_no_bit(monkeypatch, primitive, form):
    case = multilinear_case(3, form, 9) if primitive == "multilinear" else knapsack_case(3, form, 6, 5)
    whole = run(primitive, "torch", case)
    monkeypatch.setattr(MODULES[primitive]["torch"], "CHUNK", 1)
    assert np.array_equal(run(primitive, "torch", case), whole)


@forms
@pytest.mark.parametrize("primitive", ["multilinear", "knapsack"])
@pytest.mark.filterwarnings("ignore:Input #0 requires gradient:UserWarning")
def test_gradients(primitive, form):
    case = multilinear_case(4, form, 4) if primitive == "multilinear" else knapsack_case(4, form, 4, 3)
    first, *others = map(tensor, (*case.arrays, *case.tables))
    first = torch.where(torch.from_numpy(case.live), first, 0.3).requires_grad_()

    def credits(x):
        out = torch.zeros(case.live.shape, dtype=x.dtype)
        MODULES[primitive]["torch"].run(x, *others, out)
        return out

    assert torch.autograd.gradcheck(credits, (first,))


@backends
def test_many_players_in_closed_form(backend):
    """Equal players share the worth of all: (1 - (1 - p)^n) / n each, at p = 1 too."""
    players = 512
    x = np.repeat([[-1.0], [-0.5], [-1e-3], [1e-3]], players, axis=1)
    t, weight = Shapley().nodes(players)
    sizes, row_of_count = np.full((1, players), 1 / players), np.zeros(players + 1, np.int32)
    with np.errstate(divide="ignore"):
        exact = np.expm1(players * np.log1p(x[:, :1])) / players
    for tables in ((t, weight, None, None), (None, None, sizes, row_of_count)):
        out = np.empty_like(x)
        arguments = (x, None, *tables)
        if backend == "torch":
            multilinear_torch.run(*map(tensor, arguments), torch.from_numpy(out))
        else:
            multilinear_numba.run(*arguments, out)
        np.testing.assert_allclose(out, np.broadcast_to(exact, x.shape), rtol=6 * players * 2.0**-53)
