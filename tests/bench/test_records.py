"""The file format, and the tables made of it."""

import json
from pathlib import Path

import pytest

from shapley_kernels._command import CommandError
from shapley_kernels._files import whole_file
from shapley_kernels.bench import table
from shapley_kernels.bench.records import pooled, read

from .conftest import RUN, record, write

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.jsonl"))


def test_round_trip(tmp_path):
    records = [record(), record(load=None, host_s=1e-6, shape=(3,)), record(threads=2, commit=None), record(threads=2)]
    path = write(tmp_path / "r.jsonl", *records)
    assert read([path]) == records
    kinds = [json.loads(line)["type"] for line in path.read_text().splitlines()]
    assert kinds == ["run", "time", "time", "run", "time", "run", "time"]  # a header where it differs
    path.write_bytes(path.read_bytes() * 2)
    assert read([path]) == records * 2


MISTAKES = {
    "truncated": lambda row: "{",
    "Expected `object`": lambda row: "[1]",
    "missing required field `median_s`": lambda row: {k: v for k, v in row.items() if k != "median_s"},
    "unknown field `speed`": lambda row: {**row, "speed": 1},
    "Expected `float`, got `null` - at `$.median_s`": lambda row: {**row, "median_s": None},
    "Expected `float`, got `bool` - at `$.median_s`": lambda row: {**row, "median_s": True},
    "JSON is malformed": lambda row: {**row, "median_s": float("nan")},
    "Expected `int` >= 1 - at `$.shape[0]`": lambda row: {**row, "shape": [0, 2]},
    "Expected `array` of length >= 1 - at `$.blocks_s`": lambda row: {**row, "blocks_s": []},
    "Expected `object`, got `str` - at `$.machine`": lambda row: {"type": "run", **RUN, "machine": "x"},
    "Expected `int` >= 1 - at `$.threads`": lambda row: {"type": "run", **RUN, "threads": 0},
    "measure again if it is of an older version": lambda row: {**row, "schema": 1},
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_bad_line_is_named(tmp_path, words):
    path = write(tmp_path / "r.jsonl", record())
    row = MISTAKES[words](json.loads(path.read_text().splitlines()[1]))
    with path.open("a") as stream:
        stream.write("\n" + (row if isinstance(row, str) else json.dumps(row)) + "\n")
    with pytest.raises(CommandError) as error:
        read([path])
    assert str(error.value).startswith(f"{path}:4: ")
    assert words in str(error.value)
    path.write_text(path.read_text().splitlines()[1])
    with pytest.raises(CommandError, match=r"r\.jsonl:1: expected the header of a run before its first record"):
        read([path])


def test_a_file_without_records_is_an_error(tmp_path):
    (tmp_path / "r.jsonl").write_text("\n")
    with pytest.raises(CommandError, match="no records"):
        read([tmp_path / "r.jsonl"])
    (tmp_path / "r.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(CommandError, match="expected a record of shapley-bench"):
        read([tmp_path / "r.jsonl"])


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with pytest.raises(TypeError), whole_file(path, force=True) as stream:
        stream.writelines([b"new", None])
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_runs_of_one_point_are_pooled():
    first = record([1e-3, 2e-3], first_call_s=9.0, roof_s=1e-6, max_error=1e-7)
    found = pooled([first, record(game="Min"), record([3e-3] * 3, first_call_s=0.1, roof_s=3e-6)])
    assert [r.game for r in found] == ["Max", "Min"]
    assert (found[0].median_s, found[0].samples) == (3e-3, 5)
    assert (found[0].first_call_s, found[0].roof_s, found[0].max_error) == (9.0, 2e-6, 1e-7)


# -- tables ----------------------------------------------------------------------------------------------------------

MARKED = "before\n<!-- shapley-bench: five-liners Max -->\nold\n<!-- shapley-bench: end -->\nafter\n"


def test_table_shows_losses_and_the_fastest():
    lost = record(1e-4, method="numpy-five-liner", kind="five-liner")
    text = table.markdown([record(2e-4, bytes=2**21, roof_s=1e-4), lost])
    assert "| 200 µs (50 % of a copy) | **100 µs** (0.5 x) |" in text
    assert "(<1 % of a copy)" in table.markdown([record(1e-3, bytes=2**21, roof_s=1e-6)])
    assert "wall time, threads: 1; a, load average up to 0.5" in text


def test_filled_replaces_what_is_between_markers_alone():
    records = [record(), record(game="Min"), record(shape=(1, 9)), record(shape=(1, 9), method="shapiq", kind="peer")]
    text = table.filled(MARKED, records)
    assert text.startswith("before\n<!-- shapley-bench: five-liners Max -->\n| call |")
    assert text.endswith("<!-- shapley-bench: end -->\nafter\n")
    assert "[4, 8]" in text
    assert "Min" not in text
    assert "[1, 9]" not in text
    assert "[1, 9]" in table.filled(MARKED.replace("five-liners Max", "peers"), records)
    assert table.filled(text, records) == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", "no marker"),
        (MARKED.replace("end", "fin"), "not closed"),
        (MARKED.replace("Max", "Median"), "no records for <!-- shapley-bench: five-liners Median -->"),
    ],
)
def test_marker_mistakes(text, words):
    with pytest.raises(CommandError, match=words):
        table.filled(text, [record()])


def test_the_command_writes_and_checks(bench):
    Path("doc.md").write_text(MARKED)
    write(Path("r.jsonl"), record())
    assert "stale" in bench("table", "r.jsonl", "--write", "doc.md", "--check", status=1).output
    bench("table", "r.jsonl", "--write", "doc.md")
    bench("table", "r.jsonl", "--write", "doc.md", "--check")
    assert "| Max [4, 8] float32 |" in bench("table", "r.jsonl").stdout


def test_the_table_of_roofs():
    """Nanoseconds a reward: 32 rewards in 64 ns are 2 ns each, four times a copy and half of a sort."""
    own = record([64e-9], roof_s=16e-9, sort_s=128e-9)
    masked = record([96e-9], roof_s=16e-9, sort_s=128e-9, masked=True)
    lines = record([1e-9], method="numpy-five-liner", kind="five-liner", sort_s=128e-9)
    text = table.sorts([own, masked, lines])
    assert text.splitlines()[2] == "| 8 | float32 | 0.5 ns | 4 ns | 2 ns (4 x, 0.5 x) | 3 ns (1.5 x) |"
    assert "| – |" in table.sorts([own])
    assert "np.sort" in table.filled(MARKED.replace("five-liners Max", "sorts"), [own])


def test_the_table_of_primitives():
    """Each game beside the own roof: a product where there is one, else a copy; those that sort are left out."""
    voting = record(8e-3, game="WeightedVoting", product_s=2e-3, roof_s=1e-6)
    pairs, sorted_ = record(4e-3, game="Pairwise", roof_s=1e-3), record(game="Max", sort_s=1.0)
    lines = record(1e-9, game="Pairwise", method="numpy-five-liner", kind="five-liner")
    text = table.primitives([voting, pairs, sorted_, lines])
    assert text.splitlines()[2:5] == [
        "| WeightedVoting [4, 8] float32 | 8 ms | product | 2 ms | 0.25 |",
        "| Pairwise [4, 8] float32 | 4 ms | copy | 1 ms | 0.25 |",
        "",
    ]
    assert "product" in table.filled(MARKED.replace("five-liners Max", "primitives"), [voting])


@pytest.mark.parametrize(
    ("doc", "records"),
    [
        ("docs/results/benchmarks.md", RESULTS),
        ("docs/explanation/cpu.md", [ROOT / "benchmarks" / "roofs.jsonl"]),
        ("README.md", [ROOT / "benchmarks" / "readme.jsonl"]),
    ],
)
def test_the_tables_of_the_docs_are_those_of_the_committed_records(doc, records):
    stale = table.stale([ROOT / doc], read(records))
    assert not stale, "make tables"


@pytest.mark.parametrize(
    ("ratio", "text"), [(0.0534, "0.053 x"), (1.0, "1 x"), (1.449, "1.4 x"), (99.9, "100 x"), (27309.7, "27,000 x")]
)
def test_times(ratio, text):
    assert table.times(ratio) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1.234e-6, "1.2 µs"), (1.5e-4, "150 µs"), (0.0123, "12 ms"), (0.9999, "1 s"), (123.0, "123 s")],
)
def test_durations(seconds, text):
    assert table.duration(seconds) == text
