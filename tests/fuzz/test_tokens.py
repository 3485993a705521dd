"""Tokens and their codec, diagnostics."""

from collections.abc import Callable
from functools import partial
from statistics import pstdev
from typing import Any

import numpy as np
import pytest
import torch

from shapley_kernels import rl
from shapley_kernels.arrays import to_float64
from shapley_kernels.testing.budget import PRECISION, dtype_name
from tests.fuzz.inputs import ORDER, Form, hostile, spoiled
from tests.fuzz.rig import Refused, Target, attempt, chance, pick, run, serve
from tests.rl.test_codec import assert_equal, random_rows


def tokens_of(
    advantages: list[list[float]], rows: list[list[int]], outside: list[float], length: str
) -> list[list[float]]:
    """The definition of `scatter_to_tokens`, one list per rollout; rows: the ids of each."""
    result = []
    for values, ids, rest in zip(advantages, rows, outside, strict=True):
        counts = {k: list(ids).count(k) for k in set(ids) - {0}}
        average = sum(counts.values()) / len(counts) if counts else 0.0
        out = []
        for k in ids:
            weight = average / counts[k] if k and length == "candidate" else 1.0
            out.append(values[k - 1] * weight if k else rest)
        result.append(out)
    return result


def of_scatter(rng: np.random.Generator) -> None:
    """Padded and packed rows, both lengths."""
    form = Form.drawn(rng)
    rollouts, players, tokens = int(rng.integers(0, 4)), int(rng.integers(0, 5)), int(rng.integers(0, 9))
    advantages = form.numbers(rng.integers(-8, 9, (rollouts, players)) / 8)
    outside = form.numbers(rng.integers(-8, 9, rollouts) / 8)
    lengths = rng.integers(0, tokens + 1, rollouts) if chance(rng, 0.4) else None
    rows = [rng.integers(0, players + 1, tokens if lengths is None else lengths[i]) for i in range(rollouts)]
    ids = np.concatenate([*rows, np.zeros(0, int)]) if lengths is not None else np.array(rows).reshape(rollouts, tokens)
    kind = pick(rng, ("int64", "int32", "int16", "uint8"))
    ids = torch.tensor(ids).to(getattr(torch, kind)) if form.container == "torch" else ids.astype(kind)
    given = {"advantages": form.placed(advantages), "candidate_ids": ids, "length": pick(rng, ("token", "candidate"))}
    if chance(rng, 0.5):
        given["outside"] = form.placed(outside)
    if lengths is not None:
        given["cu_seqlens"] = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    found = serve(rl.scatter_to_tokens, **given)
    assert dtype_name(found.dtype) == form.result
    assert tuple(found.shape) == tuple(ids.shape)
    rest = outside if "outside" in given else np.zeros(rollouts)
    expected = tokens_of(advantages.tolist(), [row.tolist() for row in rows], rest.tolist(), given["length"])
    flat = np.array([x for row in expected for x in row])
    eps, quantum = PRECISION[form.result]
    wide = PRECISION["float64" if form.result == "float64" else "float32"][0]
    allowed = (
        np.abs(flat) * (0 if given["length"] == "token" else 0.51 * eps + 4 * wide)
        + (given["length"] != "token") * quantum
    )
    assert (np.abs(to_float64(found).reshape(-1) - flat) <= allowed).all(), (found, expected)
    for _ in range(3):
        attempt(rl.scatter_to_tokens, **spoiled(rng, given))


def of_codec(function: Callable[..., Any], rng: np.random.Generator) -> None:
    """There and back; what was changed on the way is noticed."""
    credits, mask, ids, token_mask = random_rows(int(rng.integers(1 << 40)), rows=3, width=3, tokens=12)
    given = {"credits": credits, "candidate_ids": ids, "mask": mask, "token_mask": token_mask}
    in_torch = chance(rng, 0.3)
    placed = {key: torch.tensor(x) for key, x in given.items()} if in_torch else given
    rewards = serve(rl.encode_credits, **placed)
    assert dtype_name(rewards.dtype) == "float32"
    assert_equal(serve(rl.decode_credits, rewards, token_mask=placed["token_mask"]), credits, mask, ids)
    changed = to_float64(rewards).astype(np.float32)
    if mask.any():
        where = pick(rng, np.argwhere(changed != 0).tolist())
        changed[tuple(where)] *= np.float32(1.5)
        noticed = attempt(rl.decode_credits, changed, token_mask=token_mask)
        assert isinstance(noticed, Refused) or np.array_equal(changed, to_float64(rewards)), f"{changed} at {where}"
    for _ in range(2):
        if function is rl.encode_credits:
            attempt(function, **spoiled(rng, placed))
        else:
            attempt(function, **spoiled(rng, {"token_rewards": rewards, "token_mask": placed["token_mask"]}))


def of_reward_codec(rng: np.random.Generator) -> None:
    """A row sums to what the set is worth, and is read again."""
    rewards, mask, ids, token_mask = random_rows(int(rng.integers(1 << 40)), rows=3, width=3, tokens=14)
    worth = rng.integers(-8, 9, len(rewards)) / 8
    given = {"rewards": rewards, "worth": worth, "candidate_ids": ids, "mask": mask, "token_mask": token_mask}
    encoded = serve(rl.encode_rewards, **given)
    np.testing.assert_allclose(encoded.sum(1)[mask.any(1)], worth[mask.any(1)], rtol=0, atol=1e-5)
    serve(rl.decode_rewards, encoded, token_mask=token_mask)


def count(rewards: np.ndarray, mask: np.ndarray, ids: list[int], utility: Any) -> dict[str, float]:
    """`diagnostics` in plain Python; rewards, mask [N, K], ids [N]."""
    ours = rl.RewardAllocator(utility).advantages(rewards, mask, group_ids=ids)
    grpo = rl.RewardAllocator(utility, rl.Broadcast()).advantages(rewards, mask, group_ids=ids)
    worth, credits = utility(rewards, mask=mask).worth(), rl.RewardAllocator(utility).credits(rewards, mask)
    found: dict[str, Any] = dict.fromkeys(("rollouts", "empty_rollouts", "candidates", "tied_candidates", "groups"), 0)
    found |= dict.fromkeys(("zero_variance_groups", "rescued_groups", "free_riders", "turned_rollouts"), 0)
    of_sets = rl.RewardAllocator(utility).set_advantages(rewards, mask, group_ids=ids)
    for row, flags, a, b, of_set in zip(rewards, mask, ours, grpo, of_sets, strict=True):
        live = [i for i in range(len(row)) if flags[i]]
        found["rollouts"] += 1
        found["empty_rollouts"] += not live
        found["candidates"] += len(live)
        found["tied_candidates"] += sum(any(row[i] == row[j] for j in live if j != i) for i in live)
        found["free_riders"] += sum(a[i] * b[i] < 0 for i in live)
        total = sum(a[i] for i in live)
        found["turned_rollouts"] += total * of_set < 0 and abs(total) > 1e-6
    for group in set(ids):
        rows = [i for i in range(len(ids)) if ids[i] == group]
        silent = len({worth[i] for i in rows}) == 1
        found["groups"] += 1
        found["zero_variance_groups"] += silent
        found["rescued_groups"] += silent and any(
            ours[i, k] != 0 for i in rows for k in range(len(ours[0])) if mask[i, k]
        )
    found["mean_credit"] = credits[mask].sum() / max(found["candidates"], 1)
    found["mean_set_worth"] = sum(worth) / len(worth)
    found["tied_share"] = found["tied_candidates"] / max(found["candidates"], 1)
    found["free_rider_share"] = found["free_riders"] / max(found["candidates"], 1)
    found["zero_variance_share"] = found["zero_variance_groups"] / found["groups"]
    found["rescued_share"] = found["rescued_groups"] / max(found["zero_variance_groups"], 1)
    found["turned_rollout_share"] = found["turned_rollouts"] / len(ids)
    found["candidates_per_rollout"] = sum(map(sum, mask)) / len(ids)
    found["candidates_per_rollout_std"] = pstdev(map(sum, mask.tolist()))
    return {f"shapley/{key}": float(number) for key, number in found.items()}


def of_diagnostics(rng: np.random.Generator) -> None:
    """Against counting; and from parts."""
    rows, players = int(rng.integers(1, 7)), int(rng.integers(1, 5))
    rewards, mask = rng.integers(0, 3, (rows, players)) / 2, rng.random((rows, players)) < 0.8
    rewards[~mask] = np.nan
    ids = np.sort(rng.integers(0, 3, rows)).tolist()
    utility = pick(rng, ORDER[:5])
    given = {"rewards": rewards, "mask": mask, "group_ids": ids, "utility": utility}
    in_torch = {"rewards": torch.tensor(rewards), "mask": torch.tensor(mask)} if chance(rng, 0.3) else {}
    found = serve(rl.diagnostics, **given | in_torch)
    assert all(type(number) is float for number in found.values())
    assert found == pytest.approx(count(rewards, mask, ids, utility), rel=1e-12)
    parts = [[i for i, x in enumerate(ids) if x == group] for group in sorted(set(ids))]
    chunks = [rl.diagnostics(rewards[p], mask=mask[p], group_ids=[ids[i] for i in p], utility=utility) for p in parts]
    assert serve(rl.merge_diagnostics, chunks) == pytest.approx(found, rel=1e-12)
    attempt(rl.diagnostics, **spoiled(rng, {**given, "advantages": None}))
    attempt(rl.merge_diagnostics, hostile(rng))
    attempt(rl.merge_diagnostics, [found, pick(rng, (hostile(rng), {**found, pick(rng, list(found)): hostile(rng)}))])


TARGETS: dict[str, Target] = {
    "rl.scatter_to_tokens": of_scatter,
    "rl.encode_credits": partial(of_codec, rl.encode_credits),
    "rl.decode_credits": partial(of_codec, rl.decode_credits),
    "rl.encode_rewards": of_reward_codec,
    "rl.diagnostics": of_diagnostics,
}


@pytest.mark.parametrize("name", TARGETS)
def test_tokens(name: str) -> None:
    run(name, TARGETS[name])
