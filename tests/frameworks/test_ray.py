"""`shapley-allocate --engine ray` writes the files that it writes on one machine, byte for byte."""

import json
import os
import subprocess

import numpy as np
import pytest

from tests import GUARD
from tests.cli.conftest import COMMAND, Place, place  # noqa: F401
from tests.conftest import need

pytestmark = pytest.mark.filterwarnings("default")  # those of Ray are its own


@pytest.fixture(scope="module", autouse=True)
def cluster():
    need("ray")
    import ray

    # log_to_driver: else what Ray and its workers say on a busy machine comes into what the command says
    quiet = {"logging_level": "ERROR", "log_to_driver": False, "include_dashboard": False}
    ray.init(num_cpus=2, object_store_memory=100 * 2**20, **quiet)
    yield
    ray.shutdown()


def rows(count=300, seed=0):
    """Rows of few prompts, in any order: strings, one of them long, and integers that look like them."""
    rng = np.random.default_rng(seed)
    prompts = [1, 2, -3, "1", "2", "long " * 50, "é"]
    return [
        {
            "prompt_id": prompts[rng.integers(len(prompts))],
            "rewards": (rng.normal(size=n) * 10).tolist(),
            "n": i,
            "meta": {"tags": ["a"] * int(rng.integers(3)), "id": i % 2},
            "labels": rng.choice(["a", "b", "c"], n).tolist(),
            "topics": rng.random((n, rng.integers(1, 5))).tolist(),
        }
        for i, n in enumerate(rng.integers(1, 20, count).tolist())
    ]


def both(place, *arguments, out="out.jsonl", status=0):  # noqa: F811
    """What each engine wrote, by name of the file, and what it said."""
    found = []
    for engine in ("local", "ray"):
        before = place.names()
        options = () if out is None else ("-o", out)
        said = place.run(*arguments, *options, "--engine", engine, status=status).stderr
        written = {name: (place.path / name).read_bytes() for name in place.names() - before}
        for name in written:
            (place.path / name).unlink()
        found.append((written, [line for line in said.splitlines() if not line.startswith("time ")]))
    return found


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--scale", "batch"],
        ["--sizes", "share"],
        ["-u", "0.7*topm(3) + 0.3*max", "--prompt-column", "meta.id", "--prompt-column", "prompt_id"],
        ["-u", "coverage(topics)"],
        ["-u", "max + facility(topics) - 0.1*clusters(labels, rewards)", "--scale", "batch"],
        ["--scale", "batch", "--center", "loo", "-u", "mean", "-v", "broadcast"],
    ],
    ids=" ".join,
)
def test_json_lines(place: Place, options):  # noqa: F811
    everything = rows()
    place.write("a.jsonl", everything[:100])
    place.write("b.jsonl", [])
    place.write("c.jsonl", [*everything[100:], b"not json\n", {"prompt_id": 1, "rewards": None}])
    place.write("d.jsonl", [{"prompt_id": None, "rewards": [1], "topics": [[1]]}, *rows(20, seed=1)])
    names = [f"{name}.jsonl" for name in "abcd"]
    local, ray = both(place, *names, "--on-bad-row", "skip", "--head", "3", *options)
    assert local == ray
    assert set(local[0]) == {"out.jsonl", "out.jsonl.bad.jsonl"}
    assert local[0]["out.jsonl"].count(b"\n") == 320
    assert local[0]["out.jsonl.bad.jsonl"].count(b"\n") == 3


def test_parquet(place: Place):  # noqa: F811
    """Out of JSON lines, whose types are guessed, and out of Parquet."""
    import pyarrow.parquet as pq

    everything = [{**row, "prompt_id": str(row["prompt_id"])} for row in rows()]
    place.write("a.jsonl", everything[:100])
    place.write("b.jsonl", [{**row, "n": float(row["n"]), "more": [1, "x"]} for row in everything[100:]])
    local, ray = both(place, "a.jsonl", "b.jsonl", out="out.parquet")
    assert local == ray
    (place.path / "in.parquet").write_bytes(local[0]["out.parquet"])
    assert pq.read_table("in.parquet").num_rows == 300
    renamed = ("--credits-column", "c", "--advantages-column", "a")
    local, ray = both(place, "in.parquet", "in.parquet", *renamed, out="out.jsonl.gz")
    assert local == ray


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (b"not json\n", "b.jsonl, line 2: expected a JSON object"),
        ({"prompt_id": 1, "rewards": [1e308, -1e308, 1e308]}, "some rewards are too large"),
        ({"prompt_id": 1, "rewards": [1], "credits": []}, "the column 'credits' is there already"),
    ],
)
def test_errors_are_the_same(place: Place, bad, said):  # noqa: F811
    place.write("a.jsonl", rows(5))
    place.write("b.jsonl", [*rows(1), bad, b"neither\n"] if said.startswith("b") else [*rows(1), bad])
    local, ray = both(place, "a.jsonl", "b.jsonl", status=2)
    assert local == ray
    assert said in local[1][-1]
    assert local[0] == {}


def test_no_rows(place: Place):  # noqa: F811
    place.write("a.jsonl", [])
    local, ray = both(place, "a.jsonl", status=3)
    assert local == ray
    assert local[0] == {"out.jsonl": b""}


def test_what_it_refuses(place: Place):  # noqa: F811
    place.write("a.jsonl", rows(2))
    os.mkfifo("pipe")
    for arguments, status, said in (
        (["-"], 2, "--engine ray: expected files that all machines see, found the stream '-'"),
        (["pipe"], 2, "--engine ray: expected files that all machines see, found the stream 'pipe'"),
        (["a.jsonl", "--plot", "p.png"], 2, "--engine ray draws no --plot"),
        (["missing.jsonl"], 1, "missing.jsonl: No such file or directory"),
        (["."], 2, ".: expected a file, found a directory"),
    ):
        assert said in place.run(*arguments, "-o", "out.jsonl", "--engine", "ray", status=status).stderr
        assert place.names() == {"a.jsonl", "pipe"}


def test_a_file_that_a_worker_does_not_see(place: Place, monkeypatch):  # noqa: F811
    from shapley_kernels.cli import ray_engine
    from shapley_kernels.cli.rows import Columns

    path = place.write("a.jsonl", rows(2))
    file = ray_engine.File.at("a.jsonl", path)
    path.unlink()
    problem = ray_engine._read(file, 0, ray_engine.JsonLines, Columns(), False, False, 0, 1)[1].problem
    assert (
        problem
        == "a.jsonl: a worker of Ray cannot read it (No such file or directory); all machines must see the files"
    )
    path.write_bytes(b"{}\n")
    problem = ray_engine._read(file, 0, ray_engine.JsonLines, Columns(), False, False, 0, 1)[1].problem
    assert problem.startswith("a.jsonl: the file changed while it was read")


def test_the_command_starts_ray_itself(place: Place):  # noqa: F811
    place.write("a.jsonl", rows(10))
    place.run("a.jsonl", "-o", "local.jsonl")
    setting = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    command = [*COMMAND, "a.jsonl", "-o", "ray.jsonl", "--engine", "ray"]
    done = subprocess.run(command, capture_output=True, text=True, env=setting, timeout=GUARD, check=False)
    assert done.returncode == 0, done.stderr
    assert (place.path / "ray.jsonl").read_bytes() == (place.path / "local.jsonl").read_bytes()
    assert [row["n"] for row in place.rows("ray.jsonl")] == list(range(10))
    assert json.loads((place.path / "ray.jsonl").read_text().splitlines()[0])["credits"]
    assert done.stderr.splitlines()[0].startswith("rollouts")  # nothing of Ray's own
