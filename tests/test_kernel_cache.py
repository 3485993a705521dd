"""Faults around the kernels on disk and the compiler: planted files, open folders, upgrades without sources, a numba
that does not work."""

import os
import pickle
import py_compile
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import shapley_kernels
from shapley_kernels.kernels import _compile
from tests import GUARD

PACKAGE = Path(shapley_kernels.__file__).parent

START = """
import os, sys, warnings
import numpy as np, shapley_kernels as sk
from shapley_kernels.kernels import _compile
compiles = []
save = _compile._Disk.save_overload
_compile._Disk.save_overload = lambda *a: compiles.append(1) or save(*a)
said = []
warnings.showwarning = lambda message, *_: said.append(str(message))
"""

PAIRS = "credit = sk.shapley(sk.Pairwise(np.array([[0.0, 2.0], [2.0, 0.0]])))[0]\n"

REPORT = "print(len(compiles), credit, len(said), *said[:1], sep='|')"

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


def pairs(cache, before="", **how):
    """(kernels compiled, credit, warnings, the first of them) of a process that runs one kernel."""
    compiles, credit, count, *said = python(START + before + PAIRS + REPORT, cache=cache, **how).split("|")
    return int(compiles), float(credit), int(count), "".join(said)


@pytest.fixture(scope="module")
def one_kernel(tmp_path_factory):
    """A folder with one kernel."""
    cache = tmp_path_factory.mktemp("kernels") / "cache"
    assert pairs(cache) == (1, 1.0, 0, "")
    assert pairs(cache) == (0, 1.0, 0, "")
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


def foreign(path):
    """Give a file or folder to another user -> code that makes this user of the child another one than its owner."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
        return ""
    return f"os.geteuid = lambda: {os.geteuid() + 1}\n"


def test_a_planted_file_works_at_all(kept, tmp_path):
    """What the tests below refuse would be run."""
    plant(kept, tmp_path / "marker")
    pairs(kept)
    assert (tmp_path / "marker").exists()


@posix
def test_a_file_of_another_user_is_not_read(kept, tmp_path):
    file = plant(kept, tmp_path / "marker")
    compiles, credit, count, said = pairs(kept, foreign(file) if os.geteuid() == 0 else foreign(kept))
    assert (compiles, credit, count) == (1, 1.0, 1)
    assert "belongs to user" in said
    assert not (tmp_path / "marker").exists()
    if os.geteuid() == 0:  # the folder is ours, so the kernel replaces the file
        assert pairs(kept) == (0, 1.0, 0, "")


@posix
@pytest.mark.parametrize("mode", [0o770, 0o777, 0o1777])
def test_a_folder_that_others_may_write(kept, tmp_path, mode):
    """Nothing is read, nothing is kept, and it is said once, with a remedy, however many kernels are made."""
    plant(kept, tmp_path / "marker")
    before = sorted(x.stat().st_mtime_ns for x in kept.iterdir())
    kept.chmod(mode)
    again = "sk.shapley(sk.Pairwise(np.zeros((2, 2), np.float32)))\n"
    compiles, credit, count, said = pairs(kept, again)
    assert (compiles, credit, count) == (2, 1.0, 1)
    assert said.startswith("kernels are compiled in every process, and none is kept: ")
    assert f"mode {mode:o}" in said
    assert "NUMBA_CACHE_DIR" in said
    assert sorted(x.stat().st_mtime_ns for x in kept.iterdir()) == before
    assert not (tmp_path / "marker").exists()


@posix
def test_a_folder_of_another_user(kept, tmp_path):
    plant(kept, tmp_path / "marker")
    compiles, credit, count, said = pairs(kept, foreign(kept))
    assert (compiles, credit, count) == (1, 1.0, 1)
    assert "belongs to user" in said
    assert not (tmp_path / "marker").exists()


@posix
def test_a_file_that_others_may_write(kept, tmp_path):
    plant(kept, tmp_path / "marker").chmod(0o664)
    compiles, credit, count, said = pairs(kept)
    assert (compiles, credit, count) == (1, 1.0, 1)
    assert said.startswith("a kernel is compiled anew: ")
    assert not (tmp_path / "marker").exists()
    assert pairs(kept) == (0, 1.0, 0, "")


@posix
def test_a_link_is_not_followed(kept, tmp_path):
    """To a file that would be trusted where it stands."""
    file = plant(kept, tmp_path / "marker")
    file.rename(tmp_path / file.name)
    file.symlink_to(tmp_path / file.name)
    assert pairs(kept) == (1, 1.0, 0, "")
    assert not (tmp_path / "marker").exists()
    assert not file.is_symlink()


def test_where_files_have_no_owners(tmp_path):
    """As on Windows."""
    without = "_compile._OWNED = False\n"
    assert pairs(tmp_path / "cache", without) == (1, 1.0, 0, "")
    assert pairs(tmp_path / "cache", without) == (0, 1.0, 0, "")


def test_warnings_that_are_errors(kept):
    """Are raised once; the next call works."""
    kept.chmod(0o777)
    code = (
        START + "warnings.simplefilter('error')\ntry:\n    " + PAIRS + "except RuntimeWarning:\n    said.append('')\n"
    )
    out = python(code + PAIRS + REPORT, cache=kept).split("|")
    assert out[1:3] == (["1.0", "1"] if hasattr(os, "geteuid") else ["1.0", "0"])


# -- upgrades ---------------------------------------------------------------------------------------------------------


def package(to, upgraded=False, compiled=False):
    """A copy of the package; upgraded: with credits of pairs twice as large; compiled: without sources."""
    shutil.copytree(PACKAGE, to / "shapley_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    kernel = to / "shapley_kernels/kernels/pairwise/_numba.py"
    source = kernel.read_text(encoding="utf-8")
    line = "credit = pair[level] * total[i]"
    assert line in source
    if upgraded:
        kernel.write_text(source.replace(line, f"{line} * 2"), encoding="utf-8")
    for module in to.rglob("*.py") if compiled else ():
        py_compile.compile(str(module), str(module.with_suffix(".pyc")), doraise=True)
        module.unlink()
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
        python(START + where + PAIRS + REPORT, place, cache=tmp_path / "cache", path=place, cwd=tmp_path)
        for place in (old, new, old)
    ]
    assert runs == ["1|1.0|0", "1|2.0|0", "0|1.0|0"]


def test_an_upgrade_while_a_process_runs(tmp_path):
    """What it compiles after that is kept as of the version that it has in memory."""
    place, newer = package(tmp_path / "here"), package(tmp_path / "newer", upgraded=True)
    upgrade = (
        "import shutil; from shapley_kernels.backends import kernel; kernel('pairwise', 'numba')\n"
        "shutil.copytree(sys.argv[1], sys.argv[2], dirs_exist_ok=True)\n"
    )
    how = {"cache": tmp_path / "cache", "path": place, "cwd": tmp_path}
    assert python(START + upgrade + PAIRS + REPORT, newer, place, **how) == "1|1.0|0"
    assert python(START + PAIRS + REPORT, **how) == "1|2.0|0"


def test_modules_that_cannot_be_found(tmp_path):
    """In an executable, say: nothing is kept."""
    assert pairs(tmp_path / "cache", "_compile._SOURCES.clear()\n") == (1, 1.0, 0, "")
    assert not (tmp_path / "cache").exists()


# -- a numba that does not work ---------------------------------------------------------------------------------------

UNAVAILABLE = """
import sys
import shapley_kernels as sk
for call in (lambda: sk.shapley(sk.Max([0.9, 0.5])), lambda: sk.warm_up([2]), lambda: sk.grpo_advantages([[0.0, 1.0]])):
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


def test_a_kernel_that_is_not_compiled(tmp_path):
    """What numba raises then is nothing that a caller did."""
    code = (
        "import numpy as np, shapley_kernels as sk\n"
        "from numba.core import compiler\n"
        "def fail(*_, **__): raise AttributeError('gone')\n"
        "compiler.compile_extra = fail\n"
        "try:\n"
        "    sk.shapley(sk.Pairwise(np.zeros((2, 2))))\n"
        "except sk.BackendUnavailable as error:\n"
        "    print(error)\n"
    )
    line = python(code, cache=tmp_path / "cache")
    assert line.startswith("backend='numba' cannot compile its kernels here, AttributeError: gone; install")


def test_forms_that_need_no_private_modules():
    """Of numba: its vectors are imported by the forms of `order` that are made of them."""
    code = (
        "import sys, numpy as np, shapley_kernels as sk\n"
        "rows = np.random.default_rng(0).random((4, 2), dtype=np.float32)\n"
        "sk.RewardAllocator().token_advantages(rows, np.ones((4, 9), int))\n"
        "sk.shapley(sk.Max(np.arange(1100.0)))\n"
        "sk.shapley(sk.NoisyOr(rows))\n"
        "print('shapley_kernels.kernels._simd' in sys.modules)\n"
        "sk.shapley(sk.Max(np.arange(9.0)))\n"
        "print('shapley_kernels.kernels._simd' in sys.modules)\n"
    )
    assert python(code).split() == ["False", "True"]


def test_a_numba_that_moved_its_private_modules(tmp_path):
    """Those that keep kernels: nothing is kept. Those of vectors: the forms that need them are refused."""
    hide = "for name in ('numba.core.serialize', 'numba.core.datamodel.models'): sys.modules[name] = None\n"
    hide += "del numba.core.serialize\n"  # which `from numba.core import` would take
    vectors = (
        "sk.shapley(sk.Max(np.arange(9.0)))  # a small call can do without\n"
        "compiles.clear()\n"
        "try:\n"
        "    sk.shapley(sk.Max(np.ones((1 << 16, 9))))\n"
        "except sk.BackendUnavailable as error:\n"
        "    print(error)\n"
    )
    first = "import numba\nnumba.njit('int64(int64)')(lambda x: x)\n"  # what numba itself needs of them is there
    code = START + first + "import shapley_kernels.kernels.order._numba\n" + hide + vectors + PAIRS + REPORT
    refused, report = python(code, cache=tmp_path / "cache").splitlines()
    assert refused.startswith("backend='numba' cannot compile its kernels here, ModuleNotFoundError: import of numba.")
    assert report == "1|1.0|0"
    assert not list((tmp_path / "cache").glob("*.kernel"))
