"""The Triton kernel of `group_norm` compiles for every target, without spills. Needs triton, no GPU, no
TRITON_INTERPRET."""

import pytest

from shapley_kernels.kernels.group_norm import CENTERS
from tests.kernels.conftest import INTERPRETED, need

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled: runs in a process of its own", allow_module_level=True)

torch = need("torch")
aot = need("triton", "tests.kernels.aot")
kernel = need("triton", "shapley_kernels.kernels.group_norm._triton")


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("center", CENTERS)
@pytest.mark.parametrize(
    ("size", "width", "dtype"), [(8, 5, torch.float32), (16, 32, torch.bfloat16), (64, 32, torch.float64)], ids=str
)
def test_no_spills(target, size, width, dtype, center, masked):
    x = aot.empty(dtype, 32 * size, width)
    mask = aot.empty(torch.bool, 32 * size, width) if masked else None
    function, *call = kernel.call(x, mask, 32, center, "group", 1, 1e-6, 1e-4, 0.0, x)
    found = aot.usage(aot.compile_call(target, function, call))
    assert 0 < found.registers <= 128
    assert found.spills == 0
