"""Data for checks: rows that make allocations fail, exactly representable in a dtype, in any container.

The declared domain, within which the error budget must hold:

    float64, float32, float16, bfloat16 rewards: ties, zeros, negatives, 0/1, constant rows, all 0, a common offset (of
    rewards and v_empty: `OFFSET`) far larger than the differences, and magnitudes within `SCALES`, small enough that no
    credit overflows and large enough that no product that counts underflows (float16 and bfloat16 are computed in
    float32, so there credits may round to subnormals, not products).

Everything is float64 here and a number of the dtype, so the truth is computed from what the kernel really gets.
"""

import sys
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

import numpy as np

from shapley_kernels.arrays import is_torch
from shapley_kernels.games import Game, OrderGame

OFFSET = {"float64": 1e6, "float32": 1e6, "float16": 512.0, "bfloat16": 64.0}
"""A common offset: eighths on top of it are still exact in float64 and float32, and coarse in the half dtypes."""

SCALES = {
    "float64": (2.0**-100, 2.0**100),
    "float32": (2.0**-60, 2.0**60),
    "float16": (2.0**-14, 2.0**8),
    "bfloat16": (2.0**-60, 2.0**60),
}
"""The smallest and largest unit that rows of small numbers are multiplied with."""

ROW_KINDS = ("integers", "uniform", "binary", "constant", "offset", "scaled", "zero", "negative")


def numbers(x: Any) -> np.ndarray:
    """Any array as float64 numpy: exact for every float dtype."""
    if is_torch(x):
        return x.detach().cpu().to(sys.modules["torch"].float64).numpy()
    return np.asarray(x).astype(np.float64)


def rounded(x: np.ndarray, dtype: str) -> np.ndarray:
    """float64 numbers rounded to those of `dtype`, still float64."""
    if dtype != "bfloat16":
        return x.astype(dtype).astype(np.float64)
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    bits += 0x7FFF + (bits >> 16 & 1)  # to nearest, ties to even
    return (bits & 0xFFFF0000).astype(np.uint32).view(np.float32).astype(np.float64)


def place(x: np.ndarray, container: str, dtype: str, device: str = "cpu") -> Any:
    """A float64 (or bool) array as "numpy" or "torch" array of `dtype` (bool stays)."""
    if container == "numpy":
        return x.copy() if x.dtype == bool else x.astype(dtype)
    import torch

    return torch.tensor(x, dtype=torch.bool if x.dtype == bool else getattr(torch, dtype), device=device)


@dataclass(frozen=True, eq=False)
class Example:
    """Data of an order game, float64 and read-only; NaN at masked players, which nobody may read."""

    rewards: np.ndarray  # [rows, players]
    mask: np.ndarray | None  # [rows, players] bool
    v_empty: Any  # a number or [rows]


@lru_cache(maxsize=512)
def example(dtype: str, players: int, draw: int, rows: int = len(ROW_KINDS)) -> Example:
    """Rows of every kind. `draw` = 0, 1, 2, 3, ...: without and with mask, with v_empty per row and as one number; from
    then on again, with other numbers."""
    rng = np.random.default_rng([players, draw])
    kinds = [ROW_KINDS[(i + draw // 4) % len(ROW_KINDS)] for i in range(rows)]
    rewards = rounded(np.stack([_row(rng, kind, players, dtype) for kind in kinds]), dtype)
    v_empty = rounded(np.array([_v_empty(rng, row) for row in rewards]), dtype)
    mask = None
    if draw % 2:
        mask = rng.random((rows, players)) < 0.7
        mask[draw % rows] = False  # a row without live players
        rewards[~mask] = np.nan
        mask.flags.writeable = False
    rewards.flags.writeable = v_empty.flags.writeable = False
    return Example(rewards, mask, float(v_empty[0]) if draw // 2 % 2 else v_empty)


def _row(rng: np.random.Generator, kind: str, players: int, dtype: str) -> np.ndarray:
    small = rng.integers(-3, 4, players).astype(float)
    low, high = SCALES[dtype]
    return {
        "integers": lambda: small,
        "uniform": lambda: rng.random(players),
        "binary": lambda: rng.integers(0, 2, players).astype(float),
        "constant": lambda: np.full(players, rng.random()),
        "offset": lambda: OFFSET[dtype] + small / 8,
        "scaled": lambda: (small + rng.random(players)) * rng.choice([low, high]),
        "zero": lambda: np.zeros(players),
        "negative": lambda: -rng.random(players) - 0.25,
    }[kind]()


def _v_empty(rng: np.random.Generator, row: np.ndarray) -> float:
    """0, one of the rewards, or a little below one: with a common offset only the last two show cancellation."""
    if row.size == 0 or rng.integers(3) == 0:
        return 0.0
    reward = float(rng.choice(row))
    return reward if rng.integers(2) else reward - abs(reward) / 4


Utility: TypeAlias = Any
"""A class of `GAMES`, or a function (rewards, mask, v_empty) -> game."""


def utility_name(utility: Utility) -> str:
    return getattr(utility, "__name__", repr(utility))


def make(utility: Utility, rewards: Any, mask: Any, v_empty: Any, draw: int = 0) -> Game:
    """A game on the data; arguments beside the data come from `example_params`, the same for one `draw`."""
    if isinstance(utility, type) and issubclass(utility, OrderGame):
        players = rewards.shape[-1]
        params = utility.example_params(np.random.default_rng([players, draw]), players)
        return utility(rewards, mask=mask, v_empty=v_empty, **params)
    return utility(rewards, mask, v_empty)
