"""Advantages and allocators."""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels import rl, testing
from shapley_kernels.arrays import compute_dtype, narrowed, to_float64
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.testing.budget import PRECISION, dtype_name
from shapley_kernels.testing.subjects import COMBINATIONS
from tests.fuzz.inputs import ORDER, Form, batch, hostile, spoiled, value
from tests.fuzz.rig import Refused, Target, attempt, chance, pick, run, serve
from tests.fuzz.test_games import roundings
from tests.rl.test_advantages import oracle as advantages_of

LARGEST_SQUARE = 1e150
"""Of a difference that can be squared, with room for a sum."""


def options_of(rng: np.random.Generator) -> dict[str, Any]:
    chosen = {"center": pick(rng, CENTERS), "scale": pick(rng, SCALES)}
    if chance(rng, 0.3):
        chosen |= {
            "ddof": int(rng.integers(0, 4)),
            "min_std": pick(rng, (0.0, 1e-6, 0.5)),
            "eps": pick(rng, (0, 1e-4, 1)),
        }
    return chosen


def layout_of(rng: np.random.Generator, x: np.ndarray) -> tuple[np.ndarray, dict[str, Any], np.ndarray]:
    """Rows in one of the four layouts: the array, the keywords that say so, and the group of each row."""
    rows = len(x)
    sizes = [size for size in range(1, rows + 1) if rows % size == 0] or [1]
    size = pick(rng, sizes)
    kind = pick(rng, ("groups", "one", "num_generations", "group_ids"))
    if kind == "groups":
        return x.reshape(-(-rows // size), size if rows else 0, x.shape[-1]), {}, np.arange(rows) // size
    if kind == "one":
        return x, {}, np.zeros(rows, int)
    if kind == "num_generations":
        return x, {"num_generations": size}, np.arange(rows) // size
    ids = rng.integers(0, 3, rows)
    as_given = pick(rng, (list, np.asarray, torch.tensor, lambda ids: [f"prompt {i}" for i in ids], tuple))
    return x, {"group_ids": as_given(ids.tolist())}, ids


def check_advantages(
    found: Any, credits: np.ndarray, mask: np.ndarray, ids: np.ndarray, dtype: str, options: dict[str, Any]
) -> None:
    """Against the definition in rational numbers; credits, mask [rows, players]."""
    exact = [
        [Fraction(x) if on else Fraction(0) for x, on in zip(*row, strict=True)]
        for row in zip(credits.tolist(), mask.tolist(), strict=True)
    ]
    live = credits[mask]
    spread = np.ptp(live) if live.size else 0.0
    if options.get("min_std", 1e-6) == 0 and 0 < spread < 1e-140:
        return  # squares vanish
    try:
        expected = advantages_of(exact, mask.tolist(), ids.tolist(), **options).astype(float).reshape(credits.shape)
    except OverflowError:  # beyond float64
        return
    eps, quantum = PRECISION[dtype]
    if isinstance(found, Refused):
        assert spread > LARGEST_SQUARE or np.abs(expected).max(initial=0) > 0.99 * float(
            2 / quantum if dtype == "float64" else 6e4
        ), found.error
        return
    got = to_float64(found).reshape(expected.shape)
    assert (got[~mask] == 0).all()
    allowed = eps * 0.51 * np.abs(expected) + 1e-12 * np.abs(expected).max(initial=0) + quantum
    wrong = ~(np.abs(got - expected) <= allowed)
    assert not wrong.any() or near_a_threshold(credits, mask, ids, options), (
        f"{got}, not {expected}, of {credits} {options}"
    )


def near_a_threshold(credits: np.ndarray, mask: np.ndarray, ids: np.ndarray, options: dict[str, Any]) -> bool:
    """Whether rounding decides on which side of min_std a deviation falls: moving that a little changes the outcome."""
    least = options.get("min_std", 1e-6)
    exact = [
        [Fraction(x) if on else Fraction(0) for x, on in zip(*row, strict=True)]
        for row in zip(credits.tolist(), mask.tolist(), strict=True)
    ]
    sides = [
        advantages_of(exact, mask.tolist(), ids.tolist(), **{**options, "min_std": least * (1 + by)}) == 0
        for by in (-1e-9, 1e-9)
    ]
    return not np.array_equal(*sides)


def of_advantages(rng: np.random.Generator) -> None:
    """Credits with ties, offsets and any unit, in every layout and with every option."""
    form = Form.drawn(rng)
    data = batch(rng, sk.Max, form, rows=int(rng.integers(0, 7)))
    credits = form.numbers(np.nan_to_num(data.arrays["rewards"]))
    mask = np.ones(credits.shape, bool) if data.mask is None else data.mask
    shaped, layout, ids = layout_of(rng, credits)
    given = {"credits": form.placed(shaped), "mask": None, **layout, **options_of(rng)}
    if data.mask is not None:
        given["mask"] = form.placed(mask.reshape(shaped.shape))
    options = {key: given[key] for key in ("center", "scale", "ddof", "min_std", "eps") if key in given}
    found = attempt(sk.grpo_advantages, **given)
    if not isinstance(found, Refused):
        assert tuple(found.shape) == shaped.shape
        assert dtype_name(found.dtype) == form.result
        assert isinstance(found, torch.Tensor) == (form.container == "torch")
    check_advantages(found, credits, mask, ids, form.result, options)
    for _ in range(3):
        attempt(sk.grpo_advantages, **spoiled(rng, given))


def of_combined(rng: np.random.Generator) -> None:
    """The weighted sum of the advantages of each."""
    form, rows, players = Form.drawn(rng), int(rng.integers(1, 6)), int(rng.integers(1, 4))
    several = [batch(rng, sk.Max, form, players, rows, masked=False) for _ in range(int(rng.integers(1, 4)))]
    credits = [form.numbers(data.arrays["rewards"]) for data in several]
    shaped, layout, _ = layout_of(rng, np.concatenate(credits, 1))  # one layout for all
    parts = np.split(shaped, len(credits), -1)
    weights = pick(rng, (None, [1.0, -0.5, 2][: len(credits)]))
    given = {"credits": [form.placed(part) for part in parts], "weights": weights, **layout, **options_of(rng)}
    options = {key: given[key] for key in ("center", "scale", "ddof", "min_std", "eps") if key in given}
    found = attempt(rl.combine_advantages, **given)
    alone = [attempt(sk.grpo_advantages, part, **layout, **options) for part in parts]
    if not isinstance(found, Refused) and not any(isinstance(x, Refused) for x in alone):
        expected = sum(w * x for w, x in zip(weights or [1.0] * len(alone), alone, strict=True))
        size = max(np.abs(x).max(initial=0) for x in alone)
        eps, quantum = PRECISION[form.result]
        allowed = 8 * (eps + PRECISION["float32"][0] * (form.result != "float64")) * size + 4 * quantum
        assert (np.abs(to_float64(found) - expected) <= allowed).all(), (found, expected)
    for _ in range(2):
        attempt(rl.combine_advantages, **spoiled(rng, given))


BASELINES = (rl.Broadcast(), rl.WinnerTakesAll(), rl.PrefixMarginals())


def allocator_of(rng: np.random.Generator, **options: Any) -> rl.RewardAllocator:
    by = pick(rng, BASELINES) if chance(rng, 0.3) else value(rng, 4)
    return serve(rl.RewardAllocator, pick(rng, ORDER[:5]), by, **options)


def of_allocator(rng: np.random.Generator) -> None:
    """It is the composition of its parts, and refuses by name what these refuse."""
    form = Form.drawn(rng)
    data = batch(rng, sk.Max, form, rows=int(rng.integers(1, 6)))
    rewards, mask = form.numbers(np.nan_to_num(data.arrays["rewards"])), data.mask
    shaped, layout, groups = layout_of(rng, rewards)
    options = options_of(rng)
    choice = {name: pick(rng, known) for name, known in CHOICES.items()}
    allocator = allocator_of(rng, **options, **choice)
    given = {"rewards": form.placed(shaped), "mask": None if mask is None else form.placed(mask.reshape(shaped.shape))}
    game = allocator.utility(given["rewards"], mask=given["mask"])
    by = allocator.value
    credits = sk.semivalue(game, by) if isinstance(by, sk.Semivalue) else by.credits(game)
    same(serve(allocator.credits, **given), credits)
    ours = attempt(allocator.advantages, **given, **layout)
    if allocator.sizes == "share" or isinstance(by, rl.Broadcast):
        live = np.ones(shaped.shape, bool) if mask is None else mask.reshape(shaped.shape)
        sure = well_apart(to_float64(credits), live, groups, options, APART[form.result])
        size = np.abs(to_float64(credits)).max(initial=1) if options["scale"] == "none" else 1.0
        same(ours, attempt(sk.grpo_advantages, credits, given["mask"], **layout, **options), sure, size)
    elif not isinstance(ours, Refused):
        check_weighted(to_float64(ours), to_float64(credits), mask, groups, layout, options, form.result)
    of_sets = {**options, "center": "group" if options["center"] == "slot" else options["center"]}
    worth = attempt(advantages_of_sets, game.in_double(), game.dtype, {**layout, **of_sets})
    of_all = np.ones((*shaped.shape[:-1], 1), bool)
    sure = well_apart(to_float64(game.in_double().worth())[..., None], of_all, groups, of_sets, APART["float64"])
    same(attempt(allocator.set_advantages, **given, **layout), worth, sure[..., 0])
    ids = rng.integers(0, shaped.shape[-1] + 1, (*shaped.shape[:-1], 7))
    ids = torch.tensor(ids) if form.container == "torch" else ids
    tokens = attempt(allocator.token_advantages, given["rewards"], ids, given["mask"], **layout)
    if not isinstance(ours, Refused) and not isinstance(worth, Refused):
        outside = worth if allocator.outside == "set" else "zero"
        same(tokens, attempt(rl.scatter_to_tokens, ours, ids, outside=outside, length=allocator.length))
    for method in (allocator.credits, allocator.advantages, allocator.set_advantages):
        attempt(method, **spoiled(rng, {**given, **(layout if method != allocator.credits else {})}))
    attempt(allocator.token_advantages, **spoiled(rng, {**given, "candidate_ids": ids, **layout}))
    attempt(rl.RewardAllocator, **spoiled(rng, {"utility": sk.Max, "value": by, **options, **choice}))


def advantages_of_sets(wide: sk.games.Game, dtype: Any, options: dict[str, Any]) -> Any:
    """Of worths in float64, in that dtype."""
    return narrowed(sk.grpo_advantages(wide.worth()[..., None], **options)[..., 0], dtype, "advantages")


def check_weighted(
    found: np.ndarray,
    credits: np.ndarray,
    mask: Any,
    groups: np.ndarray,
    layout: dict[str, Any],
    options: dict[str, Any],
    dtype: str,
) -> None:
    """Advantages of credits times the number of candidates, but for what the rounding of credits makes of a small
    deviation."""
    eps = PRECISION[dtype][0]
    if eps > 1e-4:
        return
    live = np.ones(credits.shape, bool) if mask is None else mask.reshape(credits.shape)
    product = np.where(live, credits * live.sum(-1, keepdims=True), 0.0)
    if np.abs(product).max(initial=0) > LARGEST_SQUARE:
        return
    expected = sk.grpo_advantages(product, live, **layout, **options)
    allowed = 1e5 * eps * np.abs(expected if options["scale"] != "none" else product).max(initial=1)
    wrong = ~(np.abs(found - expected) <= allowed) & well_apart(product, live, groups, options, 1e-2, 1e-3)
    assert not wrong.any(), (found, expected)


APART = {"float64": 2.0**-43, "float32": 2.0**-18, "float16": 0.5, "bfloat16": 0.5}
"""By dtype of the credits, a spread beside the largest of them that is beyond what an allocator takes for rounding, and
that credits rounded to a dtype of two bytes keep."""


def well_apart(
    x: np.ndarray, live: np.ndarray, groups: np.ndarray, options: dict[str, Any], relative: float, least: float = 0.0
) -> np.ndarray:
    """bool of the shape of the credits `x` [..., players]: those which are divided by a deviation that rounding does
    not decide on, since they are not divided at all, or the spread is at least so much of the largest."""
    shape = (len(groups), x.shape[-1])
    flat, taking_part = x.reshape(shape), live.reshape(shape)
    sure = np.ones(shape, bool)
    for part in divided_alike(groups, shape, options) if options["scale"] != "none" else []:
        values = flat[part & taking_part]
        sure[part] = values.size and np.ptp(values) > max(least, relative * np.abs(values).max())
    return sure.reshape(live.shape)


def divided_alike(groups: np.ndarray, shape: tuple[int, ...], options: dict[str, Any]) -> list[np.ndarray]:
    """Of what advantages [rows, players] are divided by: where the numbers stand, bool [rows, players], whose
    deviation it is."""
    if options["scale"] != "group":
        return [np.ones(shape, bool)]
    rows = [np.broadcast_to((groups == group)[:, None], shape) for group in np.unique(groups)]
    if options["center"] != "slot":
        return rows
    return [part & (np.arange(shape[1]) == slot) for part in rows for slot in range(shape[1])]


CHOICES = {"outside": ("set", "zero"), "length": ("token", "candidate"), "sizes": ("worth", "share")}


def same(found: Any, expected: Any, sure: Any = True, size: float = 1.0) -> None:
    """Equal numbers, up to a few roundings of those of that size, in equal containers, or both refused; `sure`: where
    they have to be equal."""
    assert isinstance(found, Refused) == isinstance(expected, Refused), (found, expected)
    if isinstance(found, Refused):
        return
    assert type(found) is type(expected)
    assert found.dtype == expected.dtype
    eps = PRECISION[dtype_name(found.dtype)][0]
    allowed = 8 * eps * np.abs(to_float64(expected)).max(initial=size)  # what is on the way is not rounded to the dtype
    wrong = ~(np.abs(to_float64(found) - to_float64(expected)) <= allowed)
    assert not (wrong & sure).any(), f"{found}, not {expected}"


def of_baseline(by: rl.Baseline, rng: np.random.Generator) -> None:
    """Credits from worths in rational numbers."""
    form = Form.drawn(rng, integers=False)
    data = batch(rng, pick(rng, (*ORDER, *COMBINATIONS)), form, rows=int(rng.integers(1, 4)))
    game = data.placed(form.container, form.dtype).game()
    found = to_float64(serve(by.credits, game))
    assert not found.reshape(data.shape)[~data.live].any()
    for row, credits in enumerate(found.reshape(data.shape)):
        live, worth = game.live_players(row), game.exact_worth(row)
        expected = np.zeros(game.players)
        gain = worth(frozenset(live)) - worth(frozenset())
        if isinstance(by, rl.Broadcast):
            expected[live] = float(worth(frozenset(live)))
        elif isinstance(by, rl.PrefixMarginals):
            upto = [worth(frozenset(live[: k + 1])) for k in range(len(live))]
            expected[live] = [float(b - a) for a, b in zip([worth(frozenset()), *upto], upto, strict=False)]
        elif live:
            alone = {i: worth(frozenset({i})) for i in live}
            best = [i for i in live if alone[i] == max(alone.values())]
            expected[best] = float(gain / len(best))
        allowed = roundings(game, row, 8 * game.players, worth_rounded=True)
        assert (np.abs(credits - expected) <= allowed).all(), (credits, expected)
    attempt(by.credits, sk.Max(rng.random((2, 3))))


def of_swap(kind: type[Any], rng: np.random.Generator) -> None:
    """Credits against the other rollouts of the group, from worths in rational numbers."""
    form = Form.drawn(rng, integers=False)
    data = batch(rng, sk.Max, form, int(rng.integers(1, 5)), int(rng.integers(1, 6)))
    rewards = form.numbers(np.nan_to_num(data.arrays["rewards"]))
    mask = np.ones(rewards.shape, bool) if data.mask is None else data.mask
    by = serve(kind, pick(rng, (0.0, 0.5, 1, float(rng.random())))) if kind is rl.SuffixSwap else serve(kind)
    utility, ids = pick(rng, ORDER[:5]), rng.integers(0, 2, len(rewards))
    allocator = rl.RewardAllocator(utility, by, center="none", scale="none")
    given = {"rewards": form.placed(rewards), "mask": form.placed(mask), "group_ids": ids}
    found = serve(allocator.advantages, **given)
    assert dtype_name(found.dtype) == form.result
    found = to_float64(found)
    eps, quantum = PRECISION[compute_dtype(np.dtype("float64") if form.result == "float64" else np.dtype("float32"))]
    for group in set(ids.tolist()):
        rows = np.flatnonzero(ids == group)
        lists = [[Fraction(x) for x in rewards[row][mask[row]]] for row in rows]

        def worth(_: int, members: list[Fraction]) -> Fraction:
            return Fraction(utility.definition(members)) if members else Fraction(0)

        exact = serve(testing.exact_decisions, by, lists, worth)
        if isinstance(by, rl.SuffixSwap) and by.lam == 1:
            check_decisions(exact, lists, worth)
        for row, credits in zip(rows, exact, strict=True):
            expected = np.array([float(x) for x in credits])[:-1]
            size = max((abs(float(x)) for own in lists for x in own), default=0.0)
            allowed = 16 * (rewards.shape[1] + len(rows) + 2) * (eps * 4 * size + quantum)
            allowed = allowed + PRECISION[form.result][0] * np.abs(expected) + PRECISION[form.result][1]
            assert (np.abs(found[row][mask[row]] - expected) <= allowed).all(), (found[row], expected)
            assert not found[row][~mask[row]].any()
    attempt(allocator.advantages, **spoiled(rng, given))
    if kind is rl.SuffixSwap:
        attempt(kind, hostile(rng))


def check_decisions(exact: list[list[Fraction]], lists: list[list[Fraction]], worth: Callable[..., Fraction]) -> None:
    """With lam = 1, a decision is worth what the list is above those that others end from there on."""
    for i, own in enumerate(lists):
        others = [other for h, other in enumerate(lists) if h != i]
        for k in range(len(own) + 1):
            mixed = [worth(i, [*own[:k], *other[k:]]) for other in others]
            expected = worth(i, own) - sum(mixed, Fraction(0)) / len(mixed) if mixed else Fraction(0)
            assert exact[i][k] == expected, (exact, lists)


def of_rollouts(rng: np.random.Generator) -> None:
    """The semivalue of each group in rational numbers, centred; groups in any order and of any size."""
    form = Form.drawn(rng, integers=False)
    data = batch(rng, sk.Max, form, int(rng.integers(1, 7)), 1)
    rewards = form.numbers(np.nan_to_num(data.arrays["rewards"]))[0]
    mask = np.ones(rewards.shape, bool) if data.mask is None else data.mask[0]
    shaped, layout, ids = layout_of(rng, rewards[:, None])
    shaped = shaped[..., 0]
    utility, by = pick(rng, ORDER[:5]), value(rng, 4)
    given = {"rewards": form.placed(shaped), "mask": form.placed(mask.reshape(shaped.shape)), **layout}
    choice = {"utility": utility, "value": by, "center": pick(rng, ("none", "group"))}
    found = to_float64(serve(rl.rollout_advantages, **given, **choice)).reshape(-1)
    eps, quantum = PRECISION[form.result]
    for group in set(ids.tolist()):
        live = np.flatnonzero((ids == group) & mask)
        exact = testing.exact_semivalue(utility(rewards[live]), by)
        middle = sum(exact, Fraction(0)) / max(len(exact), 1) if choice["center"] == "group" else 0
        expected = np.array([float(x - middle) for x in exact])
        size = np.abs(rewards[live]).max(initial=0) * max(1, np.abs(by.size_weights(max(len(live), 1))).sum())
        allowed = 32 * (len(live) + 4) * (eps * size + quantum)
        assert (np.abs(found[live] - expected) <= allowed).all(), (found[live], expected)
    assert not found[~mask].any()
    for _ in range(2):
        attempt(rl.rollout_advantages, **spoiled(rng, {**given, **choice}))


TARGETS: dict[str, Target] = {
    "grpo_advantages": of_advantages,
    "rl.combine_advantages": of_combined,
    "RewardAllocator": of_allocator,
    **{f"rl.{type(by).__name__}": partial(of_baseline, by) for by in BASELINES},
    "rl.SuffixSwap": partial(of_swap, rl.SuffixSwap),
    "rl.CandidateSwap": partial(of_swap, rl.CandidateSwap),
    "rl.rollout_advantages": of_rollouts,
}


@pytest.mark.parametrize("name", TARGETS)
def test_rl(name: str) -> None:
    run(name, TARGETS[name])
