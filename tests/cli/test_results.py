"""The numbers are the library's, in the order of the input, whatever the format, the order and the batches."""

import gzip
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import shapley_kernels as sk
from shapley_kernels import rl
from shapley_kernels.cli import compute
from tests.cli.conftest import Place

GOLDEN = [  # docs/explanation/mathematics.md
    {"prompt_id": "a", "rewards": [0.9, 0.5, 0.1]},
    {"prompt_id": "b", "rewards": [4, 3, 5]},
    {"prompt_id": "c", "rewards": [0, 1, 0]},
    {"prompt_id": "b", "rewards": [5, 4]},
    {"prompt_id": "c", "rewards": [True, True]},
]


def random_rows(count: int, seed: int = 0, prompts: int = 20, longest: int = 9) -> list[dict[str, Any]]:
    rng = np.random.default_rng(seed)
    return [
        {
            "prompt_id": f"p{rng.integers(prompts)}",
            "rewards": rng.integers(-3, 12, rng.integers(1, longest + 1)).astype(float).tolist(),
            "n": i,
        }
        for i in range(count)
    ]


def by_library(
    rows: list[dict[str, Any]], game: Any = sk.Max, value: Any = None, sizes: str = "worth", **options: Any
) -> tuple[Any, Any]:
    """Credits and advantages of all rows in one call each."""
    rewards, mask = sk.pad([row["rewards"] for row in rows])
    groups = [row["prompt_id"] for row in rows]
    if isinstance(value, rl.GroupValue):
        credits = compared = rl.RewardAllocator(game, value).credits(rewards, mask, group_ids=groups)
    else:
        credits = sk.semivalue(game(rewards, mask=mask), value or sk.Shapley())
        compared = credits * mask.sum(1, keepdims=True) if sizes == "worth" else credits
    advantages = rl.grpo_advantages(compared, mask, group_ids=groups, **options)
    return [c[m].tolist() for c, m in zip(credits, mask, strict=True)], [
        a[m].tolist() for a, m in zip(advantages, mask, strict=True)
    ]


def assert_same(got: list[dict[str, Any]], rows: list[dict[str, Any]], expected: tuple[Any, Any]) -> None:
    for column, lists in zip(("credits", "advantages"), expected, strict=True):
        assert [len(row[column]) for row in got] == [len(row["rewards"]) for row in rows]
        mine, theirs = (np.concatenate([np.array(x) for x in y]) for y in ([row[column] for row in got], lists))
        assert np.isfinite(theirs).all()
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_golden_values(place: Place) -> None:
    place.write("in.jsonl", GOLDEN)
    place.run("in.jsonl", "-o", "out.jsonl")
    rows = place.rows("out.jsonl")
    np.testing.assert_allclose(rows[0]["credits"], [19 / 30, 7 / 30, 1 / 30], rtol=1e-15)
    assert [row["credits"] for row in rows[1:]] == [[1.5, 1, 2.5], [0, 1, 0], [3, 2], [0.5, 0.5]]
    for row, expected in (
        (1, [-0.28283, -1.13131, 1.41413]),
        (2, [-0.81643, 1.63286, -0.81643]),
        (3, [0.56565, -0.56565]),
        (4, [0, 0]),
    ):
        np.testing.assert_allclose(rows[row]["advantages"], expected, atol=5e-6)


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
@pytest.mark.parametrize("center", ["group", "loo", "slot", "none"])
def test_many_small_batches_equal_one_library_call(
    place: Place, monkeypatch: pytest.MonkeyPatch, center: str, scale: str
) -> None:
    monkeypatch.setattr(compute, "CELLS", 64)
    monkeypatch.setattr("shapley_kernels.cli.reading.BATCH_ROWS", 7)
    rows = random_rows(200, seed=1, longest=17)
    place.write("in.jsonl", rows)
    for sizes in ("worth", "share"):
        options = ["--center", center, "--scale", scale, "--sizes", sizes]
        place.run("in.jsonl", "-o", "out.jsonl", "--force", *options)
        assert_same(place.rows("out.jsonl"), rows, by_library(rows, sizes=sizes, center=center, scale=scale))


@pytest.mark.parametrize(
    ("value", "scale"),
    [("shapley", "batch"), *((name, "group") for name in ("broadcast", "suffix-swap", "winner-takes-all", "prefix"))],
)
def test_batches_do_not_show(place: Place, monkeypatch: pytest.MonkeyPatch, value: str, scale: str) -> None:
    """To the last bit, so that the rows may be shared on any number of machines."""
    rng, options = np.random.default_rng(2), ["--utility", "mean", "--value", value, "--scale", scale]
    rows = [{"prompt_id": i // 5, "rewards": rng.normal(size=rng.integers(30, 60)).tolist()} for i in range(200)]
    place.write("in.jsonl", rows)
    place.run("in.jsonl", "-o", "large.jsonl", *options)
    monkeypatch.setattr(compute, "CELLS", 64)
    place.run("in.jsonl", "-o", "small.jsonl", *options)
    assert (place.path / "small.jsonl").read_bytes() == (place.path / "large.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("options", "game", "value"),
    [
        (["--utility", "min"], sk.Min, None),
        (["--utility", "mean"], sk.Mean, None),
        (["--utility", "median"], sk.Median, None),
        (["--utility", "range"], sk.Range, None),
        (["--utility", "topm", "--m", "3"], lambda r, mask: sk.TopM(r, 3, mask=mask), None),
        (["--utility", "topm-mean", "--m", "2"], lambda r, mask: sk.TopMMean(r, 2, mask=mask), None),
        (["--utility", "kth-best", "--k", "2"], lambda r, mask: sk.KthBest(r, 2, mask=mask), None),
        (["--utility", "discounted"], sk.Discounted, None),
        (["-u", "discounted", "--weights", "1,.5"], lambda r, mask: sk.Discounted(r, [1, 0.5], mask=mask), None),
        (["-u", "owa", "--weights", "0.5,0,0.25"], lambda r, mask: sk.OWA(r, [0.5, 0, 0.25], mask=mask), None),
        (["--v-empty", "-2"], lambda r, mask: sk.Max(r, mask=mask, v_empty=-2.0), None),
        (["--value", "banzhaf"], sk.Max, sk.Banzhaf()),
        (["--value", "banzhaf", "--p", "0.25"], sk.Max, sk.Banzhaf(0.25)),
        (["--value", "beta", "--alpha", "4", "--beta", "1"], sk.Max, sk.BetaShapley(4, 1)),
        (["--value", "stratum", "--size", "2"], sk.Max, sk.Stratum(2)),
        (["--value", "leave-one-out"], sk.Max, sk.LeaveOneOut()),
        (["--value", "suffix-swap"], sk.Max, rl.SuffixSwap()),
        (["-v", "suffix-swap", "--lam", "1", "-u", "mean"], sk.Mean, rl.SuffixSwap(1)),
        (["--value", "candidate-swap"], sk.Max, rl.CandidateSwap()),
    ],
)
def test_utilities_and_values(place: Place, options: list[str], game: Any, value: Any) -> None:
    rows = random_rows(40, seed=2)
    place.write("in.jsonl", rows)
    place.run("in.jsonl", "-o", "out.jsonl", *options)
    assert_same(place.rows("out.jsonl"), rows, by_library(rows, game, value))


@pytest.mark.parametrize("name", ["broadcast", "winner-takes-all", "prefix"])
def test_baselines(place: Place, name: str) -> None:
    place.write("in.jsonl", [{"prompt_id": 1, "rewards": [1, 3, 2]}])
    place.run("in.jsonl", "-o", "out.jsonl", "--value", name)
    expected = {"broadcast": [3, 3, 3], "winner-takes-all": [0, 3, 0], "prefix": [1, 2, 0]}[name]
    assert place.rows("out.jsonl")[0]["credits"] == expected


def test_groups_need_not_be_consecutive(place: Place) -> None:
    rows = sorted(random_rows(120, seed=3), key=lambda row: row["prompt_id"])
    shuffled = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    for name, these in (("sorted", rows), ("shuffled", shuffled)):
        place.write(f"{name}.jsonl", these)
        place.run(f"{name}.jsonl", "-o", f"{name}.out.jsonl")
    got = place.rows("shuffled.out.jsonl")
    assert [row["n"] for row in got] == [row["n"] for row in shuffled]  # the order of the input
    of = {row["n"]: row for row in place.rows("sorted.out.jsonl")}
    for row in got:
        assert row["credits"] == of[row["n"]]["credits"]
        np.testing.assert_allclose(row["advantages"], of[row["n"]]["advantages"], rtol=1e-12, atol=1e-14)


def test_prompt_ids_are_told_apart_by_type_and_to_their_last_letter(place: Place) -> None:
    long = "x" * 500
    ids = [1, "1", long + "a", long + "b", long + "a"]
    place.write("in.jsonl", [{"prompt_id": p, "rewards": [i, i + 1]} for i, p in enumerate(ids)])
    result = place.run("in.jsonl", "-o", "out.jsonl")
    assert [line.split()[:2] for line in result.stderr.splitlines() if line.startswith("groups")] == [["groups", "4"]]


def test_lengths_that_differ_wildly(place: Place) -> None:
    rows = [
        {"prompt_id": i % 3, "rewards": [float(j % 7) for j in range(n)]} for i, n in enumerate([1, 1500, 3, 2, 1, 70])
    ]
    place.write("in.jsonl", rows)
    place.run("in.jsonl", "-o", "out.jsonl")
    assert_same(place.rows("out.jsonl"), rows, by_library(rows))


def test_parquet_equals_json_lines(place: Place) -> None:
    rows = random_rows(150, seed=4)
    place.write("in.jsonl", rows)
    place.run("in.jsonl", "-o", "direct.jsonl")
    place.run("in.jsonl", "-o", "a.parquet")
    pq.write_table(pa.Table.from_pylist(rows), "in.parquet", row_group_size=40)
    place.run("in.parquet", "-o", "b.parquet")
    place.run("in.parquet", "-o", "b.jsonl")
    expected = place.rows("direct.jsonl")
    assert pq.read_table("a.parquet").to_pylist() == expected
    assert pq.read_table("b.parquet").to_pylist() == expected
    assert place.rows("b.jsonl") == expected


def test_several_files_are_one_input(place: Place) -> None:
    rows = random_rows(60, seed=5)
    place.write("1.jsonl", rows[:25])
    (place.path / "2.jsonl.gz").write_bytes(gzip.compress(b"".join(json.dumps(r).encode() + b"\n" for r in rows[25:])))
    place.run("1.jsonl", "2.jsonl.gz", "-o", "out.jsonl.gz")
    lines = gzip.decompress((place.path / "out.jsonl.gz").read_bytes()).splitlines()
    assert_same([json.loads(line) for line in lines], rows, by_library(rows))


def test_stdin_to_stdout(place: Place) -> None:
    rows = random_rows(30, seed=6)
    result = place.run("-", stdin=place.write("in.jsonl", rows).read_bytes())
    assert_same([json.loads(line) for line in result.stdout.splitlines()], rows, by_library(rows))
    assert "rollouts" in result.stderr
    assert place.run("-", "--quiet", stdin=b'{"prompt_id": 1, "rewards": [1]}').stderr == ""


def test_parquet_by_stdin_and_stdout(place: Place) -> None:
    rows = random_rows(30, seed=6)
    pq.write_table(pa.Table.from_pylist(rows), "in.parquet")
    result = place.run("-", "--output-format", "parquet", stdin=(place.path / "in.parquet").read_bytes())
    assert_same(pq.read_table(pa.BufferReader(result.stdout_bytes)).to_pylist(), rows, by_library(rows))


@pytest.mark.parametrize("name", ["in.jsonl", "in.parquet"])
def test_no_rows(place: Place, name: str) -> None:
    if name == "in.parquet":
        pq.write_table(
            pa.table({"prompt_id": pa.array([], "string"), "rewards": pa.array([], pa.list_(pa.float32()))}), name
        )
    else:
        place.write(name, [b"\n \n"])
    said = place.run(name, "-o", "out.jsonl", "--plot", "p.png", "--head", "3", status=3).stderr
    assert said.endswith(f"shapley-allocate: no rows in {name}\n")
    place.run(name, "-o", "out.parquet", status=3)
    assert (place.path / "out.jsonl").read_bytes() == b""
    assert pq.read_table("out.parquet").num_rows == 0


def test_no_rows_are_said_when_quiet(place: Place) -> None:
    assert place.run("-", "--quiet", stdin=b"", status=3).stderr == "shapley-allocate: no rows in stdin\n"


def test_overflow_is_said(place: Place) -> None:
    place.write("in.jsonl", [{"prompt_id": 1, "rewards": [1.7e308, -1.7e308]}])
    assert "overflow" in place.run("in.jsonl", "-o", "out.jsonl", "-u", "range", status=2).stderr
    assert place.names() == {"in.jsonl"}


def test_summary_counts(place: Place) -> None:
    place.write(
        "in.jsonl", [*GOLDEN, {"prompt_id": "d", "rewards": [0.5, 0.1]}, {"prompt_id": "d", "rewards": [0.4, 0.4]}]
    )
    lines = {" ".join(line.split()) for line in place.run("in.jsonl", "-o", "out.jsonl").stderr.splitlines()}
    for expected in (
        "rollouts 7",
        "turned 0 (0.0 %) their sum has the other sign than plain GRPO's",
        "candidates 17 2.43 per rollout, standard deviation 0.495",
        "tied 6 (35.3 %) same reward as another of the rollout",
        "sign turned 1 (5.9 %) against plain GRPO: free-riders, held-back ones",
        "groups 4 prompts",
        "zero-variance 3 (75.0 %) sets of equal worth: plain GRPO gives 0",
        "rescued 3 (100.0 %) candidates differ all the same",
        "rows skipped 0",
    ):
        assert expected in lines


def test_a_prompt_column_that_no_rollouts_share_is_noted(place: Place) -> None:
    rows = [{"prompt_id": i // 2, "id": i, "rewards": [i, 1]} for i in range(4)]
    place.write("in.jsonl", rows)
    note = "note: every prompt has one rollout"
    assert note not in place.run("in.jsonl", "-o", "1.jsonl").stderr
    said = place.run("in.jsonl", "-o", "2.jsonl", "--prompt-column", "id").stderr
    assert note in said
    assert said.splitlines()[-1].endswith(
        "--prompt-column names the column that the rollouts of a prompt share, now 'id'"
    )
    assert place.run("in.jsonl", "-o", "3.jsonl", "--prompt-column", "id", "--quiet").stderr == ""


@pytest.mark.parametrize(
    ("utility", "option", "what"),
    [
        ("kth-best", "--k", "all sets are worth --v-empty"),
        ("topm", "--m", "all candidates of every set count"),
        ("topm-mean", "--m", "all candidates of every set count"),
    ],
)
def test_more_places_than_candidates_are_warned_of(place: Place, utility: str, option: str, what: str) -> None:
    place.write("in.jsonl", [{"prompt_id": 1, "rewards": [1, 2, 3]}, {"prompt_id": 1, "rewards": [2]}])
    command = ["in.jsonl", "--quiet", "-u", utility, option]
    expected = f"warning: {utility}(4): no set has as many candidates, 3 at most, so {what}\n"
    assert place.run(*command, 4, "-o", "4.jsonl").stderr == expected
    assert place.run(*command, 3, "-o", "3.jsonl").stderr == ""
    if option == "--k":
        assert [row["credits"] for row in place.rows("4.jsonl")] == [[0, 0, 0], [0]]


def test_summary_adds_up_over_batches(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.write("in.jsonl", random_rows(200, seed=8))
    whole = place.run("in.jsonl", "-o", "1.jsonl").stderr.splitlines()[:-1]  # without the time
    monkeypatch.setattr(compute, "CELLS", 64)
    assert place.run("in.jsonl", "-o", "2.jsonl").stderr.splitlines()[:-1] == whole


def test_head_shows_the_first_rollouts(place: Place) -> None:
    place.write("in.jsonl", [*GOLDEN, {"prompt_id": "[bold]\x1b[31mx", "rewards": [7]}])
    lines = [line.split() for line in place.run("in.jsonl", "-o", "out.jsonl", "--head", "2").stderr.splitlines()]
    assert ["a", "1", "1", "0.9", "0.6333", "+1.091"] in lines
    assert ["b", "2", "1", "4", "1.5", "-0.283"] in lines
    assert not any(line[:1] == ["c"] for line in lines)
    shown = place.run("in.jsonl", "-o", "out2.jsonl", "--head", "99").stderr
    assert "[bold]" in shown
    assert "\x1b[31m" not in shown
