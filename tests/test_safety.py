"""Many threads at once, after fork, spawned: RL stacks do all of it."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import shapley_kernels as sk
from tests import GUARD


def credits(seed):
    rewards = np.random.default_rng(seed).random((500, 7))
    return sk.shapley(0.5 * sk.Max(rewards) + 0.5 * sk.Median(rewards))


def test_threads_at_once_first_compile_included():
    code = (
        "import threading, numpy as np, shapley_kernels as sk\n"
        "r = np.random.default_rng(0).random((200, 6)); found = [None] * 8; start = threading.Barrier(8)\n"
        "def work(i):\n    start.wait(); found[i] = sk.shapley(sk.Mean(r))\n"
        "threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]\n"
        "assert all(np.array_equal(f, found[0]) for f in found), found\n"
        "assert np.allclose(found[0].sum(1), r.mean(1), atol=1e-14); print('equal')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=GUARD)
    assert done.stdout.strip() == "equal", done.stderr


def test_threads_agree_with_one_thread():
    alone = [credits(seed) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(alone, pool.map(credits, range(24)), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_after_use():
    expected = credits(0)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map(credits, [0, 0, 0, 0]):
            np.testing.assert_array_equal(found, expected)


FORKS = """
import importlib.abc, os, signal, sys, threading, time, numpy as np, shapley_kernels as sk

rewards = np.random.default_rng(0).random((5, 3))
inside = threading.Event()

def credits(dtype):  # a kernel for each
    return sk.shapley(sk.Max(rewards.astype(dtype)))

def child():
    signal.alarm(1800)  # ends it if it waits forever
    os._exit(int(not all(np.allclose(credits(dtype).sum(1), rewards.max(1)) for dtype in ("f8", "f4"))))

def fork_during(work):
    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(1800)
    pid = os.fork() or child()
    print(os.waitpid(pid, 0)[1], flush=True)
    thread.join()
    inside.clear()

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "numba":
            inside.set()
            time.sleep(0.3)

sys.meta_path.insert(0, Slow())
fork_during(lambda: credits("f8"))

from shapley_kernels.kernels import _compile
load = _compile._Disk.load_overload

def slow(*arguments):
    inside.set()
    time.sleep(0.3)
    return load(*arguments)

_compile._Disk.load_overload = slow
fork_during(lambda: credits("f4"))

def forking(*arguments):
    pid = os.fork()
    if pid:
        print(os.waitpid(pid, 0)[1], flush=True)
    else:
        _compile._Disk.load_overload = load
        child()
    return load(*arguments)

_compile._Disk.load_overload = forking
sk.grpo_advantages(rewards)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_while_a_kernel_is_imported_or_loaded():
    """By another thread, whose locks nobody in the child would release; last by the forking thread itself."""
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, check=False, timeout=GUARD)
    statuses = done.stdout.split()
    assert set(statuses) == {"0"}, done.stderr
    assert len(statuses) >= 3  # of the last call, one for each kernel that it loads


def test_spawn():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(credits, (3,)), credits(3))
