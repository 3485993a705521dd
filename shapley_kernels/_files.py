"""Temporary files of the command: what a killed run left behind goes at the next start, and errors name the file."""

import io
import os
import platform
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows, where nothing is claimed and nothing removed
    fcntl = None  # type: ignore[assignment]

PREFIX = "shapley-allocate-"


class Claim:
    """A lock on a file or directory that this process has made, which ends with it, however it ends.

    Only what is locked has a name that `remove_stale` looks at, so that it never meets what is just being made.

    Args:
        path: as it was made; not changed where the file system has no locks.
    """

    def __init__(self, path: Path) -> None:
        self.names = [path]  # that it has, may have or had
        self._descriptor: int | None = None

    @property
    def path(self) -> Path:
        return self.names[-1]

    def take(self) -> None:
        """Lock it, and give it its name."""
        if fcntl is None:
            return
        try:
            self._descriptor = _locked(self.path)
        except OSError:
            return
        before = self.path
        self.names.append(before.with_name(before.name.replace(PREFIX, f"{PREFIX}{_kernel()}-")))
        before.rename(self.path)

    def end(self) -> None:
        """Remove it, unless it has another name by now, and unlock it."""
        for name in self.names:
            _remove(name)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


@cache
def _kernel() -> str:
    """Stands for the running kernel, within which locks are seen by all processes, in all containers."""
    try:
        name = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:
        name = platform.node()
    return blake2b(name.encode(), digest_size=6).hexdigest()


def remove_stale(directory: Path) -> None:
    """Remove what killed runs of this user left there; not those of other machines, whose locks may not show here."""
    if fcntl is None:
        return
    with suppress(OSError):
        for path in directory.glob(f"*{PREFIX}{_kernel()}-*"):
            with suppress(OSError):
                _remove_unlocked(path)


def _remove_unlocked(path: Path) -> None:
    descriptor = _locked(path)
    try:
        if os.fstat(descriptor).st_uid == os.geteuid():
            _remove(path)
    finally:
        os.close(descriptor)


def _locked(path: Path) -> int:
    """A descriptor that holds the lock.

    Raises:
        OSError: another process holds it, or there are no locks here.
    """
    access = os.O_RDONLY if path.is_dir() else os.O_RDWR  # NFS locks only what is open for writing
    descriptor = os.open(path, access | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _remove(path: Path) -> None:
    """A file, or a directory with what is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def new_claim(directory: Path) -> Claim:
    """For a file that is yet to be made."""
    return Claim(directory / f".{PREFIX}{secrets.token_hex(8)}.tmp")


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for this process, below $TMPDIR."""
    remove_stale(Path(tempfile.gettempdir()))
    claim = Claim(Path(tempfile.mkdtemp(prefix=PREFIX)))
    try:
        claim.take()
        yield claim.path
    finally:
        claim.end()


@contextmanager
def naming(shown: str) -> Iterator[None]:
    """Errors of reading and writing get the name of the file, of which they say nothing themselves."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = shown
        raise


class _NamedFile(io.FileIO):
    """A file whose errors name it, also those that come only when a buffer above it is emptied."""

    def __init__(self, file: Path | int, mode: str, shown: str) -> None:
        super().__init__(file, mode, closefd=not isinstance(file, int))
        self._shown = shown

    def write(self, data: Any) -> int:
        with naming(self._shown):
            return super().write(data)


def open_named(file: Path | int, mode: str, shown: str) -> IO[bytes]:
    """A buffered stream to write to, "w" or "x" and "+" to read as well, whose errors name the file as `shown`."""
    raw = _NamedFile(file, mode, shown)
    return io.BufferedRandom(raw) if "+" in mode else io.BufferedWriter(raw)


def open_scratch(path: Path, mode: str) -> IO[bytes]:
    """A new file in the scratch directory; a person is told where that is, and how to have it elsewhere."""
    return open_named(path, mode, f"temporary files in {tempfile.gettempdir()} ($TMPDIR)")
