"""Rows in and out: what is kept of good ones, what is said about bad ones, and what becomes of types."""

import datetime
import decimal
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from shapley_kernels.cli import parquet, reading
from tests.cli.conftest import Place

GOOD = {"prompt_id": "a", "rewards": [1, 2]}
ADDED = b', "credits": [0.5, 1.5], "advantages": [-0.7070067'


@pytest.mark.parametrize(
    "line",
    [
        b'{"prompt_id":"a","rewards":[1,2]}\n',
        b'  {"prompt_id": "a", "rewards": [1, 2] }  \n',
        b'{"big": 123456789012345678901234567890, "f": 1.10, "e": 1E+2, "prompt_id": "a", "rewards": [1.0, 2e0]}\r\n',
        '{"rewards": [1, 2], "t": "é \\u00e9 } \\"}", "n": {"b": [NaN, {"a": null}]}, "prompt_id": "a"}\n'.encode(),
        b'{"prompt_id":"a","rewards":[1,2]\t}\t\r\n',
    ],
)
def test_other_columns_stay_byte_for_byte(place: Place, line: bytes) -> None:
    place.write("in.jsonl", [line, line[:-1]])
    place.run("in.jsonl", "-o", "out.jsonl")
    for out in (place.path / "out.jsonl").read_bytes().splitlines(keepends=True):
        at = out.index(b', "credits": ')
        end = out.rindex(b"]") + 1
        assert out[:at] + out[end:] in (line, line[:-1] + b"\n")
        assert out[at:end].startswith(b', "credits": [0.5, 1.5], "advantages": [')


def test_blank_lines_and_a_byte_order_mark_are_no_rows(place: Place) -> None:
    line = json.dumps(GOOD).encode()
    place.write("in.jsonl", [b"\xef\xbb\xbf", line, b"\n\n \t\r\n", line, b"\n"])
    place.run("in.jsonl", "-o", "out.jsonl")
    assert len(place.rows("out.jsonl")) == 2


PROMPT = "expected a string, an integer or chat messages"

BAD = {
    b"[": "expected a JSON object, found invalid JSON",
    b"[{}]": "expected a JSON object, found [{}]",
    b"7": "expected a JSON object, found 7",
    b'{"prompt_id": "a", "rewards": [1]': "invalid JSON",
    b'{"prompt_id": "\xff", "rewards": [1]}': "expected UTF-8, found byte 0xff at byte 16",
    b'{"prompt_id": "a", "rewards": [1], "x": 1, "x": 2}': "found 'x' twice in one object",
    b'{"prompt_id": "a", "rewards": [1], "n": {"y": 1, "y": 1}}': "found 'y' twice in one object",
    b'{"rewards": [1]}': "expected one of this name, found only 'rewards' (--prompt-column names another)",
    b'{"prompt_id": "a"}': "column 'rewards': expected one of this name",
    b"{}": "found none at all",
    b'{"prompt_id": null, "rewards": [1]}': f"column 'prompt_id': {PROMPT}, found null",
    b'{"prompt_id": 1.5, "rewards": [1]}': f"column 'prompt_id': {PROMPT}, found 1.5",
    b'{"prompt_id": true, "rewards": [1]}': f"column 'prompt_id': {PROMPT}, found true",
    b'{"prompt_id": ["a"], "rewards": [1]}': f'{PROMPT}, found ["a"]',
    b'{"prompt_id": "a", "rewards": 1}': "column 'rewards': expected a list of finite numbers, found 1",
    b'{"prompt_id": "a", "rewards": "[1]"}': 'expected a list of finite numbers, found "[1]"',
    b'{"prompt_id": "a", "rewards": null}': "expected a list of finite numbers, found null",
    b'{"prompt_id": "a", "rewards": [1, null]}': "found null at position 1",
    b'{"prompt_id": "a", "rewards": [1, "2"]}': 'found "2" at position 1',
    b'{"prompt_id": "a", "rewards": [[1]]}': "found [1] at position 0",
    b'{"prompt_id": "a", "rewards": [1, NaN]}': "found NaN at position 1",
    b'{"prompt_id": "a", "rewards": [Infinity]}': "found Infinity at position 0",
    b'{"prompt_id": "a", "rewards": [0, -1e999]}': "found -Infinity at position 1",
    b'{"prompt_id": "a", "rewards": [1' + b"0" * 400 + b"]}": "found 1000",
    b'{"prompt_id": "a", "rewards": [1], "x": 1' + b"0" * 5000 + b"}": "a number that is too long",
    b'{"prompt_id": "a", "rewards": [1], "x": ' + b"[" * 100000 + b"]" * 100000 + b"}": "nested too deeply",
}


@pytest.mark.parametrize("line", BAD, ids=lambda line: line[:50].decode("latin-1"))
def test_a_bad_row_ends_the_run(place: Place, line: bytes) -> None:
    place.write("in.jsonl", [GOOD, b"\n", line + b"\n", b"neither\n"])
    error = place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr
    assert error.startswith("shapley-allocate: in.jsonl, line 3: ")
    assert BAD[line] in error
    assert "--on-bad-row skip" in error
    assert place.names() == {"in.jsonl"}


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize(
    ("line", "character"),
    [(b'{"prompt_id": "a", "rewards": [1', 33), (b'{"t": "\xc3\xa9", "rewards": [1', 25), (b'{"prompt_id": }', 15)],
)
def test_where_a_line_is_no_json(place: Place, line: bytes, character: int, end: bytes) -> None:
    place.write("in.jsonl", [GOOD, line + end])
    error = place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr
    assert error.startswith(
        "shapley-allocate: in.jsonl, line 2: expected a JSON object, found invalid JSON (Expecting "
    )
    assert f" at character {character})" in error


def test_rows_in_one_array(place: Place) -> None:
    hint = "; it looks like one JSON array, turn it into lines with: jq -c '.[]'"
    for text in (json.dumps([GOOD, GOOD]), json.dumps([GOOD, GOOD], indent=1)):
        place.write("in.jsonl", [text.encode()])
        assert hint in place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr
    place.write("in.jsonl", [[1, 2]])
    assert hint not in place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr


def test_bad_rows_can_be_skipped(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_ROWS", 5)
    lines = [line + b"\n" for line in BAD]
    place.write("in.jsonl", [GOOD, *lines, GOOD])
    result = place.run("in.jsonl", "-o", "out.jsonl", "--on-bad-row", "skip")
    assert len(place.rows("out.jsonl")) == 2
    skipped = place.rows("out.jsonl.bad.jsonl")
    assert [row["number"] for row in skipped] == list(range(2, len(BAD) + 2))
    assert all(row["file"] == "in.jsonl" and row["place"] == "line" for row in skipped)
    assert all(expected in row["reason"] for row, expected in zip(skipped, BAD.values(), strict=True))
    assert [row["row"].encode("utf-8", "surrogateescape") for row in skipped] == list(BAD)
    assert any(line.split() == ["rows", "skipped", str(len(BAD))] for line in result.stderr.splitlines())
    place.run("in.jsonl", "-o", "out.parquet", "--on-bad-row", "skip", "--bad-rows", "elsewhere.jsonl")
    assert place.rows("elsewhere.jsonl") == skipped
    assert pq.read_table("out.parquet").num_rows == 2


def test_a_side_file_without_bad_rows_is_empty(place: Place) -> None:
    place.write("in.jsonl", [GOOD])
    place.run("in.jsonl", "-o", "out.jsonl", "--on-bad-row", "skip")
    assert (place.path / "out.jsonl.bad.jsonl").read_bytes() == b""


LISTS = [pa.list_(pa.float64()), pa.large_list(pa.float32())]
if int(pa.__version__.split(".")[0]) >= 26:  # before, pyarrow itself cannot read lists of fixed size with nulls
    LISTS.append(pa.list_(pa.float64(), 2))


@pytest.mark.parametrize("kind", LISTS)
def test_bad_rows_of_parquet(place: Place, monkeypatch: pytest.MonkeyPatch, kind: pa.DataType) -> None:
    monkeypatch.setattr(parquet, "BATCH_ROWS", 2)
    rewards: list[Any] = [[1, 2], None, [1, None], [1, float("nan")], [1, 2], [1, 2], [float("-inf"), 0]]
    prompts = ["a", "b", "c", "d", None, "f", "g"]
    table = pa.table(
        {"text": [f"t{i}" for i in range(len(prompts))], "rewards": pa.array(rewards, kind), "prompt_id": prompts}
    )
    pq.write_table(table, "in.parquet")
    error = place.run("in.parquet", "-o", "out.jsonl", status=2).stderr
    assert error.startswith(
        "shapley-allocate: in.parquet, row 2: column 'rewards': expected a list of finite numbers, found null"
    )
    place.run("in.parquet", "-o", "out.parquet", "--on-bad-row", "skip")
    assert pq.read_table("out.parquet")["text"].to_pylist() == ["t0", "t5"]
    assert pq.read_table("out.parquet")["credits"].to_pylist() == [[0.5, 1.5]] * 2
    skipped = place.rows("out.parquet.bad.jsonl")
    assert [row["number"] for row in skipped] == [i for i in range(2, len(prompts) + 1) if i != 6]
    assert [row["row"]["text"] for row in skipped] == [f"t{row['number'] - 1}" for row in skipped]
    assert "found null at position 1" in skipped[1]["reason"]
    assert "found NaN at position 1" in skipped[2]["reason"]
    assert f"column 'prompt_id': {PROMPT}, found null" in skipped[3]["reason"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (
            {"prompt_id": [1.5], "rewards": [[1.0]]},
            "column 'prompt_id': expected strings, integers or chat messages, found double",
        ),
        ({"prompt_id": [1], "rewards": [["1"]]}, "column 'rewards': expected lists of numbers, found list<"),
        ({"prompt_id": [1], "rewards": [1.0]}, "column 'rewards': expected lists of numbers, found double"),
        ({"id": [1], "rewards": [[1.0]]}, "column 'prompt_id': expected one of this name, found only 'id', 'rewards'"),
        ({"prompt_id": [1], "rewards": [[1.0]], "advantages": [1]}, "--advantages-column"),
    ],
)
def test_columns_of_parquet_that_cannot_be_used(place: Place, table: dict[str, Any], said: str) -> None:
    pq.write_table(pa.table(table), "in.parquet")
    assert said in place.run("in.parquet", "-o", "out.jsonl", status=2).stderr
    (place.path / "bad.parquet").write_bytes((place.path / "in.parquet").read_bytes()[:-9])
    assert "cannot be read as Parquet" in place.run("bad.parquet", "-o", "out.jsonl", status=2).stderr


def test_columns_that_are_there_already_are_not_overwritten(place: Place) -> None:
    place.write("in.jsonl", [GOOD, {**GOOD, "credits": 1}])
    for options in ([], ["--on-bad-row", "skip"]):
        error = place.run("in.jsonl", "-o", "out.jsonl", *options, status=2).stderr
        assert "in.jsonl, line 2: the column 'credits' is there already" in error
        assert "--credits-column" in error
    place.run("in.jsonl", "-o", "out.jsonl", "--credits-column", "c", "--advantages-column", 'a "b"')
    assert place.rows("out.jsonl")[1].items() >= {"credits": 1, "c": [0.5, 1.5]}.items()
    assert 'a "b"' in place.rows("out.jsonl")[0]
    assert "need different names" in place.run("in.jsonl", "--credits-column", "rewards", status=2).stderr


def test_other_names_for_the_columns_read(place: Place) -> None:
    place.write("in.jsonl", [{"q": 7, "scores": [1, 2]}])
    place.run("in.jsonl", "-o", "out.jsonl", "--prompt-column", "q", "--rewards-column", "scores")
    assert place.rows("out.jsonl")[0]["credits"] == [0.5, 1.5]
    said = place.run("in.jsonl", "-o", "2.jsonl", "--prompt-column", "q", status=2).stderr
    assert "'rewards': expected one of this name, found only 'q', 'scores' (--rewards-column names another)" in said
    said = place.run("in.jsonl", "-o", "2.jsonl", "--rewards-column", "scores", status=2).stderr
    assert "'prompt_id': expected one of this name, found only 'q', 'scores' (--prompt-column names another)" in said


def test_json_types_in_parquet(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH_ROWS", 2)
    columns: dict[str, list[Any]] = {
        "rising": [1, None, 2.5, 3],
        "late": [None, None, None, {"a": [1]}],
        "struct": [{"a": 1}, {"b": "x"}, {}, None],
        "mixed": [1, "1", None, [1]],
        "flag": [1.5, True, False, 0],
        "later_flag": [1.5, 2.0, True, False],
        "huge": [2**70, 1, 2, 3],
        "precise": [2**60 + 1, 1, 0.5, 2],
        "empty": [{}, {}, None, {}],
        "half": ["\ud800", "x", "y", "z"],
        "wide": [{str(i): i for i in range(400)}, {}, {}, {}],
        "date": ["2026-01-01", "2026-01-01T00:00:00", "x", ""],
    }
    rows = [{**GOOD, **{name: values[i] for name, values in columns.items()}} for i in range(4)]
    del rows[3]["date"]
    place.write("in.jsonl", rows)
    result = place.run("in.jsonl", "-o", "out.parquet")
    schema = pq.read_schema("out.parquet")
    text = [field.name for field in schema if field.type == pa.json_()]
    assert text == ["mixed", "flag", "later_flag", "huge", "precise", "empty", "half", "wide"]
    assert ", ".join(map(repr, text)) in result.stderr.replace("\n", " ")
    table = pq.read_table("out.parquet").to_pydict()
    for name in text:
        assert [None if v is None else json.loads(v) for v in table[name]] == columns[name], name
        assert [type(json.loads(v)) for v in table[name] if v] == [type(v) for v in columns[name] if v is not None]
    assert schema.field("rising").type == pa.float64()
    assert table["rising"] == columns["rising"]
    assert table["late"] == columns["late"]
    assert table["struct"] == [{"a": 1, "b": None}, {"a": None, "b": "x"}, {"a": None, "b": None}, None]
    assert table["date"] == ["2026-01-01", "2026-01-01T00:00:00", "x", None]
    place.run("out.parquet", "-o", "back.jsonl", "--credits-column", "c", "--advantages-column", "a")
    for name in text:
        assert [row[name] for row in place.rows("back.jsonl")] == columns[name]


def test_parquet_keeps_types_and_metadata(place: Place) -> None:
    table = pa.table(
        {
            "prompt_id": pa.array(["a", "b", "a"]).dictionary_encode(),
            "rewards": pa.array([[1, 2], [0.5], [3]], pa.list_(pa.float32())),
            "when": pa.array(
                [datetime.datetime(2026, 1, 1), None, datetime.datetime(2026, 1, 2)], pa.timestamp("us", "UTC")
            ),
            "price": pa.array([decimal.Decimal("1.10"), None, decimal.Decimal("2.00")]),
            "raw": pa.array([b"\x00\xff", None, b""]),
            "nested": pa.array([{"x": [1, None]}, None, {"x": []}]),
            "day": pa.array([datetime.date(2026, 1, 1), None, None]),
            "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int8())),
            "nothing": pa.nulls(3),
        }
    ).replace_schema_metadata({b"huggingface": b"{}"})
    pq.write_table(table, "in.parquet", row_group_size=2)
    place.run("in.parquet", "-o", "out.parquet")
    out = pq.read_table("out.parquet")
    assert out.schema.metadata == table.schema.metadata
    assert out.select(table.column_names).cast(table.schema).equals(table)
    assert out.schema.field("when") == table.schema.field("when")
    place.run("in.parquet", "-o", "out.jsonl")
    row = place.rows("out.jsonl")[0]
    assert (
        row.items()
        >= {
            "prompt_id": "a",
            "rewards": [1, 2],
            "when": "2026-01-01T00:00:00+00:00",
            "price": "1.10",
            "raw": "AP8=",
            "nested": {"x": [1, None]},
            "day": "2026-01-01",
            "map": [["k", 1]],
            "nothing": None,
        }.items()
    )


def test_round_trip(place: Place) -> None:
    rows = [
        {**GOOD, "text": "é\u2028\x00", "n": i, "f": i / 3, "meta": {"tags": ["a", None], "ok": True}} for i in range(9)
    ]
    place.write("in.jsonl", rows)
    place.run("in.jsonl", "-o", "a.parquet")
    place.run("a.parquet", "-o", "b.jsonl", "--credits-column", "c", "--advantages-column", "d")
    place.run("b.jsonl", "-o", "c.parquet", "--credits-column", "e", "--advantages-column", "f2")
    for name in ("a.parquet", "c.parquet"):
        table = pq.read_table(name).select([*rows[0], "credits", "advantages"])
        assert table.drop(["credits", "advantages"]).to_pylist() == rows
    assert pq.read_table("a.parquet").equals(pq.read_table("c.parquet").select(pq.read_schema("a.parquet").names))


def test_flags_among_the_rewards_are_numbers_in_parquet(place: Place) -> None:
    place.write("in.jsonl", [{"prompt_id": 1, "rewards": [True, 0.5]}, {"prompt_id": 1, "rewards": [2, False]}])
    place.run("in.jsonl", "-o", "out.parquet")
    assert pq.read_table("out.parquet")["rewards"].to_pylist() == [[1.0, 0.5], [2.0, 0.0]]
    place.run("out.parquet", "-o", "again.jsonl", "--credits-column", "c", "--advantages-column", "a")
    assert all(row["c"] == row["credits"] and row["a"] == row["advantages"] for row in place.rows("again.jsonl"))


@pytest.mark.parametrize("scale", ["group", "batch"])
def test_rewards_too_large_to_be_squared(place: Place, scale: str) -> None:
    place.write("in.jsonl", [{"prompt_id": 1, "rewards": [1e200, 2]}, {"prompt_id": 1, "rewards": [1, 2]}])
    error = place.run("in.jsonl", "-o", "out.jsonl", "--scale", scale, status=2).stderr
    assert "some rewards are too large" in error
    assert not (place.path / "out.jsonl").exists()


def test_prompt_ids_of_mixed_kinds_in_parquet(place: Place) -> None:
    """JSON text there, read back as what it says."""
    rows = [{"prompt_id": prompt, "rewards": [i, 1.0, 3]} for i, prompt in enumerate([1, "1", "a", 1, "1", "a"])]
    place.write("in.jsonl", rows)
    place.run("in.jsonl", "-o", "a.parquet")
    assert pq.read_schema("a.parquet").field("prompt_id").type == pa.json_()
    names = ["--credits-column", "c", "--advantages-column", "d"]
    place.run("a.parquet", "-o", "back.jsonl", *names)
    place.run("a.parquet", "-o", "b.parquet", *names)
    for row, given in zip(place.rows("back.jsonl"), rows, strict=True):
        assert row["prompt_id"] == given["prompt_id"]
        assert type(row["prompt_id"]) is type(given["prompt_id"])
        assert row["d"] == row["advantages"]
    assert pq.read_table("b.parquet")["d"] == pq.read_table("b.parquet")["advantages"]

    text = pa.ExtensionArray.from_storage(pa.json_(), pa.array(["1", "[2]", "null", None, "1.5"]))
    pq.write_table(pa.table({"prompt_id": text, "rewards": [[1.0]] * 5}), "c.parquet")
    error = place.run("c.parquet", "-o", "c.jsonl", status=2).stderr
    assert f"c.parquet, row 2: column 'prompt_id': {PROMPT}, found [2]" in error
    place.run("c.parquet", "-o", "c.jsonl", "--on-bad-row", "skip")
    assert [row["prompt_id"] for row in place.rows("c.jsonl")] == [1]
    assert [row["number"] for row in place.rows("c.jsonl.bad.jsonl")] == [2, 3, 4, 5]
