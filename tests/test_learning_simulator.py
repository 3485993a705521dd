"""The simulator of benchmarks/learning: its closed forms are the package's, and its gradients those of the policy."""

import numpy as np
import pytest

import shapley_kernels as sk
from benchmarks.learning import simulator, training
from benchmarks.learning.simulator import ITEMS, UTILITIES, Instances, K
from shapley_kernels import rl
from shapley_kernels.testing import exact_decisions


def sets_of(utility, ragged, cost=0.05, groups=2, rollouts=3, seed=0):
    """Task, data [groups, rollouts, K, features] and mask, the first candidate of each list live."""
    task, rng = Instances(utility, [seed], cost), np.random.default_rng(seed)
    data = task.data[0, 0, rng.integers(ITEMS, size=(groups, rollouts, K))]
    count = rng.integers(1, K + 1, size=(groups, rollouts, 1))
    return task, data, np.arange(K) < count if ragged else None


def credit_by_definition(task, value, data, mask):
    """SuffixSwap and CandidateSwap of sets of data, [groups, rollouts, K + 1]."""

    def worth(_, members):
        x = np.zeros((1, K, data.shape[-1]), data.dtype)
        x[0, : len(members)] = members
        return float(task.game(x[..., 0], np.arange(K)[None] < len(members), data=x).worth()[0])

    lengths = np.full(data.shape[:2], K) if mask is None else mask.sum(-1)
    credits = np.zeros((*data.shape[:2], K + 1))
    for group, x, n in zip(credits, data, lengths, strict=True):
        lists = [list(row[:length]) for row, length in zip(x, n, strict=True)]
        for out, found in zip(group, exact_decisions(value, lists, worth), strict=True):
            out[: len(found)] = found
    return credits


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("value", [rl.CandidateSwap(), rl.SuffixSwap(0.5), rl.SuffixSwap(1.0)], ids=str)
@pytest.mark.parametrize("utility", ["redundancy", "cover", "facility"])
def test_credits_against_the_group_are_those_of_their_definition(utility, value, ragged):
    """In closed form for `redundancy`, by the package for the others; normalised alike."""
    task, data, mask = sets_of(utility, ragged)
    credits, live = credit_by_definition(task, value, data, mask), np.ones(data.shape[:3]) if mask is None else mask
    stop = np.take_along_axis(credits, live.sum(-1).astype(int)[..., None], -1)[..., 0]
    for scale in ("group", "none"):
        expected = simulator.normalised(credits[..., :K], stop, mask, scale)
        found = simulator.advantages(task, simulator.Scheme(value), scale, data, mask)
        np.testing.assert_allclose(found[0] * live, expected[0] * live, atol=2e-3 if scale == "group" else 1e-5)
        if ragged and isinstance(value, rl.SuffixSwap):
            np.testing.assert_allclose(found[1], expected[1], atol=2e-3 if scale == "group" else 1e-5)


@pytest.mark.parametrize("scale", ["group", "none"])
def test_the_normalisation_is_that_of_the_package(scale):
    rng = np.random.default_rng(0)
    credits, mask = rng.normal(size=(3, 4, K)), rng.random((3, 4, K)) < 0.7
    expected = sk.grpo_advantages(credits, mask, scale=scale)
    found, stop = simulator.normalised(credits, credits[..., 0], mask, scale)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(stop[mask[..., 0]], expected[..., 0][mask[..., 0]], atol=1e-12)


@pytest.mark.parametrize("utility", UTILITIES)
def test_sets_are_worth_what_the_tasks_say(utility):
    task, data, mask = sets_of(utility, ragged=True, cost=0.03)
    found = task.game(data[..., 0], mask, data=data).worth()
    for b, g in np.ndindex(*found.shape):
        some = data[b, g][mask[b, g]].astype(float)
        r, n = some[:, 0], len(some)
        worth = {
            "hit": lambda r=r: r.max(),
            "pass@k": lambda r=r: r.max(),
            "top-3": lambda r=r: np.sort(r)[-3:].sum() / 3,
            "cover": lambda r=r: len(set(r) - {0}) / 6,
            "facility": lambda some=some: some.max(0).mean(),
            "redundancy": lambda r=r, some=some: (
                r.sum() - 0.7 / 6 * np.triu((some[:, 1:] @ some[:, 1:].T) ** 2, 1).sum()
            ),
        }[utility]()
        assert found[b, g] == pytest.approx(worth - 0.03 * n, abs=1e-6)


def test_gradients_are_those_of_the_log_probabilities():
    """sum_k A_k log p(decision k) / sets of the drawn decisions, by differences."""
    rng, width, prompts, rollouts = np.random.default_rng(0), ITEMS + 1, 2, 2
    w, c, b = (0.5 * rng.normal(size=(1, rows, width)) for rows in (simulator.PROMPTS, width, K))
    b[..., -1] += 2.5  # so that some lists end early
    asked = np.array([[5, 2]])
    prompt = np.repeat(asked, rollouts, 1)
    drawn = list(simulator.sample(w[np.zeros((1, 1), int), prompt], b, c, np.random.default_rng(1)))
    credit, stop = rng.normal(size=(1, prompts * rollouts, K)), rng.normal(size=(1, prompts * rollouts))

    def objective(w, c, b):
        total = 0.0
        for s, x in enumerate(prompt[0]):
            before = []
            for k, (_, item, going, listed, _) in enumerate(drawn):
                if going[0, s]:
                    logits = w[0, x] + b[0, k] + sum((c[0, i] for i in before), np.zeros(width))
                    logp = logits[item[0, s]] - np.log(np.exp(logits).sum())
                    total += (credit[0, s, k] if listed[0, s] else stop[0, s]) * logp
                    before.append(item[0, s])
        return total / prompt.size

    assert any(not listed.all() for _, _, _, listed, _ in drawn)
    found = list(simulator.gradients(drawn, credit, stop, asked))
    arrays = [w, c, b]
    for which, gradient in enumerate(found):
        for place in [np.unravel_index(np.abs(gradient).argmax(), gradient.shape), (0, 2, 3)]:
            moved = []
            for sign in (1e-5, -1e-5):
                changed = [x.copy() for x in arrays]
                changed[which][place] += sign
                moved.append(objective(*changed))
            assert gradient[place] == pytest.approx((moved[0] - moved[1]) / 2e-5, abs=1e-6)


@pytest.mark.parametrize("best", [-9, -5, 2])
def test_rates_are_tuned_until_the_best_is_at_no_edge(best):
    tuned = training.tune(lambda rates: [-((np.log2(rate) - best) ** 2) for rate in rates], simulator.RATES)
    assert max(tuned, key=tuned.get) in list(tuned)[1:-1]


def test_every_cell_says_something_of_its_own():
    planned = list(simulator.plan())
    assert len(set(planned)) == len(planned) == 6 * 14 * len(simulator.TABLES)
