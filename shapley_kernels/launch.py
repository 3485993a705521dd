"""Runs of primitives: data on their way to a kernel, and its result on the way back."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, NamedTuple

import numpy as np

from shapley_kernels.arrays import NUMPY, Array, Ops, is_float, is_torch, ops_of, to_torch, torch_ops
from shapley_kernels.backends import AUTO, WITH_GRADIENT, allowed, choose, kernel
from shapley_kernels.games.tables import Tables


@dataclass(slots=True)
class Launcher:
    """The runs of primitives of one call: a `games.term.AnyLauncher`.

    Args:
        ops: of the container of the data.
        backend: as in `shapley`.
        dtype: of the results, a dtype of that container.
        traced: whether torch traces this call (`Ops.is_traced`).
    """

    ops: Ops
    backend: str
    dtype: Any
    traced: bool
    inputs_finite: bool = True
    """Whether every kernel looked at its results, and found them finite."""
    run: "Run | None" = None
    """The last one on the CPU by numba."""

    def __call__(
        self,
        primitive: str,
        arrays: Sequence[Array | float | None],
        tables: Tables,
        shape: tuple[int, ...],
        dtype: Any = None,
        form: str | None = None,
    ) -> Array:
        """One run: `arrays` and `tables` as in the contract of the primitive, but rows may have several axes -> `out`
        [*rows, players] of that shape. Constants beside tensors may be numpy. Computed in promote(dtype, float32)."""
        ops, dtype = self.ops, dtype or self.dtype
        compute = "float64" if dtype.itemsize == 8 else "float32"
        if ops is NUMPY:
            where, backend = "cpu", allowed(self.backend, primitive, shape[-1], "cpu")
        else:
            if primitive in WITH_GRADIENT and (self.traced or ops.needs_grad(*arrays)):
                self.inputs_finite = False
                inputs = tensor_rows(arrays, shape, compute)
                from shapley_kernels.kernels.order import torch_op  # of the only one with a gradient

                return torch_op.call(self.backend, inputs, tables, dtype, compute).reshape(shape)
            given = [x for x in arrays if hasattr(x, "shape")]
            exported = self.backend == AUTO and ops.is_exporting()
            asked = "torch" if exported else self.backend
            where, backend = ops.device(given[0]), choose(asked, primitive, shape[-1], *given)
        if backend == "numba":
            self.run = Run(primitive, tables.on("numpy", compute, "cpu"), compute, form)
            out, bad = self.run.on(arrays, shape)
            self.inputs_finite &= bad == -1
            if ops is NUMPY:
                return out if out.dtype == dtype else ops.cast(out, dtype)
            return ops.cast(ops.xp.from_numpy(out), dtype)
        self.inputs_finite = False
        run, placed = kernel(primitive, backend).run, tables.on("torch", compute, where)
        if ops is NUMPY:
            out = run_torch(run, arrays, placed, shape, torch_ops().dtype(compute))
            return ops.cast(out.numpy(), dtype)
        return run_torch(run, arrays, placed, shape, dtype)


class Run(NamedTuple):
    """A run by numba on the CPU, but for the data: of a primitive, with tables in numpy, in a compute dtype, by a form
    of the kernel."""

    primitive: str
    tables: tuple[Any, ...]
    compute: str
    form: str | None = None

    def on(self, arrays: Sequence[Array | float | None], shape: tuple[int, ...]) -> tuple[np.ndarray, int | None]:
        """On CPU arrays -> `out` in the compute dtype, and what the kernel says of non-finite rows: the first, -1 for
        none, None if it did not look."""
        real, zero = _REAL[self.compute]
        inputs: list[np.ndarray | None] = []
        x: Any
        for x in arrays:
            if x is None:
                inputs.append(None)
            elif type(x) is float:
                inputs.append(NUMPY.scalar_array(x, None, self.compute) if x else zero)
            elif type(x) is np.ndarray and x.dtype is real and x.flags.c_contiguous:  # most are
                inputs.append(_one_axis(x, shape))
            else:
                kind = real if is_float(x.dtype) else None
                if not isinstance(x, np.ndarray):
                    tensor = x.detach() if kind is None else x.detach().to(torch_ops().dtype(self.compute))
                    x = tensor.numpy()
                inputs.append(_one_axis(np.asarray(x, kind, order="C"), shape))
        out = np.empty(shape, real)
        inputs += (*self.tables, _one_axis(out, shape))
        run = kernel(self.primitive, "numba").run
        return out, run(*inputs) if self.form is None else run(*inputs, form=self.form)


_REAL = {name: (np.dtype(name), np.zeros(1, name)) for name in ("float32", "float64")}
"""By the name of a compute dtype: itself, which is compared in less time, and a zero in it, which kernels only read."""


def run_torch(
    run: Any, arrays: Sequence[Array | float | None], tables: Sequence[Any], shape: tuple[int, ...], dtype: Any
) -> Any:
    """`run` of the torch and triton backends, which read every float dtype and write any -> `out` in `dtype`."""
    compute = "float64" if dtype.itemsize == 8 else "float32"
    inputs = [None if x is None else x.contiguous() for x in tensor_rows(arrays, shape, compute)]
    where = next(x.device for x in inputs if x is not None)
    out = torch_ops().xp.empty((prod(shape[:-1]), shape[-1]), dtype=dtype, device=where)
    run(*inputs, *tables, out)
    return out.reshape(shape)


def tensor_rows(arrays: Sequence[Array | float | None], shape: tuple[int, ...], compute: str) -> list[Any]:
    """`arrays` of a result of that shape as tensors with one axis of rows, on the device of the first; numbers become
    [1] in the compute dtype."""
    first: Any = next(x for x in arrays if hasattr(x, "shape"))
    where, ops = first.device if is_torch(first) else "cpu", torch_ops()

    def row_tensor(x: Any) -> Any:
        if x is None:
            return None
        if type(x) is not float:
            return _one_axis(to_torch(x, where), shape)
        if ops.is_compiling(first):
            return first.new_full((1,), x, dtype=ops.dtype(compute))
        return to_torch(ops_of(first).scalar_array(x, first, compute), where)

    return [row_tensor(x) for x in arrays]


def _one_axis(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` of a result [*rows, players] of that shape with its rows in one axis; an array [1] is one for all rows."""
    batch = len(shape) - 1
    return x if batch == 1 or (batch and x.ndim == 1) else x.reshape((-1, *x.shape[batch:]))
