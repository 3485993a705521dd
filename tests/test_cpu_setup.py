"""Threads of the CPU kernels, and kernels kept on disk: by many at once, after a fork, read-only, damaged."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels.backends import kernel
from shapley_kernels.kernels import _marshal, _threads
from shapley_kernels.kernels._threads import over_rows
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.launch import RUNS
from tests import GUARD
from tests.needs import unavailable

WORK = (
    "import numpy as np, shapley_kernels as sk\n"
    "from shapley_kernels.kernels import _compile\n"
    "compiles = []\n"
    "save = _compile._Disk.save_overload\n"
    "_compile._Disk.save_overload = lambda *a: compiles.append(1) or save(*a)\n"
    "assert (sk.rl.scatter_to_tokens(np.array([3.0, 4.0], np.float32), np.array([2, 1])) == [4, 3]).all()\n"
    "print(len(compiles))"
)


@pytest.fixture
def limit():
    """Leaves the number of threads as it was."""
    yield
    sk.set_num_threads(None)


def start(folder, code=WORK, **environment):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), **environment}
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def compiles(process):
    """How many kernels the process compiled, having got the right numbers."""
    out, error = process.communicate(timeout=GUARD)
    assert process.returncode == 0, error
    return int(out)


def test_kernels_are_kept(tmp_path):
    """Of six processes at once, too; another processor has a kernel of its own."""
    together = [start(tmp_path) for _ in range(6)]
    assert all(compiles(process) <= 1 for process in together)
    assert len(list(tmp_path.iterdir())) == 1  # no drafts are left
    assert compiles(start(tmp_path)) == 0
    assert compiles(start(tmp_path, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="")) == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_without_jit(tmp_path):
    longer = (
        "for players in (12, 40):\n"
        "    rewards = np.arange(players * 2.0).reshape(2, players) % 7\n"
        "    for mask in (None, rewards != 3):\n"
        "        credits = sk.shapley(sk.Max(rewards, mask=mask))\n"
        "        assert np.allclose(credits.sum(1), 6) and (mask is None or (credits[~mask] == 0).all())\n"
        "print(0)"
    )
    code = WORK.replace("print(len(compiles))", longer)
    assert compiles(start(tmp_path, code, NUMBA_DISABLE_JIT="1")) == 0


def test_warm_up(tmp_path):
    whole_path = (
        "allocator = sk.rl.RewardAllocator(sk.Range)\n"
        "rows, ids = np.ones((4, 2), np.float32), [1, 0, 1, 0]\n"
        "for mask in (None, rows > 0):\n"
        "    allocator.advantages(rows, mask, group_ids=ids)\n"
        "    allocator.token_advantages(rows, np.ones((4, 9), int), mask)\n"
        "sk.rl.scatter_to_tokens(rows, np.ones((4, 9), int), length='candidate')\n"
        "sk.rl.RewardAllocator(value=sk.rl.SuffixSwap()).token_advantages(rows, np.ones((4, 9), int), mask)\n"
        "w = np.ones((4, 2, 2))\n"
        "table = np.ones((4, 4), np.float32)\n"
        "for m in (None, rows > 0):\n"
        "    for value in (sk.Shapley(), sk.Stratum(2)):\n"
        "        for game in (sk.NoisyOr(rows, m), sk.AtLeast(rows, 2, m), sk.Table(table, m),\n"
        "                     sk.Pairwise(w.astype(np.float32), rows, m), sk.Pairwise(w.astype(np.float32), mask=m)):\n"
        "            sk.semivalue(game, value)\n"
        "many = np.ones((2, 17), np.float32)\n"
        "pairs, worths = np.ones((17, 17), np.float32), np.ones(512, np.float32)\n"
        "for game in (sk.Mean(many), sk.NoisyOr(many), sk.Pairwise(pairs), sk.Table(worths)):\n"
        "    sk.shapley(game)\n"
        "print(len(compiles))"
    )
    code = "import shapley_kernels as sk\nmade = sk.warm_up(['float32'])\n" + WORK
    said = "assert made['knapsack float64'] > 0 and len(made) == 19, made\n"
    assert compiles(start(tmp_path, code.replace("print(len(compiles))", said + whole_path))) == 0
    kept = {file.name.rsplit("-", 1)[0] for file in tmp_path.iterdir()}
    order = {"rows_in_lanes", "rows_by_rank", "rows_linear", "order_backward"}
    both = {f"{primitive}_in_{what}" for primitive in ("pairwise", "table") for what in ("lanes", "rows")}
    families = {"nodes_of_few", "nodes_of_many", "sizes", "knapsack", "chances_in_lanes", "voting_in_lanes", *both}
    assert kept == {*order, *families, "group_norm", "scatter", "count", "swap"}


def test_training_compiles_once(tmp_path):
    """The kernels of the first step serve sets of all lengths, with and without a mask."""
    steps = (
        "allocator, ids = sk.RewardAllocator(), np.ones((8, 9), int)\n"
        "for longest in (3, 8, 4, 6, 12, 5, 32):\n"
        "    rewards = np.random.default_rng(0).random((8, longest), dtype=np.float32)\n"
        "    for mask in (None, rewards > 0.1):\n"
        "        allocator.token_advantages(rewards, ids, mask, num_generations=4)\n"
        "    compiles, first = [], compiles if longest == 3 else first\n"
        "    assert longest == 3 or not compiles\n"
        "print(len(first))"
    )
    assert compiles(start(tmp_path, WORK.replace("print(len(compiles))", steps))) <= 5


def test_warm_up_refuses(limit):
    with pytest.raises(
        TypeError, match=r"warm_up: dtypes must be a list, as in warm_up\(dtypes=\['float32'\]\), got 5"
    ):
        sk.warm_up(5)
    with pytest.raises(TypeError, match=r"warm_up: dtypes must be a list"):
        sk.warm_up(np.array("float32"))
    with pytest.raises(TypeError, match=r"warm_up: dtypes must be one of 'float32', 'float64', got array"):
        sk.warm_up([np.ones(2)])
    with pytest.raises(ValueError, match=r"warm_up: dtypes must be one of 'float32', 'float64', got 'int8'"):
        sk.warm_up(dtypes=("int8",))


def test_number_of_threads(limit, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert sk.get_num_threads() == allowed
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert sk.get_num_threads() == 1
    sk.set_num_threads(3)
    assert sk.get_num_threads() == 3
    for error, bad in ((ValueError, 0), (ValueError, -1), (TypeError, 1.5), (TypeError, True), (TypeError, "2")):
        with pytest.raises(error, match="set_num_threads: threads must be an integer >= 1 or None"):
            sk.set_num_threads(bad)
    assert sk.get_num_threads() == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity on this system")
def test_affinity_is_honoured():
    code = (
        "import os, shapley_kernels as sk\n"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "print(sk.get_num_threads())"
    )
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment).stdout == "1\n"


def parts(rows, grain, smallest):
    """The parts that were worked on, in order, after a check that they make the whole."""
    seen = []
    over_rows(lambda first, last: seen.append((first, last)) or -1, rows, grain, smallest)
    seen.sort()
    assert [first for first, _ in seen] == [0, *(last for _, last in seen[:-1])]
    assert seen[-1][1] == rows
    return seen


def test_parts(limit):
    sk.set_num_threads(3)
    assert parts(10, 1, 6) == [(0, 10)]  # not enough rows for two threads
    assert len(parts(1000, 1, 10)) == 3 * _threads.PARTS
    for first, _ in parts(1000, 64, 10):
        assert first % 64 == 0
    sk.set_num_threads(1)
    assert parts(1000, 1, 1) == [(0, 1000)]


def test_first_bad_row_of_all_parts(limit):
    sk.set_num_threads(4)
    bad = {700, 300, 900}
    first = over_rows(lambda a, b: min((row for row in bad if a <= row < b), default=-1), 1000, 1, 1)
    assert first == 300


def test_an_error_in_a_thread_arrives(limit):
    sk.set_num_threads(4)

    def fail(first, last):
        raise ArithmeticError(first)

    with pytest.raises(ArithmeticError):
        over_rows(fail, 1000, 1, 1)


def large(seed=0):
    rewards = np.random.default_rng(seed).random((2**18, 3), dtype=np.float32)
    return sk.shapley(sk.Max(rewards)), rewards


def test_many_callers_share_the_pool(limit):
    """Results are those of one thread, while the number of threads is changed all the time."""
    sk.set_num_threads(1)
    alone = [large(seed)[0] for seed in range(8)]
    sk.set_num_threads(3)
    with ThreadPoolExecutor(8) as callers:
        calls = [callers.submit(large, seed % 8) for seed in range(24)]
        for threads in (2, 1, 4, 3):
            sk.set_num_threads(threads)
        for seed, call in enumerate(calls):
            np.testing.assert_array_equal(call.result()[0], alone[seed % 8])


def test_a_pool_that_is_wide_enough_is_kept(limit):
    """Making a thread costs more than a small call gains."""
    sk.set_num_threads(3)
    large()
    first = _threads._State.pool
    for threads in (1, 2, 3):
        sk.set_num_threads(threads)
        large()
        assert _threads._State.pool is first
    sk.set_num_threads(_threads._State.width + 2)
    large()
    assert _threads._State.pool is not first


def _child(expected):
    return bool(np.array_equal(large()[0], expected)) and _threads._State.pool is not None


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_pool_is_remade_after_a_fork(limit):
    sk.set_num_threads(2)
    expected, _ = large()
    assert _threads._State.pool is not None
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(_child, [expected] * 4) == [True] * 4


def test_at_exit():
    """A call from a thread that outlives the interpreter's own pools does without them."""
    code = (
        "import atexit, numpy as np, shapley_kernels as sk\n"
        "sk.set_num_threads(2)\n"
        "rewards = np.random.default_rng(0).random((2**18, 3), dtype=np.float32)\n"
        "first = sk.shapley(sk.Max(rewards))\n"
        "atexit.register(lambda: print(np.array_equal(sk.shapley(sk.Max(rewards)), first)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=GUARD)
    assert done.stdout == "True\n", done.stderr


RNG = np.random.default_rng(0)
SHARES = RNG.random((50, 5))
EVERY_PRIMITIVE = {
    "order": (sk.Range, SHARES),
    "multilinear": (sk.NoisyOr, SHARES),
    "knapsack": (lambda x: sk.AtLeast(x, 2), SHARES),
    "knapsack of weights": (lambda w: sk.WeightedVoting(w, quota=9), RNG.integers(0, 7, (50, 5))),
    "pairwise": (lambda x: sk.Pairwise(x + x.swapaxes(1, 2)), RNG.random((50, 5, 5))),
    "table": (sk.Table, RNG.random((50, 32))),
}


@pytest.mark.parametrize("name", EVERY_PRIMITIVE)
@pytest.mark.parametrize("value", [sk.Shapley(), sk.Stratum(2)])
def test_every_primitive_on_threads(limit, monkeypatch, name, value):
    """Rows in parts are bitwise those of one thread, and those of torch within rounding."""
    make, data = EVERY_PRIMITIVE[name]
    alone = sk.semivalue(make(data), value)
    seen = []
    RUNS.clear()
    for module in (_marshal, kernel("order", "numba")):
        monkeypatch.setattr(module, "THREADED", 1)
        monkeypatch.setattr(module, "over_rows", lambda *a: seen.append(a[1:]) or over_rows(*a))
    sk.set_num_threads(3)
    assert (sk.semivalue(make(data), value) == alone).all()
    ((rows, _, smallest),) = seen
    assert rows // max(1, smallest) > 1
    if make is not sk.Table and "weights" not in name and unavailable("torch") is None:
        np.testing.assert_allclose(alone, sk.semivalue(make(data), value, backend="torch"), rtol=1e-12, atol=1e-14)


def test_advantages_and_tokens_on_threads(limit, monkeypatch):
    """Groups and rows in parts are bitwise those of one thread, whatever has statistics of its own."""
    credits, ids = RNG.random((40, 6, 5)), RNG.integers(0, 6, (240, 9))
    calls = [partial(sk.grpo_advantages, credits, center=c, scale=s) for c, s in product(CENTERS, SCALES)]
    calls += [partial(sk.rl.scatter_to_tokens, credits.reshape(240, 5), ids, length=x) for x in ("token", "candidate")]
    calls.append(partial(sk.RewardAllocator(value=sk.rl.SuffixSwap()).advantages, credits))
    alone = [call() for call in calls]
    RUNS.clear()
    monkeypatch.setattr(_marshal, "THREADED", 1)
    sk.set_num_threads(3)
    for call, expected in zip(calls, alone, strict=True):
        np.testing.assert_array_equal(call(), expected)
