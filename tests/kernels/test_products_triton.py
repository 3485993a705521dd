"""The Triton kernels of `multilinear` and `knapsack`, interpreted (TRITON_INTERPRET=1, in a process of its own) or on
a GPU."""

import numpy as np
import pytest

from tests.kernels.conftest import INTERPRETED, need
from tests.primitives import knapsack_case, multilinear_case

torch = need("torch")
MODULES = {name: need("triton", f"shapley_kernels.kernels.{name}._triton") for name in ("multilinear", "knapsack")}

if not INTERPRETED and not torch.cuda.is_available():
    pytest.skip("needs TRITON_INTERPRET=1 or a GPU", allow_module_level=True)

DEVICE = "cpu" if INTERPRETED else "cuda"
GUARD = 64  # elements on either side of `out` that no kernel may touch
forms = pytest.mark.parametrize("form", ["nodes", "sizes"])
primitives = pytest.mark.parametrize("primitive", MODULES)


def case_of(primitive, form):
    return multilinear_case(1, form, 5) if primitive == "multilinear" else knapsack_case(1, form, 4, 3)


def launch(primitive, arrays, tables, dtype=None):
    """Run on a poisoned `out` between guard bands: every element written, nothing beside them."""
    real = next(x.dtype.name for x in tables if x is not None)
    inputs = [None if x is None else torch.tensor(x, device=DEVICE) for x in (*arrays, *tables)]
    if dtype is not None:
        inputs[0] = inputs[0].to(dtype)
    shape = next(x.shape for x in arrays if x is not None)
    size = int(np.prod(shape))
    buffer = torch.full((size + 2 * GUARD,), float("nan"), dtype=dtype or getattr(torch, real), device=DEVICE)
    before = [None if x is None else x.clone() for x in inputs]
    out = buffer[GUARD : GUARD + size].view(*shape)
    MODULES[primitive].run(*inputs, out)
    assert buffer[:GUARD].isnan().all()
    assert buffer[GUARD + size :].isnan().all()
    for x, y in zip(inputs, before, strict=True):
        assert x is None or torch.equal(torch.nan_to_num(x), torch.nan_to_num(y))
    return out.double().cpu().numpy()


@forms
@pytest.mark.parametrize(
    ("players", "real", "masked"),
    [(1, "float64", False), (2, "float32", True), (3, "float64", True), (5, "float32", False), (9, "float64", True)],
)
def test_multilinear(players, real, masked, form):
    case = multilinear_case(0, form, players, real, masked)
    case.check(launch("multilinear", case.arrays, case.tables))


@forms
@pytest.mark.parametrize(
    ("players", "cap", "given", "real"),
    [
        (1, 3, "chances", "float64"),
        (2, 1, "chances mask", "float32"),
        (3, 0, "weights mask", "float64"),
        (5, 4, "weights mask", "float64"),
        (5, 4, "chances weights mask", "float32"),
    ],
)
def test_knapsack(players, cap, given, form, real):
    chances, weights, masked = (name in given for name in ("chances", "weights", "mask"))
    case = knapsack_case(0, form, players, cap, real, masked, chances, weights, per_row=players % 2 == 0)
    case.check(launch("knapsack", case.arrays, case.tables))


@primitives
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_is_computed_in_float32(primitive, dtype):
    """The data of the cases are exact in both; bfloat16 stores truncate in the interpreter."""
    case = multilinear_case(5, "nodes", 3, "float32") if primitive == "multilinear" else None
    case = case or knapsack_case(5, "nodes", 3, 3, "float32")
    case.check(launch(primitive, case.arrays, case.tables, dtype), rounding=float(torch.finfo(dtype).eps))


@forms
@primitives
def test_rows_do_not_depend_on_the_batch(primitive, form):
    case = case_of(primitive, form)
    whole = launch(primitive, case.arrays, case.tables)
    for part in (slice(0, 1), slice(2, 5)):
        arrays = [None if x is None else x[part] for x in case.arrays]
        tables = list(case.tables)
        if primitive == "knapsack" and len(tables[0]) > 1:
            tables[0] = tables[0][part]
        np.testing.assert_array_equal(launch(primitive, arrays, tables), whole[part])


@forms
@primitives
def test_a_small_workspace_changes_no_bit(monkeypatch, primitive, form):
    case = case_of(primitive, form)
    whole = launch(primitive, case.arrays, case.tables)
    monkeypatch.setattr(MODULES[primitive], "WORKSPACE", 1)
    np.testing.assert_array_equal(launch(primitive, case.arrays, case.tables), whole)


@forms
@primitives
@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_non_finite_data_stay_in_their_row(primitive, bad, form):
    case = case_of(primitive, form)
    first, row = case.arrays[0].copy(), int(case.live.sum(1).argmax())
    first[row, np.flatnonzero(case.live[row])[-1]] = bad
    expected = launch(primitive, case.arrays, case.tables)
    expected[row, case.live[row]] = np.nan
    np.testing.assert_array_equal(launch(primitive, (first, *case.arrays[1:]), case.tables), expected)


@primitives
@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_nothing_to_do(primitive, shape):
    arrays = (np.zeros(shape), *([None] * (1 if primitive == "multilinear" else 2)))
    tables = (np.zeros(1), np.ones(1), None, None)
    tables = tables if primitive == "multilinear" else (np.zeros((1, 3)), *tables)
    assert launch(primitive, arrays, tables).shape == shape
