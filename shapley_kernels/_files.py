"""Output files that appear whole or not at all; what a killed run left behind of them goes at the next start."""

import errno
import io
import os
import platform
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from shapley_kernels._command import CommandError

try:
    import fcntl
except ImportError:  # Windows, where nothing is claimed and nothing removed
    fcntl = None  # type: ignore[assignment]

PREFIX = "shapley-kernels-"


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


@dataclass
class _File:
    """An output file on its way."""

    shown: str  # as the user knows it
    target: Path
    claim: Claim
    stream: IO[bytes] | None = None
    identity: tuple[int, int] | None = None

    def in_place(self) -> bool:
        """Whether it has its own name, as the file system says, which knows it also right after an interrupt."""
        try:
            return self.identity == _identity(self.target.stat())
        except OSError:
            return False


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


class Staged:
    """Several output files that are written under temporary names, and take their own in `commit`.

    Leaving the `with` block without `commit`, by whatever exception, removes the temporary files. They stand in the
    directory of the file itself, since only there the last step is a rename.

    Args:
        force: replace files that exist.
    """

    def __init__(self, force: bool) -> None:
        self.force = force
        self._files: list[_File] = []
        self._direct: list[tuple[IO[bytes], str]] = []
        self._flushed = False  # what is written directly

    def __enter__(self) -> "Staged":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            with suppress(OSError):  # on a full disk also the rest in the buffer does not fit
                if file.stream:
                    file.stream.close()
            file.claim.end()
        for stream, _ in self._direct:
            with suppress(OSError):  # what has to arrive was flushed by `commit`
                stream.close()

    def open(self, name: Path) -> IO[bytes]:
        """A stream whose bytes become the file `name`. Devices and pipes are written directly."""
        if name.exists() and not stat.S_ISREG(name.stat().st_mode):
            if name.is_dir():
                raise CommandError(f"{name}: expected a file name, found a directory")
            return self._opened_directly(name, str(name))
        self._refuse_existing(name)
        target = Path(os.path.realpath(name))  # a symbolic link stays, what it points to is replaced
        if target.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(name))
        remove_stale(target.parent)
        file = _File(str(name), target, new_claim(target.parent))
        self._files.append(file)  # first of all, so that an interrupt now leaves nothing
        try:
            file.stream = open_named(file.claim.path, "x+", file.shown)
        except OSError as error:  # about the directory; the temporary name says nothing to a person
            self._files.pop()
            directory = target.parent if name.is_symlink() else name.parent
            there = f"; make it with mkdir -p {directory}" if error.errno == errno.ENOENT else ""
            raise OSError(error.errno, f"{error.strerror}, the folder of {name}{there}", str(directory)) from None
        file.identity = _identity(os.fstat(file.stream.fileno()))
        file.claim.take()
        if target.exists():
            shutil.copymode(target, file.claim.path)
        return file.stream

    def stdout(self) -> IO[bytes]:
        """stdout, buffered: under PYTHONUNBUFFERED a write to sys.stdout.buffer may be cut short in silence."""
        try:
            return self._opened_directly(sys.stdout.fileno(), "<stdout>")
        except io.UnsupportedOperation:  # not a file at all, such as under a test
            return sys.stdout.buffer

    def _opened_directly(self, file: Path | int, shown: str) -> IO[bytes]:
        stream = open_named(file, "w", shown)
        self._direct.append((stream, shown))
        return stream

    def holds(self, stream: IO[bytes] | None) -> bool:
        """Whether the stream goes to a temporary file, so that it can be rewound."""
        return any(stream is file.stream for file in self._files)

    def _refuse_existing(self, name: Path) -> None:
        if name.exists() and not self.force:
            raise CommandError(f"{name}: the file exists already; --force replaces it")

    def commit(self) -> None:
        """Put all files in place, the first opened one last."""
        for direct, _ in self._direct:
            direct.flush()
        self._flushed = True
        for file in self._files:
            assert file.stream is not None
            self._refuse_existing(file.target)
            file.stream.flush()
            with naming(file.shown):
                os.fsync(file.stream.fileno())
            file.stream.close()
        for file in reversed(self._files):
            try:
                os.replace(file.claim.path, file.target)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}; {self.outcome()}", file.shown) from None
            _sync_directory(file.target.parent)

    def outcome(self) -> str:
        """What became of the outputs, for a run that ends early."""
        complete = [file.shown for file in self._files if file.in_place()]
        streams = [shown for _, shown in self._direct]
        if self._flushed:
            complete += streams
        partial = [] if self._flushed else streams
        missing = [file.shown for file in self._files if file.shown not in complete]
        said = (("complete", complete), ("not complete", partial), ("not written", missing))
        if not complete and not partial:
            return "no output was written"
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in said if names)


def _sync_directory(directory: Path) -> None:
    """Make a rename durable, where the system can."""
    try:
        handle = os.open(directory, os.O_RDONLY)
    except OSError:  # a directory that may be written but not read; Windows
        return
    try:
        os.fsync(handle)
    except OSError:  # file systems that cannot
        pass
    finally:
        os.close(handle)


@contextmanager
def whole_file(path: Path, force: bool) -> Iterator[IO[bytes]]:
    """A binary stream whose bytes become the file when the block ends, by an interrupt too if anything was written.

    Raises:
        CommandError: the file exists, and `force` is not set. That is found out before anything is measured.
    """
    with Staged(force) as staged:
        stream = staged.open(path)
        try:
            yield stream
        except KeyboardInterrupt:
            if stream.tell():
                staged.commit()
            raise
        staged.commit()
