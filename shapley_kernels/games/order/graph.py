"""Coefficients as constants of the graphs of torch.compile: functions that it calls while it traces, with real
arguments."""

from operator import index
from typing import Any

import torch

from shapley_kernels.games.order.tables import Recipe, order_tables
from shapley_kernels.games.tables import Tables
from shapley_kernels.values import Semivalue


class GraphTables(Tables):
    """Those of `order_tables` as constants of the graph that torch.compile traces."""

    key: tuple[Any, ...]

    def __init__(self, recipe: Recipe, value: Semivalue, players: int, counts: tuple[int, ...]) -> None:
        kind: Any = type(value)
        state = tuple(getattr(value, name) for name in kind.__match_args__)
        object.__setattr__(self, "key", (kind, state, recipe, index(players), tuple(map(index, counts))))

    def on(self, library: str, dtype: str, device: str) -> tuple[Any, ...]:
        return _constant_tables(*self.key, dtype, device)


@torch.compiler.assume_constant_result
def _constant_tables(
    kind: Any,
    state: tuple[Any, ...],
    recipe: Recipe,
    players: int,
    counts: tuple[int, ...],
    dtype: str,
    device: str,
) -> tuple[Any, ...]:
    value = object.__new__(kind)  # one that is made while torch traces does not exist yet
    for name, x in zip(kind.__match_args__, state, strict=True):
        object.__setattr__(value, name, x)
    return order_tables(recipe, value, players, counts).on("torch", dtype, device)
