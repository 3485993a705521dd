"""Calls of kernels: arrays as they take them, and an `out` for the results."""

import sys
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, cast, is_float, is_torch, to_torch


def tensors(arrays: Sequence[Array | None], shape: tuple[int, ...]) -> list[Any]:
    """`arrays` of a result of that shape as tensors with one axis of rows, on the device of the first."""
    where = next(x.device for x in arrays if x is not None)
    return [None if x is None else _one_axis(to_torch(x, where), shape) for x in arrays]


def _one_axis(x: Any, shape: tuple[int, ...]) -> Any:
    """`x` of a result [*rows, players] of that shape with its rows in one axis; a number [1] is one for all rows."""
    batch = len(shape) - 1
    return x if batch == 1 or (batch and x.ndim == 1) else x.reshape((-1, *x.shape[batch:]))


def run_numba(
    run: Any, arrays: Sequence[Array | None], tables: Sequence[Any], shape: tuple[int, ...], compute: str
) -> tuple[np.ndarray, int | None]:
    """`run` on CPU arrays and its tables in numpy -> `out` in the compute dtype, and what the kernel says of non-finite
    rows: the first, -1 for none, None if it did not look."""
    inputs = [None if x is None else _one_axis(_numpy(x, compute), shape) for x in arrays]
    out = np.empty(shape, compute)
    return out, run(*inputs, *tables, _one_axis(out, shape))


def run_torch(
    run: Any, arrays: Sequence[Array | None], tables: Sequence[Any], shape: tuple[int, ...], dtype: Any
) -> Any:
    """`run` of the torch and triton backends, which read every float dtype and write any -> `out` in `dtype`."""
    import torch

    inputs: list[Any] = [None if x is None else x.contiguous() for x in tensors(arrays, shape)]
    first = next(x for x in inputs if x is not None)
    out = torch.empty((prod(shape[:-1]), shape[-1]), dtype=dtype, device=first.device)
    run(*inputs, *tables, out)
    return out.reshape(shape)


def _numpy(x: Array, compute: str) -> np.ndarray:
    """A CPU array as contiguous numpy, floats in the compute dtype; no copy when it is that already."""
    wanted = compute if is_float(x.dtype) else None
    if is_torch(x):
        x = x.detach() if x.requires_grad else x
        x = (x if wanted is None else cast(x, getattr(sys.modules["torch"], wanted))).numpy()
    return np.asarray(x, wanted, order="C")
