"""Several rewards at once, each normalised alone."""

from collections.abc import Sequence
from functools import reduce
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from shapley_kernels.arrays import Array, as_float, describe, floating, like, listed, narrowed, native, ops_of
from shapley_kernels.rl.advantages import Normalisation, normalised, read_mask
from shapley_kernels.rl.groups import read_groups
from shapley_kernels.rl.ranks import ALONE, ranks_of

OWNER = "combine_advantages"


def combine_advantages(
    credits: Sequence[Any],
    mask: Any = None,
    *,
    weights: Sequence[float] | None = None,
    group_ids: Any = None,
    num_generations: int | None = None,
    center: str = "group",
    scale: str = "group",
    ddof: int = 1,
    min_std: float = 1e-6,
    eps: float = 1e-4,
    process_group: Any = None,
) -> Any:
    """Advantages for several rewards: A = sum_i w_i A_i, where A_i are `grpo_advantages` of the i-th reward alone.

    So each reward counts by its weight, whatever its spread, and rollouts of one sum whose rewards differ are told
    apart. GDPO divides the sum by its standard deviation over the batch, which is
    `grpo_advantages(combine_advantages(rewards), center="none", scale="batch")`.

    Args:
        credits: a list of arrays of one shape, credits of candidates or, as [..., 1], rewards of rollouts: each as in
            `grpo_advantages`. What is given for a set should be comparable: credits that are shares, times the number
            of candidates, as by `RewardAllocator(sizes="worth")`.
        mask: bool, one for all of them.
        weights: a number for each; None: all 1.
        group_ids, num_generations, center, scale, ddof, min_std, eps, process_group: as in `grpo_advantages`.

    Returns:
        advantages of the shape, container and device of the credits, in the dtype they promote to; 0 where the mask is
        False.

    Raises:
        TypeError, ValueError: no list, arrays of different shapes or containers, weights that are no finite numbers,
            one each; and as `grpo_advantages`.
        OverflowError: on the CPU, sums that the dtype does not hold (elsewhere NaN).

    Cost: one `grpo_advantages` for each.
    Source: Liu et al. (2026), arXiv 2601.05242 (GDPO).

    >>> correct, short = [[1.0], [0.0], [0.0]], [[10.0], [10.0], [40.0]]
    >>> combine_advantages([correct, short], weights=[1.0, 0.5]).round(2).ravel().tolist()
    [0.87, -0.87, 0.0]
    """
    ranks = ranks_of(OWNER, process_group)
    with ranks or ALONE:
        how = Normalisation.checked(OWNER, center, scale, ddof, min_std, eps)
        arrays, restore = _arrays(credits)
        factors = _factors(weights, len(arrays))
        if ranks is not None:
            ranks.compare(rewards=len(arrays), weights=factors)
        live = read_mask(OWNER, mask, arrays[0], shape := tuple(arrays[0].shape), "credits")
        groups = read_groups(OWNER, "credits", shape, group_ids, num_generations, ranks)
    ops = ops_of(arrays[0])
    dtype = reduce(ops.promoted, (array.dtype for array in arrays))
    wide = ops.compute_dtype(dtype)
    alone = [normalised(ops, ops.cast(array, wide), live, groups, how) for array in arrays]
    with np.errstate(over="ignore", invalid="ignore"):  # `narrowed` looks
        total = sum(factor * advantages for factor, advantages in zip(factors, alone, strict=True))
    result = narrowed(total, dtype, f"{OWNER}: advantages", of=alone[0])
    return restore(result) if restore else result


def _arrays(credits: Any) -> tuple[list[Array], Any]:
    """The credits as numpy or torch, and how a result goes back to the container of the first."""
    if not isinstance(credits, (list, tuple)) or not credits:
        raise TypeError(
            f"{OWNER}: credits must be a list of arrays, one for each reward, got "
            f"{repr(credits) if isinstance(credits, (list, tuple)) else describe(credits)}; "
            "one reward alone goes to grpo_advantages"
        )
    first, restore = native(credits[0], f"{OWNER}: credits[0]")
    arrays = [first, *(like(x, first, f"{OWNER}: credits[{i}]") for i, x in enumerate(credits[1:], 1))]
    arrays = [ops_of(x).detached(floating(x, f"{OWNER}: credits[{i}]")) for i, x in enumerate(arrays)]
    for i, array in enumerate(arrays):
        if array.shape != first.shape:
            raise ValueError(
                f"{OWNER}: credits[{i}] must have the shape of credits[0], {tuple(first.shape)}, "
                f"got {tuple(array.shape)}; give rewards of sets as [..., 1] all, or repeat them once per candidate"
            )
    return arrays, restore


def _factors(weights: Any, count: int) -> list[float]:
    if weights is None:
        return [1.0] * count
    weights = listed(weights, f"{OWNER}: weights")
    if not isinstance(weights, (list, tuple)) or not all(isinstance(x, Real) for x in weights):
        raise TypeError(f"{OWNER}: weights must be a list of numbers, one for each reward, got {weights!r}")
    factors = [as_float(x, f"{OWNER}: weights") for x in weights]
    if len(factors) != count or not all(map(isfinite, factors)):
        raise ValueError(f"{OWNER}: weights must be {count} finite numbers, one for each reward, got {weights!r}")
    return factors
