"""`python -m benchmarks.learning`: what it plans, does, keeps and says."""

import contextlib
import json
import os
import signal
import subprocess
import sys

import pytest

from benchmarks.learning import dice, films, report, runs, simulator
from benchmarks.learning.records import Records
from benchmarks.learning.schemes import SCHEMES
from tests import GUARD


def test_runs_are_planned_with_seeds_outermost():
    planned = list(runs.plan())
    assert len(set(planned)) == len(planned)
    first = planned[: len(runs.CREDITS) * len(runs.TASKS) * len(runs.RATES)]
    assert {run.seed for run in first} == {0}
    assert {run.scheme for run in first} == {run.scheme for run in planned} == set(runs.CREDITS) <= set(SCHEMES)
    assert {run.held_out for run in planned} == set(runs.TARGETS)


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Runs `python -m benchmarks.learning` on a copy of the records: exit status, and what it says."""
    pytest.importorskip("rich")
    from benchmarks.learning import __main__ as program

    for name in ("PAGE", "VALUES", "PICTURE"):
        path = getattr(report, name)
        (tmp_path / path.name).write_bytes(path.read_bytes())
        monkeypatch.setattr(report, name, tmp_path / path.name)
    for module in (runs, simulator, films, dice):
        records = Records(module.RECORDS.packed.name.split(".")[0], tmp_path)
        records.pack(module.RECORDS.read())
        monkeypatch.setattr(module, "RECORDS", records)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["learning", *arguments])
        status = 0
        try:
            program.main()
        except SystemExit as end:
            status = end.code
        return status, capsys.readouterr().err

    return call


def test_no_page_is_written_without_matplotlib(command, monkeypatch):
    before = "<!-- learning: origin -->\n<!-- learning: end -->"
    report.PAGE.write_text(before)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    status, words = command("page")
    assert status == 1
    assert words.startswith("benchmarks.learning: the picture needs matplotlib (")
    assert "pip install matplotlib" in words
    assert report.PAGE.read_text() == before


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("run", "benchmarks.learning: training needs numpy, no-such-package, found no no-such"),
        ("films", "benchmarks.learning: ratings of films come with the wheel of RecBole, found none"),
    ],
)
def test_training_names_what_is_missing(command, monkeypatch, name, start):
    monkeypatch.setattr(runs, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(films, "find_spec", lambda name: None)
    films.ratings.cache_clear()
    records = {"run": runs, "films": films}[name].RECORDS
    before = records.packed.read_bytes()
    status, words = command(name)
    assert status == 1
    assert words.startswith(start)
    assert "`make learning`" in words
    assert records.packed.read_bytes() == before


def test_a_command_does_what_is_missing_and_tells_of_it(command, monkeypatch):
    monkeypatch.setattr(Records, "run", lambda self, jobs, do, workers, tell: [tell(i) for i in range(1, 4)])
    planned = list(simulator.plan())
    monkeypatch.setattr(simulator, "plan", lambda: planned)
    monkeypatch.setattr(Records, "by", lambda self, kind: dict.fromkeys(planned[3:]))
    total = len(planned)
    lines = [f"{total - 3} of {total} are in simulator.jsonl.gz; the others follow", "3 of these 3 are done"]
    assert command("simulate") == (0, "".join(f"benchmarks.learning: {line}\n" for line in lines))


def test_records_are_kept_packed_and_lose_a_cut_line_alone(tmp_path):
    records = Records("some", tmp_path)
    assert records.read() == []
    records.pack([{"a": 1}])
    records.fresh.write_text('{"a": 2}\n{"a": 3')  # an interrupt cut the last one
    assert records.read() == [{"a": 1}, {"a": 2}]
    told = []
    records.run(['{"a": 4}', '{"a": 5}'], json.loads, 1, told.append)
    assert records.read() == [{"a": 1}, {"a": 2}, {"a": 4}, {"a": 5}]
    assert told == [1, 2]
    assert not records.fresh.exists()
    packed = records.packed.read_bytes()
    records.pack()
    assert records.packed.read_bytes() == packed


ENDLESS = """
import signal, sys, time
from benchmarks.learning import __main__ as program, records

signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does with what it starts in the background

def run(*_):
    with records.pool(2) as processes:
        processes.map(abs, range(9))
        print("ready", flush=True)
        processes.map(time.sleep, [7200, 7200])

records.Records.run = run
sys.argv = ["learning", "simulate"]
program.main()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_interrupt_ends_in_one_line():
    pytest.importorskip("rich")
    with subprocess.Popen(
        [sys.executable, "-c", ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        try:
            _, said = process.communicate(timeout=GUARD)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert [line.split(";")[0] for line in said.splitlines()[1:]] == ["benchmarks.learning: interrupted"]
