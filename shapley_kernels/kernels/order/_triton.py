"""`order` on the GPU: which kernel for which row, and its launch.

Three forms, by the length of the rows:

    "unrolled"   one row per thread, everything in registers
    "rolled"     the same, the rewards read again a few columns at a time
    "tile"       a row across lanes, sorted there, ranks by binary search
"""

from functools import cache
from typing import Any

import torch

from shapley_kernels.kernels._launch import Launch
from shapley_kernels.kernels.order import _gpu_registers, _gpu_tile

MAX_PLAYERS = _gpu_tile.MAX_PLAYERS
"""Longest row; a longer one would need more than one tile."""

FORMS = ("unrolled", "rolled", "tile")


def run(rewards: Any, mask: Any, v_empty: Any, A: Any, B: Any, C: Any, row_of_count: Any, out: Any) -> None:
    """See the package docstring; torch tensors on one CUDA device, or on the CPU when triton interprets.

    Args:
        rewards, out: of any float dtype each, at most MAX_PLAYERS players; rows * players may exceed 2^31.
        row_of_count: the entry of 0 live players is not used.

    Raises:
        Nothing of its own: `backends` checks.

    Cost: one launch, no synchronisation and no memory of its own, so it can be captured in a CUDA graph once it is
        compiled: at the first call for a number of players (above 64: for their power of two, and whether 16 divides
        them), dtypes, with or without mask and B. docs/explanation/gpu.md has registers and instructions of
        every form.
    Error: the bound of the package docstring. The order of additions depends on players and dtypes, not on the batch.
    Source: bitonic sort, Batcher, "Sorting networks and their applications", AFIPS 1968, doi:10.1145/1468075.1468121.
    """
    if rewards.numel():
        call(rewards, mask, v_empty, A, B, C, row_of_count, out).on(rewards)


def call(
    *tensors: Any, form: str | None = None, rows_per_program: int | None = None, lanes: int | None = None
) -> Launch:
    """The launch.

    Args:
        form: one of FORMS; None chooses.
        rows_per_program: a power of two; None chooses.
        lanes: threads of a warp; None: those of the build of torch.
    """
    rewards, mask, v_empty, A, B = tensors[:5]
    rows, players = rewards.shape
    kernel, height, options = _choice(
        players,
        rewards.element_size(),
        A.element_size() == 8,
        mask is None and B is None,
        form,
        rows_per_program,
        lanes or _LANES,
    )
    sizes = (rows, int(v_empty.shape[0] > 1))
    return Launch(kernel, (-(rows // -height),), (*tensors, *sizes), options)


_LANES = 64 if torch.version.hip else 32


@cache
def _choice(
    players: int,
    itemsize: int,
    double: bool,
    plain: bool,
    form: str | None,
    rows_per_program: int | None,
    lanes: int,
) -> tuple[Any, int, dict[str, Any]]:
    """Kernel, rows per program and options. It must not look at the number of rows: a row's result may not depend on
    its batch."""
    form = form or form_of(players, double, plain)
    if form == "tile":
        kernel, options = _gpu_tile.order_tile, _gpu_tile.constants(players, rows_per_program)
    else:
        kernel = _gpu_registers.order_step
        options = _gpu_registers.constants(players, itemsize, form == "unrolled", rows_per_program, lanes)
    # no fusion, else the compiler may fuse differently for rows at different places of a tile
    return kernel, options["ROWS"], {**options, "enable_fp_fusion": False}


_ROLLED = {(False, True): 64, (False, False): 32, (True, True): 28, (True, False): 16}
"""(double, plain): the longest row whose sorted values fit in the registers of a thread on every target."""


def form_of(players: int, double: bool, plain: bool) -> str:
    """The form with the fewest instructions (docs/explanation/gpu.md counts them) among those that spill nothing; at
    the upper ends "tile" has up to 11 % fewer, but its are shuffles and barriers. `plain`: neither mask nor B."""
    if players <= _gpu_registers.MAX_UNROLLED:
        return "unrolled"
    return "rolled" if players <= _ROLLED[double, plain] else "tile"
