"""Credits and advantages in one launch, where one kernel of the GPU does both."""

from collections.abc import Sequence
from typing import Any

from shapley_kernels.allocate import merge
from shapley_kernels.arrays import Array, compute_dtype, device, is_torch, is_traced, on_cuda
from shapley_kernels.backends import kernel, triton_missing
from shapley_kernels.games import Game
from shapley_kernels.games.order.base import OrderTerm
from shapley_kernels.games.tables import Tables
from shapley_kernels.kernels._call import run_torch
from shapley_kernels.launch import Run
from shapley_kernels.rl.advantages import Options
from shapley_kernels.rl.groups import make_groups
from shapley_kernels.values import Semivalue


def advantages(game: Game, value: Any, mask: Any, layout: tuple[Any, Any, Any], options: Options) -> Any:
    """`normalised` of the credits of the game, or None where that takes more than one launch: off the GPU, for values
    or games other than one term of the order family, long rows, and groups other than small ones of one size.

    Args:
        value: a semivalue, or a baseline.
        mask: the caller's, which decides who is in the statistics; only the game's own is served.
        layout, options: as of `normalised`.
    """
    terms = merge(game.terms(value)) if _may_serve(game, value, mask, layout) else []
    if len(terms) != 1 or not isinstance(terms[0][1], OrderTerm) or not _is_one(terms[0][0]):
        return None
    term, found = terms[0][1], kernel("order", "gpu_fused_norm")
    shape, double = make_groups(term.game.rewards, *layout).shape, term.game.rewards.element_size() == 8
    if 0 in shape or not found.serves(*shape[1:], double, *options[:2]):
        return None
    result = term.credits(_FusedRun(game.dtype, found.run, shape[1], options))
    return game.restore(result) if game.restore else result


def _may_serve(game: Game, value: Any, mask: Any, layout: tuple[Any, Any, Any]) -> bool:
    if not isinstance(value, Semivalue) or not on_cuda(game.data):
        return False
    if layout[0] is not None or layout[2] is not None or is_traced(game.data) or triton_missing():
        return False
    return (game.mask is None) if mask is None else _same(game.mask, mask)


def _same(a: Any, b: Any) -> bool:
    """Whether two tensors are the same entries of memory."""
    if a is b:
        return True
    return is_torch(b) and a.shape == b.shape and a.stride() == b.stride() and a.data_ptr() == b.data_ptr()


def _is_one(weight: Any) -> bool:
    return isinstance(weight, float) and weight == 1.0


class _FusedRun(Run):
    """A run of `order` that normalises as well."""

    def __init__(self, dtype: Any, run: Any, size: int, options: Options) -> None:
        super().__init__("triton", dtype, False)
        self.run, self.size, self.options = run, size, options

    def __call__(
        self,
        primitive: str,
        arrays: Sequence[Array | None],
        tables: Tables,
        shape: tuple[int, ...],
        dtype: Any = None,
    ) -> Array:
        rewards: Any = arrays[0]
        placed = tables.on("torch", compute_dtype(rewards.dtype), device(rewards))

        def run(*tensors: Any) -> None:
            self.run(*tensors[:-1], self.size, *self.options, tensors[-1])

        return run_torch(run, arrays, placed, shape, dtype or self.dtype)
