"""The Triton kernel of `swap` compiles for every target, without spills. Needs triton, no GPU, no TRITON_INTERPRET."""

import numpy as np
import pytest

from shapley_kernels.kernels.swap import KINDS
from tests.kernels.conftest import INTERPRETED, need

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled: runs in a process of its own", allow_module_level=True)

torch = need("torch")
aot = need("triton", "tests.kernels.aot")
kernel = need("triton", "shapley_kernels.kernels.swap._triton")


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
@pytest.mark.parametrize(
    ("players", "topics", "dtype"),
    [(5, 1, torch.float32), (8, 8, torch.bfloat16), (16, 100, torch.float64), (63, 1, torch.float64)],
    ids=str,
)
def test_no_spills(target, players, topics, dtype, kind, mixed):
    real = torch.promote_types(dtype, torch.float32)
    x, count = aot.empty(dtype, 800, players, topics), aot.empty(torch.int32, 800)
    mix, out = aot.empty(real, *[(players + 1) * mixed] * 2), aot.empty(dtype, 800, players + 1)
    starts = np.arange(0, 801, 8)
    arguments = (x, count, aot.empty(dtype, 1, topics), aot.empty(dtype, 1), None, starts, mix, kind, out)
    function, *call = kernel.call(*arguments)
    found = aot.usage(aot.compile_call(target, function, call))
    assert 0 < found.registers <= 160
    assert found.spills == 0
