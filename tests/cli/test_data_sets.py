"""What a data set may be: files that differ, keys of many kinds, compression, and data beside the rewards."""

import bz2
import gzip
import json
import lzma
import tarfile
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import shapley_kernels as sk
from shapley_kernels.cli import compute
from shapley_kernels.cli.reading import SKIP_HINT
from tests.cli.conftest import Place

GOOD = {"prompt_id": "a", "rewards": [1, 2]}


def advantages(place: Place, *arguments: Any) -> list[list[float]]:
    place.run(*arguments, "-o", "out.jsonl", "--force")
    return [row["advantages"] for row in place.rows("out.jsonl")]


# --- parts that differ

PARTS = {
    "one.parquet": {
        "prompt_id": pa.array(["a", "b"]),
        "rewards": pa.array([[1.0, 2.0], [3.0]], pa.list_(pa.float32())),
        "n": pa.array([1, 2], pa.int32()),
        "note": pa.nulls(2),
        "meta": pa.array([{"x": 1}, None]),
        "mixed": pa.array(["x", "y"]),
    },
    "two.parquet": {
        "mixed": pa.array([1.5, None]),
        "rewards": pa.array([[2, 0], [5]], pa.large_list(pa.int64())),
        "prompt_id": pa.array(["a", "b"]).dictionary_encode(),
        "n": pa.array([3.5, None]),
        "note": pa.array(["late", None]),
        "meta": pa.array([{"x": 2, "y": "z"}, None]),
        "only": pa.array([True, False]),
    },
}


def test_parts_with_other_schemas_are_one_data_set(place: Place) -> None:
    """Only the two columns that are read have to agree; what the others share is kept."""
    for name, columns in PARTS.items():
        pq.write_table(pa.table(columns), name)
    rows = [
        {"prompt_id": "a", "rewards": [1.0, 2.0]},
        {"prompt_id": "b", "rewards": [3.0]},
        {"prompt_id": "a", "rewards": [2.0, 0.0]},
        {"prompt_id": "b", "rewards": [5.0]},
    ]
    place.write("in.jsonl", rows)
    expected = advantages(place, "in.jsonl")
    assert advantages(place, *PARTS) == expected
    place.run(*PARTS, "-o", "out.parquet")
    table = pq.read_table("out.parquet")
    assert table["advantages"].to_pylist() == expected
    assert table.drop(["credits", "advantages", "prompt_id", "rewards"]).to_pydict() == {
        "n": [1.0, 2.0, 3.5, None],
        "note": [None, None, "late", None],
        "meta": [{"x": 1, "y": None}, None, {"x": 2, "y": "z"}, None],
        "mixed": ['"x"', '"y"', "1.5", None],
        "only": [None, None, True, False],
    }
    assert table.schema.field("mixed").type == pa.json_()
    place.run("in.jsonl", *PARTS, "-o", "both.parquet", "--quiet")
    assert pq.read_table("both.parquet").num_rows == 8


def test_parts_of_nothing_but_nulls(place: Place) -> None:
    """Their columns have no type of their own."""
    lists = pa.array([[]], pa.list_(pa.null()))
    for name, prompt, rewards in (
        ("1", "a", [[1.0]]),
        ("2", "a", pa.nulls(1)),
        ("3", None, [[1.0]]),
        ("4", "a", lists),
    ):
        pq.write_table(pa.table({"prompt_id": [prompt], "rewards": rewards}), f"{name}.parquet")
    files = [f"{name}.parquet" for name in "1234"]
    place.run(*files, "-o", "out.parquet", "--on-bad-row", "skip")
    assert pq.read_table("out.parquet")["rewards"].to_pylist() == [[1.0], []]
    assert [row["file"] for row in place.rows("out.parquet.bad.jsonl")] == ["2.parquet", "3.parquet"]


def test_prompts_that_no_other_file_can_have_are_refused(place: Place) -> None:
    for name, prompt in (("1.parquet", "1"), ("2.parquet", 1)):
        pq.write_table(pa.table({"prompt_id": [prompt], "rewards": [[1.0]]}), name)
    said = place.run("1.parquet", "2.parquet", "-o", "out.jsonl", status=2).stderr
    assert said.startswith(
        "shapley-allocate: 2.parquet, column 'prompt_id': expected strings as in 1.parquet, found integers; "
    )


def test_files_of_different_kinds_are_one_data_set(place: Place) -> None:
    rows = [{**GOOD, "rewards": [i, 1], "n": i} for i in range(6)]
    place.write("all.jsonl", rows)
    place.write("1.jsonl", rows[:2])
    pq.write_table(pa.Table.from_pylist(rows[2:4]), "2.parquet")
    place.write("3.jsonl", rows[4:])
    expected = advantages(place, "all.jsonl")
    assert advantages(place, "1.jsonl", "2.parquet", "3.jsonl") == expected
    place.run("1.jsonl", "2.parquet", "3.jsonl", "-o", "out.parquet")
    assert pq.read_table("out.parquet")["n"].to_pylist() == list(range(6))
    assert pq.read_table("out.parquet")["advantages"].to_pylist() == expected
    forced = place.run("1.jsonl", "--input-format", "parquet", "-o", "o.jsonl", status=2).stderr
    assert "1.jsonl: cannot be read as Parquet" in forced


# --- groups


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_keys_of_groups(place: Place, suffix: str) -> None:
    """Several columns, nested fields and chat messages find the rollouts that a plain id finds."""
    prompts = [0, 1, 0, 1, 2, 2]
    chats = [[{"role": "user", "content": f"question {p}" * 9}] for p in prompts]
    chats[2] = [{"role": "user", "content": "question 0" * 9, "name": None}]  # a field that is null is not there
    rows = [
        {
            "prompt_id": p,
            "rewards": [i, 1.0],
            "source": "ab"[p % 2],
            "info": {"index": p // 2, "deep": {"id": str(p)}},
            "chat": chat,
        }
        for i, (p, chat) in enumerate(zip(prompts, chats, strict=True))
    ]
    place.write("in.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), "in.parquet")
    source = f"in.{suffix}"
    expected = advantages(place, source)
    for keys in (["source", "info.index"], ["info.deep.id"], ["chat"], ["chat", "source"]):
        options = [word for key in keys for word in ("--prompt-column", key)]
        assert advantages(place, source, *options) == expected, keys
    said = place.run(source, "-o", "o.jsonl", "--prompt-column", "info.missing", status=2).stderr
    assert "column 'info.missing': expected one of this name, found only 'prompt_id'" in said
    said = place.run(source, "-o", "o.jsonl", "--prompt-column", "info", status=2).stderr
    assert "column 'info': expected " in said
    assert said.rstrip("\n").partition(SKIP_HINT)[0].endswith("; name a field of it, such as extra_info.index")


def test_a_name_with_a_dot_comes_before_a_field(place: Place) -> None:
    place.write("in.jsonl", [{"a.b": 1, "a": {"b": i}, "rewards": [i]} for i in range(3)])
    said = place.run("in.jsonl", "-o", "1.jsonl", "--prompt-column", "a.b").stderr
    assert ["groups", "1"] in [line.split()[:2] for line in said.splitlines()]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_list_without_candidates_is_an_empty_rollout(place: Place, suffix: str) -> None:
    """It counts as in the library: with the worth of the empty set."""
    rows = [{"prompt_id": 1, "rewards": r} for r in ([1.0, 3.0], [], [2.0, 2.0])] + [{"prompt_id": 2, "rewards": []}]
    place.write("in.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), "in.parquet")
    said = place.run(f"in.{suffix}", "-o", "out.jsonl", "--plot", "p.png").stderr
    found = place.rows("out.jsonl")
    assert [row["credits"] for row in found] == [[0.5, 2.5], [], [1.0, 1.0], []]
    rewards, mask = sk.pad([row["rewards"] for row in rows])
    expected = sk.RewardAllocator().advantages(rewards, mask, group_ids=[1, 1, 1, 2])
    assert [row["advantages"] for row in found] == [a[m].tolist() for a, m in zip(expected, mask, strict=True)]
    assert ["empty", "2"] in [line.split()[:2] for line in said.splitlines()]


# --- compression


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


LZMA = partial(lzma.compress, format=lzma.FORMAT_ALONE)
PACKED = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "lzma": LZMA, "zst": zstd}


@pytest.mark.parametrize("suffix", PACKED)
def test_compressed_input(place: Place, suffix: str) -> None:
    rows = [{**GOOD, "n": i} for i in range(3000)]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    packed = b"".join(PACKED[suffix](part) for part in (data[:50_000], data[50_000:]))
    (place.path / f"in.{suffix}").write_bytes(packed)
    place.run(f"in.{suffix}", "-o", "out.jsonl")
    assert [row["n"] for row in place.rows("out.jsonl")] == list(range(3000))
    (place.path / f"cut.{suffix}").write_bytes(packed[: len(packed) - 20])
    said = place.run(f"cut.{suffix}", "-o", "cut.jsonl", status=2).stderr
    assert said.startswith(f"shapley-allocate: cut.{suffix}: the ")
    assert "data is damaged or cut off" in said
    pq.write_table(pa.table({"prompt_id": [1], "rewards": [[1.0]]}), "x.parquet")
    (place.path / f"p.{suffix}").write_bytes(PACKED[suffix]((place.path / "x.parquet").read_bytes()))
    assert "found Parquet inside of compressed data" in place.run(f"p.{suffix}", "-o", "p.jsonl", status=2).stderr


def test_archives_are_named(place: Place) -> None:
    place.write("in.jsonl", [GOOD])
    (place.path / "in.zip").write_bytes(b"PK\x03\x04rest")
    for name in ("in.tar", "in.tar.gz"):
        with tarfile.open(name, "w:gz" if name.endswith("gz") else "w") as archive:
            archive.add("in.jsonl")
    for name, what in (("in.zip", "a zip"), ("in.tar", "a tar"), ("in.tar.gz", "a tar")):
        said = place.run(name, "-o", "out.jsonl", status=2).stderr
        assert said == (
            f"shapley-allocate: {name}: expected JSON lines or Parquet, found {what} archive; unpack it first\n"
        )


# --- mistakes


def test_json_over_several_lines(place: Place) -> None:
    place.write("in.jsonl", [json.dumps(GOOD, indent=2).encode()])
    said = place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr
    assert "in.jsonl, line 1: expected a JSON object, found invalid JSON" in said
    assert "it looks like JSON over several lines, put each row on one with: jq -c ." in said
    place.write("in.jsonl", [2 * json.dumps(GOOD).encode()])
    said = place.run("in.jsonl", "-o", "out.jsonl", status=2).stderr
    assert "(Extra data at character" in said
    assert "it looks like several rows on a line, put each on one with: jq -c ." in said


def test_csv(place: Place) -> None:
    place.write("in.csv", [b"prompt_id,rewards\n", b"q1,0.9\n"])
    said = place.run("in.csv", "-o", "out.jsonl", status=2).stderr
    assert "it looks like CSV, which has no place for a list of rewards; write JSON lines, or Parquet" in said


# --- utilities


def columns_of(rng: np.random.Generator, players: int, topics: int) -> dict[str, Any]:
    return {
        "rewards": (rng.integers(0, 11, players) / 10).tolist(),
        "label": [str(x) for x in rng.integers(0, 3, players)],
        "scores": rng.normal(size=(players, topics)).round(3).tolist(),
        "passed": (rng.random((players, topics)) < 0.4).tolist(),
    }


UTILITIES = {
    "0.7*topm(3) + 0.3*max": lambda r, _: 0.7 * sk.TopM(r["rewards"], 3) + 0.3 * sk.Max(r["rewards"]),
    "max - 0.25 * mean": lambda r, _: sk.Max(r["rewards"]) - 0.25 * sk.Mean(r["rewards"]),
    "noisy-or": lambda r, _: sk.NoisyOr(r["rewards"]),
    "clusters(label)": lambda r, labels: sk.Clusters(labels),
    "clusters(label, rewards)": lambda r, labels: sk.Clusters(labels, r["rewards"]),
    "facility(scores)": lambda r, _: sk.FacilityLocation(r["scores"]),
    "coverage(passed)": lambda r, _: sk.Coverage(np.array(r["passed"], float)),
    "2*coverage(passed) + max - .1*facility(scores)": lambda r, _: (
        2 * sk.Coverage(np.array(r["passed"], float)) + sk.Max(r["rewards"]) - 0.1 * sk.FacilityLocation(r["scores"])
    ),
}


@pytest.mark.parametrize("text", UTILITIES)
def test_utilities_of_columns_and_sums(place: Place, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Each row as the library values it alone; the same for Parquet, and in small batches to the last bit."""
    monkeypatch.setattr(compute, "CELLS", 256)
    rng = np.random.default_rng(3)
    shapes = [(int(n), int(t)) for n, t in zip(rng.integers(1, 7, 40), rng.integers(1, 12, 40), strict=True)]
    rows = [{"prompt_id": i % 7, **columns_of(rng, *shape)} for i, shape in enumerate(shapes)]
    rows += [{"prompt_id": 1, "rewards": [], "label": [], "scores": [], "passed": []}]
    place.write("in.jsonl", rows)
    pq.write_table(pa.Table.from_pylist(rows), "in.parquet")
    place.run("in.jsonl", "-o", "out.jsonl", "-u", text)
    place.run("in.parquet", "-o", "p.jsonl", "-u", text, "--value", "shapley", "--plot", "p.png")
    found = place.rows("out.jsonl")
    for row in found[:-1]:
        labels = np.unique(row["label"], return_inverse=True)[1]
        expected = sk.shapley(UTILITIES[text](row, labels))
        np.testing.assert_allclose(row["credits"], expected, rtol=1e-9, atol=1e-12)
    assert found[-1]["credits"] == []
    for column in ("credits", "advantages"):
        assert [row[column] for row in place.rows("p.jsonl")] == [row[column] for row in found]
    for cells in (16, 1 << 18):
        monkeypatch.setattr(compute, "CELLS", cells)
        for value in ("prefix", "suffix-swap"):
            place.run("in.jsonl", "-o", f"{value}.{cells}.jsonl", "-u", text, "--value", value)
    for value in ("prefix", "suffix-swap"):
        assert place.rows(f"{value}.16.jsonl") == place.rows(f"{value}.{1 << 18}.jsonl")


def test_rewards_are_read_only_by_what_needs_them(place: Place) -> None:
    place.write("in.jsonl", [{"prompt_id": 1, "passed": [[1, 0], [1, 1], [0, 0]]}])
    said = place.run("in.jsonl", "-o", "out.jsonl", "-u", "coverage(passed)", "--head", "1").stderr
    assert place.rows("out.jsonl")[0]["credits"] == [0.5, 1.5, 0.0]
    alone = [line.split()[-3] for line in said.splitlines() if line.split()[-1:] and line.split()[-1][0] in "+-"]
    assert alone == ["1", "2", "0"]  # what each is worth by itself stands for its reward


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    ("utility", "change", "said"),
    [
        ("noisy-or", {"rewards": [0.5, 1.5]}, "'rewards': expected a list of numbers in [0, 1], found 1.5"),
        (
            "clusters(label, rewards)",
            {"label": ["x"]},
            "'label': expected a list of 2, one for each reward",
        ),
        ("clusters(label)", {"label": None}, "'label': expected a list"),
        ("clusters(label)", {"label": ["x", None]}, "'label': expected strings or integers, found null at position 1"),
        ("coverage(x)", {"x": [[0.5], [2.0]]}, "'x': expected a list of numbers in [0, 1], found 2.0 at position 0"),
        ("coverage(x)", {"x": [[0.5], []]}, "'x': expected lists of one length, found [] at position 1"),
        ("facility(x)", {"x": [[0.5, 1.0], [1.0, None]]}, "'x': expected a list of finite numbers, found null"),
    ],
)
def test_bad_data_of_a_utility(place: Place, suffix: str, utility: str, change: dict[str, Any], said: str) -> None:
    good = {"prompt_id": 1, "rewards": [0.5, 1.0], "label": ["x", "y"], "x": [[0.5], [1.0]]}
    place.write("in.jsonl", [good, {**good, **change}, good])
    pq.write_table(pa.Table.from_pylist([good, {**good, **change}, good]), "in.parquet")
    place_of = "line 2" if suffix == "jsonl" else "row 2"
    error = place.run(f"in.{suffix}", "-o", "out.jsonl", "-u", utility, status=2).stderr
    assert error.startswith(f"shapley-allocate: in.{suffix}, {place_of}: column {said}")
    place.run(f"in.{suffix}", "-o", "out.jsonl", "-u", utility, "--on-bad-row", "skip")
    assert len(place.rows("out.jsonl")) == 2
    assert said in place.rows("out.jsonl.bad.jsonl")[0]["reason"]
