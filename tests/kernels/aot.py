"""Compile Triton kernels without a GPU and say what the compiler made of them.

    python -m tests.kernels.aot [players,players,..] [dtype,dtype,..]     `order` in docs/explanation/gpu.md

Not under TRITON_INTERPRET=1, which leaves nothing to compile.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from shapley_kernels.kernels._launch import Launch
from shapley_kernels.kernels.order import _triton

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
PLAYERS = (2, 4, 7, 8, 12, 16, 24, 28, 32, 48, 64, 100, 1024)
NVIDIA_TOOLS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin"
SASS = re.compile(r"\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)([^;]*)")


class Usage(NamedTuple):
    """What one compiled kernel takes."""

    registers: int  # per thread
    spills: int  # loads from and stores to the stack (AMD: registers, and bytes of scratch)
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


def arguments(players: int, dtype: torch.dtype, *, masked: bool, has_b: bool, rows: int = 1000) -> tuple[Any, ...]:
    """Arguments of `order`'s `run` as tensors without memory."""
    real = torch.promote_types(dtype, torch.float32)
    table = empty(real, 3, players)
    return (
        empty(dtype, rows, players),
        empty(torch.bool, rows, players) if masked else None,
        empty(real, 1),
        table,
        table if has_b else None,
        empty(real, 3),
        empty(torch.int32, players + 1),
        empty(dtype, rows, players),
    )


def compile_for(target: str, tensors: tuple[Any, ...], **forced: Any) -> Any:
    """The kernel that `order`'s `run(*tensors)` launches on `target`."""
    return compile_call(target, _triton.call(*tensors, lanes=TARGETS[target].warp_size, **forced))


def compile_call(target: str, launch: Launch) -> Any:
    """The kernel that a launch compiles on `target`: same specialisation by the JIT."""
    with device(target):
        return launch.kernel.warmup(*launch.arguments, grid=launch.grid, **launch.options)


def usage(kernel: Any) -> Usage:
    """Registers and spills of a compiled kernel, read from the machine code: ptxas may reserve a stack frame and then
    not use it."""
    shared, warps = kernel.metadata.shared, kernel.metadata.num_warps
    if "cubin" in kernel.asm:
        registers = re.search(r"REG:(\d+)", _nvidia("cuobjdump", "-res-usage", kernel))
        if registers is None:
            raise RuntimeError("cuobjdump -res-usage: expected REG:, got nothing of the kind")
        stack = [name for name, _ in _code(kernel) if name.startswith(("LDL", "STL"))]
        return Usage(int(registers[1]), len(stack), shared, warps)
    said = dict(re.findall(r"\.(\w+):\s+(\d+)", kernel.asm["amdgcn"]))
    spilled = ("vgpr_spill_count", "sgpr_spill_count", "private_segment_fixed_size")
    return Usage(int(said["vgpr_count"]), sum(int(said[x]) for x in spilled), shared, warps)


def instructions(kernel: Any, trips: int = 1) -> int:
    """Instructions that one warp of a compiled NVIDIA kernel executes, the body of its loop counted `trips` times."""
    code = _code(kernel)
    bodies = [i + 1 - to for i, (name, to) in enumerate(code) if name == "BRA" and to is not None and to <= i]
    return len(code) + (trips - 1) * max(bodies, default=0)


def _code(kernel: Any) -> list[tuple[str, int | None]]:
    """The machine code of an NVIDIA kernel: names of its instructions, and where those that jump go to."""
    found: list[tuple[str, str | None]] = []
    labels = {}
    for line in _nvidia("nvdisasm", "-c", kernel).splitlines():
        if label := re.match(r"\s*(\.L_x_\d+):", line):
            labels[label[1]] = len(found)
        elif (op := SASS.match(line)) and op[1] != "NOP":
            jump = re.search(r"`\((\.L_x_\d+)\)", op[2])
            found.append((op[1], jump[1] if jump else None))
    if not found:
        raise RuntimeError("nvdisasm -c: expected instructions, got none")
    if found[-1][1] is not None and labels[found[-1][1]] == len(found) - 1:
        found.pop()  # the jump to itself behind EXIT
    return [(name, None if label is None else labels[label]) for name, label in found]


def _nvidia(tool: str, option: str, kernel: Any) -> str:
    """What a tool that comes with triton says of a cubin."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(kernel.asm["cubin"])
        return subprocess.run([NVIDIA_TOOLS / tool, option, file], capture_output=True, text=True, check=True).stdout


def main() -> None:
    """Print the table: without mask and outside coefficients, and with both (the largest kernel)."""
    players = [int(x) for x in sys.argv[1].split(",")] if len(sys.argv) > 1 else PLAYERS
    dtypes = sys.argv[2].split(",") if len(sys.argv) > 2 else ("float32", "bfloat16", "float64")
    print(f"triton {triton.__version__}; registers per thread / spills / shared bytes per program")
    print("| players | dtype | mask+outside | form | " + " | ".join(TARGETS) + " | per row, sm_90 | per row, tile |")
    print("|---|---|---|---|" + "---|" * len(TARGETS) + "---|---|")
    for dtype in dtypes:
        for n in players:
            for both in (False, True):
                tensors = arguments(n, getattr(torch, dtype), masked=both, has_b=both)
                print(f"| {n} | {dtype} | {'yes' if both else 'no'} | {' | '.join(_cells(tensors))} |", flush=True)


def _cells(tensors: tuple[Any, ...]) -> list[str]:
    """Form, usage by target, warp instructions per row of that form and of the tile."""
    real = tensors[2].dtype
    players = tensors[0].shape[1]
    form = _triton.form_of(players, real == torch.float64, tensors[1] is None and tensors[4] is None)
    cells = [form]
    for target in TARGETS:
        kernel = compile_for(target, tensors)
        found = usage(kernel)
        cells.append(f"{found.registers} / {found.spills} / {found.shared}")
        if target == "sm_90":
            step = _per_row(kernel, tensors, form)
    return [
        *cells,
        step,
        step if form == "tile" else _per_row(compile_for("sm_90", tensors, form="tile"), tensors, "tile"),
    ]


def _per_row(kernel: Any, tensors: tuple[Any, ...], form: str) -> str:
    options = _triton.call(*tensors, form=form).options
    trips = -(-options["PLAYERS"] // options["CHUNK"]) if form == "rolled" else 1
    warps, rows = kernel.metadata.num_warps, options["ROWS"]
    return f"{instructions(kernel, trips) * warps / rows:.1f}"


if __name__ == "__main__":
    if os.environ.get("TRITON_INTERPRET") == "1":
        raise SystemExit("unset TRITON_INTERPRET: an interpreted kernel cannot be compiled")
    main()
