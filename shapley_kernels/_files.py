"""Output files that appear whole or not at all, and scratch files without names, of which nothing can stay behind."""

import errno
import io
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from shapley_kernels._command import CommandError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


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

    def __init__(self, file: Path | int, mode: str, shown: str, closefd: bool = True) -> None:
        super().__init__(file, mode, closefd=closefd)
        self._shown = shown

    def write(self, data: Any) -> int:
        with naming(self._shown):
            return super().write(data)


def scratch_file() -> IO[bytes]:
    """A file without a name, gone with this process; a person is told where that is, and how to have it elsewhere."""
    shown = f"temporary files in {tempfile.gettempdir()} ($TMPDIR)"
    with naming(shown), tempfile.TemporaryFile() as file:
        return io.BufferedRandom(_NamedFile(os.dup(file.fileno()), "w+", shown))


def _taken(draft: Path) -> int | None:
    """A descriptor of the empty file `draft`, locked for as long as it is open; None where another run has it.

    What is there already and not locked was left by a run that was killed. Where there are no locks, nobody knows.
    """
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        descriptor, new = os.open(draft, flags | os.O_CREAT | os.O_EXCL, 0o666), True
    except FileExistsError:
        try:
            descriptor, new = os.open(draft, flags), False
        except OSError:  # gone by now, or nothing that a run of this user left
            return None
    try:
        if fcntl:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        status = os.fstat(descriptor)
        free = new or (fcntl and status.st_uid == os.geteuid() and _identity(status) == _identity(os.lstat(draft)))
    except BlockingIOError:
        free = False
    except OSError:  # no locks here
        free = new
    if free:
        os.ftruncate(descriptor, 0)
        return descriptor
    os.close(descriptor)
    return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


@dataclass
class _File:
    """An output file on its way, as a draft that always has the same name, so that one left behind goes next time."""

    shown: str  # as the user knows it
    target: Path
    stream: IO[bytes] | None = None
    identity: tuple[int, int] | None = None

    @property
    def draft(self) -> Path:
        digest = blake2b(os.fsencode(self.target.name), digest_size=8).hexdigest()
        return self.target.with_name(f".shapley-kernels-{digest}.tmp")

    def open(self) -> IO[bytes]:
        descriptor = _taken(self.draft)
        if descriptor is None:
            raise CommandError(f"{self.shown}: another run writes it now; if none does, remove {self.draft}")
        self.stream = io.BufferedRandom(_NamedFile(descriptor, "r+", self.shown))
        self.identity = _identity(os.fstat(descriptor))
        if self.target.exists():
            shutil.copymode(self.target, self.draft)
        return self.stream

    def is_at(self, path: Path) -> bool:
        """Whether it has that name, as the file system says, which knows it also right after an interrupt."""
        try:
            return self.identity == _identity(path.stat())
        except OSError:
            return False

    def end(self) -> None:
        """Remove the draft, if that is what it still is, and unlock it."""
        if fcntl and self.is_at(self.draft):
            self.draft.unlink()
        if self.stream:
            with suppress(OSError):  # on a full disk also the rest in the buffer does not fit
                self.stream.close()
        if not fcntl and self.is_at(self.draft):  # Windows removes no open file
            self.draft.unlink()


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

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.end()
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
        file = _File(str(name), target)
        self._files.append(file)  # first of all, so that an interrupt now leaves nothing
        try:
            return file.open()
        except OSError as error:  # about the directory; the temporary name says nothing to a person
            self._files.pop()
            directory = target.parent if name.is_symlink() else name.parent
            there = f"; make it with mkdir -p {directory}" if error.errno == errno.ENOENT else ""
            raise OSError(error.errno, f"{error.strerror}, the folder of {name}{there}", str(directory)) from None

    def stdout(self) -> IO[bytes]:
        """stdout, buffered: under PYTHONUNBUFFERED a write to sys.stdout.buffer may be cut short in silence."""
        try:
            return self._opened_directly(sys.stdout.fileno(), "<stdout>")
        except io.UnsupportedOperation:  # not a file at all, such as under a test
            return sys.stdout.buffer

    def _opened_directly(self, file: Path | int, shown: str) -> IO[bytes]:
        stream = io.BufferedWriter(_NamedFile(file, "w", shown, closefd=not isinstance(file, int)))
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
            if not fcntl:  # Windows renames no open file
                file.stream.close()
        for file in reversed(self._files):
            try:
                os.replace(file.draft, file.target)
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}; {self.outcome()}", file.shown) from None
            _sync_directory(file.target.parent)

    def outcome(self) -> str:
        """What became of the outputs, for a run that ends early."""
        complete = [file.shown for file in self._files if file.is_at(file.target)]
        missing = [file.shown for file in self._files if file.shown not in complete]
        partial = [shown for _, shown in self._direct]
        if self._flushed:
            complete, partial = complete + partial, []
        said = (("complete", complete), ("not complete", partial), ("not written", missing))
        if not complete and not partial:
            return "no output was written"
        return "; ".join(f"{what}: {', '.join(names)}" for what, names in said if names)


def _sync_directory(directory: Path) -> None:
    """Make a rename durable, where the system and the file system can, and the directory may be read."""
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
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
