"""Which backend runs: the only place that decides."""

import importlib
import logging  # noqa: F401  a fork has to take its lock after ours: numba logs while it compiles
import os
import re
import sys
import threading
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from shapley_kernels.arrays import Array, device, needs_grad, one_of

AUTO = "auto"
BACKENDS = (AUTO, "numba", "triton", "torch")

OLDEST_TRITON = (3, 5)
"""That of torch 2.9; those before do not compile kernels whose functions call themselves."""

WITH_GRADIENT = ("order",)
"""Primitives whose numba and Triton kernels have gradients."""

making = threading.RLock()
"""Held while a kernel is imported, compiled or loaded. A fork waits for it: in the child nobody would ever release the
locks of numba and of imports that the thread at work has, unless that is the forking thread itself."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=making.acquire, after_in_parent=making.release, after_in_child=making.release)


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


def warm_up(dtypes: Iterable[str] = ("float32", "float64")) -> dict[str, float]:
    """Compile the CPU kernels, or load them, before the first call does: those of all games, with and without a mask,
    of gradients, of `grpo_advantages`, of `scatter_to_tokens` and of credit against the other rollouts of a group.

    Args:
        dtypes: "float32" (also for float16 and bfloat16), "float64".

    Returns:
        The kernels that were compiled, and the seconds of CPU that each took; those from disk are left out.

    Raises:
        TypeError, ValueError: other dtypes.
        BackendUnavailable: numba cannot be imported, or does not compile them.

    Cost: some 30 s, once on a machine; loading them takes a hundredth of that. They are kept in $NUMBA_CACHE_DIR, or
    else in the cache folder of the user.
    """
    if isinstance(dtypes, str) or not isinstance(dtypes, Iterable) or getattr(dtypes, "ndim", 1) != 1:
        raise TypeError(f"warm_up: dtypes must be a list, as in warm_up(dtypes=['float32']), got {dtypes!r}")
    dtypes = list(dtypes)
    for dtype in dtypes:
        one_of("warm_up: dtypes", dtype, ("float32", "float64"))
    kernel("order", "numba")  # where numba is missing, this says so
    made = importlib.import_module("shapley_kernels.kernels._compile").MADE
    known = len(made)
    kernel("order", "numba_backward").warm_up(dtypes)
    for primitive in ("order", "multilinear", "knapsack", "pairwise", "table", "scatter"):
        kernel(primitive, "numba").warm_up(dtypes)
    kernel("group_norm", "numba").warm_up()
    # the allocator computes credits against the group in float64 whatever the rewards are
    kernel("swap", "numba").warm_up([*dtypes, *{"float64"}.difference(dtypes)])
    return {name: round(seconds, 2) for name, seconds in made[known:]}
