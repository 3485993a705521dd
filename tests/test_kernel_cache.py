"""Faults around the kernels on disk and the compiler: planted files, open folders, upgrades without sources, a numba
that does not work."""

import os
import pickle
import py_compile
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numba
import numpy as np
import pytest

import shapley_kernels
from shapley_kernels.backends import BackendUnavailable, kernel
from shapley_kernels.kernels import _compile
from shapley_kernels.rl import scatter_to_tokens
from tests import GUARD

PACKAGE = Path(shapley_kernels.__file__).parent

START = """
import os, sys, warnings
import numpy as np, shapley_kernels as sk
from shapley_kernels.kernels import _compile
"""

TOKENS = "number = sk.rl.scatter_to_tokens(np.array([3.0, 4.0]), np.array([2, 1]))[0]\n"

REPORT = "print(len(_compile.MADE), number, sep='|')"

posix = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no owners and modes on this system")


def python(code, *arguments, cache=None, path=None, cwd=None):
    """What a process prints that keeps its kernels in the folder `cache`."""
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=cwd, check=False, timeout=GUARD)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def started(monkeypatch):
    """A function that runs a kernel as a new process does whose kernels are kept in a folder -> (kernels compiled,
    number, warnings)."""

    def run(cache, dtypes=(np.float64,), action="always"):
        for prepared in kernel("scatter", "numba")._SCATTER.values():
            monkeypatch.setattr(prepared, "_ready", {})
        monkeypatch.setattr(numba.config, "CACHE_DIR", str(cache))
        monkeypatch.setattr(_compile, "_Refused", type("_Refused", (), {"reason": "", "said": False}))
        known = len(_compile.MADE)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter(action, RuntimeWarning)
            numbers = [scatter_to_tokens(np.array([3, 4], dtype), np.array([2, 1]))[0] for dtype in dtypes]
        return len(_compile.MADE) - known, float(numbers[0]), [str(x.message) for x in said]

    return run


COMPILED, LOADED = (1, 4.0, []), (0, 4.0, [])
"""What `started` returns, if nothing is said."""


@pytest.fixture(scope="module")
def one_kernel(tmp_path_factory):
    """A folder with one kernel, of another process."""
    cache = tmp_path_factory.mktemp("kernels") / "cache"
    assert python(START + TOKENS + REPORT, cache=cache) == "1|4.0"
    assert cache.stat().st_mode & 0o777 == 0o700 or not hasattr(os, "geteuid")
    return cache


@pytest.fixture
def kept(one_kernel, tmp_path):
    return Path(shutil.copytree(one_kernel, tmp_path / "cache"))


class Evil:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def plant(cache, marker):
    """In place of the kernel a file that makes the folder `marker` when it is read."""
    (file,) = cache.iterdir()
    kernel = pickle.dumps(Evil(marker))
    file.write_bytes(_compile._digest(file.name, kernel) + kernel)
    return file


def foreign(path, monkeypatch):
    """Give a file or folder to another user than the one that this process takes itself for."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        other = os.geteuid() + 1
        monkeypatch.setattr(_compile.os, "geteuid", lambda: other)


def test_kernels_are_kept(kept, started):
    """Compiled once, then loaded; what is damaged, cut or of another kernel is compiled anew."""
    assert started(kept) == LOADED
    (file,) = kept.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    for damaged in (b"", whole[:middle], whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]):
        file.write_bytes(damaged)
        assert started(kept) == COMPILED
    assert started(kept) == LOADED
    assert started(kept, [np.float64, np.float32]) == COMPILED  # that of another dtype
    other = next(x for x in kept.iterdir() if x != file)
    file.write_bytes(other.read_bytes())  # a whole kernel, but not this one
    assert started(kept) == COMPILED


def test_nothing_can_be_kept(tmp_path, started):
    file = tmp_path / "file"
    file.write_text("")
    assert started(file / "folder") == COMPILED  # below a file no folder can be made
    assert file.read_text() == ""


def test_a_planted_file_works_at_all(kept, started, tmp_path):
    """What the tests below refuse would be run."""
    plant(kept, tmp_path / "marker")
    started(kept)
    assert (tmp_path / "marker").exists()


@posix
def test_a_file_of_another_user_is_not_read(kept, started, tmp_path, monkeypatch):
    file = plant(kept, tmp_path / "marker")
    foreign(file if os.geteuid() == 0 else kept, monkeypatch)
    compiles, number, (said,) = started(kept)
    assert (compiles, number) == (1, 4.0)
    assert "belongs to user" in said
    assert not (tmp_path / "marker").exists()
    if os.geteuid() == 0:  # the folder is ours, so the kernel replaces the file
        assert started(kept) == LOADED


@posix
@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
def test_a_folder_that_others_may_write(kept, started, tmp_path, mode):
    """Nothing is read, nothing is kept, and it is said once, with a remedy, however many kernels are made."""
    plant(kept, tmp_path / "marker")
    before = sorted(x.stat().st_mtime_ns for x in kept.iterdir())
    kept.chmod(mode)
    compiles, number, (said,) = started(kept, [np.float64, np.float32])
    assert (compiles, number) == (2, 4.0)
    assert said.startswith("kernels are compiled in every process, and none is kept: ")
    assert f"mode {mode:o}" in said
    assert "NUMBA_CACHE_DIR" in said
    assert sorted(x.stat().st_mtime_ns for x in kept.iterdir()) == before
    assert not (tmp_path / "marker").exists()


@posix
def test_a_folder_of_another_user(kept, started, tmp_path, monkeypatch):
    plant(kept, tmp_path / "marker")
    foreign(kept, monkeypatch)
    compiles, number, (said,) = started(kept)
    assert (compiles, number) == (1, 4.0)
    assert "belongs to user" in said
    assert not (tmp_path / "marker").exists()


@posix
def test_a_file_that_others_may_write(kept, started, tmp_path):
    plant(kept, tmp_path / "marker").chmod(0o664)
    compiles, number, (said,) = started(kept)
    assert (compiles, number) == (1, 4.0)
    assert said.startswith("a kernel is compiled anew: ")
    assert not (tmp_path / "marker").exists()
    assert started(kept) == LOADED


@posix
def test_a_link_is_not_followed(kept, started, tmp_path):
    """To a file that would be trusted where it stands."""
    file = plant(kept, tmp_path / "marker")
    file.rename(tmp_path / file.name)
    file.symlink_to(tmp_path / file.name)
    assert started(kept) == COMPILED
    assert not (tmp_path / "marker").exists()
    assert not file.is_symlink()


def test_where_files_have_no_owners(tmp_path, started, monkeypatch):
    """As on Windows."""
    monkeypatch.setattr(_compile, "_OWNED", False)
    assert started(tmp_path / "cache") == COMPILED
    assert started(tmp_path / "cache") == LOADED


@posix
def test_warnings_that_are_errors(kept, started):
    """Are raised once; the next call works."""
    kept.chmod(0o777)
    with pytest.raises(RuntimeWarning, match="none is kept"):
        started(kept, action="error")
    assert scatter_to_tokens(np.array([3.0, 4.0]), np.array([2, 1]))[0] == 4.0


# -- upgrades ---------------------------------------------------------------------------------------------------------


def package(to, upgraded=False, compiled=False):
    """A copy of the package; upgraded: whose tokens get nothing; compiled: without sources of the kernel."""
    shutil.copytree(PACKAGE, to / "shapley_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    module = to / "shapley_kernels/kernels/scatter/_numba.py"
    text = module.read_text(encoding="utf-8")
    line = "result[t] = row[k]"
    assert line in text
    if upgraded:
        module.write_text(text.replace(line, "result[t] = row[0]"), encoding="utf-8")
    for source in (*module.parent.glob("*.py"), *module.parents[1].glob("*.py")) if compiled else ():
        py_compile.compile(str(source), str(source.with_suffix(".pyc")), doraise=True)
        source.unlink()
    return to


def archive(folder):
    file = folder.with_suffix(".zip")
    with zipfile.ZipFile(file, "w") as target:
        for x in sorted(folder.rglob("*.py*")):
            target.write(x, x.relative_to(folder))
    return file


@pytest.mark.parametrize("kind", ["zip", "compiled", "compiled zip"])
def test_an_upgrade_is_another_kernel(tmp_path, kind):
    """Kept where there are no files of sources, too, and not taken for that of another version."""
    old, new = package(tmp_path / "old", False, "compiled" in kind), package(tmp_path / "new", True, "compiled" in kind)
    if "zip" in kind:
        old, new = archive(old), archive(new)
    where = "assert sk.__file__.startswith(sys.argv[1])\n"
    runs = [
        python(START + where + TOKENS + REPORT, place, cache=tmp_path / "cache", path=place, cwd=tmp_path)
        for place in (old, new, old)
    ]
    assert runs == ["1|4.0", "1|0.0", "0|4.0"]


def test_an_upgrade_while_a_process_runs(tmp_path):
    """What it compiles after that is kept as of the version that it has in memory."""
    place, newer = package(tmp_path / "here"), package(tmp_path / "newer", upgraded=True)
    upgrade = (
        "import shutil; from shapley_kernels.backends import kernel; kernel('scatter', 'numba')\n"
        "shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)\n"
    )
    how = {"cache": tmp_path / "cache", "path": place, "cwd": tmp_path}
    assert python(START + upgrade + TOKENS + REPORT, newer, place, **how) == "1|4.0"
    assert python(START + TOKENS + REPORT, **how) == "1|0.0"


def test_modules_that_cannot_be_found(tmp_path, started, monkeypatch):
    """In an executable, say: nothing is kept."""
    monkeypatch.setattr(_compile, "_SOURCES", {})
    assert started(tmp_path / "cache") == COMPILED
    assert not (tmp_path / "cache").exists()


# -- a numba that does not work ---------------------------------------------------------------------------------------

UNAVAILABLE = """
import sys
import shapley_kernels as sk
for call in (lambda: sk.shapley(sk.Max([0.9, 0.5])), lambda: sk.warm_up(), lambda: sk.grpo_advantages([[0.0, 1.0]])):
    try:
        call()
    except sk.BackendUnavailable as error:
        print(error)
"""


def test_a_numba_that_refuses_its_numpy(tmp_path):
    (tmp_path / "numba").mkdir()
    refusal = "Numba needs NumPy 2.2 or less. Got NumPy 2.9."
    (tmp_path / "numba/__init__.py").write_text(f"raise ImportError({refusal!r})\n")
    path = os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])
    lines = python(UNAVAILABLE, cache=tmp_path / "cache", path=path).splitlines()
    assert len(lines) == 3
    for line in lines:
        assert line.startswith(
            f"backend='numba' needs numba, which cannot be imported here, ImportError: {refusal}; install versions"
        )


def test_a_folder_that_hides_a_module(tmp_path):
    """numba imports `coverage` where it finds one."""
    (tmp_path / "coverage").mkdir()
    (tmp_path / "coverage/__init__.py").write_text("")
    lines = python(UNAVAILABLE, cache=tmp_path / "cache", path=PACKAGE.parent, cwd=tmp_path).splitlines()
    assert len(lines) == 3
    assert "AttributeError: module 'coverage' has no attribute 'types'" in lines[0]
    for line in lines:
        assert line.startswith("backend='numba' needs numba, which cannot be imported here, ")


def test_a_kernel_that_is_not_compiled(tmp_path, started, monkeypatch):
    """What numba raises then is nothing that a caller did."""

    def fail(*_, **__):
        raise AttributeError("gone")

    monkeypatch.setattr(numba.core.compiler, "compile_extra", fail)
    refusal = "backend='numba' cannot compile its kernels here, AttributeError: gone; install"
    with pytest.raises(BackendUnavailable, match=refusal):
        started(tmp_path / "cache")


def test_a_numba_that_moved_its_private_modules(tmp_path):
    """Those that keep kernels: nothing is kept."""
    code = (
        "import numba, shapley_kernels.kernels.order._numba\n"
        "numba.njit('int64(int64)')(lambda x: x)\n"  # what numba itself needs of them is there
        "sys.modules['numba.core.serialize'] = None\n"
        "del numba.core.serialize\n"  # which `from numba.core import` would take
        "rows = np.random.default_rng(0).random((4, 2))\n"
        "sk.RewardAllocator().token_advantages(rows, np.ones((4, 9), int))\n"
        "sk.shapley(sk.Max(np.arange(1100.0)))\n"
    )
    [report] = python(START + code + TOKENS + REPORT, cache=tmp_path / "cache").splitlines()
    assert report.endswith("|4.0")
    assert not list((tmp_path / "cache").glob("*.kernel"))
