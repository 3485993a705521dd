"""The Triton kernels of `scatter` compile for every target, without spills. Needs triton, no GPU, no
TRITON_INTERPRET."""

import pytest

from tests.kernels.conftest import INTERPRETED, need

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled: runs in a process of its own", allow_module_level=True)

torch = need("torch")
aot = need("triton", "tests.kernels.aot")
kernel = need("triton", "shapley_kernels.kernels.scatter._triton")


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("ids", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize(
    ("players", "dtype"), [(5, torch.float32), (64, torch.bfloat16), (1023, torch.float64)], ids=str
)
def test_no_spills(target, players, dtype, ids, packed):
    table, tokens = aot.empty(dtype, 100, players + 1), aot.empty(ids, 5000)
    starts, bad = aot.empty(torch.int64, 101) if packed else None, aot.empty(torch.int64, 1)
    function, *call = kernel.scatter_call(table, tokens, starts, aot.empty(dtype, 5000), bad)
    check(target, function, call)
    function, *call = kernel.count_call(aot.empty(torch.int64, *table.shape), tokens, starts, bad)
    check(target, function, call)


def check(target, function, call):
    found = aot.usage(aot.compile_call(target, function, call))
    assert 0 < found.registers <= 128
    assert found.spills == 0
    assert found.shared <= 16 * 1024
