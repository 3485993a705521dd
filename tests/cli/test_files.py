"""Output appears whole or not at all; what is there already is not lost; interrupts and closed pipes end quietly."""

import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer.testing

from shapley_kernels import _files
from shapley_kernels.cli import plot, run, writing
from shapley_kernels.cli.compute import Results
from shapley_kernels.cli.reading import RewardBatch
from shapley_kernels.cli.rows import Columns
from shapley_kernels.rl import RewardAllocator
from tests import GUARD
from tests.cli.conftest import COMMAND, Place
from tests.conftest import need

ROWS = [{"prompt_id": i % 2, "rewards": [i, 1]} for i in range(4)]


def test_an_existing_output_is_replaced_only_by_force(place: Place) -> None:
    place.write("in.jsonl", ROWS)
    for name, options in (
        ("out.jsonl", []),
        ("p.png", ["--plot", "p.png"]),
        ("out.jsonl.bad.jsonl", ["--on-bad-row", "skip"]),
    ):
        place.write(name, [b"mine"])
        error = place.run("in.jsonl", "-o", "out.jsonl", *options, status=2).stderr
        assert f"{name}: the file exists already; --force replaces it" in error
        assert (place.path / name).read_bytes() == b"mine"
        (place.path / name).unlink()
        assert place.names() == {"in.jsonl"}
    place.write("out.jsonl", [b"mine"])
    os.chmod("out.jsonl", 0o640)
    place.run("in.jsonl", "-o", "out.jsonl", "--force", "-f")
    assert len(place.rows("out.jsonl")) == 4
    assert os.stat("out.jsonl").st_mode & 0o777 == 0o640


def test_a_file_that_appears_meanwhile_is_not_replaced(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write("in.jsonl", ROWS)
    copy = run.Passes._copy

    def slow(*args: Any) -> None:
        copy(*args)
        place.write("out.jsonl", [b"theirs"])

    monkeypatch.setattr(run.Passes, "_copy", slow)
    place.run("in.jsonl", "-o", "out.jsonl", status=2)
    assert (place.path / "out.jsonl").read_bytes() == b"theirs"
    assert place.names() == {"in.jsonl", "out.jsonl"}


def test_new_files_have_the_usual_permissions(place: Place) -> None:
    place.write("in.jsonl", ROWS)
    before = os.umask(0o027)
    try:
        place.run("in.jsonl", "-o", "out.jsonl")
    finally:
        os.umask(before)
    assert os.stat("out.jsonl").st_mode & 0o777 == 0o640


def test_the_output_may_be_the_input(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = place.write("in.jsonl", ROWS).read_bytes()
    place.run("in.jsonl", "-o", "in.jsonl", status=2)
    with monkeypatch.context() as patch:
        patch.setattr(writing.JsonLinesSink, "write", _raise(OSError(28, "No space left on device")))
        assert "No space left" in place.run("in.jsonl", "-o", "in.jsonl", "--force", status=1).stderr
    assert (place.path / "in.jsonl").read_bytes() == before
    place.run("in.jsonl", "-o", "in.jsonl", "--force")
    assert len(place.rows("in.jsonl")[0]["credits"]) == 2
    assert place.names() == {"in.jsonl"}


@pytest.mark.parametrize(
    "options",
    [
        ["--plot", "in.jsonl"],
        ["-o", "x.png", "--output-format", "jsonl", "--plot", "./x.png"],
        ["-o", "out.jsonl", "--on-bad-row", "skip", "--bad-rows", "in.jsonl"],
        ["-o", "out.jsonl", "--on-bad-row", "skip", "--bad-rows", "out.jsonl"],
    ],
)
def test_no_file_is_named_twice(place: Place, options: list[str]) -> None:
    before = place.write("in.jsonl", ROWS).read_bytes()
    assert "name another" in place.run("in.jsonl", "--force", *options, status=2).stderr
    assert (place.path / "in.jsonl").read_bytes() == before


def test_a_link_stays_a_link(place: Place) -> None:
    place.write("in.jsonl", ROWS)
    (place.path / "data").mkdir()
    (place.path / "out.jsonl").symlink_to("data/real.jsonl")
    place.run("in.jsonl", "-o", "out.jsonl")
    place.run("in.jsonl", "-o", "out.jsonl", status=2)
    place.run("in.jsonl", "-o", "out.jsonl", "--force")
    assert (place.path / "out.jsonl").is_symlink()
    assert len(place.rows("data/real.jsonl")) == 4
    assert {p.name for p in (place.path / "data").iterdir()} == {"real.jsonl"}


def test_a_device_is_written_not_replaced(place: Place) -> None:
    place.write("in.jsonl", ROWS)
    os.mkfifo("pipe")
    with subprocess.Popen(["cat", "pipe"], stdout=subprocess.PIPE) as reader:
        place.run("in.jsonl", "-o", "pipe", "--output-format", "jsonl")
        assert reader.stdout
        assert len(reader.stdout.read().splitlines()) == 4
    assert Path("pipe").is_fifo()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["missing.jsonl", "-o", "o.jsonl"], 1, "missing.jsonl: No such file or directory"),
        (["in.jsonl", "-o", "nowhere/o.jsonl"], 1, "shapley-allocate: nowhere: No such file or directory"),
        (["in.jsonl", "-o", "in.jsonl/o.jsonl"], 1, "shapley-allocate: in.jsonl: Not a directory"),
        (["in.jsonl", "-o", ".", "--output-format", "jsonl"], 2, "expected a file name, found a directory"),
        ([".", "-o", "o.jsonl"], 2, "expected a file, found a directory"),
        (["in.jsonl", "-o", "o.csv"], 2, "--output-format"),
        (["in.jsonl", "-o", "o.jsonl", "--plot", "p.txt"], 2, "expected a file name that ends in .png, .pdf or .svg"),
        (["in.jsonl", "--on-bad-row", "skip"], 2, "--bad-rows"),
        (["in.jsonl", "--bad-rows", "b.jsonl"], 2, "--on-bad-row skip"),
        (["-", "-", "-o", "o.jsonl"], 2, "can be given once"),
        (["in.jsonl", "-u", "topm"], 2, "--utility topm needs --m"),
        (["in.jsonl", "--m", "2"], 2, "--m does not go with --utility max, only with topm, topm-mean"),
        (["in.jsonl", "-u", "topm", "--m", "0"], 2, "--m"),
        (["in.jsonl", "-u", "owa", "--weights", "1,x"], 2, "--weights: expected finite numbers"),
        (["in.jsonl", "-u", "owa", "--weights", "nan"], 2, "--weights: expected finite numbers"),
        (["in.jsonl", "--v-empty", "inf"], 2, "--v-empty: expected a finite number"),
        (["in.jsonl", "--value", "beta", "--alpha", "1"], 2, "--value beta needs --beta"),
        (["in.jsonl", "--value", "banzhaf", "--p", "2"], 2, "p must be a number in [0, 1]"),
        (["in.jsonl", "--value", "beta", "--alpha", "0", "--beta", "1"], 2, "alpha must be"),
        (["in.jsonl", "--size", "2"], 2, "--size does not go with --value shapley"),
        (["in.jsonl", "--lam", "1"], 2, "--lam does not go with --value shapley, only with suffix-swap"),
        (["in.jsonl", "--value", "suffix-swap", "--lam", "2"], 2, "lam must be a number in [0, 1]"),
        (["in.jsonl", "--title", "t"], 2, "--title is that of the picture; give --plot FILE, too"),
        (["in.jsonl", "-u", "max", "--utility", "min"], 2, "--utility is given twice"),
        (["in.jsonl", "-u", "topm", "--m", "2", "--m", "3"], 2, "--m is given twice"),
        (["in.jsonl", "--summary", "--quiet"], 2, "--summary is given twice"),
        (["in.jsonl", "-u", "best(3)"], 2, "--utility: expected one of max, min, "),
        (["in.jsonl", "-u", "max min"], 2, "or a sum such as 0.7*topm(3) + 0.3*max, got 'max min'"),
        (["in.jsonl", "-u", "topm(0)"], 2, "--utility topm: expected an integer >= 1 such as topm(3), got '0'"),
        (["in.jsonl", "-u", "owa"], 2, "--weights: expected finite numbers with commas between them"),
        (["in.jsonl", "-u", "max(3)"], 2, "--utility max takes nothing in brackets, got '3'"),
        (["in.jsonl", "-u", "coverage"], 2, "--utility coverage needs the column of its covers: coverage(COLUMN)"),
        (["in.jsonl", "-u", "topm(2) + max", "--m", "3"], 2, "--m does not go with --utility 'topm(2) + max'"),
        (["in.jsonl", "-u", "topm(2) + max", "--v-empty", "1"], 2, "--v-empty goes with a single utility of rewards"),
        (
            ["in.jsonl", "-u", "clusters(x)"],
            2,
            "'x': expected one of this name, found only 'prompt_id', 'rewards' (--u",
        ),
        (["in.jsonl.gz", "-o", "o.jsonl"], 2, "the gzip data is damaged or cut off"),
    ],
)
def test_mistakes_are_said_in_a_line(place: Place, arguments: list[str], status: int, said: str) -> None:
    place.write("in.jsonl", ROWS)
    place.write("in.jsonl.gz", [b"\x1f\x8b\x08\x00cut off"])
    assert said in " ".join(place.run(*arguments, status=status).stderr.replace("│", " ").split())
    assert place.names() == {"in.jsonl", "in.jsonl.gz"}


def test_a_directory_that_cannot_be_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write("in.jsonl", ROWS)
    monkeypatch.setattr(_files, "_taken", _raise(PermissionError(13, "Permission denied")))  # root may write everywhere
    assert ".: Permission denied" in place.run("in.jsonl", "-o", "out.jsonl", status=1).stderr


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize("where", ["write", "draw"])
def test_nothing_is_left_of_an_interrupted_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, error: BaseException, name: str, where: str
) -> None:
    from shapley_kernels.cli import parquet

    for owner, method in ((writing.JsonLinesSink, "write"), (parquet.ParquetSink, "write"), (plot, "draw")):
        if method == where:
            monkeypatch.setattr(owner, method, _raise(error))
    place.write("in.jsonl", [*ROWS, b"bad\n"])
    status = 130 if isinstance(error, KeyboardInterrupt) else 143
    place.run("in.jsonl", "-o", name, "--plot", "p.png", "--on-bad-row", "skip", status=status)
    assert place.names() == {"in.jsonl"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals(tmp_path: Path, number: int, status: int) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    out = tmp_path / "out.jsonl"
    out.write_bytes(b"old")
    command = [*COMMAND, "-", "-o", str(out), "--force", "--plot", str(tmp_path / "p.png")]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(scratch)},
        # a test run in the background ignores SIGINT, which the command would inherit
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdin
        process.stdin.write(json.dumps(ROWS[0]).encode() + b"\n")
        process.stdin.flush()  # and kept open: the run waits for more
        _wait(lambda: len(list(tmp_path.glob(".shapley-kernels-*.tmp"))) == 2)
        process.send_signal(number)
        _, error = process.communicate()
    assert process.returncode == status
    assert b"Traceback" not in error
    assert out.read_bytes() == b"old"
    assert {p.name for p in tmp_path.iterdir()} == {"out.jsonl", "scratch"}
    assert not list(scratch.iterdir())


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP on this system")
@pytest.mark.parametrize("ignored", [True, False])
def test_what_is_ignored_stays_so(ignored: bool) -> None:
    """SIGHUP under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        with run._termination_as_exit():
            if ignored:
                os.kill(os.getpid(), signal.SIGHUP)
            else:
                with pytest.raises(SystemExit, match="129"):
                    os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_ends_quietly(tmp_path: Path, unbuffered: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({**row, "text": "x" * 50_000}) + "\n" for row in ROWS * 20))
    command, environment = [*COMMAND, str(path), "--quiet"], {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdout
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == b""
        assert process.wait() == 141


@pytest.mark.parametrize(
    ("arguments", "closed", "status", "said"),
    [
        ("in.jsonl", ">&-", 2, "shapley-allocate: stdout is closed, where the rows would go; give -o FILE\n"),
        ("in.jsonl -o -", ">&-", 2, "shapley-allocate: stdout is closed, where the rows would go; give -o FILE\n"),
        ("in.jsonl -o out.jsonl --quiet", ">&-", 0, ""),
        ("- -o out.jsonl", "<&-", 2, "shapley-allocate: -: stdin is closed; pipe rows into it, or name a file\n"),
    ],
)
def test_closed_streams(place: Place, arguments: str, closed: str, status: int, said: str) -> None:
    place.write("in.jsonl", ROWS)
    script = f'"$0" -c "$1" {arguments} {closed}'
    done = subprocess.run(
        ["sh", "-c", script, *COMMAND[::2]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (status, said)
    assert place.names() == {"in.jsonl"} | ({"out.jsonl"} if status == 0 else set())


def test_help_breaks_no_line_that_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    need("msgspec")  # for shapley-bench
    from shapley_kernels.bench.command import app as bench
    from shapley_kernels.cli.command import app

    monkeypatch.setenv("COLUMNS", "80")
    commands = [(bench, [name, "--help"]) for name in ("run", "peers", "scaling", "compare", "plot", "table")]
    for which, arguments in [(app, ["--help"]), (bench, ["--help"]), *commands]:
        shown = typer.testing.CliRunner().invoke(which, arguments).stdout.partition("\u256d")[0]  # above the boxes
        lines = [line.strip() for line in shown.splitlines()]
        assert len(lines) > 4
        for line, following in itertools.pairwise(lines):
            assert not line or not following or len(f"{line} {following.split()[0]}") > 78, (line, following)


def test_a_missing_extra_is_one_line(tmp_path: Path) -> None:
    for package, extra in (("typer", "cli"), ("pyarrow", "cli"), ("ray", "cli,ray")):
        (tmp_path / package).mkdir()
        (tmp_path / package / "in.jsonl").write_text('{"prompt_id": 1, "rewards": [1]}\n')
        hide = f"import sys; sys.modules[{package!r}] = None; from shapley_kernels.cli import main; main()"
        out = tmp_path / package / "out.parquet"
        command = [sys.executable, "-c", hide, str(tmp_path / package / "in.jsonl"), "-o", str(out)]
        command += ["--engine", "ray"] if package == "ray" else []
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == f"shapley-allocate: {package} is not installed; pip install 'shapley_kernels[{extra}]'\n"
        assert {p.name for p in (tmp_path / package).iterdir()} == {"in.jsonl"}


def test_help_and_version_load_neither_numba_nor_pyarrow(place: Place) -> None:
    code = (
        "import sys, atexit; from shapley_kernels.cli import main;"
        "atexit.register(lambda: print(sorted({'numba', 'torch', 'pyarrow', 'matplotlib'} & set(sys.modules)))); main()"
    )
    done = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")
    assert all(word in done.stdout for word in ("--utility", "--on-bad-row", "--install-completion", "Advantages"))
    assert place.run("--version").stdout.startswith("shapley-allocate ")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG\r\n\x1a\n"), ("pdf", b"%PDF-"), ("svg", b"<?xml")])
def test_plot(place: Place, suffix: str, magic: bytes) -> None:
    place.write("in.jsonl", ROWS * 30)
    place.run("in.jsonl", "-o", "out.jsonl", "--plot", f"p.{suffix}", "--value", "banzhaf")
    data = (place.path / f"p.{suffix}").read_bytes()
    assert data.startswith(magic)
    if suffix == "png":
        import matplotlib.image

        pixels = matplotlib.image.imread("p.png")
        assert min(pixels.shape[:2]) > 500
        assert len({tuple(p) for p in pixels[::7, ::7, :3].reshape(-1, 3).tolist()}) > 4


def drawn(lengths: list[int], title: str = "t") -> tuple[Any, Any]:
    """The figure of random rollouts of that many candidates, and the credits by rank."""
    rng, figures = np.random.default_rng(0), []
    results = Results(Columns())
    rewards = [rng.random(n).tolist() for n in lengths]
    results.add(RewardBatch.of([i % 9 for i in range(len(lengths))], rewards, []))
    results.compute(RewardAllocator(), lambda _: lambda _: None, against_grpo=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plot.Figure, "savefig", lambda figure, *_, **__: figures.append(figure))
        plot.draw(BytesIO(), "png", results, title, "shapley")
    return figures[0], plot.by_rank(results)[0]


@pytest.mark.parametrize(
    ("lengths", "ranks", "said"),
    [
        ([3] * 40, 3, "the 40 rollouts with at least 3 candidates"),
        ([2, 8] * 20, 8, "the 20 rollouts with at least 8 candidates, of 40 in all"),
        ([1, 2, 3, 4] * 10, 2, "the 30 rollouts with at least 2 candidates, of 40 in all"),
        ([100] * 5, 100, "the 5 rollouts with at least 100 candidates"),
        ([], 0, "there are no candidates"),
        ([0, 0], 0, "there are no candidates"),
    ],
)
def test_the_picture_compares_ranks_of_the_same_rollouts(lengths: list[int], ranks: int, said: str) -> None:
    """A rank that only long lists have would differ from the others by whose it is."""
    figure, credits = drawn(lengths)
    n = sum(length >= ranks for length in lengths) if ranks else 0
    assert credits.shape == (n, ranks)
    assert (np.diff(credits, axis=1) <= 0).all()  # of Max: the best reward earns most
    right = figure.axes[1]
    assert right.get_title() == f"Who gets the credit\n{said}"
    assert right.get_xlabel().endswith(f"n = {n} at each rank")


def test_the_picture_says_what_it_shows() -> None:
    figure, _ = drawn([3] * 3000, title="x" * 300)
    title, counts = figure.get_suptitle().split("\n")
    assert title == "x" * 97 + "..."
    assert counts.startswith("3,000 rollouts of 9 prompts; advantage of the other sign than under plain GRPO for ")
    assert figure.axes[0].get_title() == "What changes against plain GRPO\n6,000 of 9,000 candidates"


def test_on_a_terminal_rows_are_written_only_where_asked(place: Place) -> None:
    import pty

    path = place.write("in.jsonl", ROWS)
    shown, screen = pty.openpty()
    try:
        for options, status, said in (
            ([], 0, "nothing was written; -o FILE writes the rows"),
            (["-o", "-", "--output-format", "parquet"], 2, "Parquet is not for the terminal"),
        ):
            command = [*COMMAND, str(path), *options]
            done = subprocess.run(command, stdout=screen, stderr=subprocess.PIPE, text=True, check=False)
            assert done.returncode == status
            assert said in done.stderr
            assert ("advantage" in done.stderr) == (status == 0)  # the table of the first rollouts
        assert not select.select([shown], [], [], 0)[0]
    finally:
        os.close(shown)
        os.close(screen)


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in other units")
@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_a_file_needs_little_memory(tmp_path: Path, name: str) -> None:
    small, large = tmp_path / "small.jsonl", tmp_path / "large.jsonl"
    with open(large, "w") as out:
        for i in range(20_000):
            row = {"prompt_id": f"p{i % 2500}", "rewards": [i % 7, i % 5, 1, 0.5], "text": f"{i:08d}" * 2000}
            out.write(json.dumps(row) + "\n")
    small.write_bytes(b"".join(large.read_bytes()[:16_000_000].splitlines(keepends=True)[:-1]))
    peaks = [_peak_memory(path, tmp_path / f"{path.stem}.{name}") for path in (small, large)]
    size = large.stat().st_size
    assert size > 300e6
    growth = peaks[1] - peaks[0]
    assert growth < size / 4, f"{growth / 1e6:.0f} MB more for a file of {size / 1e6:.0f} MB"
    if name.endswith("parquet"):
        assert pq.ParquetFile(tmp_path / f"large.{name}").metadata.num_rows == 20_000


def _peak_memory(path: Path, out: Path) -> int:
    """Bytes resident at most while the file is worked on in a process of its own."""
    code = (
        "import atexit, resource, sys; from shapley_kernels.cli import main;"
        "atexit.register(lambda: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)); main()"
    )
    command = [sys.executable, "-c", code, str(path), "-o", str(out), "--quiet"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) * 1024


def _wait(condition: Callable[[], bool], seconds: float = GUARD) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def _raise(error: BaseException) -> Callable[..., None]:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    return fail


def _before(function: Callable[..., Any], first: Callable[[], Any]) -> Callable[..., Any]:
    def both(*args: Any, **options: Any) -> Any:
        first()
        return function(*args, **options)

    return both
