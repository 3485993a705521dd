"""Runs of primitives: data on their way to a kernel, and its result on the way back."""

import sys
from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, cast, compute_dtype, device, is_float, is_torch, needs_grad
from shapley_kernels.backends import WITH_GRADIENT, allowed, choose, kernel
from shapley_kernels.games.tables import Tables
from shapley_kernels.kernels._call import run_numba, run_torch, tensors


class Run:
    """The runs of primitives of one call: `games.base.Run`.

    Args:
        backend: as in `shapley`.
        dtype: of the results, a dtype of the library of the data.
        traced: whether torch traces this call (`arrays.is_traced`).
    """

    def __init__(self, backend: str, dtype: Any, traced: bool) -> None:
        self.backend, self.dtype, self.traced = backend, dtype, traced
        self.clean = True
        """Whether every kernel looked at its results, and found them finite."""

    def __call__(
        self,
        primitive: str,
        arrays: Sequence[Array | None],
        tables: Tables,
        shape: tuple[int, ...],
        dtype: Any = None,
    ) -> Array:
        """One run: `arrays` and `tables` as in the contract of the primitive, but rows may have several axes -> `out`
        [*rows, players] of that shape. The first of `arrays` decides the container and the device; constants beside it
        may be numpy.

        Computed in promote(dtype, float32) of the first array of floats, of the result if there is none.
        """
        dtype = dtype or self.dtype
        given = [x for x in arrays if x is not None]
        first = given[0]
        compute = compute_dtype(next((x.dtype for x in given if is_float(x.dtype)), dtype))
        library = is_torch(first)
        if self.traced and primitive in WITH_GRADIENT:
            self.clean = False
            return _run_traced(self.backend, tensors(arrays, shape), tables, compute, dtype).reshape(shape)
        backend = choose(self.backend, primitive, shape[-1], *given)
        if library and backend != "torch" and needs_grad(*given):
            from shapley_kernels.kernels.order.torch_op import Order

            self.clean = False
            placed = tables.on("torch", compute, device(first))
            return Order.apply(*tensors(arrays, shape), *placed, backend, dtype).reshape(shape)
        run = kernel(primitive, backend).run
        if backend == "numba":
            out, bad = run_numba(run, arrays, tables.on("numpy", compute, "cpu"), shape, compute)
            self.clean &= bad == -1
            return _handed_back(out, library, dtype)
        self.clean = False
        placed = tables.on("torch", compute, device(first))
        out = run_torch(run, arrays, placed, shape, dtype if library else getattr(sys.modules["torch"], compute))
        return out if library else cast(out.numpy(), dtype)


def _run_traced(backend: str, tensors: Sequence[Any], tables: Tables, compute: str, dtype: Any) -> Array:
    """`order` while torch traces: a node of the graph under torch.compile; what is constant is found out now."""
    from shapley_kernels.kernels.order import _torch as _torch_order
    from shapley_kernels.kernels.order import torch_op

    rewards, mask, v_empty = tensors
    where, players = device(rewards), rewards.shape[1]
    torch = sys.modules["torch"]
    if not torch.compiler.is_compiling():
        backend = allowed(backend, "order", players, where)
        call: Any = torch_op.Order.apply
    else:
        backend = torch_op.constant_backend(backend, index(players), where)
        call = torch_op.order
    placed = tables.on("torch", compute, where)
    if backend == "torch":
        out = rewards.new_empty(rewards.shape, dtype=dtype)
        inside, outside, empty, level_of = placed
        _torch_order.run(rewards, mask, v_empty, inside, outside, empty, level_of, out)
        return out
    return call(rewards, mask, v_empty, *placed, backend, dtype)


def _handed_back(out: np.ndarray, torch_result: bool, dtype: Any) -> Array:
    return cast(sys.modules["torch"].from_numpy(out) if torch_result else out, dtype)
