"""A run of benchmarks/learning: short, but real."""

import numpy as np
import pytest

from tests.conftest import need

pytestmark = pytest.mark.filterwarnings("default")  # those of TRL and transformers are theirs


@pytest.fixture(scope="module")
def training():
    need("trl")
    from benchmarks.learning import train

    return train


def test_a_run_can_be_repeated(training):
    first, again, other = (training.train("cover", "Shapley", 1e-3, seed, steps=10) for seed in (0, 0, 1))
    assert {name: first[name] for name in training.CURVES} == {name: again[name] for name in training.CURVES}
    assert first["set_reward"] != other["set_reward"]
    assert len(first["set_reward"]) == 2
    assert np.isclose(first["candidates"], 6, atol=0.5).all()  # the warm start taught the format


def test_all_responses_are_twelve_tokens(training, monkeypatch):
    lengths = []
    score = training.Recorder.set_reward

    def spied(self, prompts, completion_ids, **columns):
        lengths.extend(map(len, completion_ids))
        return score(self, prompts, completion_ids, **columns)

    monkeypatch.setattr(training.Recorder, "set_reward", spied)
    training.train("hit", "GRPO", 1e-3, 0, steps=5)
    assert len(lengths) == 5 * 64
    assert np.mean(np.array(lengths) == 12) > 0.99
