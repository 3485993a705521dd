"""The Triton `order` kernel compiles for every target, without spills. Needs triton, no GPU, no TRITON_INTERPRET."""

import re

import pytest

from tests.kernels.conftest import INTERPRETED, need

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled: runs in a process of its own", allow_module_level=True)

torch = need("torch")
aot = need("triton", "tests.kernels.aot")

# row lengths of every alignment, from one element a row to one row a tile; float16 and bfloat16 differ in the load only
CASES = [(n, kind) for kind in (torch.float32, torch.float64) for n in (1, 7, 16, 24, 100, 512, 1000, 1024)]
CASES += [(100, torch.float16), (64, torch.bfloat16), (512, torch.bfloat16)]

# Bytes. ptxas (triton 3.9) puts one value on the stack to get down to 72, 80 or 128 registers, where
# one more program fits on the SM. That is its choice, not pressure: 255 are allowed, and maxnreg=168 gives 0.
KNOWN_SPILLS = {
    ("sm_80", 24, torch.float64, False): 8,
    ("sm_80", 512, torch.bfloat16, True): 8,
    ("sm_90", 1, torch.float64, False): 8,
    ("sm_90", 24, torch.float64, False): 8,
}


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("both", [False, True], ids=["plain", "mask+outside"])
@pytest.mark.parametrize(("players", "dtype"), CASES, ids=lambda x: str(x).removeprefix("torch."))
def test_compiles_without_spills(target, players, dtype, both):
    found = aot.usage(aot.compile_for(target, aot.arguments(players, dtype, masked=both, outside=both)))
    assert 0 < found.registers < 255
    assert found.spills <= KNOWN_SPILLS.get((target, players, dtype, both), 0)
    assert found.shared <= 8 * 1024


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize(("masked", "outside"), [(True, False), (False, True)])
def test_mask_and_outside_are_independent(target, masked, outside):
    kernel = aot.compile_for(target, aot.arguments(16, torch.float32, masked=masked, outside=outside))
    assert aot.usage(kernel).spills == 0


@pytest.mark.parametrize("target", aot.TARGETS)
def test_batches_beyond_32_bit_offsets(target):
    """2^32 elements: the offsets into rewards, mask and out are 64 bits wide."""
    kernel = aot.compile_for(target, aot.arguments(16, torch.float32, masked=True, outside=True, rows=2**28))
    assert aot.usage(kernel).spills == 0
    tiles = re.findall(r"tt\.addptr .*: tensor<\d+x16x!tt\.ptr<(\w+)>>, tensor<\d+x16xi(\d+)>", kernel.asm["ttir"])
    wide = [pointee for pointee, bits in tiles if bits == "64"]
    assert sorted(wide) == ["f32", "f32", "i1"]  # rewards, out, mask; the tables keep 32 bits
    assert len(tiles) == len(wide) + 2


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("forced", [{"rows_per_program": 1}, {"rows_per_program": 16, "num_warps": 8}], ids=str)
def test_forced_choices_compile(target, forced):
    kernel = aot.compile_for(target, aot.arguments(64, torch.float32, masked=True, outside=True), **forced)
    assert kernel.metadata.num_warps == forced.get("num_warps", 4)
    assert aot.usage(kernel).spills == 0


@pytest.mark.parametrize("rows", [1, 17, 2**20])
def test_the_choice_ignores_the_number_of_rows(rows):
    """A row's result must not depend on its batch, so neither may the tile."""
    few = aot._triton._call(*aot.arguments(16, torch.float32, masked=False, outside=False, rows=2))
    many = aot._triton._call(*aot.arguments(16, torch.float32, masked=False, outside=False, rows=rows))
    assert few[2] == many[2]
