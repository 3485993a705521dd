"""What the credit of candidates changes about a batch: ties, groups that GRPO learns nothing from, free-riders."""

from collections.abc import Callable, Iterable, Mapping
from math import inf, isfinite
from numbers import Real
from typing import Any

import numpy as np

from shapley_kernels.arrays import as_float, describe, floating, native, ops_of, read, to_float64
from shapley_kernels.games import Game, Max
from shapley_kernels.rl.advantages import read_mask
from shapley_kernels.rl.allocator import RewardAllocator
from shapley_kernels.rl.baselines import Broadcast
from shapley_kernels.rl.groups import Groups, read_groups

COUNTS = (
    "rollouts",
    "empty_rollouts",
    "candidates",
    "tied_candidates",
    "groups",
    "zero_variance_groups",
    "rescued_groups",
    "free_riders",
    "turned_rollouts",
)
"""Keys that add up over chunks of whole groups."""

SHARES = {
    "tied_share": ("tied_candidates", "candidates"),
    "zero_variance_share": ("zero_variance_groups", "groups"),
    "rescued_share": ("rescued_groups", "zero_variance_groups"),
    "free_rider_share": ("free_riders", "candidates"),
    "candidates_per_rollout": ("candidates", "rollouts"),
    "turned_rollout_share": ("turned_rollouts", "rollouts"),
}
"""Key: the counts it is the quotient of (0 where there is nothing to count)."""

MEANS = {"mean_credit": "candidates", "mean_set_worth": "rollouts"}
"""Key: the count that it is a mean over."""

SPREAD = "candidates_per_rollout_std"

KEPT = (*COUNTS, *MEANS, SPREAD)
"""Keys that the others follow from."""

PREFIX = "shapley/"


def diagnostics(
    rewards: Any,
    mask: Any = None,
    *,
    advantages: Any = None,
    group_ids: Any = None,
    num_generations: int | None = None,
    utility: Callable[..., Game] = Max,
) -> dict[str, float]:
    """Numbers for a logger: what Shapley credit changes about this batch, compared with GRPO on the set rewards.

    Args:
        rewards: [B, G, K], [G, K], or [N, K] with group_ids or num_generations, as in `grpo_advantages`.
        mask: bool, broadcasts to the rewards, True = live.
        advantages: of the candidates, of the shape of the rewards; None: `RewardAllocator(utility).advantages(...)`.
        utility: as in `RewardAllocator`.

    Returns:
        A flat dict of floats, keys "shapley/...":

        rollouts, candidates (live), groups: how many there are; empty_rollouts: without live candidates.
        tied_candidates, tied_share: live candidates whose reward equals that of another in the same rollout.
        zero_variance_groups, zero_variance_share: groups in which plain GRPO has advantage 0 everywhere, since the sets
            are worth the same; zero-variance filters drop them.
        rescued_groups, rescued_share: those of them (share: of them) in which some candidate has an advantage.
        free_riders, free_rider_share: live candidates whose advantage under GRPO (`Broadcast`) and here have opposite
            signs: the weak in good sets, and the strong in bad ones.
        candidates_per_rollout, candidates_per_rollout_std: mean and standard deviation (over all rollouts, ddof 0) of
            the number of live candidates: whether lists grow or shrink as training goes on.
        turned_rollouts, turned_rollout_share: rollouts whose candidates' advantages sum to another sign than their set
            has under GRPO. Many of them: credit and set pull against each other, as with sizes="share".
        mean_credit: Shapley credit per live candidate; mean_set_worth: v(all) per rollout.

    Raises:
        TypeError, ValueError: as `RewardAllocator.advantages`; advantages of another shape.

    Cost: that of three `RewardAllocator.advantages`, and O(K log K) per rollout on the CPU; waits for the GPU.
    """
    ops, array, _ = read(rewards, "diagnostics: rewards")
    array = ops.detached(array)
    layout = {"group_ids": group_ids, "num_generations": num_generations}
    allocator = RewardAllocator(utility)
    if advantages is None:
        advantages = allocator.advantages(array, mask, **layout)
    grpo = RewardAllocator(utility, Broadcast()).advantages(array, mask, **layout)
    of_sets = to_float64(allocator.set_advantages(array, mask, **layout))  # [...]
    credits, worth = to_float64(allocator.credits(array, mask)), to_float64(utility(array, mask=mask).worth())
    live = np.ones(array.shape, bool)
    if mask is not None:
        live = ops.to_host(read_mask("diagnostics", mask, array, tuple(array.shape), "rewards"))
    given, _ = native(advantages, "diagnostics: advantages")
    if given.dtype == ops_of(given).dtype("bool"):
        raise TypeError(f"diagnostics: advantages must be numbers, got {describe(given)}; a mask goes to mask=")
    ours = to_float64(floating(given, "diagnostics: advantages"))
    if ours.shape != array.shape:
        raise ValueError(
            f"diagnostics: advantages must have the shape of the rewards, {tuple(array.shape)}, "
            f"got {describe(advantages)}; pass those of the candidates, not of the sets"
        )
    groups = read_groups("diagnostics", "rewards", tuple(array.shape), group_ids, num_generations)
    counts = _counts(to_float64(array), live, ours, to_float64(grpo), of_sets, groups)
    counts[SPREAD] = live.sum(-1).std() if of_sets.size else 0.0
    counts["mean_credit"] = credits[live].sum() / max(live.sum(), 1)
    counts["mean_set_worth"] = worth.sum() / max(worth.size, 1)
    return _report(counts)


def merge_diagnostics(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The `diagnostics` of all rollouts from those of chunks, each of whole groups: counts add up, the rest follows.

    Args:
        parts: dicts of `diagnostics`; other keys are left out.

    Returns:
        A dict as of `diagnostics`; all zero for no parts.

    Raises:
        TypeError, ValueError: a part that is no dict, or lacks a key that the rest follows from.
    """
    if isinstance(parts, (str, bytes, Mapping)) or not isinstance(parts, Iterable) or getattr(parts, "ndim", 1) == 0:
        raise TypeError(f"merge_diagnostics: parts must be a list of dicts of diagnostics(...), got {describe(parts)}")
    parts = [_of_part(i, part) for i, part in enumerate(parts)]
    total = {key: sum(part[key] for part in parts) for key in COUNTS}
    for key, over in MEANS.items():
        total[key] = sum(part[key] * part[over] for part in parts) / max(total[over], 1)
    mean = total["candidates"] / max(total["rollouts"], 1)
    squares = sum(
        part["rollouts"] * (part[SPREAD] ** 2 + (part["candidates"] / max(part["rollouts"], 1) - mean) ** 2)
        for part in parts
    )
    total[SPREAD] = (squares / max(total["rollouts"], 1)) ** 0.5
    return _report(total)


def _of_part(i: int, part: Any) -> dict[str, float]:
    if not isinstance(part, Mapping):
        raise TypeError(f"merge_diagnostics: parts must be a list of dicts of diagnostics(...), got {part!r} at {i}")
    missing = [PREFIX + key for key in KEPT if PREFIX + key not in part]
    if missing:
        raise ValueError(
            f"merge_diagnostics: parts must be dicts of diagnostics(...), got one without {missing[0]!r} at {i}; "
            "pass them whole"
        )
    return {key: _number(i, PREFIX + key, part[PREFIX + key], inf if key in MEANS else 2.0**53) for key in KEPT}


def _number(i: int, key: str, x: Any, limit: float) -> float:
    if not isinstance(x, Real) or isinstance(x, bool):
        raise TypeError(f"merge_diagnostics: parts must be dicts of numbers, got {x!r} as {key!r} at {i}")
    number = as_float(x, key)
    if not isfinite(number):
        raise ValueError(f"merge_diagnostics: parts must be dicts of finite numbers, got {x!r} as {key!r} at {i}")
    if abs(number) > limit:
        raise ValueError(f"merge_diagnostics: parts must be dicts of counts up to 2^53, got {x!r} as {key!r} at {i}")
    return number


def _report(numbers: Mapping[str, float]) -> dict[str, float]:
    shares = {key: numbers[part] / max(numbers[whole], 1) for key, (part, whole) in SHARES.items()}
    return {PREFIX + key: float(number) for key, number in {**numbers, **shares}.items()}


def _counts(
    rewards: np.ndarray, live: np.ndarray, ours: np.ndarray, grpo: np.ndarray, of_sets: np.ndarray, groups: Groups
) -> dict[str, float]:
    def some(flags: np.ndarray) -> np.ndarray:
        """[groups], whether any rollout of the group has its flag [...] set."""
        return np.bincount(groups.group_of(), flags.reshape(-1), groups.count) > 0

    silent = ~some(of_sets != 0)
    numbers = (
        of_sets.size,
        (~live.any(-1)).sum(),
        live.sum(),
        _tied(rewards, live).sum(),
        len(silent),
        silent.sum(),
        (silent & some(((ours != 0) & live).any(-1))).sum(),
        ((np.sign(ours) * np.sign(grpo) < 0) & live).sum(),
        (_sign_of_sum(np.where(live, ours, 0.0)) * np.sign(of_sets) < 0).sum(),
    )
    return dict(zip(COUNTS, map(float, numbers), strict=True))


def _sign_of_sum(x: np.ndarray) -> np.ndarray:
    """Of the sums over the last axis; 0 where these are no more than the rounding of float32 numbers."""
    total = x.sum(-1)
    return np.sign(total) * (np.abs(total) > x.shape[-1] * 2.0**-23 * np.abs(x).sum(-1))


def _tied(rewards: np.ndarray, live: np.ndarray) -> np.ndarray:
    """[..., K], in sorted order: True for a live candidate with an equal one beside it."""
    ranked = np.sort(np.where(live, rewards, np.nan), -1)  # NaN last, unequal to itself
    same = ranked[..., 1:] == ranked[..., :-1]
    tied = np.zeros(ranked.shape, bool)
    tied[..., 1:] |= same
    tied[..., :-1] |= same
    return tied
