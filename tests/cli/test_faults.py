"""Killed at any moment, on a full disk, with an input that changes or is made to harm: nothing lost, nothing left."""

import contextlib
import errno
import gzip
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from shapley_kernels import _files
from shapley_kernels.cli import compute, parquet, reading, run, schema
from shapley_kernels.cli.rows import Columns
from tests.cli import interrupted
from tests.cli.conftest import COMMAND, Place
from tests.cli.test_files import _before, _wait

ROWS = [{"prompt_id": i % 3, "rewards": [i, 1, 0.5]} for i in range(12)]
SKIP = ["--on-bad-row", "skip"]


@pytest.fixture(autouse=True)
def scratch(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command keeps its scratch directories."""
    path = tmp_path_factory.mktemp("scratch")
    monkeypatch.setenv("TMPDIR", str(path))
    monkeypatch.setattr(tempfile, "tempdir", str(path))
    return path


# --- ended at any line


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize(
    ("number", "statuses", "output"),
    [
        (signal.SIGKILL, {-9}, "out.parquet"),
        (signal.SIGTERM, {143, -15}, "out.parquet"),
        (signal.SIGINT, {130}, "out.jsonl.gz"),
    ],
    ids=["KILL", "TERM", "INT"],
)
def test_ended_at_any_line(place: Place, scratch: Path, output: str, number: int, statuses: set[int]) -> None:
    """All outputs are old or new; what is said of them is true; nothing of a run outlasts the next one."""
    names = {output, "bad.jsonl"}
    for name in names:
        place.write(name, [b"old"])
    place.write("in.jsonl", [*ROWS, b"bad\n"])
    arguments = ["in.jsonl", "-o", output, *SKIP, "--bad-rows", "bad.jsonl", "--force", "--quiet"]
    command = [sys.executable, interrupted.__file__, str(int(number)), "8", *arguments]
    home = str(Path(run.__file__).parents[2])
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": home}, cwd=place.path
    )
    runs = [json.loads(line) for line in done.stdout.splitlines()]
    seen = set()
    for one in runs:
        states = one["states"]
        seen.add(frozenset(states.items()))
        assert set(states.values()) <= {"old", "new"}, one
        assert one["status"] in statuses, one
        new = [name for name in (output, "bad.jsonl") if states[name] == "new"]
        if number == signal.SIGINT:
            missing = f"; not written: {output}" if states[output] == "old" else ""
            outcome = f"complete: {', '.join(new)}{missing}" if new else "no output was written"
            silent = [] if new else ["shapley-allocate: interrupted\n"]  # before there is an output
            assert one["said"] in (f"shapley-allocate: interrupted; {outcome}\n", *silent), one
        else:
            assert one["said"] == "", one
    assert len(seen) == 3  # none, one and both in place
    place.run(*arguments)
    assert place.names() == {"in.jsonl", "stderr"} | names
    assert not list(scratch.iterdir())


def _draft(place: Place, name: str) -> Path:
    return _files._File(name, place.path / name).draft


def test_what_a_killed_run_left_goes_when_its_file_is_written_again(place: Place, scratch: Path) -> None:
    """And what a run is writing is never touched."""
    place.write("in.jsonl", ROWS)
    draft = _draft(place, "out.jsonl")
    with subprocess.Popen([*COMMAND, "-", "-o", "out.jsonl"], stdin=subprocess.PIPE, cwd=place.path) as process:
        _wait(draft.exists)
        place.run("in.jsonl", "-o", "other.jsonl")
        said = place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr
        assert said.startswith("shapley-allocate: out.jsonl: another run writes it now; if none does, remove ")
        assert place.names() == {"in.jsonl", "other.jsonl", draft.name}
        process.kill()
        process.wait()
    draft.write_bytes(b"x" * 10_000)
    place.run("in.jsonl", "-o", "out.jsonl")
    assert place.names() == {"in.jsonl", "other.jsonl", "out.jsonl"}
    assert place.rows("out.jsonl") == place.rows("other.jsonl")
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("locks", ["refused", "none"])
def test_without_locks_what_is_there_stays(place: Place, monkeypatch: pytest.MonkeyPatch, locks: str) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(*((_files.fcntl, "flock", refuse) if locks == "refused" else (_files, "fcntl", None)))
    place.write("in.jsonl", ROWS)
    place.run("in.jsonl", "-o", "out.jsonl")
    draft = _draft(place, "out.jsonl")
    draft.write_bytes(b"old")
    assert "another run" in place.run("in.jsonl", "-o", "out.jsonl", "--force", status=2).stderr
    assert draft.read_bytes() == b"old"


def test_a_draft_that_is_a_link_or_a_strangers_is_not_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write("in.jsonl", ROWS)
    draft = _draft(place, "out.jsonl")
    draft.symlink_to("in.jsonl")
    assert "another run" in place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr
    draft.unlink()
    draft.write_bytes(b"old")
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert "another run" in place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr
    assert draft.read_bytes() == b"old"
    assert len(place.rows("in.jsonl")) == len(ROWS)


# --- a full disk


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[str]:
    """A file system of 256 KiB where that can be mounted, else files of at most as much; gives what the system says."""
    path.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "shapley-kernels-test", str(path)]
    if shutil.which("mount") and not subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode:
        try:
            yield os.strerror(errno.ENOSPC)
        finally:
            subprocess.run(["umount", "--lazy", str(path)], check=True)
        return
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 << 10, before[1]))
    try:
        yield os.strerror(errno.EFBIG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


NOISE = np.random.default_rng(0)
LARGE = [{"prompt_id": i % 3, "rewards": NOISE.random(9).tolist(), "x": NOISE.bytes(300).hex()} for i in range(1000)]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet", "out.pdf", "out.jsonl.bad.jsonl"])
def test_a_full_disk(place: Place, scratch: Path, name: str) -> None:
    """One line names the file, and nothing stays on the disk."""
    full = place.path / "full"
    place.write("in.jsonl", [*LARGE, *(json.dumps({"x": row["x"]}).encode() + b"\n" for row in LARGE)])
    place.run("in.jsonl", "-o", "/dev/null", "--output-format", "jsonl", *SKIP, "--bad-rows", "b", "--force")
    with small_disk(full) as reason:
        elsewhere = ["-o", "/dev/null", "--output-format", "jsonl", "--bad-rows"]
        arguments = {
            "out.pdf": [*elsewhere, "/dev/null", "--plot", "full/out.pdf"],
            "out.jsonl.bad.jsonl": [*elsewhere, f"full/{name}"],
        }.get(name, ["-o", f"full/{name}", "--bad-rows", "/dev/null"])
        if name == "out.pdf":
            (full / "filler").write_bytes(b"0" * (250 << 10))
        said = place.run("in.jsonl", *SKIP, *arguments, status=1).stderr
        assert said == f"shapley-allocate: full/{name}: {reason}\n"
        assert {path.name for path in full.iterdir()} <= {"filler"}
    assert not list(scratch.iterdir())


def test_no_temporary_space(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    path = place.write("in.jsonl", [{**row, "rewards": row["rewards"] * 9} for row in LARGE])
    full = place.path / "full"
    with small_disk(full) as reason:
        monkeypatch.setattr(tempfile, "tempdir", str(full))
        said = place.run("-", "-o", "out.jsonl", status=1, stdin=path.read_bytes()).stderr
        assert said == f"shapley-allocate: temporary files in {full} ($TMPDIR): {reason}\n"
        assert not list(full.iterdir())
    assert place.names() == {"in.jsonl", "full"}


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_streams_that_are_full(place: Place) -> None:
    place.write("in.jsonl", ROWS)
    for name in ("out.jsonl", "out.parquet"):
        said = place.run("in.jsonl", "-o", "/dev/full", "--output-format", name[4:], status=1).stderr
        assert said == "shapley-allocate: /dev/full: No space left on device\n"
    with open("/dev/full", "wb") as full:
        done = subprocess.run([*COMMAND, "in.jsonl"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "shapley-allocate: <stdout>: No space left on device\n")
    assert place.names() == {"in.jsonl"}


def test_a_rename_that_fails_says_what_is_written(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write("in.jsonl", ROWS)
    replace = os.replace

    def refuse(source: Any, target: Any) -> None:
        if str(target).endswith("out.jsonl"):
            raise OSError(errno.EIO, "Input/output error", str(source))
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    said = place.run("in.jsonl", "-o", "out.jsonl", *SKIP, status=1).stderr
    why = "Input/output error; complete: out.jsonl.bad.jsonl; not written: out.jsonl"
    assert said == f"shapley-allocate: out.jsonl: {why}\n"
    assert place.names() == {"in.jsonl", "out.jsonl.bad.jsonl"}


# --- an input that changes


def _append(path: Path) -> None:
    path.write_bytes(path.read_bytes() + path.read_bytes())


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _overwrite(path: Path) -> None:
    """With the same size and time: with nothing but what is in it to be noticed by."""
    status = path.stat()
    path.write_bytes(path.read_bytes()[:100] + b"\n" * (status.st_size - 100))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def _longer(path: Path) -> None:
    """As `_overwrite`, but with a row more."""
    status = path.stat()
    lines = path.read_bytes().splitlines()
    short = [json.dumps(ROWS[0]).encode()] * (len(lines) + 1)
    text = b"\n".join(short)
    path.write_bytes(text + b" " * (status.st_size - len(text)))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.parametrize("output", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize("source", ["in.jsonl", "in.jsonl.gz", "in.parquet"])
@pytest.mark.parametrize("change", [_append, _cut, _overwrite, _longer])
@pytest.mark.parametrize("when", ["first pass", "second pass"])
def test_an_input_that_changes(
    place: Place, monkeypatch: pytest.MonkeyPatch, source: str, output: str, change: Callable[[Path], None], when: str
) -> None:
    monkeypatch.setattr(reading, "BATCH_ROWS", 4)
    monkeypatch.setattr(parquet, "BATCH_ROWS", 4)
    rows = [{**row, "x": row["prompt_id"] * 11} for row in LARGE[:12]]
    path = place.write("in.jsonl", rows)
    if source.endswith(".gz"):
        path = place.path / source
        path.write_bytes(gzip.compress(Path("in.jsonl").read_bytes()))
    elif source.endswith(".parquet"):
        path = place.path / source
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=4)
    if change is _longer and path.suffix != ".jsonl":
        pytest.skip("cannot be made of any size")
    if when == "first pass" and change in (_overwrite, _longer):
        pytest.skip("is what is read, then")
    owner, name = (run.Passes, "_copy") if when == "second pass" else (compute.Results, "add")
    monkeypatch.setattr(owner, name, _before(getattr(owner, name), _once(lambda: change(path))))
    said = place.run(source, "-o", output, status=2).stderr
    if change is not _overwrite or path.suffix == ".jsonl":
        assert said == f"shapley-allocate: {source}: {reading.CHANGED}\n"
    else:
        assert "damaged" in said or "cannot be read as Parquet" in said
    assert len(said.splitlines()) == 1
    assert not [name for name in place.names() if name.startswith(("out", "."))]


def _once(function: Callable[[], None]) -> Callable[[], None]:
    calls = iter([function])
    return lambda: next(calls, lambda: None)()


# --- an input that harms


def test_links_in_a_circle(place: Place) -> None:
    place.write("in.jsonl", ROWS)
    (place.path / "circle.jsonl").symlink_to("circle.jsonl")
    (place.path / "folder").symlink_to("folder")
    names = place.names()
    for arguments, name in (
        (["circle.jsonl", "-o", "out.jsonl"], "circle.jsonl"),
        (["folder/in.jsonl", "-o", "out.jsonl"], "folder/in.jsonl"),
        (["in.jsonl", "-o", "circle.jsonl"], "circle.jsonl"),
        (["in.jsonl", "-o", "circle.jsonl", "--force"], "circle.jsonl"),
        (["in.jsonl", "-o", "folder/out.jsonl"], "folder"),
    ):
        said = place.run(*arguments, status=1).stderr
        of = ", the folder of folder/out.jsonl" if name == "folder" else ""
        assert said == f"shapley-allocate: {name}: {os.strerror(errno.ELOOP)}{of}\n"
    assert place.names() == names
    assert (place.path / "circle.jsonl").is_symlink()


@pytest.mark.parametrize("zipped", [False, True])
def test_a_line_of_gigabytes(place: Place, zipped: bool) -> None:
    place.write("in.jsonl", ROWS)
    if zipped:
        zeros = gzip.compress(bytes(1 << 20), 9)
        (place.path / "in.jsonl").write_bytes(gzip.compress(Path("in.jsonl").read_bytes()) + zeros * 200)
    else:
        os.truncate("in.jsonl", 3 << 30)
    for options in ([], SKIP):
        said = place.run("in.jsonl", "-o", "out.jsonl", *options, status=2).stderr
        assert said == "shapley-allocate: in.jsonl, line 13: expected at most 128 MiB, found a longer line\n"
    assert place.names() == {"in.jsonl"}


def test_a_long_line_that_is_an_array(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "LONGEST_LINE", 100)
    place.write("in.jsonl", [ROWS])
    assert "jq -c '.[]'" in place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr


def test_parquet_that_decodes_to_very_much(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comes in batches that fit, each row once."""
    monkeypatch.setattr(parquet, "BATCH_BYTES", 4 << 20)
    count, width = 400, 300_000
    text = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array(["a" * width]))
    lists = pa.ListArray.from_arrays(np.arange(0, 3 * count + 1, 3, dtype=np.int32), np.zeros(3 * count))
    table = pa.table({"prompt_id": pa.array(range(count)), "rewards": lists, "x": text})
    pq.write_table(table, "in.parquet", compression="zstd", store_schema=False)
    assert os.stat("in.parquet").st_size < 30_000  # which decode to 120 MB
    decode, tried = parquet._next, []

    def limited(batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        batch = decode(batches)
        tried.append(len(batch or ()))
        if tried[-1] * width > 16 << 20:
            raise MemoryError
        return batch

    monkeypatch.setattr(parquet, "_next", limited)
    source = parquet.ParquetRows(reading.File.at("in.parquet", Path("in.parquet")), Columns(), False)
    prompts: list[int] = []
    for batch, _ in source.rows(lambda _: None):
        assert len(batch) * width <= 8 << 20
        assert set(pc.binary_length(batch["x"]).to_pylist()) == {width}
        prompts += batch["prompt_id"].to_pylist()
    assert prompts == list(range(count))
    assert tried[0] == count


@pytest.mark.skipif(sys.platform != "linux", reason="memory can be limited on Linux only")
def test_a_row_that_decodes_to_very_much(place: Place) -> None:
    row = pa.ListArray.from_arrays(pa.array([0, 3, 20_000_000], pa.int32()), np.zeros(20_000_000))
    pq.write_table(pa.table({"prompt_id": ["p", "q"], "rewards": row}), "in.parquet", compression="zstd")
    assert os.stat("in.parquet").st_size < 2000  # which decode to 160 MB
    code = (
        "import resource; from shapley_kernels.cli import main, parquet\n"
        "parquet.DECODED_BYTES = 64 << 20\n"
        "try: main()\n"
        "finally: assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "in.parquet", "-o", "out.jsonl"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system"},  # the usual one reserves a gigabyte at first
    )
    what = "expected a row that decodes to less than 64 MiB, found a larger one"
    assert (done.returncode, done.stderr) == (2, f"shapley-allocate: in.parquet, row 2: {what}\n")


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_a_flipped_bit_in_parquet(place: Place, where: float) -> None:
    """Numbers that are stored as they are would be read as other numbers."""
    table = pa.table({"prompt_id": pa.array(range(999)), "rewards": NOISE.random((999, 3)).tolist()})
    for options in ({"write_page_checksum": True}, {}):
        pq.write_table(table, "in.parquet", compression="none", use_dictionary=False, **options)
        if not options:
            place.run("in.parquet", "-o", "out.parquet", "--force")
            os.rename("out.parquet", "in.parquet")
        data = bytearray(Path("in.parquet").read_bytes())
        data[int(where * len(data))] ^= 1
        Path("in.parquet").write_bytes(data)
        arguments = [] if options else ["--credits-column", "c", "--advantages-column", "a"]
        said = place.run("in.parquet", "-o", "out.jsonl", *arguments, status=2).stderr
        assert said.startswith("shapley-allocate: in.parquet: cannot be read as Parquet (")
        assert "CRC" in said
        assert place.names() == {"in.parquet"}


# --- what is deep


def _nested(depth: int, around: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = around(value)
    return value


DEEP = {
    "lists": (lambda v: [v], (29, 30, 31, 50, 300, 499)),
    "objects": (lambda v: {"a": v}, (59, 60, 61, 99, 450, 499)),
    "both": (lambda v: [{"a": v}], (19, 20, 21, 33, 200, 249)),
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_columns_can_be_read_again(place: Place, kind: str) -> None:
    around, depths = DEEP[kind]
    rows = [{"prompt_id": 1, "rewards": [1, 2], **{f"x{depth}": _nested(depth, around) for depth in depths}}] * 2
    place.write("in.jsonl", rows)
    place.run("in.jsonl", "-o", "out.parquet")
    text = [field.name for field in pq.read_schema("out.parquet") if field.type == pa.json_()]
    assert text == [f"x{depth}" for depth in depths[2:]]
    place.run("out.parquet", "-o", "back.jsonl", "--credits-column", "c", "--advantages-column", "a")
    assert [{name: row[name] for name in rows[0]} for row in place.rows("back.jsonl")] == rows
    place.run("in.jsonl", "-o", "out.jsonl")
    assert [{name: row[name] for name in rows[0]} for row in place.rows("out.jsonl")] == rows


@pytest.mark.parametrize("kind", DEEP)
def test_rows_too_deep_are_bad(place: Place, kind: str) -> None:
    around, _ = DEEP[kind]
    good, deep = (
        {"prompt_id": 1, "rewards": [1, 2], "x": _nested(d, around)} for d in (1, 250 if kind == "both" else 500)
    )
    place.write("in.jsonl", [good, deep])
    for name in ("out.jsonl", "out.parquet"):
        said = place.run("in.jsonl", "-o", name, status=2).stderr
        assert said.startswith("shapley-allocate: in.jsonl, line 2: ")
        assert "nested too deeply" in said
        place.run("in.jsonl", "-o", name, *SKIP)
        assert len(place.rows(f"{name}.bad.jsonl")) == 1


def test_an_output_that_cannot_be_read_is_not_put_in_place(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write("in.jsonl", [{"prompt_id": 1, "rewards": [1, 2], "x": _nested(150, lambda v: {"a": v})}])
    monkeypatch.setattr(schema, "DEEPEST_COLUMN", 200)
    said = place.run("in.jsonl", "-o", "out.parquet", status=2).stderr
    assert said.startswith("shapley-allocate: the output could not be read as Parquet (")
    assert said.endswith("write JSON lines instead\n")
    assert place.names() == {"in.jsonl"}


@pytest.mark.parametrize("source", ["in.jsonl", "in.parquet"])
def test_all_rows_bad_is_no_success(place: Place, source: str) -> None:
    place.write("in.jsonl", [b"{}\n", b"[]\n"])
    pq.write_table(
        pa.table({"prompt_id": [1, 2], "rewards": pa.array([[None], None], pa.list_(pa.float64()))}), "in.parquet"
    )
    said = place.run(source, "-o", "out.jsonl", *SKIP, "--quiet", status=3).stderr
    assert said == "shapley-allocate: no good rows, 2 bad, with reasons in out.jsonl.bad.jsonl\n"
    assert len(place.rows("out.jsonl.bad.jsonl")) == 2
    assert place.rows("out.jsonl") == []
