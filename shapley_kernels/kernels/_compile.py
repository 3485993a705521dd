"""Compiled CPU kernels, kept on disk between processes.

Compiling takes seconds, loading milliseconds. numba's own cache trusts what it reads: a truncated file is an error, a
damaged one a crash. Here a file is a digest and the kernel; whatever does not fit is compiled anew. Files are replaced
in one step, so that processes may start together; where nothing can be written, nothing is kept.
"""

import contextlib
import hashlib
import os
import pickle
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
from numba.core import config, serialize
from numba.core.compiler import CompileResult

from shapley_kernels.kernels._threads import making

_FLAGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
"""Settings of numba that change the code it makes."""


def helper(function: Callable[..., Any]) -> Any:
    """Decorator of a function that kernels call."""
    return numba.njit(nogil=True, error_model="numpy")(function)


def inlined(function: Callable[..., Any]) -> Any:
    """`helper` of a few instructions, which cost less than a call with arrays."""
    return numba.njit(nogil=True, error_model="numpy", forceinline=True)(function)


def compiled(function: Callable[..., Any], signature: Any) -> Any:
    """`function` as a kernel for one signature, without the GIL; from disk if it was compiled before.

    Args:
        function: plain Python; it may call only what is in its own folder and in this one, whose sources are part
            of the key.
        signature: numba signature.

    Cost: seconds to compile, about 0.02 s to load; about 100 KB on disk, in $NUMBA_CACHE_DIR or the user's cache.
    """
    with making:
        kernel = helper(function)
        if kernel is not function:  # it is under NUMBA_DISABLE_JIT=1
            kernel._cache = _Disk(function)
            kernel.compile(signature)
            kernel.disable_compile()
        return kernel


def folder() -> Path | None:
    """Where kernels are kept; None when the user has no home."""
    chosen = getattr(config, "CACHE_DIR", "")  # numba's own setting
    if chosen:
        return Path(chosen)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    try:
        return Path(base).expanduser() / "shapley_kernels"
    except RuntimeError:
        return None


class _Disk:
    """What numba asks for a compiled function, and tells of a new one: the interface of its own cache."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled function, or None when there is none that can be used."""
        try:
            file = self._file(signature, target)
            data = file.read_bytes()
            digest, kernel = data[:32], data[32:]
            if _digest(file, kernel) != digest:
                return None
            target.refresh()  # the code calls the runtime of numba
            return CompileResult._rebuild(target, *pickle.loads(kernel))
        except Exception:  # no file, no right to read it, or written by a numba that differs in spite of the key
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        with contextlib.suppress(Exception):  # a kernel that cannot be kept still runs
            file = self._file(signature, result.target_context)
            kernel = serialize.dumps(result._reduce())
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, draft = tempfile.mkstemp(dir=file.parent, prefix=file.stem, suffix=".tmp")
            try:
                with os.fdopen(handle, "wb") as stream:
                    stream.write(_digest(file, kernel) + kernel)
                os.replace(draft, file)
            except BaseException:
                os.unlink(draft)
                raise

    def _file(self, signature: Any, target: Any) -> Path:
        """Named by all that the machine code depends on: source, signature, versions, processor, settings."""
        where = folder()
        source = Path(self.function.__code__.co_filename)
        if where is None:
            raise FileNotFoundError("no folder to keep kernels in")
        parts = [
            *(file.read_bytes() for place in (source, Path(__file__)) for file in sorted(place.parent.glob("*.py"))),
            str((self.function.__qualname__, signature, target.codegen().magic_tuple())).encode(),
            str((numba.__version__, llvmlite.__version__, platform.python_version())).encode(),
            str([getattr(config, flag, None) for flag in _FLAGS]).encode(),
        ]
        key = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()
        return where / f"{self.function.__name__.strip('_')}-{key[:32]}.kernel"


def _digest(file: Path, kernel: bytes) -> bytes:
    """Of the name, too, so that the kernel of another file is not taken for this one."""
    return hashlib.sha256(file.name.encode() + b"\0" + kernel).digest()
