"""Rows of files, in this process: lines of JSON and Parquet, whole and damaged, and the command on them."""

import atexit
import gzip
import json
import os
import tempfile
from io import BytesIO, StringIO
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import shapley_kernels as sk
from tests.fuzz.rig import Refused, Target, attempt, chance, pick, run, serve
from tests.rl.written import WORDS, text_of

for package in ("pyarrow", "rich", "typer"):
    pytest.importorskip(package)

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
from rich.console import Console  # noqa: E402

from shapley_kernels.cli.parquet import ParquetRows  # noqa: E402
from shapley_kernels.cli.reading import File, JsonLines, parse  # noqa: E402
from shapley_kernels.cli.rows import Columns, parts  # noqa: E402
from shapley_kernels.cli.run import Job  # noqa: E402
from shapley_kernels.cli.run import run as allocate  # noqa: E402

ROOT = tempfile.TemporaryDirectory(prefix="shapley-fuzz-")
atexit.register(ROOT.cleanup)


def place() -> Path:
    """Of the files of this process: those of the runner are forks of one."""
    path = Path(ROOT.name) / str(os.getpid())
    path.mkdir(exist_ok=True)
    return path


REWARDS = (0, 1, -1, 0.5, 1e-3, True, False, 3, 1e300, 5e-324)

ODD = (
    None,
    "x",
    [],
    {},
    [1],
    1.5,
    -0.0,
    True,
    float("nan"),
    float("inf"),
    2**70,
    10**400,
    {"a": [1, {"b": None}]},
    "\ud800",
)


def row_of(rng: np.random.Generator) -> dict[str, Any]:
    """A good row."""
    row: dict[str, Any] = {"prompt_id": pick(rng, ("a", "b", 1, 2, "é", -5)), "text": text_of(rng, WORDS, 2)}
    row["rewards"] = [pick(rng, REWARDS) for _ in range(int(rng.integers(1, 5)))]
    if chance(rng, 0.3):
        row[pick(rng, ("n", "extra", "é"))] = pick(rng, ODD[:-2])
    return row


def bad_row_of(rng: np.random.Generator) -> Any:
    """A row that is spoiled, which may leave it good."""
    row = row_of(rng)
    kind = int(rng.integers(5))
    if kind == 0:
        row[pick(rng, ("prompt_id", "rewards"))] = pick(rng, ODD)
    elif kind == 1:
        row["rewards"][int(rng.integers(len(row["rewards"])))] = pick(rng, ODD)
    elif kind == 2:
        del row[pick(rng, ("prompt_id", "rewards"))]
    elif kind == 3:
        return pick(rng, (*ODD, [row]))
    return row


def line_of(rng: np.random.Generator, row: Any) -> bytes:
    text = json.dumps(row, ensure_ascii=chance(rng, 0.5), separators=pick(rng, ((", ", ": "), (",", ":"))))
    return text.encode("utf-8", "surrogatepass")


def damaged(rng: np.random.Generator, data: bytes) -> bytes:
    """With bytes changed, cut out, or written twice."""
    changed = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        at, to = sorted(rng.integers(0, len(changed) + 1, 2).tolist())
        kind = int(rng.integers(4))
        if kind == 0 and changed:
            changed[min(at, len(changed) - 1)] = int(rng.integers(256))
        elif kind == 1:
            del changed[at : min(to, at + 8)]
        elif kind == 2:
            changed[at:at] = changed[at : min(to, at + 16)]
        else:
            changed[at:at] = pick(
                rng, (b'"', b"[", b"{", b"}", b"\\u", b"1e9", b",", b"\xff", b"NaN", b"\x00", b"-", b"  ")
            )
    return bytes(changed)


def usable(row: Any) -> bool:
    """The definition of a good row."""
    if not isinstance(row, dict):
        return False
    prompt, rewards = row.get("prompt_id"), row.get("rewards")
    messages = isinstance(prompt, list) and prompt and all(isinstance(message, dict) for message in prompt)
    if not (messages or type(prompt) in (str, int)) or not isinstance(rewards, list):
        return False
    try:
        return all(type(x) in (int, float, bool) and isfinite(x) for x in rewards)
    except OverflowError:
        return False


class Twice(Exception):
    """A name stands twice in one object."""


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise Twice
    return dict(pairs)


def read_row(line: bytes) -> Any:
    """What a line holds, or None where it is no good row."""
    try:
        row = json.loads(line.decode("utf-8"), object_pairs_hook=_once)
    except (ValueError, RecursionError, Twice):
        return None
    return row if usable(row) else None


def row_by_row(line: bytes) -> Any:
    return parts(parse(line), Columns())


def of_lines(rng: np.random.Generator) -> None:
    """A line of JSON, good or not: the prompt and the rewards that it holds, or words about what is wrong."""
    good = row_of(rng)
    prompt, rewards, _ = serve(row_by_row, line_of(rng, good))
    assert (prompt, rewards) == (good["prompt_id"], good["rewards"])
    for line in (line_of(rng, bad_row_of(rng)), damaged(rng, line_of(rng, row_of(rng)))):
        found, expected = attempt(row_by_row, line), read_row(line)
        assert isinstance(found, Refused) == (expected is None), (line, found)
        if expected is not None:
            assert repr(found) == repr((expected["prompt_id"], expected["rewards"], [])), line


def file_of(name: str, data: bytes) -> File:
    path = place() / name
    path.write_bytes(data)
    return File.at(name, path)


def all_numbers(source: Any) -> list[tuple[Any, list[float]]]:
    """The prompts and rewards of all good rows."""
    found = []
    for part in source.batches(lambda size: None):
        rewards = np.split(part.rewards, np.cumsum(part.lengths)[:-1])
        found += (
            [(prompt, row.tolist()) for prompt, row in zip(part.prompts, rewards, strict=True)]
            if len(part.lengths)
            else []
        )
    return found


def of_json_lines(rng: np.random.Generator) -> None:
    """Files of lines, zipped or not, with bad ones, which are skipped or named."""
    rows = [bad_row_of(rng) if chance(rng, 0.2) else row_of(rng) for _ in range(int(rng.integers(0, 6)))]
    lines = [line_of(rng, row) for row in rows]
    if lines and chance(rng, 0.2):
        lines[0] = damaged(rng, lines[0]).replace(b"\n", b"")
    end = pick(rng, (b"\n", b"\r\n", b"\n\n", b"\n  \n"))
    data = pick(rng, (b"", b"\xef\xbb\xbf")) + end.join(lines) + pick(rng, (b"", end))
    good = [row for row in map(read_row, lines) if row is not None]
    blank = [line for line in lines if not line or line.isspace()]
    if chance(rng, 0.2):
        data = gzip.compress(data, 1)
        if chance(rng, 0.2):
            data = damaged(rng, data)
            attempt(lambda: all_numbers(JsonLines(file_of("in.gz", data), Columns(), True)))
            return
    skipping = JsonLines(file_of("in.jsonl", data), Columns(), True)
    found = attempt(all_numbers, skipping)
    if isinstance(found, Refused):  # such as a column that is to be added and is there already
        assert any({"credits", "advantages"} & set(row) for row in good), found.error
        return
    assert found == [(row["prompt_id"], [float(x) for x in row["rewards"]]) for row in good]
    assert len(skipping.skipped) == len(lines) - len(blank) - len(good)
    strict = attempt(all_numbers, JsonLines(file_of("in.jsonl", data), Columns(), False))
    assert isinstance(strict, Refused) == bool(len(skipping.skipped))


TYPES = {
    "prompt_id": (pa.string(), pa.int64(), pa.int32(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())),
    "rewards": (pa.list_(pa.float64()), pa.list_(pa.float32()), pa.large_list(pa.int64()), pa.list_(pa.bool_())),
}


def parquet_of(rng: np.random.Generator) -> tuple[bytes, list[Any], list[Any]]:
    """A file, and the prompts and rewards in it; None are nulls."""
    rows = int(rng.integers(0, 6))
    kinds = {name: pick(rng, types) for name, types in TYPES.items()}
    text = not pa.types.is_integer(kinds["prompt_id"])
    prompts = [
        None if chance(rng, 0.1) else (pick(rng, ("a", "é", "")) if text else int(rng.integers(-2, 3)))
        for _ in range(rows)
    ]
    cells = {
        pa.float64(): (0.5, -1.0, float("nan"), None),
        pa.float32(): (0.5, 2.0),
        pa.int64(): (1, -2),
        pa.bool_(): (True, False),
    }
    choices = cells[kinds["rewards"].value_type]
    rewards = [
        None if chance(rng, 0.1) else [pick(rng, choices) for _ in range(int(rng.integers(0, 4)))] for _ in range(rows)
    ]
    table = pa.table(
        {"prompt_id": pa.array(prompts, kinds["prompt_id"]), "rewards": pa.array(rewards, kinds["rewards"])}
    )
    out = BytesIO()
    pq.write_table(table, out, row_group_size=pick(rng, (2, 100)), compression=pick(rng, ("none", "snappy")))
    return out.getvalue(), prompts, rewards


def of_parquet(rng: np.random.Generator) -> None:
    """Parquet files: whole ones give their numbers, damaged ones numbers or words."""
    data, prompts, rewards = parquet_of(rng)
    source = serve(ParquetRows, file_of("in.parquet", data), Columns(), True)
    good = [
        (prompt, [float(x) for x in row])
        for prompt, row in zip(prompts, rewards, strict=True)
        if prompt is not None and row is not None and all(x is not None and isfinite(x) for x in row)
    ]
    assert serve(all_numbers, source) == good
    assert len(source.skipped) == len(prompts) - len(good)
    broken = attempt(lambda: all_numbers(ParquetRows(file_of("bad.parquet", damaged(rng, data)), Columns(), True)))
    assert isinstance(broken, Refused | list)


def of_command(rng: np.random.Generator) -> None:
    """Files in, files out: every row is there again, with the credits that the library gives."""
    rows = [row_of(rng) for _ in range(int(rng.integers(1, 5)))]
    for row in rows:
        row["rewards"] = [min(float(x), 1e9) for x in row["rewards"]]
        row.pop("n", None) if chance(rng, 0.5) else None
    ending = pick(rng, ("jsonl", "parquet"))
    file_of("in.jsonl", b"\n".join(line_of(rng, row) for row in rows))
    out = place() / f"out.{ending}"
    job = Job([str(place() / "in.jsonl")], sk.RewardAllocator(), "shapley", output=str(out), quiet=True, force=True)
    serve(allocate, job, Console(file=StringIO()))
    found = (
        pq.read_table(out).to_pylist() if ending == "parquet" else list(map(json.loads, out.read_bytes().splitlines()))
    )
    assert len(found) == len(rows)
    for row, written in zip(rows, found, strict=True):
        assert written["prompt_id"] == row["prompt_id"] or ending == "parquet"
        assert written["rewards"] == row["rewards"]
        np.testing.assert_allclose(written["credits"], sk.shapley(sk.Max(row["rewards"])), rtol=0, atol=1e-9)
        assert len(written["advantages"]) == len(row["rewards"])


TARGETS: dict[str, Target] = {
    "cli.parse": of_lines,
    "cli.JsonLines": of_json_lines,
    "cli.ParquetRows": of_parquet,
    "cli.run": of_command,
}


@pytest.mark.parametrize("name", TARGETS)
def test_files(name: str) -> None:
    run(name, TARGETS[name])
