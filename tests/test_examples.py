"""The examples without a framework run and show what they say; the scorer of the example rollouts cannot be fooled."""

import importlib.util
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
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


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up, and examples import each other
    spec.loader.exec_module(module)
    return module


SOLVED = "def add(a, b):\n    return a + b\n"


@pytest.fixture(scope="module")
def scorer():
    return load("make_rollouts")


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


def test_unit_tests_share_the_mutants_that_they_kill(scorer, capsys):
    credits = load("unit_tests").main()
    mutants = [len(problem.wrong) for problem in scorer.load_problems()]
    assert credits.sum(1).tolist() == pytest.approx(mutants)  # every wrong program is caught by a test
    assert "kills" in capsys.readouterr().out


def test_what_a_judge_says_of_a_few_sets_is_near_what_it_says_of_all(capsys):
    found, truth = load("judge").main()
    assert truth.exact
    assert found.evaluations < truth.evaluations / 30
    assert np.abs(found.values - truth.values).max() < 5 * found.standard_errors.max()
    assert "standard error" in capsys.readouterr().out


def test_agents_share_the_reward_of_their_episode(capsys):
    worths, credits = load("agents").main()
    assert credits.sum(1) == pytest.approx(worths[:, -1] - worths[:, 0])
    assert credits[0, 2] == 0  # nothing in the prices needs letters corrected
    assert "need each other" in capsys.readouterr().out


def test_lists_of_films_become_better(capsys):
    runs = load("films").main()
    assert all(np.mean(worth[-30:]) > np.mean(worth[:10]) for worth in runs.values())
    assert np.mean(runs["SuffixSwap"]) > np.mean(runs["GRPO"])
    assert "updates" in capsys.readouterr().out


def test_the_page_names_every_example():
    page = (EXAMPLES.parent / "docs" / "guides" / "examples.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES.glob("*.py") if f"`{path.name}`" not in page] == []
