"""The Triton kernels of all primitives compile for every target, without spills. Needs triton, no GPU, no
TRITON_INTERPRET."""

import re
from itertools import product

import numpy as np
import pytest

from shapley_kernels.kernels.group_norm import CENTERS
from shapley_kernels.kernels.swap import KINDS
from tests.kernels.conftest import INTERPRETED, need

if INTERPRETED:
    pytest.skip("an interpreted kernel cannot be compiled: runs in a process of its own", allow_module_level=True)

torch = need("torch")
aot = need("triton", "tests.kernels.aot")
F16, F32, F64, BF16 = torch.float16, torch.float32, torch.float64, torch.bfloat16
MODULES = {
    name: need("triton", f"shapley_kernels.kernels.{name}._triton")
    for name in ("order", "multilinear", "knapsack", "pairwise", "table", "group_norm", "scatter", "swap")
}
fused = need("triton", "shapley_kernels.kernels.order._gpu_fused_norm")
backward = need("triton", "shapley_kernels.kernels.order._triton_backward")


def order(players, dtype, masked, has_b, rows=1000, **forced):
    return [MODULES["order"].call(*aot.arguments(players, dtype, masked=masked, has_b=has_b, rows=rows), **forced)]


def gradients(players, both):
    tensors = aot.arguments(players, F32, masked=both, has_b=both)
    return [backward.call(tensors[0], *tensors, aot.empty(F32, len(tensors[0])))]


def order_and_norm(players, size, dtype, both, center):
    tensors = aot.arguments(players, dtype, masked=both, has_b=both)
    return [fused.call(tensors, size, center, "group", 1, 1e-6, 1e-4, 0.0)]


def multilinear(form, players, dtype, masked, rows=1000):
    real = torch.promote_types(dtype, F32)
    x, out = aot.empty(dtype, rows, players), aot.empty(dtype, rows, players)
    mask = aot.empty(torch.bool, rows, players) if masked else None
    if form == "nodes":
        return [MODULES["multilinear"].nodes_call(x, mask, *[aot.empty(real, (players + 1) // 2)] * 2, out)]
    tables = (aot.empty(real, 3, players), aot.empty(torch.int32, players + 1), aot.empty(real, 1 << 20))
    return [MODULES["multilinear"].sizes_call(x, mask, *tables, out)]


def knapsack(form, players, cap, dtype, chances, rows=1000):
    nodes = [aot.empty(dtype, (players + 1) // 2)] * 2
    sizes = [aot.empty(dtype, 3, players), aot.empty(torch.int32, players + 1)]
    arguments = (
        aot.empty(dtype, rows, players) if chances else None,
        None if chances else aot.empty(torch.int32, rows, players),
        aot.empty(torch.bool, rows, players),
        aot.empty(dtype, 1, cap + 1),
        *(nodes if form == "nodes" else (None, None)),
        *(sizes if form == "sizes" else (None, None)),
        aot.empty(dtype, 1 << 20),
        aot.empty(dtype, rows, players),
    )
    return [MODULES["knapsack"].call(*arguments)]


def pairwise(players, dtype, both=True, rows=1000):
    real = torch.promote_types(dtype, F32)
    arguments = (
        aot.empty(dtype, rows, players, players),
        aot.empty(dtype, rows, players) if both else None,
        aot.empty(torch.bool, rows, players) if both else None,
        *[aot.empty(real, 3)] * 2,
        aot.empty(torch.int32, players + 1),
        aot.empty(dtype, rows, players),
    )
    return MODULES["pairwise"].calls(*arguments)


def table(players, dtype, masked=True, rows=1000):
    arguments = (
        aot.empty(dtype, rows, 1 << players),
        aot.empty(torch.bool, rows, players) if masked else None,
        aot.empty(torch.promote_types(dtype, F32), 3, players),
        aot.empty(torch.int32, players + 1),
        aot.empty(dtype, rows, players),
    )
    return [MODULES["table"].call(*arguments)]


def group_norm(size, width, dtype, center, masked):
    x = aot.empty(dtype, 32 * size, width)
    mask = aot.empty(torch.bool, 32 * size, width) if masked else None
    return [MODULES["group_norm"].call(x, mask, 32, center, "group", 1, 1e-6, 1e-4, 0.0, x)]


def scatter(players, dtype, ids, packed):
    values, tokens = aot.empty(dtype, 100, players + 1), aot.empty(ids, 5000)
    starts, bad = aot.empty(torch.int64, 101) if packed else None, aot.empty(torch.int64, 1)
    module = MODULES["scatter"]
    counts = aot.empty(torch.int64, *values.shape)
    return [
        module.scatter_call(values, tokens, starts, aot.empty(dtype, 5000), bad),
        module.count_call(counts, tokens, starts, bad),
    ]


def swap(players, topics, dtype, kind, mixed):
    x, count = aot.empty(dtype, 800, players, topics), aot.empty(torch.int32, 800)
    mix, out = aot.empty(torch.promote_types(dtype, F32), *[(players + 1) * mixed] * 2), aot.empty(dtype, 800, 1)
    starts = np.arange(0, 801, 8)
    arguments = (x, count, aot.empty(dtype, 1, topics), aot.empty(dtype, 1), None, starts, mix, kind, out)
    return [MODULES["swap"].call(*arguments)]


BOTH = (False, True)
# of `order` the chosen form at either end of its range, with loads of 1, 2 and 4 elements, and of 32 to 256 rows to a
# program; docs/explanation/gpu.md has the table
ORDER = [*product((2, 7, 16, 20, 100, 1024), (F32,), BOTH)]
ORDER += [(8, BF16, True), (6, F64, True), (16, F64, False), (100, F64, True), (64, F32, False), (28, F64, False)]
CASES = {  # arguments, most registers, most bytes of shared memory
    order: (
        [*((n, dtype, both, both) for n, dtype, both in ORDER), (8, F32, True, False), (8, F32, False, True)],
        255,
        8,
    ),
    gradients: ([(7, True), (64, False), (100, True)], 255, 64),
    order_and_norm: (
        [
            (*case, center)
            for case in ((5, 8, F32, False), (16, 7, F32, True), (8, 128, F64, True))
            for center in ("group", "loo")
        ],
        255,
        64,
    ),
    multilinear: (
        [
            (form, *case)
            for form in ("nodes", "sizes")
            for case in ((1, F32, False), (16, F32, True), (100, F64, True), (1000, BF16, False))
        ],
        254,
        8,
    ),
    knapsack: (
        [(form, *c) for form in ("nodes", "sizes") for c in ((16, 4, F32, True), (100, 1250, F64, False))],
        127,
        8,
    ),
    pairwise: (
        [
            *((*case, both) for case in ((1, F32), (7, F64), (16, BF16)) for both in BOTH),
            (33, F16),
            (100, F64),
            (512, F32),
        ],
        254,
        16,
    ),
    table: ([(*case, masked) for case in ((1, F32), (6, BF16), (20, F64)) for masked in BOTH], 254, 16),
    group_norm: (
        [
            (*case, center, (i + j) % 2 == 0)
            for i, case in enumerate(((8, 5, F32), (16, 32, BF16), (64, 32, F64)))
            for j, center in enumerate(CENTERS)
        ],
        128,
        16,
    ),
    scatter: (
        [
            (5, F32, torch.int32, False),
            (64, BF16, torch.int64, False),
            (64, BF16, torch.int32, True),
            (1023, F64, torch.int64, True),
        ],
        128,
        16,
    ),
    swap: (
        [
            (*case, kind, (i + kind) % 2 == 0)
            for i, case in enumerate(((5, 1, F32), (8, 8, BF16), (16, 100, F64), (63, 1, F64)))
            for kind in range(len(KINDS))
        ],
        160,
        64,
    ),
}
ALL = [(make, case) for make, (cases, *_) in CASES.items() for case in cases]
IDS = [f"{make.__name__}-{'-'.join(map(str, case))}".replace("torch.", "") for make, case in ALL]


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize(("make", "case"), ALL, ids=IDS)
def test_compiles_without_spills(target, make, case):
    _, registers, shared = CASES[make]
    for launch in make(*case) if make is not order else order(*case, lanes=aot.TARGETS[target].warp_size):
        found = aot.usage(aot.compile_call(target, launch))
        assert 0 < found.registers <= registers
        assert found.spills == 0
        assert found.shared <= (0 if make is order and case[0] <= 64 else shared * 1024)


@pytest.mark.parametrize("target", aot.TARGETS)
@pytest.mark.parametrize("rows", [32, 256])
def test_forced_rows_compile(target, rows):
    [launch] = order(8, F32, True, True, form="rolled", rows_per_program=rows, lanes=aot.TARGETS[target].warp_size)
    assert aot.usage(aot.compile_call(target, launch)).spills == 0


def test_spills_are_seen():
    [launch] = order(8, F32, False, True)
    found = aot.usage(aot.compile_call("sm_90", launch._replace(options={**launch.options, "maxnreg": 24})))
    assert found.registers <= 24
    assert found.spills > 10


@pytest.mark.parametrize(("form", "width"), [("unrolled", 4), ("rolled", 4), ("tile", 16)])
def test_batches_of_order_beyond_32_bit_offsets(form, width):
    """2^32 elements: the offsets into rewards, mask and out are 64 bits wide."""
    [launch] = order(16, F32, True, True, rows=2**28, form=form)
    code = aot.compile_call("sm_90", launch).asm["ttir"]
    found = re.findall(rf"tt\.addptr .*: tensor<\d+x{width}x!tt\.ptr<(\w+)>>, tensor<\d+x\d+xi(\d+)>", code)
    assert {"f32", "i1"} <= {pointee for pointee, bits in found if bits == "64"}
    assert {pointee for pointee, bits in found if bits == "32"} <= {"f32"}  # the tables keep 32 bits
    narrow = sum(bits == "32" for _, bits in found)
    assert re.findall(rf"tt\.store .*tensor<\d+x{width}x!tt", code)
    assert narrow == 2 * (1 if form == "tile" else 16 // width)


@pytest.mark.parametrize("target", aot.TARGETS)
def test_batches_beyond_32_bit_offsets(target):
    """2^32 elements: what depends on the row is added with 64 bits."""
    [launch] = pairwise(16, F32, rows=2**24)
    assert offsets(target, launch, 3) == ["64", "32"]  # to the line of w, and within it
    [launch] = table(6, F32, rows=2**26)
    assert offsets(target, launch, 2)[:1] == ["64"]


def offsets(target, launch, axes):
    """Widths of the offsets that are added to float32 pointers of that many axes."""
    shape = r"\d+x" * axes
    pattern = rf"tt\.addptr .*: tensor<{shape}!tt\.ptr<f32>>, tensor<{shape}i(\d+)>"
    return re.findall(pattern, aot.compile_call(target, launch).asm["ttir"])


@pytest.mark.parametrize(
    ("make", "case"),
    [
        *((order, (players, F32, False, False)) for players in (7, 20, 100)),
        *((multilinear, (form, 16, F32, True)) for form in ("nodes", "sizes")),
        *((knapsack, (form, 16, 9, F32, True)) for form in ("nodes", "sizes")),
        (pairwise, (70, F32, True)),
        (table, (9, F32, True)),
    ],
)
def test_the_choice_ignores_the_number_of_rows(make, case):
    """A row's result must not depend on its batch, so neither may the form and its tile."""
    few, *more = ([launch.options for launch in make(*case, rows=rows)] for rows in (1, 17, 2**20))
    assert all(many == few for many in more)


def test_forms_by_length():
    def changes(double, plain):
        forms = [MODULES["order"].form_of(n, double, plain) for n in range(1, 1025)]
        return [(n, form) for n, form in enumerate(forms, 1) if n == 1 or form != forms[n - 2]]

    assert changes(double=False, plain=True) == [(1, "unrolled"), (17, "rolled"), (65, "tile")]
    assert changes(double=False, plain=False) == [(1, "unrolled"), (17, "rolled"), (33, "tile")]
    assert changes(double=True, plain=True) == [(1, "unrolled"), (17, "rolled"), (29, "tile")]
    assert changes(double=True, plain=False) == [(1, "unrolled"), (17, "tile")]
