"""The Triton kernels of `pairwise` and `table` compile for every target, without spills. Needs triton, no GPU, no
TRITON_INTERPRET."""

import re

import pytest

from tests.kernels.conftest import INTERPRETED, need

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled: runs in a process of its own", allow_module_level=True)

torch = need("torch")
aot = need("triton", "tests.kernels.aot")
pairwise = need("triton", "shapley_kernels.kernels.pairwise._triton")
table = need("triton", "shapley_kernels.kernels.table._triton")

targets = pytest.mark.parametrize("target", aot.TARGETS)


def pairwise_calls(players, dtype, both=True, rows=1000, **forced):
    real = torch.promote_types(dtype, torch.float32)
    tensors = (
        aot.empty(dtype, rows, players, players),
        aot.empty(dtype, rows, players) if both else None,
        aot.empty(torch.bool, rows, players) if both else None,
        aot.empty(real, 3),
        aot.empty(real, 3),
        aot.empty(torch.int32, players + 1),
        aot.empty(dtype, rows, players),
    )
    return [(kernel, call) for kernel, *call in pairwise._calls(*tensors, **forced)]


def table_call(players, dtype, masked=True, rows=1000, **forced):
    real = torch.promote_types(dtype, torch.float32)
    tensors = (
        aot.empty(dtype, rows, 1 << players),
        aot.empty(torch.bool, rows, players) if masked else None,
        aot.empty(real, 3, players),
        aot.empty(torch.int32, players + 1),
        aot.empty(dtype, rows, players),
    )
    return table._mean_gains, table._call(*tensors, **forced)


def check(target, kernel, call):
    found = aot.usage(aot.compile_call(target, kernel, call))
    assert 0 < found.registers < 255
    assert found.spills == 0
    assert found.shared <= 16 * 1024


@targets
@pytest.mark.parametrize("both", [False, True], ids=["plain", "values+mask"])
@pytest.mark.parametrize(("players", "dtype"), [(1, torch.float32), (7, torch.float64), (16, torch.bfloat16)], ids=str)
def test_pairwise(target, players, dtype, both):
    [(kernel, call)] = pairwise_calls(players, dtype, both)
    check(target, kernel, call)


@targets
@pytest.mark.parametrize(
    ("players", "dtype"), [(33, torch.float16), (100, torch.float64), (512, torch.float32)], ids=str
)
def test_pairwise_by_several_programs(target, players, dtype):
    sums, spread = pairwise_calls(players, dtype)
    check(target, *sums)
    check(target, *spread)


@targets
@pytest.mark.parametrize("masked", [False, True], ids=["full", "masked"])
@pytest.mark.parametrize(("players", "dtype"), [(1, torch.float32), (6, torch.bfloat16), (20, torch.float64)], ids=str)
def test_table(target, players, dtype, masked):
    check(target, *table_call(players, dtype, masked))


@targets
def test_batches_beyond_32_bit_offsets(target):
    """2^32 elements: what depends on the row is added with 64 bits."""
    [(kernel, call)] = pairwise_calls(16, torch.float32, rows=2**24)
    assert offsets(target, kernel, call, 3) == ["64", "32"]  # to the line of w, and within it
    assert offsets(target, *table_call(6, torch.float32, rows=2**26), 2)[:1] == ["64"]


def offsets(target, kernel, call, axes):
    """Widths of the offsets that are added to float32 pointers of that many axes."""
    shape = r"\d+x" * axes
    pattern = rf"tt\.addptr .*: tensor<{shape}!tt\.ptr<f32>>, tensor<{shape}i(\d+)>"
    return re.findall(pattern, aot.compile_call(target, kernel, call).asm["ttir"])


def test_the_choice_ignores_the_number_of_rows():
    """A row's result must not depend on its batch, so neither may the tile."""
    for few, many in ((1, 17), (1, 2**20)):
        assert table_call(9, torch.float32, rows=few)[1][2] == table_call(9, torch.float32, rows=many)[1][2]
        for a, b in zip(*(pairwise_calls(70, torch.float32, rows=n) for n in (few, many)), strict=True):
            assert a[1][2] == b[1][2]
