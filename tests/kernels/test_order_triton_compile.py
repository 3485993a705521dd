"""The Triton `order` kernel compiles for every target, without spills. Needs triton, no GPU, no TRITON_INTERPRET."""

import re

import pytest

from tests.kernels.conftest import INTERPRETED, need

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled: runs in a process of its own", allow_module_level=True)

torch = need("torch")
aot = need("triton", "tests.kernels.aot")
_gpu_fused_norm = need("triton", "shapley_kernels.kernels.order._gpu_fused_norm")

# the chosen form at either end of its range, with loads of 1, 2 and 4 elements; docs/explanation/gpu.md has the table
CASES = [(n, torch.float32, both) for n in (2, 7, 16, 20, 100, 1024) for both in (False, True)]
CASES += [(8, torch.bfloat16, True), (6, torch.float64, True), (16, torch.float64, False), (100, torch.float64, True)]


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize(("players", "dtype", "both"), CASES, ids=lambda x: str(x).removeprefix("torch."))
def test_compiles_without_spills(target, players, dtype, both):
    found = aot.usage(aot.compile_for(target, aot.arguments(players, dtype, masked=both, outside=both)))
    assert 0 < found.registers <= 255
    assert found.spills == 0
    assert found.shared <= (0 if players <= 64 else 8 * 1024)


def test_spills_are_seen():
    kernel, grid, args, options = aot._triton.call(*aot.arguments(8, torch.float32, masked=False, outside=True))
    found = aot.usage(aot.compile_call("sm_90", kernel, (grid, args, {**options, "maxnreg": 24})))
    assert found.registers <= 24
    assert found.spills > 10


@pytest.mark.parametrize(
    ("target", "players", "dtype"), [("sm_90", 64, torch.float32), ("sm_80", 28, torch.float64)], ids=str
)
def test_longest_rows_of_one_thread(target, players, dtype):
    found = aot.usage(aot.compile_for(target, aot.arguments(players, dtype, masked=False, outside=False)))
    assert found.spills == 0
    assert found.shared == 0


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize(("players", "both"), [(7, True), (64, False), (100, True)])
def test_gradients_compile_without_spills(target, players, both):
    kernel = aot.compile_backward_for(target, aot.arguments(players, torch.float32, masked=both, outside=both))
    assert aot.usage(kernel).spills == 0


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("center", ["group", "loo"])
@pytest.mark.parametrize(
    ("players", "size", "dtype", "both"),
    [(5, 8, torch.float32, False), (16, 7, torch.float32, True), (8, 128, torch.float64, True)],
    ids=str,
)
def test_normalised_credits_compile_without_spills(target, players, size, dtype, both, center):
    tensors = aot.arguments(players, dtype, masked=both, outside=both)
    kernel, *call = _gpu_fused_norm.call(tensors, size, center, "group", 1, 1e-6, 1e-4, 0.0)
    assert aot.usage(aot.compile_call(target, kernel, call)).spills == 0


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize(("masked", "outside"), [(True, False), (False, True)])
def test_mask_and_outside_are_independent(target, masked, outside):
    kernel = aot.compile_for(target, aot.arguments(8, torch.float32, masked=masked, outside=outside))
    assert aot.usage(kernel).spills == 0


@pytest.mark.parametrize(("form", "width"), [("unrolled", 4), ("rolled", 4), ("tile", 16)])
def test_batches_beyond_32_bit_offsets(form, width):
    """2^32 elements: the offsets into rewards, mask and out are 64 bits wide."""
    tensors = aot.arguments(16, torch.float32, masked=True, outside=True, rows=2**28)
    kernel = aot.compile_for("sm_90", tensors, form=form)
    found = re.findall(
        rf"tt\.addptr .*: tensor<\d+x{width}x!tt\.ptr<(\w+)>>, tensor<\d+x\d+xi(\d+)>", kernel.asm["ttir"]
    )
    assert {"f32", "i1"} <= {pointee for pointee, bits in found if bits == "64"}
    assert {pointee for pointee, bits in found if bits == "32"} <= {"f32"}  # the tables keep 32 bits
    stored = re.findall(rf"tt\.store .*tensor<\d+x{width}x!tt", kernel.asm["ttir"])
    narrow = sum(bits == "32" for _, bits in found)
    tables = 2 * (1 if form == "tile" else 16 // width)
    assert stored
    assert narrow == tables


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("rows", [32, 256])
def test_forced_rows_compile(target, rows):
    kernel = aot.compile_for(
        target, aot.arguments(8, torch.float32, masked=True, outside=True), form="rolled", rows_per_program=rows
    )
    assert aot.usage(kernel).spills == 0


@pytest.mark.parametrize("rows", [1, 17, 2**20])
@pytest.mark.parametrize("players", [7, 20, 100])
def test_the_choice_ignores_the_number_of_rows(players, rows):
    """A row's result must not depend on its batch, so neither may the form and its tile."""
    few = aot._triton.call(*aot.arguments(players, torch.float32, masked=False, outside=False, rows=2))
    many = aot._triton.call(*aot.arguments(players, torch.float32, masked=False, outside=False, rows=rows))
    assert few[3] == many[3]


def test_forms_by_length():
    def changes(double, plain):
        forms = [aot._triton.form_of(n, double, plain) for n in range(1, 1025)]
        return [(n, form) for n, form in enumerate(forms, 1) if n == 1 or form != forms[n - 2]]

    assert changes(double=False, plain=True) == [(1, "unrolled"), (17, "rolled"), (65, "tile")]
    assert changes(double=False, plain=False) == [(1, "unrolled"), (17, "rolled"), (33, "tile")]
    assert changes(double=True, plain=True) == [(1, "unrolled"), (17, "rolled"), (29, "tile")]
    assert changes(double=True, plain=False) == [(1, "unrolled"), (17, "tile")]
