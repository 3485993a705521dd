"""The example rollouts hold what the README's command is run on, and the scorer cannot be fooled."""

import importlib.util
import json
import sys
from collections import defaultdict
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in (EXAMPLES / "rollouts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_size_and_kinds(rows):
    by_prompt = defaultdict(list)
    for row in rows:
        by_prompt[row["prompt_id"]].append(row)
        assert 2 <= len(row["candidates"]) == len(row["rewards"]) <= 8
        assert all(0 <= reward <= 1 for reward in row["rewards"])
    assert len(by_prompt) == 10
    assert {len(group) for group in by_prompt.values()} == {8}
    rewards = [reward for row in rows for reward in row["rewards"]]
    assert 0.0 in rewards
    assert 1.0 in rewards
    assert any(0 < reward < 1 for reward in rewards)


def test_sets_tie_where_candidates_differ(rows):
    by_prompt = defaultdict(list)
    for row in rows:
        by_prompt[row["prompt_id"]].append(row["rewards"])
    tied = [len({max(r) for r in group}) == 1 for group in by_prompt.values()]
    assert any(tied)
    assert not all(tied)


def load():
    spec = importlib.util.spec_from_file_location("make_rollouts", EXAMPLES / "make_rollouts.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_rollouts"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


SOLVED = "def add(a, b):\n    return a + b\n"


@pytest.fixture(scope="module")
def scorer():
    return load()


def score(scorer, source):
    tests = [((1, 2), 3), ((0, 0), 0), ((-1, 1), 0), ((2, 2), 4)]
    return scorer.score(scorer.Problem("add", "", tests, {}, {}, False), source)


@pytest.mark.parametrize(
    ("source", "reward"),
    [
        (SOLVED, 1.0),
        ("def add(a, b):\n    while a < 0:\n        pass\n    return a + b\n", 0.75),  # hangs on one test
        ("def add(a, b):\n    if a == 2:\n        raise SystemExit\n    return a + b\n", 0.75),
        ("import os\ndef add(a, b):\n    if a == 2:\n        os._exit(0)\n    return a + b\n", 0.75),
        ("def add(a, b):\n    print((0, 3, (1, 2)), flush=True)\n", 0.0),  # prints what an answer looks like
        ("def add(a, b) return a + b\n", 0.0),
        ("def plus(a, b):\n    return a + b\n", 0.0),
    ],
    ids=["right", "hangs", "exits", "os._exit", "prints", "syntax error", "other name"],
)
def test_reward_is_the_share_of_tests_passed(scorer, source, reward):
    assert score(scorer, source) == reward


def test_rescoring_reproduces_committed_rows(scorer, rows):
    problem = next(p for p in scorer.load_problems() if p.name == "chunk_list")
    rewards = {source: scorer.score(problem, source) for source in problem.pool.values()}
    committed = [row for row in rows if row["prompt_id"] == "chunk_list"]
    assert len(committed) == 8
    for row in committed:
        assert row["rewards"] == [rewards[source] for source in row["candidates"]]
