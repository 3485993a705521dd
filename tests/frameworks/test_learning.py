"""A run of benchmarks/learning: short, but real."""

import numpy as np
import pytest

from benchmarks.learning.runs import TARGETS, Run
from tests.conftest import need

pytestmark = pytest.mark.filterwarnings("default")  # those of TRL and transformers are theirs


@pytest.fixture(scope="module")
def training():
    need("trl")
    from benchmarks.learning import train

    return train


def test_a_run_can_be_repeated(training):
    first, again, other = (training.train(Run("cover", "SuffixSwap(0.5)", 1e-3, seed), steps=10) for seed in (0, 0, 1))
    assert first["held_out"] == again["held_out"]
    assert len(first["held_out"]) == 2
    assert {name: first[name] for name in training.CURVES} == {name: again[name] for name in training.CURVES}
    assert first["set_reward"] != other["set_reward"]
    assert len(first["set_reward"]) == 2
    assert np.isclose(first["candidates"], 6, atol=0.5).all()  # the warm start taught the format


def test_all_rollouts_are_twelve_tokens_for_targets_that_are_not_held_out(training, monkeypatch):
    lengths = []
    targets, score = set(), training.Recorder.set_reward

    def spied(self, prompts, completion_ids, **columns):
        lengths.extend(map(len, completion_ids))
        targets.update(columns["target"])
        return score(self, prompts, completion_ids, **columns)

    monkeypatch.setattr(training.Recorder, "set_reward", spied)
    monkeypatch.setattr(training.Recorder, "reward_of", lambda self, target: 0.0)
    training.train(Run("hit", "GRPO", 1e-3, 0), steps=5)
    assert len(lengths) == 5 * 64
    assert np.mean(np.array(lengths) == 12) > 0.99
    assert targets == set(TARGETS) - {Run("hit", "GRPO", 1e-3, 0).held_out}
