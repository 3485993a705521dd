"""Every form and size of program of the Triton kernel of `order`, as methods; `sk.shapley` launches one of them."""

from functools import partial
from typing import Any

import numpy as np

from shapley_kernels.bench.cases import Call, Inputs
from shapley_kernels.bench.lines import Unsuited
from shapley_kernels.bench.methods import Method

HEIGHTS = (64, 128, 256)
"""Rows per program of the forms with a row per thread."""

NUMBERS = (512, 1024, 2048)
"""Numbers per program of the form with a row across threads."""


def fits(form: str, players: int, masked: bool, dtype: str) -> bool:
    """Whether a form compiles to something worth timing."""
    if form == "tile":
        return players >= 16
    if form == "unrolled":
        return players <= 16
    return 4 < players <= (32 if masked or dtype == "float64" else 64)


def _prepare(form: str, size: int, inputs: Inputs) -> Call:
    point, players = inputs.point, inputs.players
    if point.device != "cuda" or point.game != "Max" or not fits(form, players, point.masked, point.dtype):
        raise Unsuited(f"the form {form} is for Max of other numbers of players, on cuda")
    import torch

    from shapley_kernels.kernels.order import _triton

    arrays = {name: x.reshape(-1, players) for name, x in inputs.arrays("torch").items()}
    rewards = arrays["rewards"]
    real = torch.promote_types(rewards.dtype, torch.float32)
    placed = partial(torch.as_tensor, device="cuda")
    # [m live players, the k-th best of them]
    inside = np.tril(np.ones((players + 1, players)), -1) / np.arange(1, players + 1)
    none, levels = np.zeros(players + 1), np.arange(players + 1, dtype=np.int32)
    tables = (placed(inside).to(real), None, placed(none).to(real), placed(levels))
    out, v_empty = torch.empty_like(rewards), torch.zeros(1, dtype=real, device="cuda")
    width = 1 << (players - 1).bit_length()
    rows = max(1, size // width) if form == "tile" else size

    def call() -> Any:
        tensors = (rewards, arrays.get("mask"), v_empty, *tables, out)
        _triton.call(*tensors, form=form, rows_per_program=rows).on(rewards)
        return out.reshape(point.shape)

    return call


FORMS = tuple(
    Method(f"triton-{form}-{size}", "ours", partial(_prepare, form, size), ("triton",))
    for form, sizes in (("unrolled", HEIGHTS), ("rolled", HEIGHTS), ("tile", NUMBERS))
    for size in sizes
)
