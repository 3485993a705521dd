"""Compiled CPU kernels, kept on disk between processes.

Compiling takes seconds, loading milliseconds. numba's own cache trusts what it reads: a truncated file is an error, a
damaged one a crash. Here a file is a digest and the kernel; whatever does not fit is compiled anew. Files are replaced
in one step, so that processes may start together; where nothing can be written, nothing is kept.

A kernel is machine code: whoever wrote the file decides what this process does. So only files and folders are trusted
that belong to this user, or to root, and that nobody else may write.
"""

import contextlib
import hashlib
import importlib.resources
import os
import pickle
import platform
import secrets
import stat
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba

from shapley_kernels.backends import BackendUnavailable, making

MADE: list[tuple[str, float]] = []
"""Kernels that this process compiled, and the seconds that each took."""

_FLAGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK", "DEBUGINFO_DEFAULT")
"""Settings of numba that change the code it makes."""


def helper(function: Callable[..., Any]) -> Any:
    """Decorator of a function that kernels call."""
    return _jit(function, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def inlined(function: Callable[..., Any]) -> Any:
    """`helper` of a few instructions, which cost less than a call with arrays."""
    return _jit(function, forceinline=True)


def _jit(function: Callable[..., Any], **options: bool) -> Any:
    return numba.njit(nogil=True, error_model="numpy", **options)(function)  # type: ignore[call-overload]


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Where a kernel is made. What fails there is no matter of the data, but of numba and what it finds here."""
    try:
        with making:
            yield
    except (BackendUnavailable, MemoryError):
        raise
    except Exception as error:
        raise BackendUnavailable(
            f"backend='numba' cannot compile its kernels here, {type(error).__name__}: {error}; install versions of "
            "numba and numpy that go together, or use backend='torch'"
        ) from error


def compiled(function: Callable[..., Any], signature: Any, make: bool = True) -> Any:
    """`function` as a kernel for one signature, without the GIL; from disk if it was compiled before.

    Args:
        function: plain Python; it may call only what is in its own folder and in this one, whose modules are part of
            the key.
        signature: numba signature.
        make: whether to compile it where it was not; else None is returned.

    Raises:
        BackendUnavailable: numba does not compile it.

    Cost: seconds to compile, about 0.02 s to load; about 100 KB on disk, in $NUMBA_CACHE_DIR or the user's cache.
    """
    with building():
        kernel = _jit(function)
        if kernel is not function:  # it is under NUMBA_DISABLE_JIT=1
            kernel._cache = disk = _Disk(function)
            disk.kept = disk.load_overload(signature, kernel.targetctx)
            if disk.kept is None and not make:
                return None
            started = time.thread_time()
            kernel.compile(signature)
            kernel.disable_compile()
            if disk.kept is None:
                real = next((x.dtype for x in signature.args if isinstance(x, numba.types.Array)), "")
                MADE.append((f"{function.__name__.strip('_')} {real}", time.thread_time() - started))
    _say()
    return kernel


def folder() -> Path | None:
    """Where kernels are kept; None when the user has no home."""
    chosen = getattr(numba.config, "CACHE_DIR", "")  # numba's own setting
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
        self.kept: Any = None
        """What was loaded already."""

    def load_overload(self, signature: Any, target: Any) -> Any:
        """The compiled function, or None when there is none that can be used."""
        if self.kept is not None:
            return self.kept
        try:
            from numba.core.compiler import CompileResult

            name = self._name(signature, target)
            with _Folder() as kept:
                data = kept.read(name)
            digest, kernel = data[:32], data[32:]
            if _digest(name, kernel) != digest:
                return None
            target.refresh()  # the code calls the runtime of numba
            return CompileResult._rebuild(target, *pickle.loads(kernel))
        except Exception:  # no file, no right to read it, or written by a numba that differs in spite of the key
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        with contextlib.suppress(Exception):  # a kernel that cannot be kept still runs
            from numba.core import serialize

            name = self._name(signature, result.target_context)
            kernel = serialize.dumps(result._reduce())
            with _Folder(make=True) as kept:
                kept.write(name, _digest(name, kernel) + kernel)

    def _name(self, signature: Any, target: Any) -> str:
        """Of the file: by all that the machine code depends on, source, signature, versions, processor, settings."""
        import llvmlite

        package = self.function.__module__.split(".")[-2]
        parts = [
            *(_SOURCES[part] for part in ("", package)),
            str((self.function.__qualname__, signature, target.codegen().magic_tuple())).encode(),
            str((numba.__version__, llvmlite.__version__, platform.python_version())).encode(),
            str([getattr(numba.config, flag, None) for flag in _FLAGS]).encode(),
        ]
        return f"{self.function.__name__.strip('_')}-{_digest(*parts).hex()[:32]}.kernel"


def _digest(*parts: str | bytes) -> bytes:
    """Of a file with its name, so that the kernel of another file is not taken for this one; or of parts of a key."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part.encode() if isinstance(part, str) else part).digest())
    return whole.digest()


def _sources() -> dict[str, bytes]:
    """By folder of `kernels`, "" for itself: a digest of the modules that kernels for the CPU are made of. Out of an
    archive, or compiled files, where they come from there; without a folder whose modules cannot be found."""
    digests = {}
    with contextlib.suppress(Exception):
        root = importlib.resources.files(__package__)
        for folder in (root, *(x for x in root.iterdir() if x.is_dir())):
            modules = {x.name: x for x in folder.iterdir() if x.name.endswith((".py", ".pyc"))}
            names = [name for name in sorted(modules) if not name.startswith(("_torch", "_triton", "_gpu"))]
            if names:
                parts = [part for name in names for part in (name, modules[name].read_bytes())]
                digests["" if folder is root else folder.name] = _digest(*parts)
    return digests


_SOURCES = _sources()
"""Read now, when kernels are imported: later the files may be those of another version."""


class _Folder:
    """The folder of the kernels, open: what was looked at is what is used, whatever becomes of its path.

    Windows has no owners and modes: the folder is taken for the user's.
    """

    def __init__(self, make: bool = False) -> None:
        path = folder()
        if path is None:
            raise FileNotFoundError("no folder to keep kernels in")
        if make:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path, self.handle = path, os.open(path, os.O_RDONLY | os.O_DIRECTORY) if _OWNED else None

    def __enter__(self) -> "_Folder":
        if self.handle is not None:
            try:
                _check(os.fstat(self.handle), self.path, "kernels are compiled in every process, and none is kept")
            except PermissionError:
                os.close(self.handle)
                raise
        return self

    def __exit__(self, *_: Any) -> None:
        if self.handle is not None:
            os.close(self.handle)

    def read(self, name: str) -> bytes:
        with os.fdopen(self._open(name, os.O_RDONLY | getattr(os, "O_BINARY", 0)), "rb") as stream:
            if self.handle is not None:
                _check(os.fstat(stream.fileno()), self.path / name, "a kernel is compiled anew")
            return stream.read()

    def write(self, name: str, data: bytes) -> None:
        draft = f"{name}-{secrets.token_hex(8)}.tmp"
        handle = self._open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0))
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data)
            os.replace(self._at(draft), self._at(name), src_dir_fd=self.handle, dst_dir_fd=self.handle)
        except BaseException:
            os.unlink(self._at(draft), dir_fd=self.handle)
            raise

    def _open(self, name: str, flags: int) -> int:
        return os.open(self._at(name), flags | getattr(os, "O_NOFOLLOW", 0), 0o600, dir_fd=self.handle)

    def _at(self, name: str) -> str:
        return str(self.path / name) if self.handle is None else name


_OWNED = hasattr(os, "geteuid") and os.open in os.supports_dir_fd


def _check(status: os.stat_result, path: Path, therefore: str) -> None:
    """Refuse a file or folder that others than this user and root may have written, and say so once."""
    if status.st_uid not in (0, os.geteuid()):
        reason = f"{path} belongs to user {status.st_uid}"
    elif status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        reason = f"{path} may be written by others, mode {stat.S_IMODE(status.st_mode):o}"
    else:
        return
    _Refused.reason = _Refused.reason or (
        f"{therefore}: {reason}; make it yours alone (chown, chmod go-w), or set NUMBA_CACHE_DIR to a folder that is"
    )
    raise PermissionError(reason)


class _Refused:
    """What was refused first, to be said once: outside of what is suppressed, for those who make errors of warnings."""

    reason = ""
    said = False


def _say() -> None:
    if _Refused.reason and not _Refused.said:
        _Refused.said = True
        warnings.warn(_Refused.reason, RuntimeWarning, stacklevel=2)
