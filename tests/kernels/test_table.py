"""The `table` kernels against rational arithmetic; Triton under TRITON_INTERPRET=1 (a process of its own) or on a
GPU."""

from fractions import Fraction
from math import comb, lcm

import numpy as np
import pytest

from shapley_kernels.values import Banzhaf, Shapley
from tests.kernels.conftest import INTERPRETED, need

torch = need("torch")
rig = need("torch", "tests.kernels.rig")

backends = pytest.mark.parametrize("backend", rig.backends())


def coalition_weights(value, players):
    """weights [players, players] by live count - 1, float64, and row_of_count [players + 1]."""
    weights = np.zeros((players, players))
    for m in range(1, players + 1):
        weights[m - 1, :m] = value.size_weights(m) / [comb(m - 1, s) for s in range(m)]
    return torch.tensor(weights), torch.tensor([0, *range(players)], dtype=torch.int32)


def case(seed, rows, players, dtype=torch.float64, *, masked=False, value=None, offset=0.0):
    """Random arguments of `run` without `out`; in coalitions with masked players stands what must not matter."""
    rng = np.random.default_rng(seed)
    values = offset + rng.standard_normal((rows, 1 << players)) * rng.choice([1.0, 100.0], (rows, 1))
    mask = None
    if masked:
        mask = rng.random((rows, players)) < rng.choice([0.0, 0.4, 0.8, 1.0], (rows, 1))
        dead = (~mask * (1 << np.arange(players))).sum(1)
        values[(np.arange(1 << players) & dead[:, None]) != 0] = rng.choice(rig.NON_FINITE)
        mask = torch.tensor(mask)
    weights, row_of_count = coalition_weights(value or Shapley(), max(players, 1))
    return torch.tensor(values, dtype=dtype), mask, weights.to(rig.real(dtype)), row_of_count


def launch(backend, tensors, out_dtype=None, **forced):
    values, players = tensors[0], len(tensors[-1]) - 1
    if backend == "numba":  # the launcher hands it the compute dtype
        tensors = (values.to(rig.real(values.dtype)), *tensors[1:])
    module = rig.backend("table", backend)
    run = (lambda *t: module.call(*t, **forced).on(t[-1])) if forced else module.run
    dtype = tensors[0].dtype if backend == "numba" else out_dtype or values.dtype
    return rig.launch(run, tensors, (len(values), players), backend, dtype)[0]


def formula(tensors):
    """out and its error bound before output rounding [rows, players]: rational sums, rounded once."""
    values, mask, weights, row_of_count = (None if x is None else x.cpu().double().numpy() for x in tensors)
    eps = torch.finfo(tensors[2].dtype).eps
    rows, players = len(values), len(row_of_count) - 1
    out, bound = np.zeros((rows, players)), np.zeros((rows, players))
    for b in range(rows):
        live = [i for i in range(players) if mask is None or mask[b, i]]
        weight = [Fraction(float(x)) for x in weights[int(row_of_count[len(live)])]]
        everybody = sum(1 << i for i in live)
        inside = [s for s in range(1 << players) if s & ~everybody == 0]
        worth = {s: Fraction(float(values[b, s])) for s in inside}
        unit = lcm(*(x.denominator for x in worth.values()))
        whole = {s: x.numerator * (unit // x.denominator) for s, x in worth.items()}
        for i in live:
            gains, sizes = [0] * (players + 1), [0] * (players + 1)
            for s in inside:
                if not s >> i & 1:
                    gain = whole[s | 1 << i] - whole[s]
                    gains[s.bit_count()] += gain
                    sizes[s.bit_count()] += abs(gain)
            out[b, i] = float(sum(w * g for w, g in zip(weight, gains, strict=False)) / unit)
            bound[b, i] = (
                (players + 6) * eps / 2 * float(sum(w * g for w, g in zip(weight, sizes, strict=False)) / unit)
            )
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
    if tensors[1] is not None:
        assert (got[~tensors[1].numpy()] == 0).all()
    error = np.abs(got - expected)
    assert (error <= bound).all(), float((error / bound).max())
    return float((error / bound).max(initial=0))


@backends
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize("players", [1, 2, 3, 5, 8, 10, 12])
def test_equals_the_formula(backend, players, masked):
    for dtype in rig.DTYPES if players < 8 else rig.DTYPES[:2]:
        for value in (Shapley(), Banzhaf(0.25)):
            tensors = case(players, max(1, 32 >> players), players, dtype, masked=masked, value=value)
            check(tensors, launch(backend, tensors))


@backends
def test_large_common_offset(backend):
    """Differences are exact before anything is summed: the offset costs nothing."""
    for dtype in (torch.float64, torch.float32):
        tensors = case(1, 3, 9, dtype, offset=2.0**12)
        check(tensors, launch(backend, tensors))


@backends
def test_does_not_lose_a_digit_every_four_players(backend):
    """13 players, float32: 2^12 terms a player. Summed one after the other they would be off by many eps."""
    n = 13
    rng = np.random.default_rng(0)
    size = np.array([s.bit_count() for s in range(1 << n)])
    whole = rng.integers(0, 1 << 20, 1 << n)  # exact in float32
    tensors = (torch.tensor(whole[None], dtype=torch.float32), None, *coalition_weights(Banzhaf(), n))
    tensors = (*tensors[:2], tensors[2].float(), tensors[3])
    got = launch(backend, tensors)[0].double().numpy()
    for i in range(n):
        without = np.flatnonzero(np.arange(1 << n) >> i & 1 == 0)
        gains = whole[without | 1 << i] - whole[without]
        bound = (n + 6) * 2.0**-24 * np.abs(gains).mean() + 2.0**-24 * abs(gains.mean())
        assert abs(got[i] - gains.mean()) <= bound
        assert size[without].max() == n - 1


@backends
@pytest.mark.parametrize("shape", [(0, 3), (5, 0), (0, 0)])
def test_nothing_to_do(backend, shape):
    assert (
        launch(backend, (*case(0, *shape, masked=True)[:3], torch.zeros(shape[1] + 1, dtype=torch.int32))).shape
        == shape
    )


@backends
@pytest.mark.parametrize("players", [3, 9])
def test_rows_do_not_depend_on_the_batch(backend, players):
    tensors = case(1, 9, players, torch.float32, masked=True)
    out = launch(backend, tensors)
    order = torch.tensor(np.random.default_rng(0).permutation(9))
    for subset in (order, order[:1], order[1:8]):
        part = [x[subset].contiguous() for x in tensors[:2]]
        assert torch.equal(rig.bits(launch(backend, (*part, *tensors[2:]))), rig.bits(out[subset]))


@backends
@pytest.mark.parametrize("bad", rig.NON_FINITE)
@pytest.mark.parametrize("players", [1, 4])
def test_non_finite_entry(backend, players, bad):
    """The live players of that row get NaN, masked ones 0, and every other row what it got before."""
    tensors = case(2, 5, players, torch.float32)
    live = torch.ones(5, players, dtype=torch.bool)
    live[:, 1::3] = False
    tensors = (tensors[0], live, *tensors[2:])
    before = launch(backend, tensors)
    values = tensors[0].clone()
    everybody = sum(1 << i for i in range(players) if live[0, i])
    values[1, 0] = values[3, everybody] = bad
    after = launch(backend, (values, *tensors[1:]))
    for row in range(5):
        if row in (1, 3):
            assert after[row][live[row]].isnan().all()
            assert (after[row][~live[row]] == 0).all()
        else:
            assert torch.equal(rig.bits(after[row]), rig.bits(before[row]))


def test_numba_names_the_first_bad_row():
    tensors = case(3, 6, 3)
    run = rig.backend("table", "numba").run
    assert rig.launch(run, tensors, (6, 3), "numba", torch.float64)[1] == -1
    tensors[0][2:5, 7] = np.nan
    assert rig.launch(run, tensors, (6, 3), "numba", torch.float64)[1] == 2


@pytest.mark.parametrize("masked", [False, True])
def test_gradients(masked):
    """d out_i / d v(S): weights_{|S| - 1} with i in S, -weights_{|S|} without, among live players."""
    values, mask, weights, row_of_count = case(4, 4, 4, masked=masked)
    values.requires_grad_()
    out = torch.empty(4, 4, dtype=torch.float64)
    rig.backend("table", "torch").run(values, mask, weights, row_of_count, out)
    out[:, 1].sum().backward()
    for row in range(4):
        live = [i for i in range(4) if mask is None or mask[row, i]]
        weight = weights[row_of_count[len(live)]]
        for s in range(16):
            members = [i for i in range(4) if s >> i & 1]
            inside = 1 in live and set(members) <= set(live)
            expected = (weight[len(members) - 1] if 1 in members else -weight[len(members)]) if inside else 0.0
            assert abs(values.grad[row, s] - expected) < 1e-15


needs_triton = pytest.mark.skipif("triton" not in rig.backends(), reason="needs TRITON_INTERPRET=1 or a GPU")


@needs_triton
@pytest.mark.parametrize(("tile", "num_warps"), [(2, 1), (16, 8), (4096, 4)])
@pytest.mark.parametrize("players", [1, 4])
def test_forced_choices(players, tile, num_warps):
    tensors = case(5, 3, players, torch.float32, masked=True)
    check(tensors, launch("triton", tensors, tile=tile, num_warps=num_warps))


@needs_triton
@pytest.mark.parametrize("out_dtype", rig.DTYPES, ids=str)
def test_out_of_another_dtype(out_dtype):
    tensors = case(6, 9, 4, torch.float32, masked=True)
    check(tensors, launch("triton", tensors, out_dtype))


@needs_triton
def test_level_of_no_live_player_is_not_used():
    tensors = case(7, 9, 4, masked=True)
    tensors[1][3] = False
    tensors[-1][0] = 10**8
    assert (launch("triton", tensors)[3] == 0).all()


@pytest.mark.parametrize("bits", [4, 5, 7])
def test_blocks_of_every_size(bits, monkeypatch):
    """The tree over blocks, reached with few players."""
    monkeypatch.setattr(rig.backend("table", "numba"), "BLOCK_BITS", bits)
    for masked in (False, True):
        for dtype in rig.DTYPES[:2]:
            tensors = case(8, 4, 9, dtype, masked=masked)
            check(tensors, launch("numba", tensors))
