"""Where and with what a number was measured."""

import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import shapley_kernels as sk

PACKAGES = ("shapley_kernels", "numpy", "numba", "torch", "triton", "shapiq", "shapley-numba", "coopgame-py", "shap")


@cache
def machine() -> dict[str, Any]:
    """What two runs must share for their times to be comparable."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "usable_cores": usable,
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "gpu": _gpu(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    """The name of the processor, with its family and model where the system tells them (names can be vague)."""
    fields: dict[str, str] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    except OSError:  # not Linux
        pass
    name = fields.get("model name") or platform.processor() or platform.machine()
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else name


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:  # no such setting here, such as in a virtual machine
        return None


def _gpu() -> str | None:
    try:
        import torch
    except ModuleNotFoundError:
        return None
    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


@cache
def versions() -> dict[str, str]:
    """Python and the packages that matter, as far as installed."""
    versions = {package: _version(package) for package in PACKAGES}
    return {"python": platform.python_version(), **{p: version for p, version in versions.items() if version}}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def commit() -> str | None:
    """The commit of the source tree that is imported, "+changes" if it has any; None for an installed package."""
    tree = Path(__file__).resolve().parents[2]
    if not (tree / ".git").exists():
        return None

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", tree, *arguments], capture_output=True, text=True, check=True).stdout

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "shapley_kernels")
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def command() -> str:
    """The command line, without the place of the program."""
    return shlex.join(["shapley-bench", *sys.argv[1:]])


def load() -> float | None:
    """Mean number of processes that wanted to run during the last minute."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def disturbances() -> list[str]:
    """What will make times worse, or vary."""
    warnings = []
    here = machine()
    busy = load()
    if busy is not None and busy > 0.5 * here["cores"]:
        warnings.append(f"load average {busy} on {here['cores']} cores: others are running, times will be too long")
    if here["governor"] not in (None, "performance"):
        warnings.append(f"the frequency governor is {here['governor']!r}, not 'performance'")
    return warnings


@contextmanager
def limited_to(threads: int) -> Iterator[None]:
    """Our kernels, BLAS, OpenMP, and torch, if it is imported, use this many threads inside the block."""
    import threadpoolctl

    with ExitStack() as stack:
        stack.enter_context(threadpoolctl.threadpool_limits(threads))
        stack.callback(sk.set_num_threads, sk.get_num_threads())
        sk.set_num_threads(threads)
        if "torch" in sys.modules:
            torch = sys.modules["torch"]
            before = torch.get_num_threads()
            stack.callback(torch.set_num_threads, before)
            torch.set_num_threads(threads)
        yield
