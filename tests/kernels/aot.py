"""Compile Triton kernels without a GPU and say what the compiler made of them.

    python -m tests.kernels.aot            prints registers, spills and shared memory of `order` per target, row length

Not under TRITON_INTERPRET=1, which leaves nothing to compile.
"""

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from shapley_kernels.kernels.order import _triton

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
PLAYERS = (1, 7, 16, 33, 64, 100, 128, 256, 500, 512, 1000, 1024)


class Usage(NamedTuple):
    """What one compiled kernel takes."""

    registers: int  # per thread
    spills: int  # bytes (AMD: registers and bytes of scratch)
    shared: int  # bytes per program
    warps: int


class _Device:
    """A driver that stands for a GPU that is not there: enough for the JIT to compile, nothing to launch on."""

    def __init__(self, target: str) -> None:
        self.target = target

    def get_current_device(self) -> str:
        return self.target  # the JIT keeps its kernels by device

    def get_current_stream(self, _: Any = None) -> int:
        return 0

    def get_current_target(self) -> GPUTarget:
        return TARGETS[self.target]


@contextmanager
def device(target: str) -> Iterator[None]:
    """Let triton believe that `target` is the current device."""
    before = dict(vars(driver))  # reset_active() would look for a real device
    driver.set_active(_Device(target))
    try:
        yield
    finally:
        vars(driver).update(before)


def empty(dtype: torch.dtype, *shape: int) -> torch.Tensor:
    """A tensor without memory."""
    return torch.empty(shape, dtype=dtype, device="meta")


def arguments(players: int, dtype: torch.dtype, *, masked: bool, outside: bool, rows: int = 1000) -> tuple[Any, ...]:
    """Arguments of `order`'s `run` as tensors without memory."""
    real = torch.promote_types(dtype, torch.float32)
    table = empty(real, 3, players)
    return (
        empty(dtype, rows, players),
        empty(torch.bool, rows, players) if masked else None,
        empty(real, 1),
        table,
        table if outside else None,
        empty(real, 3),
        empty(torch.int32, players + 1),
        empty(dtype, rows, players),
    )


def compile_for(target: str, tensors: tuple[Any, ...], **forced: int) -> Any:
    """The kernel that `order`'s `run(*tensors)` launches on `target`."""
    return compile_call(target, _triton._order_rows, _triton._call(*tensors, **forced))


def compile_call(target: str, kernel: Any, call: tuple[Any, Any, Any]) -> Any:
    """The kernel that a launch (grid, arguments, options) compiles on `target`: same specialisation by the JIT."""
    grid, args, options = call
    with device(target):
        return kernel.warmup(*args, grid=grid, **options)


def usage(kernel: Any) -> Usage:
    """Registers and spills of a compiled kernel, read from the machine code."""
    shared, warps = kernel.metadata.shared, kernel.metadata.num_warps
    if "cubin" in kernel.asm:
        registers, stack, local = _cubin(kernel.asm["cubin"])
        return Usage(registers, stack + local, shared, warps)  # nothing of ours but spills lives in the stack frame
    said = dict(re.findall(r"\.(\w+):\s+(\d+)", kernel.asm["amdgcn"]))
    spilled = ("vgpr_spill_count", "sgpr_spill_count", "private_segment_fixed_size")
    return Usage(int(said["vgpr_count"]), sum(int(said[x]) for x in spilled), shared, warps)


def _cubin(code: bytes) -> tuple[int, int, int]:
    """(registers, stack, local memory) from cuobjdump, which comes with triton."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(code)
        said = subprocess.run([tool, "-res-usage", file], capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", said)
    if found is None:
        raise RuntimeError(f"cuobjdump -res-usage: expected REG, STACK and LOCAL, got {said!r}")
    return int(found[1]), int(found[2]), int(found[3])


def main() -> None:
    """Print the table: with mask and outside coefficients (the largest kernel), and without both."""
    print(
        f"triton {triton.__version__}; registers per thread / spills / shared bytes per program, {_triton._WARPS} warps"
    )
    print(f"{'players':>7} {'dtype':8} {'mask+outside':12} " + " ".join(f"{t:>14}" for t in TARGETS))
    for dtype in (torch.float32, torch.bfloat16, torch.float64):
        for players in PLAYERS:
            for both in (False, True):
                tensors = arguments(players, dtype, masked=both, outside=both)
                found = [usage(compile_for(target, tensors)) for target in TARGETS]
                cells = " ".join(f"{f'{u.registers} / {u.spills} / {u.shared}':>14}" for u in found)
                print(f"{players:7} {str(dtype)[6:]:8} {'yes' if both else 'no':12} {cells}", flush=True)


if __name__ == "__main__":
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise SystemExit("unset TRITON_INTERPRET: an interpreted kernel cannot be compiled")
    main()
