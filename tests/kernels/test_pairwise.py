"""The `pairwise` kernels against rational arithmetic; Triton under TRITON_INTERPRET=1 (a process of its own) or on a
GPU."""

from fractions import Fraction

import numpy as np
import pytest

from tests.kernels.conftest import INTERPRETED, need

torch = need("torch")
rig = need("torch", "tests.kernels.rig")

SIZES = (1, 2, 3, 8, 17, 33, 130)
backends = pytest.mark.parametrize("backend", rig.backends())


def case(seed, rows, players, dtype=torch.float64, *, valued=True, masked=False, levels=3):
    """Random arguments of `run` without `out`; at masked players and on the diagonal stands what must not matter."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((rows, players, players)) * rng.choice([1.0, 100.0], (rows, 1, 1))
    w = w + w.swapaxes(1, 2)
    values = rng.standard_normal((rows, players))
    live = rng.random((rows, players)) < rng.choice([0.0, 0.3, 0.8, 1.0], (rows, 1)) if masked else None
    if masked:
        values[~live] = rng.choice(rig.NON_FINITE)
        w[~(live[:, :, None] & live[:, None, :])] = rng.choice(rig.NON_FINITE)
    w[:, range(players), range(players)] = np.nan
    real = rig.real(dtype)
    return (
        torch.tensor(w, dtype=dtype),
        torch.tensor(values, dtype=dtype) if valued else None,
        None if live is None else torch.tensor(live),
        torch.tensor(rng.standard_normal(levels), dtype=real),
        torch.tensor(rng.standard_normal(levels), dtype=real),
        torch.tensor(rng.integers(0, levels, players + 1), dtype=torch.int32),
    )


def launch(backend, tensors, out_dtype=None, **forced):
    w = tensors[0]
    if backend == "numba":  # the launcher hands it the compute dtype
        tensors = tuple(x if x is None or not x.is_floating_point() else x.to(rig.real(x.dtype)) for x in tensors)
    module = rig.backend("pairwise", backend)
    run = (lambda *t: [launch.on(t[-1]) for launch in module.calls(*t, **forced)]) if forced else module.run
    dtype = tensors[0].dtype if backend == "numba" else out_dtype or w.dtype
    return rig.launch(run, tensors, w.shape[:2], backend, dtype)[0]


def formula(tensors):
    """out and its error bound before output rounding [rows, players]: rational sums, rounded once."""
    w, values, mask, own, pair, row_of_count = (None if x is None else x.cpu().double().numpy() for x in tensors)
    eps = torch.finfo(tensors[3].dtype).eps
    rows, players = w.shape[:2]
    out, bound = np.zeros((rows, players)), np.zeros((rows, players))
    for b in range(rows):
        live = np.arange(players) if mask is None else np.flatnonzero(mask[b])
        level = int(row_of_count[len(live)])
        for i in live:
            others = [Fraction(float(w[b, i, j])) for j in live if j != i]
            a = Fraction(0) if values is None else Fraction(float(values[b, i]))
            f, g = Fraction(float(own[level])), Fraction(float(pair[level]))
            out[b, i] = float(f * a + g * sum(others))
            bound[b, i] = (players + 2) * eps / 2 * float(abs(f * a) + abs(g) * sum(map(abs, others)))
    return out, bound


def check(tensors, out):
    """Within the bound, 0 where masked; returns the worst error in units of the bound."""
    got = out.double().numpy()
    expected, bound = formula(tensors)
    info = torch.finfo(out.dtype)
    # bfloat16 stores truncate in the interpreter, on a device they round to nearest
    rounding = info.eps if INTERPRETED and out.dtype == torch.bfloat16 else info.eps / 2
    bound = bound + rounding * (np.abs(expected) + bound) + info.tiny * info.eps
    assert np.isfinite(got).all()
    if tensors[2] is not None:
        assert (got[~tensors[2].numpy()] == 0).all()
    error = np.abs(got - expected)
    assert (error <= bound).all(), float((error / bound).max())
    return float((error / bound).max(initial=0))


@backends
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("valued", [False, True], ids=["pairs", "values"])
@pytest.mark.parametrize("players", SIZES)
def test_equals_the_formula(backend, players, valued, masked):
    for dtype in rig.DTYPES if players < 10 else rig.DTYPES[:2]:
        tensors = case(players, 1 if players > 20 else 20, players, dtype, valued=valued, masked=masked)
        check(tensors, launch(backend, tensors))


@backends
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
def test_nothing_to_do(backend, shape):
    assert launch(backend, case(0, *shape, masked=True)).shape == shape


@backends
@pytest.mark.parametrize("players", [3, 33])
def test_rows_do_not_depend_on_the_batch(backend, players):
    tensors = case(1, 9, players, torch.float32, masked=True)
    out = launch(backend, tensors)
    order = torch.tensor(np.random.default_rng(0).permutation(9))
    for subset in (order, order[:1], order[1:8]):
        part = [x[subset].contiguous() for x in tensors[:3]]
        assert torch.equal(rig.bits(launch(backend, (*part, *tensors[3:]))), rig.bits(out[subset]))


@backends
@pytest.mark.parametrize("bad", rig.NON_FINITE)
@pytest.mark.parametrize("players", [5, 33])
def test_non_finite_value_or_pair(backend, players, bad):
    """The live players of that row get NaN, masked ones 0, and every other row what it got before."""
    rows = 4
    tensors = case(2, rows, players, torch.float32)
    live = torch.rand(rows, players, generator=torch.Generator().manual_seed(0)) < 0.7
    live[:, :2] = True
    tensors = (*tensors[:2], live, *tensors[3:])
    before = launch(backend, tensors)
    assert before.isfinite().all()
    w, values = tensors[0].clone(), tensors[1].clone()
    values[1, 0] = bad
    w[2, 0, 1] = w[2, 1, 0] = bad
    after = launch(backend, (w, values, *tensors[2:]))
    for row in range(rows):
        if row in (1, 2):
            assert after[row][live[row]].isnan().all()
            assert (after[row][~live[row]] == 0).all()
        else:
            assert torch.equal(rig.bits(after[row]), rig.bits(before[row]))


def test_numba_names_the_first_bad_row():
    tensors = list(case(3, 6, 5))
    run = rig.backend("pairwise", "numba").run
    assert rig.launch(run, tuple(tensors), (6, 5), "numba", torch.float64)[1] == -1
    tensors[1][4, 2] = np.nan
    tensors[0][3, 0, 4] = tensors[0][3, 4, 0] = np.inf
    assert rig.launch(run, tuple(tensors), (6, 5), "numba", torch.float64)[1] == 3


@pytest.mark.parametrize("masked", [False, True])
def test_gradients(masked):
    w, values, mask, own, pair, row_of_count = case(4, 3, 5, masked=masked)
    values.requires_grad_()
    w.requires_grad_()
    out = torch.empty(3, 5, dtype=torch.float64)
    rig.backend("pairwise", "torch").run(w, values, mask, own, pair, row_of_count, out)
    weight = torch.randn(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    (out * weight).sum().backward()
    live = torch.ones(3, 5, dtype=torch.bool) if mask is None else mask
    level = row_of_count[live.sum(1)].long()
    torch.testing.assert_close(values.grad, torch.where(live, own[level][:, None] * weight, 0.0))
    pairs = live[:, :, None] & live[:, None, :] & ~torch.eye(5, dtype=torch.bool)
    torch.testing.assert_close(w.grad, torch.where(pairs, (pair[level][:, None] * weight)[:, :, None], 0.0))


needs_triton = pytest.mark.skipif("triton" not in rig.backends(), reason="needs TRITON_INTERPRET=1 or a GPU")


@needs_triton
@pytest.mark.parametrize(("tile", "num_warps"), [(64, 1), (256, 8), (4096, 4)])
@pytest.mark.parametrize("players", [1, 7, 20])
def test_forced_choices(players, tile, num_warps):
    tensors = case(5, 5, players, torch.float32, masked=True)
    check(tensors, launch("triton", tensors, tile=tile, num_warps=num_warps))


@needs_triton
@pytest.mark.parametrize("out_dtype", rig.DTYPES, ids=str)
def test_out_of_another_dtype(out_dtype):
    tensors = case(6, 9, 6, torch.float32, masked=True)
    check(tensors, launch("triton", tensors, out_dtype))


@needs_triton
def test_level_of_no_live_player_is_not_used():
    tensors = case(7, 9, 4, masked=True)
    tensors[2][3] = False
    tensors[-1][0] = 10**8
    assert (launch("triton", tensors)[3] == 0).all()
