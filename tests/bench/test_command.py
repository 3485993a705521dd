"""`shapley-bench` end to end, on tiny inputs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import shapley_kernels as sk
from shapley_kernels._command import CommandError
from shapley_kernels.bench import cases, command, methods, peers, plot
from shapley_kernels.bench.cases import Point
from shapley_kernels.bench.machine import limited_to
from shapley_kernels.bench.records import Record, read
from shapley_kernels.bench.run import run
from tests import GUARD
from tests.conftest import need

from .conftest import record, write

TINY = ("--seconds", "0", "--shape", "3,4")


def test_run_writes_a_record_per_point_and_method(bench):
    only = ("-m", "numba", "-m", "numpy-five-liner", "--game", "Max", "--game", "Median")
    result = bench("run", *TINY, "--shape", "2,2,5", *only, "-o", "out.jsonl")
    records = read([Path("out.jsonl")])
    found = {(r.game, r.shape, r.method) for r in records}
    assert ("Max", (3, 4), "numba") in found
    assert ("Median", (2, 2, 5), "numba") in found
    assert ("Max", (2, 2, 5), "numpy-five-liner") in found
    assert ("Median", (3, 4), "numpy-five-liner") not in found
    assert "no five-liner for Median" in result.output
    for r in records:
        assert r.threads == 1
        assert r.samples >= 3
        assert r.of.machine["cpu"]
        assert r.of.versions["numpy"]
        assert r.q20_s <= r.median_s <= r.q80_s
    assert not list(Path().glob(".shapley-kernels-*"))


def test_records_on_stdout_are_nothing_but_records(bench):
    result = bench("run", *TINY, "--game", "Max", "-m", "numba", "-o", "-")
    assert [json.loads(line).get("method") for line in result.stdout.splitlines()] == [None, "numba"]


def test_an_existing_file_is_replaced_only_when_forced(bench, monkeypatch):
    Path("out.jsonl").write_text("mine")
    with monkeypatch.context() as patched:
        patched.setattr("shapley_kernels.bench.run.run", lambda *_: pytest.fail("measured before it looked"))
        assert "--force" in bench("run", *TINY, "-o", "out.jsonl", status=2).output
    assert Path("out.jsonl").read_text() == "mine"
    bench("run", *TINY, "-g", "Max", "-m", "numba", "-o", "out.jsonl", "--force")
    assert len(read([Path("out.jsonl")])) == 1


def test_an_interrupt_keeps_the_finished_points(bench, monkeypatch):
    def interrupted(point, methods, seconds):
        if point.shape == (2, 2):
            raise KeyboardInterrupt
        yield record(shape=point.shape)

    monkeypatch.setattr("shapley_kernels.bench.run.run", interrupted)
    result = bench("run", "-g", "Max", "--shape", "3,4", "--shape", "2,2", "-o", "out.jsonl", status=130)
    assert "1 records are in out.jsonl" in result.output
    assert [r.shape for r in read([Path("out.jsonl")])] == [(3, 4)]


def test_an_interrupt_before_the_first_point_leaves_nothing(bench, monkeypatch):
    def interrupted(point, methods, seconds):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("shapley_kernels.bench.run.run", interrupted)
    bench("run", "-o", "out.jsonl", status=130)
    assert not list(Path().iterdir())


def test_the_process_ends_by_a_signal_with_its_points_kept(tmp_path):
    code = "import sys; sys.argv[1:] = %r; from shapley_kernels.bench import main; main()"
    arguments = ["run", "-g", "Max", "-m", "numba", "--shape", "3,4", "--shape", "5,4", "-o", "o.jsonl"]
    child = (
        "import signal, os, shapley_kernels.bench.run as r; signal.signal(2, signal.default_int_handler)\n"
        "whole = r.run\n"
        "def run(point, methods, seconds):\n"
        "    for record in whole(point, methods, 0):\n"
        "        if point.shape == (5, 4): os.kill(os.getpid(), signal.SIGINT)\n"
        "        yield record\n"
        "r.run = run\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", child + code % (arguments,)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=GUARD,
        env={**os.environ, "PYTHONPATH": str(Path(methods.__file__).parents[2])},
    )
    assert done.returncode == 130, done.stderr
    assert "Traceback" not in done.stderr
    assert [r.shape for r in read([tmp_path / "o.jsonl"])] == [(3, 4)]
    assert signal.SIGINT == 2


def test_wrong_credits_are_not_timed(bench, monkeypatch):
    def prepare(inputs):
        return lambda: inputs.rewards("numpy") * 0.5

    wrong = methods.Method("numba", "ours", prepare)
    monkeypatch.setattr(command, "OURS", (wrong,))
    assert "numba: error" in bench("run", *TINY, "-g", "Max", "-o", "out.jsonl", status=1).output
    assert not list(Path().iterdir())


@pytest.mark.filterwarnings("ignore")
def test_peers(bench):
    for package in ("shapiq", "coopgame", "shapley_numba", "shap"):
        if methods.importlib.util.find_spec(package) is None:
            need("peers", f"{package} is not installed")
    chosen = [m.name for m in command.peers.PEERS if m.name != "powerindices"]  # knows votes alone
    bench(
        "peers",
        "--seconds",
        "0",
        "--shape",
        "2,3",
        *(a for m in ("numba", *chosen) for a in ("-m", m)),
        "-o",
        "p.jsonl",
    )
    records = read([Path("p.jsonl")])
    assert [r.method for r in records] == ["numba", *chosen]
    assert all(r.max_error < 1e-6 for r in records)


def test_a_missing_package_is_named_with_its_install_line(bench, monkeypatch):
    real = methods.importlib.util.find_spec
    monkeypatch.setattr(methods.importlib.util, "find_spec", lambda name: None if name == "shapiq" else real(name))
    result = bench("peers", *TINY, "-m", "shapiq", "-m", "numba")
    assert "shapiq is not installed: pip install 'shapley_kernels[peers]'" in result.output


def test_roofs(bench, monkeypatch):
    def measured(points, *_, **__):
        shown = [(p, {"game": p.game, "shape": p.shape, "dtype": p.dtype, "masked": p.masked}) for p in points]
        return [record(1e-3, **named, sort_s=1e-3 if p.game == "Max" else None) for p, named in shown]

    monkeypatch.setattr(command, "_measure", measured)
    lines = bench("roofs").stdout.splitlines()
    dtypes = ("float32", "float64")
    sizes = [f"| {2**k} | {dtype} |" for k in range(2, 11) for dtype in dtypes]
    games = [("NoisyOr", "2^15"), ("WeightedVoting", "2^12"), ("Pairwise", "2048"), ("Table", "1024")]
    few = [f"| {game} [{rows}, 8] {dtype} |" for game, rows in games for dtype in dtypes]
    for starts in (sizes, few):
        assert [start for start in starts if any(line.startswith(start) for line in lines)] == starts


def test_roofs_of_arithmetic_count_the_steps():
    """A matrix product is measured where the time is arithmetic, and scaled to as many steps."""
    inputs = cases.Inputs(Point("Table", (64, 8)))
    assert methods.products(inputs) == 64 * 8 * 2 * 128 / methods.SQUARE**3
    (found,) = run(Point("Table", (64, 8)), [command.METHODS["numba"]], 0.0)
    assert 0 < found.product_s < 1
    (found,) = run(Point("Pairwise", (64, 8)), [command.METHODS["numba"]], 0.0)
    assert found.product_s is None


def test_scaling_measures_and_reads(bench):
    bench("scaling", "--quick", "-s", "1e-9", "--axis", "rows", "-m", "numba", "-o", "s.jsonl")
    assert "time ~ rows^" in bench("scaling", "s.jsonl", "--axis", "rows").output
    assert "no two points" in bench("scaling", "s.jsonl", "--axis", "threads").output


def test_threads_are_those_of_the_kernels(bench):
    bench("run", *TINY, "-g", "Max", "-m", "numba", "--threads", "2", "-o", "t.jsonl")
    (found,) = read([Path("t.jsonl")])
    assert found.threads == 2


@pytest.mark.parametrize("threads", [1, 3])
def test_limited_to(threads):
    before = sk.get_num_threads()
    with limited_to(threads):
        assert sk.get_num_threads() == threads
    assert sk.get_num_threads() == before


def test_time_of_the_processor(bench):
    bench("run", *TINY, "-g", "Max", "-m", "numba", "--clock", "cpu", "-o", "c.jsonl")
    assert read([Path("c.jsonl")])[0].clock == "cpu"
    assert "--clock wall" in bench("run", *TINY, "-g", "Max", "--clock", "cpu", "-t", "2", status=2).output


SIZES = {"Pairwise": 5, "WeightedVoting": 6, "FacilityLocation": 5, "NoisyOr": 6, "Table": 4}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("game", peers.FAMILIES)
def test_peers_of_other_families_agree_with_ours(game):
    """The gate looks at all of them; what is not installed is asked for elsewhere."""
    point = Point(game, (2, SIZES[game]), "float64")
    found = [r.method for r in run(point, (methods.OURS[0], *peers.PEERS), 0) if isinstance(r, Record)]
    assert found[:2] == ["numba", "numpy-enumeration"]
    installed = all(methods.importlib.util.find_spec(package) for package in methods.PEER_PACKAGES)
    assert len(found) >= 3 or not installed


def panels(records, game="Max"):
    """Titles of the axes that are drawn, and the heading."""
    figures = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plot.Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
        plot.draw("png", records, game)
    return [axes.get_title() for axes in figures[0].axes], figures[0].get_suptitle()


def test_a_plot_draws_what_there_is_and_says_what_that_is():
    its = [record(2.0**k * 1e-6, shape=(2**k, 8)) for k in range(3, 6)]
    titles, heading = panels(its)
    assert titles == ["Time against the number of sets: Max, [8, 8] to [32, 8]", "Bandwidth under the measured roof"]
    assert heading == "a\nwall time, threads: 1, float32, 2026-11-25"
    lines = [record(3e-6, shape=(8, 8), method="torch-five-liner", kind="five-liner")]
    assert panels([*its, *lines])[0][2:] == ["Speed-up over the better five-liner"]
    with pytest.raises(CommandError, match="some records are of wall time and some of CPU time"):
        panels([*its, record(clock="cpu")])


def test_the_picture_of_times_shows_both_roofs():
    its = [record(2.0**k * 1e-6, shape=(2**k, 8), sort_s=2.0**k * 1e-6) for k in range(3, 6)]
    figures = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plot.Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
        plot.draw("png", its, "Max")
    assert {"copy", "np.sort"} <= set(figures[0].axes[0].get_legend_handles_labels()[1])


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot(bench, suffix):
    its = [record(2.0**k * 1e-6, shape=(2**k, 8)) for k in range(3, 6)]
    lines = [record(3e-6, shape=(8, 8), method="torch-five-liner", kind="five-liner")]
    write(Path("r.jsonl"), *its, *lines)
    bench("plot", "r.jsonl", "-o", f"p.{suffix}")
    assert Path(f"p.{suffix}").read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")
    assert "no records of Min; there are Max" in bench("plot", "r.jsonl", "-o", "q.png", "-g", "Min", status=2).output
    assert ".svg" in bench("plot", "r.jsonl", "-o", "p.txt", status=2).output


def test_machine(bench):
    found = json.loads(bench("machine", "--json").stdout)
    assert found["cores"] >= found["usable_cores"] >= 1
    assert found["versions"]["python"] in bench("machine").output


def test_mistakes_are_one_line(bench):
    assert "players last" in bench("run", "--shape", "3,x", status=2).output
    assert "No such file" in bench("plot", "absent.jsonl", status=1).output
    assert "no records" in bench("table", status=2).output


def test_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "shapley_kernels.bench", "--help"],
        capture_output=True,
        text=True,
        timeout=GUARD,
        check=True,
    )
    for name in ("run", "compare", "plot", "machine", "peers", "roofs", "scaling", "table"):
        assert name in done.stdout


def test_a_missing_extra_is_one_line():
    code = "import sys; sys.modules['typer'] = None; from shapley_kernels.bench import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=GUARD)
    assert done.returncode == 1
    assert done.stderr.strip() == "shapley-bench: typer is not installed; pip install 'shapley_kernels[bench]'"


def test_points_that_need_torch_are_left_out_without_it():
    code = (  # None in sys.modules is more than scipy bears
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'torch': raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Missing())\n"
        "from shapley_kernels.bench import main\n"
        "sys.argv[1:] = 'run -g gradient -g Max --shape 2,3,4 -m numba -s 1e-9'.split()\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=GUARD, check=True)
    assert "Max [2, 3, 4]" in done.stdout
    assert "gradients need torch: pip install 'shapley_kernels[torch]' (1 points)" in done.stdout + done.stderr
