"""What tools say in the rollouts of TRL: loops of its own, rollout functions, environments."""

import inspect
import json

import pytest

import shapley_kernels as sk
from shapley_kernels import rl
from tests.frameworks.rollouts import REWARDS, TEXTS, assert_candidate_advantages

pytestmark = pytest.mark.filterwarnings("default")  # those of TRL and transformers are theirs


def with_tool_output(trl_run, texts=TEXTS, columns=()):
    """A rollout function whose rollouts hold a list that a tool wrote, in the middle of the model's."""

    def rollout(prompts, trainer):
        found = trl_run.scripted(texts)(prompts, trainer)
        tool = trl_run.TOKENIZER('["9", "9"]')["input_ids"]
        own = found["completion_ids"]
        return found | {
            "completion_ids": [[row[0], *tool, *row[1:]] for row in own],
            "logprobs": [[0.0] * (len(row) + len(tool)) for row in own],
            "env_mask": [[1] + [0] * len(tool) + [1] * (len(row) - 1) for row in own],
            **{name: [f"{name} {i}" for i in range(len(own))] for name in columns},
        }

    return rollout


def test_candidates_are_looked_for_in_the_tokens_of_the_model(trl_run):
    """The same advantages as without the tool, on the model's tokens, and a step of the same size."""
    plain, _ = trl_run.scored_batch(trl_run.make())
    trainer = trl_run.make(rollout=with_tool_output(trl_run))
    batch, _ = trl_run.scored_batch(trainer)
    assert trainer._scored[1].texts == [json.loads(text) for text in TEXTS]
    for row, wanted, mask, own in zip(
        batch["advantages"], plain["advantages"], batch["tool_mask"], plain["completion_mask"], strict=True
    ):
        tokens = int(own.sum())
        assert row[mask.bool()][:tokens].tolist() == wanted[:tokens].tolist()
        assert not row[~mask.bool()].any()
    start = trl_run.parameters(trainer)
    trainer.train()
    assert (trl_run.parameters(trainer) - start).abs().max() > 1e-4
    cut = trl_run.make(
        rollout=with_tool_output(trl_run), config={"mask_truncated_completions": True, "max_completion_length": 9}
    )
    trl_run.scored_batch(cut)


def test_the_loop_of_tools(trl_run):
    """TRL calls the tool when the model writes so: lists in calls and in what the tool says are no candidates."""
    trainer = trl_run.with_tools()
    batch, ids = trl_run.scored_batch(trainer)
    assert trainer._scored[1].texts == [json.loads(text) for text in TEXTS]
    assert_candidate_advantages(batch["advantages"], ids)
    for row, mask, length, drafts in zip(
        batch["completion_ids"], batch["tool_mask"], batch["completion_mask"].sum(1), ("8", None, "8", "8"), strict=True
    ):
        text, told = (trainer.processing_class.decode(row[:length][mask[:length] == own].tolist()) for own in (1, 0))
        assert (f'["{drafts}"]' in text) == (drafts is not None) == ("<tool_response>" in told)
    assert trainer._metrics["train"]["tools/call_frequency"] == [5 / 4]
    assert trainer._metrics["train"]["tools/failure_frequency"] == pytest.approx([1 / 5])
    assert trainer._metrics["train"]["reward"] == [3.0]


def test_calls_lead_to_the_candidates_behind_them(trl_run):
    """Under SuffixSwap a call of the model gets the advantage of the first candidate, what the tool says nothing."""
    trainer = trl_run.with_tools(allocator=rl.RewardAllocator(value=rl.SuffixSwap()))
    batch, ids = trl_run.scored_batch(trainer)
    own = batch["tool_mask"].numpy() * batch["completion_mask"].numpy()
    for row, mask, of_row in zip(batch["advantages"].numpy(), own, ids, strict=True):
        first = int((of_row > 0).argmax())
        assert set(row[:first][mask[:first] == 1]) <= {row[first]}
        assert not row[mask == 0].any()


@pytest.mark.parametrize(
    ("config", "problems"),
    [
        ({"max_tool_calling_iterations": 1}, [None, None, None, "malformed"]),  # it ends with a call
        ({"max_completion_length": 160}, ["malformed", None, "truncated", "malformed"]),  # two answers have no room
    ],
    ids=["calls", "length"],
)
def test_a_loop_of_tools_that_is_cut(trl_run, config, problems):
    trainer = trl_run.with_tools(config=config)
    batch, _ = trl_run.scored_batch(trainer)
    scored = trainer._scored[1]
    assert scored.problems == problems
    assert scored.set_rewards.tolist() == [0.0 if bad else max(row) for bad, row in zip(problems, REWARDS, strict=True)]
    assert not batch["advantages"][batch["tool_mask"] == 0].any()
    trainer.train()


def test_tools_of_an_environment(trl_run):
    """One for each rollout, which the score gets; a reward of its own is refused."""
    from trl import GRPOTrainer

    from tests.frameworks import tool_calls

    class Environment:
        def reset(self, **_):
            self.calls = 0

        def rewards_of(self, rollout: int, drafts: list[str]) -> str:
            self.calls += 1
            return tool_calls.rewards_of(rollout, drafts)

    Environment.rewards_of.__doc__ = tool_calls.rewards_of.__doc__

    class Rewarding(Environment):
        def get_reward(self):
            return 1.0

    def score(text, environments):
        return float(text) - environments.calls

    found = trl_run.with_tools(tools=[], environment_factory=Environment, score=score)
    trl_run.scored_batch(found)
    assert found._scored[1].set_rewards.tolist() == [4.0, 5.0, -1.0, -1.0]
    if "get_reward" not in inspect.getsource(GRPOTrainer):
        return  # this version of TRL has no such rewards
    with pytest.raises(ValueError, match=r"0 for \['Rewarding'\], got \[1.0, 1.0\]; .* which may take `environments`"):
        trl_run.with_tools(tools=[], environment_factory=Rewarding)


def test_turns_as_candidates(trl_run):
    """What the model wrote before the tool and behind it: two players, of which the second has the larger credit."""

    def score(texts, prompts):
        return [float(len(text)) for text in texts]

    scorer = rl.SetScorer(score, rl.segments, trl_run.TOKENIZER, sk.Mean, takes="set")
    trainer = trl_run.make(rollout=with_tool_output(trl_run), scorer=scorer)
    batch, ids = trl_run.scored_batch(trainer)
    scored = trainer._scored[1]
    assert [len(texts) for texts in scored.texts] == [2] * 4
    mask = batch["tool_mask"].numpy() * batch["completion_mask"].numpy()
    assert (ids == rl.segments(mask)[:, : ids.shape[1]]).all()
    wanted = trainer.allocator.token_advantages(scored.rewards, rl.segments(mask), scored.mask, num_generations=2)
    assert batch["advantages"].numpy() == pytest.approx(wanted * mask, rel=1e-5, abs=1e-6)


def test_columns_of_a_rollout_function(trl_run):
    seen = []

    def score(text, verdict):
        seen.append(verdict)
        return float(text)

    rollout = with_tool_output(trl_run, columns=["verdict"])
    trl_run.scored_batch(trl_run.make(rollout=rollout, scorer=trl_run.scorer(score)))
    assert seen == [f"verdict {i}" for i, text in enumerate(TEXTS) for _ in json.loads(text)]
    with pytest.raises(TypeError, match=r"score is called with \(text\), got .*'verdict'"):
        trl_run.scored_batch(trl_run.make(scorer=trl_run.scorer(score)))
