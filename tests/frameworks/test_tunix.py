"""The recipe of docs/guides/recipes.md in Tunix's own learner, its loss, and arrays of JAX through DLPack."""

import json
import sys
import types
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest

import shapley_kernels as sk
from shapley_kernels import rl
from tests.conftest import need
from tests.frameworks.rollouts import GROUP, REWARDS, TEXTS, assert_candidate_advantages
from tests.test_recipes import UNEVEN, VOCABULARY, expected, rollouts, run

pytestmark = pytest.mark.filterwarnings("default")  # those of Tunix and JAX are theirs


@pytest.fixture(autouse=True)
def tunix(monkeypatch):
    need("tunix")
    monkeypatch.setitem(sys.modules, "transformers", types.ModuleType("transformers"))
    sys.modules["transformers"].AutoTokenizer = SimpleNamespace(from_pretrained=lambda name: VOCABULARY)
    import tunix.rl.grpo.grpo_learner as learner

    monkeypatch.setitem(sys.modules, "shape", run("shape"))
    return learner


def example(tunix, texts):
    """What the learner makes of scripted rollouts, with rewards that tie."""
    learner = object.__new__(run("shape_tunix").ShapeGRPOLearner)
    learner.algo_config = tunix.GRPOConfig(num_generations=GROUP, beta=0.0, loss_agg_mode="token-mean")
    learner.algo_config.temperature = 1.0
    learner.metric_fns, learner._rollout_micro_batch_size = [], 1
    learner._compute_rewards = lambda **_: np.ones(len(texts))
    span = SimpleNamespace(span=lambda *_, **__: nullcontext())
    output = SimpleNamespace(
        tokens=[np.array(row) for row in rollouts(texts)],
        text=texts,
        left_padded_prompt_tokens=np.full((len(texts), 2), 65),
    )
    learner.rl_cluster = SimpleNamespace(
        cluster_config=SimpleNamespace(rollout_config=SimpleNamespace(max_tokens_to_generate=32)),
        rollout=SimpleNamespace(pad_id=lambda: 0, eos_id=lambda: 256),
        generate=lambda **_: output,
        global_steps=0,
        perf=span,
        perf_v2=span,
        buffer_metrics=lambda *_, **__: None,
    )
    return learner._generate_and_compute_advantage({"prompts": ["a", "a", "b", "b"]}), learner.algo_config


def test_learner(tunix):
    for texts in (TEXTS, UNEVEN):
        found, _ = example(tunix, texts)
        assert isinstance(found, tunix.TrainExample)
        assert found.advantages.shape == found.completion_ids.shape == (4, 32)
        assert found.advantages.dtype == np.float32
        for row, wanted in zip(np.asarray(found.advantages), expected(texts), strict=True):
            np.testing.assert_allclose(row, np.pad(wanted, (0, 32 - len(wanted))), rtol=0, atol=2e-6)
    ids = rl.candidate_ids(np.asarray(example(tunix, TEXTS)[0].completion_ids), VOCABULARY, rl.json_list()).ids
    assert_candidate_advantages(example(tunix, TEXTS)[0].advantages, ids)


def test_each_token_is_trained_by_its_advantage(tunix, monkeypatch):
    """The gradient of Tunix's loss with respect to the log-probabilities."""
    import jax.numpy as jnp
    from flax import nnx
    from tunix.rl import algo_core, common

    class Model(nnx.Module):
        def __init__(self):
            self.log_p = nnx.Param(jnp.full((4, 32), -1.0))

    def logps(graphdef, state, **_):
        return nnx.merge(graphdef, state).log_p[...], jnp.zeros((4, 32, 3))

    monkeypatch.setattr(common, "compute_per_token_logps", logps)
    found, config = example(tunix, UNEVEN)
    loss = lambda model: algo_core.grpo_loss_fn(model, found, config, pad_id=0, eos_id=256)[0]  # noqa: E731
    gradient = np.asarray(nnx.grad(loss)(Model()).log_p[...])
    mask = np.asarray(found.completion_mask)
    wanted = -np.asarray(found.advantages) * mask / mask.sum()
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=1e-8)
    assert (gradient != 0).sum() > 30


def test_arrays_of_jax(tunix):
    """In and out through DLPack."""
    import jax
    import jax.numpy as jnp

    rewards, mask = (jnp.asarray(x) for x in sk.pad(REWARDS))
    credits = sk.shapley(sk.Max(rewards, mask=mask))
    assert isinstance(credits, jax.Array)
    assert credits.dtype == rewards.dtype == jnp.float32
    np.testing.assert_allclose(credits.sum(1), list(map(max, REWARDS)), rtol=1e-6)
    ids = jnp.asarray([[1, 1, 2, 3, 0], [0, 1, 2, 2, 0], [1, 2, 2, 3, 0], [2, 1, 0, 0, 1]])
    tokens = sk.RewardAllocator().token_advantages(rewards, ids, mask, num_generations=GROUP)
    assert isinstance(tokens, jax.Array)
    assert_candidate_advantages(tokens, ids)
    assert json.dumps(tokens.tolist())
