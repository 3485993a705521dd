"""Runs of primitives: data on their way to a kernel, and its result on the way back."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

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
            self.run = Run(primitive, tables.on("numpy", compute, "cpu"), compute, shape, form)
            out, bad = self.run.on(arrays)
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


class Run:
    """A run by numba on the CPU, but for the data.

    Args:
        primitive: by name.
        tables: what its `run` takes between the data and `out`, in numpy.
        compute: the dtype it is computed in, "float32" or "float64".
        shape: of the result, [*rows, players].
        form: of the kernel.
    """

    def __init__(
        self, primitive: str, tables: tuple[Any, ...], compute: str, shape: tuple[int, ...], form: str | None = None
    ) -> None:
        self.shape, self.tables, (self.real, self.zero) = shape, tables, _REAL[compute]
        self.module, self.options = kernel(primitive, "numba"), {} if form is None else {"form": form}
        self.bound: Any = None
        """work(*arrays, out) with nothing left to choose, on any axes."""

    def bind(self) -> bool:
        """Choose what there is to choose, for calls to come. Returns whether the module does so for such rows."""
        bound = getattr(self.module, "bound", None)
        self.bound = bound and bound((prod(self.shape[:-1]), self.shape[-1]), *self.tables, **self.options)
        return self.bound is not None

    def on(self, arrays: Sequence[Array | float | None]) -> tuple[np.ndarray, int | None]:
        """On CPU arrays -> `out` in the compute dtype, and what the kernel says of non-finite rows: the first, -1 for
        none, None if it did not look."""
        real, bound, shape = self.real, self.bound, self.shape
        inputs: list[np.ndarray | None] = []
        x: Any
        for x in arrays:
            if x is None:
                inputs.append(None)
                continue
            if type(x) is float:
                inputs.append(NUMPY.scalar_array(x, None, real.name) if x else self.zero)
                continue
            fits = type(x) is np.ndarray and (x.dtype is real or x.dtype.kind in "biu") and x.flags.c_contiguous
            if not fits:  # most do
                kind = real if is_float(x.dtype) else None
                if not isinstance(x, np.ndarray):
                    tensor = x.detach() if kind is None else x.detach().to(torch_ops().dtype(real.name))
                    x = tensor.numpy()
                x = np.asarray(x if kind is None else NUMPY.cast(x, kind), order="C")
            inputs.append(x if bound else _one_axis(x, shape))
        out = np.empty(shape, real)
        if bound:
            return out, bound(*inputs, out)
        return out, self.module.run(*inputs, *self.tables, _one_axis(out, shape), **self.options)


_REAL = {name: (np.dtype(name), np.zeros(1, name)) for name in ("float32", "float64")}
"""By the name of a compute dtype: itself, which is compared in less time, and a zero in it, which kernels only read."""

RUNS: dict[Hashable, Run] = {}
"""What calls before came to, by all that decides it but the data: a call like them asks neither terms nor tables."""

MOST_RUNS = 64


def keep(kind: Hashable, run: Run) -> None:
    """A run with few coefficients, for later calls of its kind; it should be bound."""
    if len(RUNS) >= MOST_RUNS:
        RUNS.clear()
    RUNS[kind] = run


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
