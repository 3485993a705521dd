"""The Triton kernels of `multilinear` and `knapsack` compile for every target. Needs triton, no GPU, no
TRITON_INTERPRET."""

import pytest

from tests.kernels.conftest import INTERPRETED, need

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled: runs in a process of its own", allow_module_level=True)

torch = need("torch")
aot = need("triton", "tests.kernels.aot")
multilinear = need("triton", "shapley_kernels.kernels.multilinear._triton")
knapsack = need("triton", "shapley_kernels.kernels.knapsack._triton")

ROWS = 1000
targets = pytest.mark.parametrize("target", aot.TARGETS)


def product_call(form, players, dtype, masked, rows=ROWS):
    real = torch.promote_types(dtype, torch.float32)
    x, out = aot.empty(dtype, rows, players), aot.empty(dtype, rows, players)
    mask = aot.empty(torch.bool, rows, players) if masked else None
    if form == "nodes":
        return multilinear._nodes, multilinear._nodes_call(x, mask, *[aot.empty(real, (players + 1) // 2)] * 2, out)
    tables = (aot.empty(real, 3, players), aot.empty(torch.int32, players + 1), aot.empty(real, 1 << 20))
    return multilinear._sizes, multilinear._sizes_call(x, mask, *tables, out)


def total_call(form, players, cap, dtype, chances, weights, rows=ROWS):
    nodes = [aot.empty(dtype, (players + 1) // 2)] * 2
    sizes = [aot.empty(dtype, 3, players), aot.empty(torch.int32, players + 1)]
    return knapsack._knapsack, knapsack._call(
        aot.empty(dtype, rows, players) if chances else None,
        aot.empty(torch.int32, rows, players) if weights else None,
        aot.empty(torch.bool, rows, players),
        aot.empty(dtype, 1, cap + 1),
        *(nodes if form == "nodes" else (None, None)),
        *(sizes if form == "sizes" else (None, None)),
        aot.empty(dtype, 1 << 20),
        aot.empty(dtype, rows, players),
    )


@targets
@pytest.mark.parametrize("form", ["nodes", "sizes"])
@pytest.mark.parametrize(
    ("players", "dtype", "masked"),
    [(1, torch.float32, False), (16, torch.float32, True), (100, torch.float64, True), (1000, torch.bfloat16, False)],
)
def test_multilinear(target, players, dtype, masked, form):
    found = aot.usage(aot.compile_call(target, *product_call(form, players, dtype, masked)))
    assert 0 < found.registers < 255
    assert found.spills == 0
    assert found.shared <= 8 * 1024


@targets
@pytest.mark.parametrize("form", ["nodes", "sizes"])
@pytest.mark.parametrize(
    ("players", "cap", "dtype", "chances", "weights"),
    [(16, 4, torch.float32, True, False), (100, 1250, torch.float64, False, True)],
)
def test_knapsack(target, players, cap, dtype, chances, weights, form):
    found = aot.usage(aot.compile_call(target, *total_call(form, players, cap, dtype, chances, weights)))
    assert 0 < found.registers < 128
    assert found.spills == 0


def test_the_choice_ignores_the_number_of_rows():
    """A row's result must not depend on its batch, so neither may the tile."""
    for form in ("nodes", "sizes"):
        few, many = (product_call(form, 16, torch.float32, True, rows)[1][2] for rows in (1, 2**20))
        assert few == many
        few, many = (total_call(form, 16, 9, torch.float32, True, True, rows)[1][2] for rows in (1, 2**20))
        assert few == many
