"""Which backend runs: the only place that decides, allocates `out` and moves data to where a kernel can use it."""

import importlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from math import prod
from numbers import Integral
from operator import index
from typing import TYPE_CHECKING, Any

import numpy as np

from shapley_kernels.arrays import (
    Array,
    cast,
    compute_dtype,
    device,
    is_float,
    is_torch,
    needs_grad,
    to_torch,
)
from shapley_kernels.kernels._threads import making

if TYPE_CHECKING:
    from shapley_kernels.games.terms import Tables

BACKENDS = ("auto", "numba", "triton", "torch")

OLDEST_TRITON = (3, 5)
"""That of torch 2.9; those before do not compile kernels whose functions call themselves."""

WITH_GRADIENT = ("order",)
"""Primitives whose numba and Triton kernels have gradients."""


class BackendUnavailable(RuntimeError):
    """The backend that was asked for cannot run here; the message says what to install or change."""


def choose(backend: str, primitive: str, players: int, *arrays: Array) -> str:
    """The backend for one run of a primitive: an explicit name of `BACKENDS` is used or refused, "auto" takes triton on
    CUDA, numba on the CPU, and torch where there is no triton or an old one, rows are too long for it, or a gradient
    has to flow and the kernels have none.

    Raises:
        TypeError: a kernel without a backward was asked for, for data that requires grad.
        BackendUnavailable: the backend is not installed, or cannot reach the data where they are.
    """
    if primitive not in WITH_GRADIENT and needs_grad(*arrays):
        if backend in ("numba", "triton"):
            raise TypeError(
                f"backend={backend!r} has no backward yet, and the data require grad: use backend='torch' or .detach()"
            )
        backend = "torch" if backend == "auto" else backend
    return allowed(backend, primitive, players, device(arrays[0]))


def allowed(backend: str, primitive: str, players: int, where: str) -> str:
    """`choose` for data on the device `where`, whatever the gradients."""
    if backend == "auto":
        if where == "cpu":
            return "numba"
        usable = where.startswith("cuda") and triton_missing() is None
        return "triton" if usable and players <= _triton_limit(primitive) else "torch"
    if backend == "numba" and where != "cpu":
        raise BackendUnavailable(
            f"backend='numba' runs on the CPU, the data are on {where}: use backend='triton', or move them with .cpu()"
        )
    if backend == "triton":
        _check_triton(primitive, players, where)
    return backend


@lru_cache
def triton_missing() -> str | None:
    """Why the kernels of triton cannot run, wherever the data are, and what to do; None if they can."""
    try:
        import triton
    except Exception as error:
        return _why_not("triton", error)
    found = re.match(r"(\d+)\.(\d+)", triton.__version__)
    if found and tuple(map(int, found.groups())) < OLDEST_TRITON:
        return (
            f"backend='triton' needs triton 3.5 or newer, which comes with torch 2.9, found {triton.__version__}: "
            "upgrade torch, or use backend='torch', as 'auto' does"
        )
    return None


def _interpreted() -> bool:
    return os.environ.get("TRITON_INTERPRET") == "1"


def _triton_limit(primitive: str) -> int:
    return kernel(primitive, "triton").MAX_PLAYERS


def _check_triton(primitive: str, players: int, where: str) -> None:
    if reason := triton_missing():
        raise BackendUnavailable(reason)
    if where == "cpu" and not _interpreted():
        raise BackendUnavailable(
            "backend='triton' runs on a GPU, the data are on the CPU: move them with .cuda(), use backend='numba', "
            "or set TRITON_INTERPRET=1 before the first import of triton to interpret the kernel"
        )
    if players > (limit := _triton_limit(primitive)):
        raise BackendUnavailable(
            f"backend='triton' serves at most {limit} players, got {players}: use backend='torch' or 'auto'"
        )


@lru_cache
def kernel(primitive: str, backend: str) -> Any:
    """The module of one primitive for one backend.

    Raises:
        BackendUnavailable: its library is not installed; the message has the install line.
    """
    name = f"shapley_kernels.kernels.{primitive}._{backend}"
    try:
        if backend != "numba" or name in sys.modules:
            return importlib.import_module(name)
        with making:  # it may have to import numba
            return importlib.import_module(name)
    except Exception as error:  # a library may fail in any way: on a numpy it refuses, on a folder that hides a module
        if isinstance(error, ModuleNotFoundError) and (error.name or "").startswith("shapley_kernels"):
            raise
        raise BackendUnavailable(_why_not(backend.partition("_")[0].replace("gpu", "triton"), error)) from error


def _why_not(backend: str, error: Exception) -> str:
    """Why the library of a backend cannot be imported, and what to do."""
    if isinstance(error, ModuleNotFoundError) and error.name == backend:
        install = "numba" if backend == "numba" else f"'shapley_kernels[{backend}]'"
        return f"backend={backend!r} needs {backend}, which is not installed: pip install {install}"
    return (
        f"backend={backend!r} needs {backend}, which cannot be imported here, {type(error).__name__}: {error}; install "
        "versions that go together, and see that no file or folder here has the name of a module it imports"
    )


def warm_up(players: Iterable[int] = (4, 8, 16), dtypes: Iterable[str] = ("float32",)) -> None:
    """Compile all CPU kernels, or load them, before the first call does: those of games, of gradients, of
    `grpo_advantages`, of `scatter_to_tokens` and of the baselines.

    Args:
        players: integers >= 1. For games of sorted rewards, each number up to 8 has kernels of its own; all above share
            theirs.
        dtypes: "float32" (also for float16 and bfloat16), "float64".

    Raises:
        TypeError, ValueError: other players or dtypes.
        BackendUnavailable: numba cannot be imported, or does not compile them.

    Cost: some 10 s for each number, and 25 s more, by dtype; where they are on disk from before, a hundredth of that.
    They are kept in $NUMBA_CACHE_DIR, or else in the cache folder of the user.
    """
    for name, given in (("players", players), ("dtypes", dtypes)):
        if isinstance(given, str) or not isinstance(given, Iterable) or getattr(given, "ndim", 1) != 1:
            example = "warm_up(players=[5], dtypes=['float32'])"
            raise TypeError(f"warm_up: {name} must be a list, as in {example}, got {given!r}")
    players, dtypes = list(players), list(dtypes)
    for n in players:
        if not isinstance(n, Integral) or isinstance(n, bool) or n < 1:
            raise ValueError(f"warm_up: players must be integers >= 1, got {n!r}")
    for dtype in dtypes:
        if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
            raise ValueError(f"warm_up: dtypes must be 'float32' or 'float64', got {dtype!r}")
    kernel("order", "numba").warm_up(players, dtypes)
    kernel("order", "numba_backward").warm_up(dtypes)
    for primitive in ("multilinear", "knapsack", "pairwise", "table", "scatter"):
        kernel(primitive, "numba").warm_up(dtypes)
    # the allocator normalises worths, and computes credits against the group, in float64 whatever the rewards are
    for primitive in ("group_norm", "swap"):
        kernel(primitive, "numba").warm_up([*dtypes, *{"float64"}.difference(dtypes)])


class Run:
    """The runs of primitives of one call: `games.terms.Run`.

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
        tables: "Tables",
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
            return _run_traced(self.backend, _tensors(arrays, shape), tables, compute, dtype).reshape(shape)
        backend = choose(self.backend, primitive, shape[-1], *given)
        if library and backend != "torch" and needs_grad(*given):
            from shapley_kernels.autograd import Order

            self.clean = False
            placed = tables.on("torch", compute, device(first))
            return Order.apply(*_tensors(arrays, shape), *placed, backend, dtype).reshape(shape)
        run = kernel(primitive, backend).run
        if backend == "numba":
            out, bad = run_numba(run, arrays, tables.on("numpy", compute, "cpu"), shape, compute)
            self.clean &= bad == -1
            return _handed_back(out, library, dtype)
        self.clean = False
        placed = tables.on("torch", compute, device(first))
        out = run_torch(run, arrays, placed, shape, dtype if library else getattr(sys.modules["torch"], compute))
        return out if library else cast(out.numpy(), dtype)


def _run_traced(backend: str, tensors: Sequence[Any], tables: "Tables", compute: str, dtype: Any) -> Array:
    """`order` while torch traces: a node of the graph under torch.compile; what is constant is found out now."""
    from shapley_kernels import autograd
    from shapley_kernels.kernels.order import _torch as _torch_order

    rewards, mask, v_empty = tensors
    where, players = device(rewards), rewards.shape[1]
    torch = sys.modules["torch"]
    if not torch.compiler.is_compiling():
        backend = allowed(backend, "order", players, where)
        call: Any = autograd.Order.apply
    else:
        backend = autograd.constant_backend(backend, index(players), where)
        call = autograd.order
    placed = tables.on("torch", compute, where)
    if backend == "torch":
        out = rewards.new_empty(rewards.shape, dtype=dtype)
        inside, outside, empty, level_of = placed
        _torch_order.run(rewards, mask, v_empty, inside, outside, empty, level_of, out)
        return out
    return call(rewards, mask, v_empty, *placed, backend, dtype)


def _tensors(arrays: Sequence[Array | None], shape: tuple[int, ...]) -> list[Any]:
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

    inputs: list[Any] = [None if x is None else x.contiguous() for x in _tensors(arrays, shape)]
    first = next(x for x in inputs if x is not None)
    out = torch.empty((prod(shape[:-1]), shape[-1]), dtype=dtype, device=first.device)
    run(*inputs, *tables, out)
    return out.reshape(shape)


def _handed_back(out: np.ndarray, torch_result: bool, dtype: Any) -> Array:
    return cast(sys.modules["torch"].from_numpy(out) if torch_result else out, dtype)


def _numpy(x: Array, compute: str) -> np.ndarray:
    """A CPU array as contiguous numpy, floats in the compute dtype; no copy when it is that already."""
    wanted = compute if is_float(x.dtype) else None
    if is_torch(x):
        x = x.detach() if x.requires_grad else x
        x = (x if wanted is None else cast(x, getattr(sys.modules["torch"], wanted))).numpy()
    return np.asarray(x, wanted, order="C")
