"""Which backend runs: the only place that decides, allocates `out` and moves data to where a kernel can use it."""

import importlib
import os
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, compute_dtype, device, is_torch, needs_grad

BACKENDS = ("auto", "numba", "triton", "torch")


class BackendUnavailable(RuntimeError):
    """The backend that was asked for cannot run here; the message says what to install or change."""


def choose(backend: str, data: Array, *others: Any) -> str:
    """The backend for `data`: an explicit name is used or refused, "auto" takes triton on CUDA, numba on the CPU, and
    torch where a gradient has to flow.

    Raises:
        ValueError: not the name of a backend.
        TypeError: a kernel without a backward was asked for, for data that requires grad.
        BackendUnavailable: the backend is not installed, or cannot reach the data where they are.
    """
    where = device(data)
    grad = needs_grad(data, *others)
    if backend == "auto":
        if grad:
            return "torch"
        if where == "cpu":
            return "numba"
        return "triton" if where.startswith("cuda") and data.shape[-1] <= _triton_limit() else "torch"
    if backend not in BACKENDS:
        raise ValueError(f"backend: expected one of {', '.join(map(repr, BACKENDS))}, got {backend!r}")
    if grad and backend != "torch":
        raise TypeError(
            f"backend={backend!r} has no backward yet, and the data require grad: use backend='torch' or .detach()"
        )
    if backend == "numba" and where != "cpu":
        raise BackendUnavailable(
            f"backend='numba' runs on the CPU, the data are on {where}: use backend='triton', or move them with .cpu()"
        )
    if backend == "triton":
        _check_triton(data, where)
    return backend


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _triton_limit() -> int:
    return kernel("order", "triton").MAX_PLAYERS


def _check_triton(data: Array, where: str) -> None:
    limit = _triton_limit()
    if where == "cpu" and not _interpreted():
        raise BackendUnavailable(
            "backend='triton' runs on a GPU, the data are on the CPU: move them with .cuda(), use backend='numba', "
            "or set TRITON_INTERPRET=1 before the first import of triton to interpret the kernel"
        )
    if data.shape[-1] > limit:
        raise BackendUnavailable(
            f"backend='triton' serves at most {limit} players, got {data.shape[-1]}: use backend='torch' or 'auto'"
        )


def kernel(primitive: str, backend: str) -> Any:
    """The module of one primitive for one backend.

    Raises:
        BackendUnavailable: its library is not installed; the message has the install line.
    """
    try:
        return importlib.import_module(f"shapley_kernels.kernels.{primitive}._{backend}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("shapley_kernels"):
            raise
        raise BackendUnavailable(
            f"backend={backend!r} needs {error.name}, which is not installed: pip install 'shapley_kernels[{backend}]'"
            if backend != "numba"
            else "backend='numba' needs numba, which is not installed: pip install numba"
        ) from error


def order(
    backend: str, rewards: Array, mask: Array | None, v_empty: Array, tables: Any, out_dtype: Any
) -> tuple[Array, int | None]:
    """Run the `order` primitive on flat arrays.

    Args:
        backend: "numba", "triton" or "torch".
        rewards: [rows, players]; mask: [rows, players] bool or None; v_empty: [1] or [rows] in the compute dtype.
        tables: coefficients (`games.order.Tables`).
        out_dtype: dtype of the result.

    Returns:
        Credits [rows, players], and the first row with a non-finite number: -1 for none, None when the kernel did not
        look.
    """
    run = kernel("order", backend).run
    if backend == "numba":
        return _order_numba(run, rewards, mask, v_empty, tables, out_dtype)
    return _order_torch(run, rewards, mask, v_empty, tables, out_dtype), None


def _order_numba(
    run: Any, rewards: Array, mask: Array | None, v_empty: Array, tables: Any, out_dtype: Any
) -> tuple[Array, int]:
    dtype = np.dtype(compute_dtype(rewards.dtype))
    inputs = [_numpy(rewards, dtype), None if mask is None else _numpy(mask, np.dtype(bool)), _numpy(v_empty, dtype)]
    out = np.empty(rewards.shape, dtype)
    bad = run(*inputs, *tables.on("numpy", dtype.name, "cpu"), out)
    if is_torch(rewards):
        import torch

        return torch.from_numpy(out).to(out_dtype), bad
    return out if out.dtype == out_dtype else out.astype(out_dtype), bad


def _numpy(x: Array, dtype: np.dtype) -> np.ndarray:
    """A CPU array as contiguous numpy of `dtype`; no copy when it is that already."""
    if is_torch(x):
        import torch

        x = x.detach().to(getattr(torch, dtype.name)).numpy()
    return np.ascontiguousarray(x, dtype)


def _order_torch(run: Any, rewards: Array, mask: Array | None, v_empty: Array, tables: Any, out_dtype: Any) -> Array:
    import torch

    flat: list[Any] = [None if x is None else _torch(x).contiguous() for x in (rewards, mask, v_empty)]
    where = flat[0].device
    dtype = getattr(torch, compute_dtype(rewards.dtype))
    if is_torch(rewards):
        out = torch.empty(rewards.shape, dtype=out_dtype, device=where)
        run(*flat, *tables.on("torch", compute_dtype(rewards.dtype), str(where)), out)
        return out
    out = torch.empty(rewards.shape, dtype=dtype)
    run(*flat, *tables.on("torch", compute_dtype(rewards.dtype), "cpu"), out)
    return out.numpy().astype(out_dtype, copy=False)


def _torch(x: Array) -> Any:
    """A numpy array as a torch tensor sharing its memory (read-only ones are copied, torch cannot express them)."""
    import torch

    if is_torch(x):
        return x
    if x.dtype.name == "bfloat16":  # numpy knows it through ml_dtypes, torch cannot read that
        x = x.astype(np.float32)
    return torch.from_numpy(np.require(x, requirements=["C", "W"]))
