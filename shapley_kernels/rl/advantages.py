"""From credits to advantages: what GRPO does with rewards, done with the credits of all candidates of a group."""

import sys
from numbers import Integral, Real
from typing import Any, TypeAlias

import numpy as np

from shapley_kernels.arrays import (
    Array,
    as_float,
    boolean,
    broadcast,
    cast,
    first_nonfinite,
    floating,
    is_torch,
    named_dtype,
    namespace,
    narrowed,
    native,
    on_cpu,
    on_cuda,
    one_of,
    widest,
)
from shapley_kernels.backends import kernel, triton_missing
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.rl.groups import OWNER, Groups, make_groups
from shapley_kernels.rl.ranks import Ranks, on_all_ranks

TOO_LARGE = (
    f"{OWNER}: differences of live credits must be small enough to be squared, below about 1e154; "
    "scale the rewards down"
)


def grpo_advantages(
    credits: Any,
    mask: Any = None,
    *,
    group_ids: Any = None,
    num_generations: int | None = None,
    center: str = "group",
    scale: str = "group",
    ddof: int = 1,
    min_std: float = 1e-6,
    eps: float = 1e-4,
    process_group: Any = None,
) -> Any:
    """Advantages of candidates: A = (credit - mean) / (std + eps), over the live candidates of all rollouts of a group.

    Advantages are constants of the policy gradient: no gradient flows back into the credits.

    Args:
        credits: [B, G, K], B groups of G rollouts of K candidates; [G, K], one group; or [N, K] with `group_ids` or
            `num_generations`. For plain GRPO, pass set rewards as [..., 1].
        mask: bool, True = live, of the shape of the credits or one that broadcasts to it. What stands at masked
            candidates is never read.
        group_ids: [N] hashables (a list, a 1-D array or an int tensor): rollouts of one id form a group, in any order.
        num_generations: rollouts per group, consecutive rows form a group.
        center: what is subtracted. "group": the mean over the group. "loo": the mean over the candidates of the *other*
            rollouts of the group (0 where there are none). "slot": the mean of the candidates at the same index.
            "none": nothing.
        scale: what it is divided by. "group": std + eps over the group (over the slot with center="slot"). "batch":
            std + eps over all live credits of the batch, around their common mean. "none": nothing.
        ddof: the variance divides by count - ddof; where that is not positive, the std counts as 0.
        min_std: a std below it gives advantages of exactly 0. Not used with scale="none". Credits are taken as exact:
            where rounding alone makes them differ, as it may among sets of different sizes, it is divided by the std
            that it makes. `RewardAllocator` knows the rounding of what it computes; else raise min_std above it.
        eps: added to the std.
        process_group: `torch.distributed` group whose ranks hold parts of the same groups; with [N, K] and group_ids
            only. Every rank has to call, with the same options, if only with [0, K]; its backend must reach the credits
            (NCCL: on the GPU).

    Returns:
        advantages of the shape, container, dtype and device of the credits; exactly 0 for masked candidates and, unless
        neither centred nor scaled by the group, for groups whose live credits are all equal. Computed in float64 where
        the device has it, in two passes.

    Raises:
        TypeError, ValueError: arguments of the wrong kind, shape or value; on the CPU also live credits that are not
            finite, or too far apart to be squared; elsewhere these make their own group NaN and no other. With a
            process group, on every rank what is wrong on one, and options that differ.
        OverflowError: on the CPU, advantages that the dtype of the credits does not hold.

    Cost: O(B G K) time. One kernel on the CPU, and one launch on the GPU for groups of one size without batch
        statistics; else an operation after the other, with a few float64 copies of the credits. With a process group,
        one all_gather_object of options and distinct ids, and at most four all_reduces of [groups], or [groups, K] for
        slots.
    Source: Shao et al. (2024), arXiv 2402.03300 (GRPO); Ahmadian et al. (2024), arXiv 2402.14740 (loo); Liu et al.
        (2025), arXiv 2503.20783 (scale="none"); for candidate sets, ShapE-GRPO, arXiv 2603.29871.

    >>> import shapley_kernels as sk
    >>> grpo_advantages(sk.shapley(sk.Max([[0.0, 1.0], [1.0, 1.0]]))).round(3).tolist()
    [[-1.224, 1.224], [0.0, 0.0]]
    """
    ranks = None if process_group is None else Ranks(OWNER, process_group)
    with on_all_ranks(ranks):
        check_options(OWNER, center, scale, ddof, min_std, eps)
    layout = (group_ids, num_generations, ranks)
    return normalised(credits, mask, layout, as_numbers(center, scale, ddof, min_std, eps))


Options: TypeAlias = tuple[str, str, int, float, float, float]
OPTIONS = ("center", "scale", "ddof", "min_std", "eps")
"""Those that a caller chooses; the last of `Options` is `rounding`."""


def as_numbers(center: str, scale: str, ddof: Any, min_std: Any, eps: Any, rounding: float = 0.0) -> Options:
    """Options that were checked, as the kernels take them; `rounding`: of credits, relative, where it is known."""
    return center, scale, min(int(ddof), 2**31), float(min_std), float(eps), rounding


def normalised(credits: Any, mask: Any, layout: tuple[Any, Any, Any], options: Options) -> Any:
    """`grpo_advantages`; layout is (group_ids, num_generations, ranks), options are those of `as_numbers`."""
    with on_all_ranks(layout[2]):
        array, restore = native(credits, f"{OWNER}: credits")
        array = floating(array.detach() if is_torch(array) else array, f"{OWNER}: credits")
        live = None
        if mask is not None:
            live = broadcast(boolean(mask, array, f"{OWNER}: mask"), array.shape, f"{OWNER}: mask", "as the credits")
    if on_cpu(array) and layout[2] is None:
        result = _by_numba(array, live, layout, options)
    elif (result := _by_triton(array, live, layout, options)) is None:
        result = _by_operations(array, live, layout, options)
    return restore(result) if restore else result


def beside(others: Array, credits: Array, mask: Any, layout: tuple[Any, Any, Any], options: Options) -> Array:
    """What `normalised` does to the credits, done to other numbers of the rollouts: centred and scaled by the
    statistics of the live credits of the group. center="slot" means "group" here.

    Args:
        others: [..., numbers], the leading axes and the dtype those of the credits, numpy or torch.
    """
    x = credits.detach() if is_torch(credits) else credits
    live = None
    if mask is not None:
        live = broadcast(boolean(mask, x, f"{OWNER}: mask"), x.shape, f"{OWNER}: mask", "as the credits")
    x, others = _only(cast(x, widest(x)), live), cast(others.detach() if is_torch(others) else others, widest(x))
    with on_all_ranks(layout[2]):
        groups = make_groups(x, *layout)
    if 0 in x.shape and layout[2] is None:
        return cast(others, credits.dtype)
    live = None if live is None else live.reshape(groups.shape)
    options = ("group" if options[0] == "slot" else options[0], *options[1:])
    found = _normalise(
        x.reshape(groups.shape), live, groups, *options, others.reshape((*groups.shape[:-1], others.shape[-1]))
    )
    return cast(found.reshape(others.shape), credits.dtype)


def _by_numba(array: Array, live: Array | None, layout: tuple[Any, Any, Any], options: Any) -> Array:
    x = _numpy(array if array.dtype.itemsize == 4 else cast(array, named_dtype(array, "float64")))
    mask = None if live is None else _numpy(live)
    groups = make_groups(x, *layout)
    out = np.empty(x.shape, x.dtype)
    center, scale, *numbers = options
    if x.size:
        shape, options = (-1, x.shape[-1]), (CENTERS.index(center), SCALES.index(scale), *numbers)
        flat = None if mask is None else mask.reshape(shape)
        run = kernel("group_norm", "numba").run
        if run(x.reshape(shape), flat, *groups.runs(), *options, out.reshape(shape)) != -1:
            raise ValueError(_nonfinite(x, mask))
    result = cast(sys.modules["torch"].from_numpy(out) if is_torch(array) else out, array.dtype)
    if (scale == "none" or array.dtype.itemsize == 2) and (where := first_nonfinite(result, live)) is not None:
        raise OverflowError(
            f"{OWNER}: advantages must be in the range of {array.dtype}, which that at {list(where)} is not; scale the "
            "rewards down, or pass a wider dtype"
        )
    return result


def _numpy(x: Array) -> np.ndarray:
    return np.asarray(x.numpy() if is_torch(x) else x, order="C")


def _by_triton(array: Array, live: Array | None, layout: tuple[Any, Any, Any], options: Any) -> Array | None:
    """By the kernel of the GPU where the credits are there and it takes such groups, else None."""
    if not on_cuda(array) or layout[0] is not None or triton_missing():
        return None
    shape, found = make_groups(array, *layout).shape, kernel("group_norm", "triton")
    if not found.serves(*shape[1:], *options[:2]):
        return None
    x = array.contiguous().view(shape)
    out = namespace(x).empty_like(x)
    found.run(x, None if live is None else live.contiguous().view(shape), *options, out)
    return out.view(array.shape)


def _by_operations(array: Array, live: Array | None, layout: tuple[Any, Any, Any], options: Any) -> Array:
    """One operation of numpy or torch after the other, with sums over ranks between them."""
    x = _only(cast(array, widest(array)), live)
    with on_all_ranks(layout[2]):
        if on_cpu(array) and not namespace(x).isfinite(x).all():
            raise ValueError(_nonfinite(x, live))
        if layout[2] is not None:
            _compare(layout[2], x, options)
        groups = make_groups(x, *layout)
    if 0 not in array.shape or layout[2] is not None:
        live = None if live is None else live.reshape(groups.shape)
        x = _normalise(x.reshape(groups.shape), live, groups, *options)
    return narrowed(x.reshape(array.shape), array.dtype, f"{OWNER}: advantages")


def _compare(ranks: Ranks, x: Array, options: Options) -> None:
    """What decides the statistics, or the collectives that they take, has to be the same on all ranks."""
    ranks.compare(**dict(zip(OPTIONS, options[:-1], strict=True)))
    candidates = x.shape[-1] if options[0] == "slot" and x.shape else None
    ranks.compare(dtype=str(x.dtype).removeprefix("torch."), candidates=candidates)


def check_options(owner: str, center: Any, scale: Any, ddof: Any, min_std: Any, eps: Any) -> None:
    """TypeError or ValueError for options that `grpo_advantages` does not take."""
    for name, got, known in (("center", center, CENTERS), ("scale", scale, SCALES)):
        one_of(f"{owner}: {name}", got, known)
    if not isinstance(ddof, (int, Integral)) or isinstance(ddof, bool):
        raise TypeError(f"{owner}: ddof must be an integer >= 0, got {ddof!r}; 1 is torch.std's, 0 numpy.std's")
    if ddof < 0:
        raise ValueError(f"{owner}: ddof must be an integer >= 0, got {ddof!r}; 1 is torch.std's, 0 numpy.std's")
    for name, number in (("min_std", min_std), ("eps", eps)):
        if not isinstance(number, (float, Real)):
            raise TypeError(f"{owner}: {name} must be a finite number >= 0, got {number!r}")
        if not 0 <= as_float(number, name) < float("inf"):
            raise ValueError(f"{owner}: {name} must be a finite number >= 0, got {number!r}")


def _only(x: Array, live: Array | None) -> Array:
    """x at live candidates, 0 elsewhere."""
    return x if live is None else namespace(x).where(live, x, 0.0)


def _nonfinite(x: Array, live: Array | None) -> str:
    """What is wrong with credits that gave something that is not finite."""
    where = first_nonfinite(x, live)
    if where is None:
        return TOO_LARGE
    axes = {3: "group, rollout, candidate", 2: "rollout, candidate"}.get(len(x.shape), "candidate last")
    return (
        f"{OWNER}: live credits must be finite, got {float(x[where])} at {list(where)} ({axes}); "
        "mask candidates that do not take part (mask=)"
    )


def _normalise(
    x: Array,
    live: Array | None,
    groups: Groups,
    center: str,
    scale: str,
    ddof: int,
    min_std: float,
    eps: float,
    rounding: float,
    others: Array | None = None,
) -> Array:
    """`grpo_advantages` on native arrays in the shape of `groups`, masked entries 0; or of `others`, further numbers of
    the rollouts in place of x, by the statistics of x (without slots)."""
    if center == "none" and scale == "none":
        return (x if others is None else others) * 1.0  # a copy: no result shares memory with the input
    xp, slots = namespace(x), center == "slot"
    if not on_cpu(x):
        x = xp.where(xp.isfinite(x), x, float("nan"))  # so that infinity, too, makes its whole group NaN
    numbers = x if others is None else others
    ones = xp.ones_like(x) if live is None else cast(live, x.dtype)
    count = groups.total(ones, slots)
    if 0 in count.shape:  # no rollouts on any rank
        return numbers
    # The lowest credit as origin: equal credits then are exactly 0 from here on, whatever the sums round to.
    origin = groups.lowest(x if live is None else xp.where(live, x, float("inf")), slots)
    origin = xp.where(count > 0, origin, 0.0)
    above = (x - groups.spread(origin)) * ones
    total = groups.total(above, slots)
    mean = total / count.clip(1)
    deviation = (above - groups.spread(mean)) * ones
    if center == "none":
        centred = numbers
    else:
        raised = above if others is None else others - groups.spread(origin)
        if center == "loo":
            centred = _minus_others(raised, above, ones, groups.spread(total), groups.spread(count))
        else:
            centred = raised - groups.spread(mean)
    shown = live if others is None else None
    if scale == "none":
        return _only(centred, shown)
    squares, size = groups.total(deviation * deviation, slots), abs(origin + mean)
    if scale == "batch":
        count, squares, size = _pool(count, origin, mean, squares)
    std = (squares / (count - ddof).clip(1)) ** 0.5
    if on_cpu(x) and not bool(xp.isfinite(std).all()):
        raise ValueError(TOO_LARGE)
    std = xp.where(std < float("inf"), std, float("nan"))
    vanish = (count <= ddof) | (std < min_std) | (std <= rounding * size)
    divisor = xp.where(vanish, float("inf"), std + eps)
    return _only(centred / (divisor if scale == "batch" else groups.spread(divisor)) + 0.0, shown)  # no negative zeros


def _minus_others(numbers: Array, above: Array, ones: Array, total: Array, count: Array) -> Array:
    """Numbers of a rollout minus the mean over the other rollouts of its group, 0 where these have no live candidate;
    all measured from the origin."""
    others = count - ones.sum(-1, keepdims=True)
    mean = (total - above.sum(-1, keepdims=True)) / others.clip(1)
    return namespace(above).where(others > 0, numbers - mean, 0.0)


def _pool(count: Array, origin: Array, mean: Array, squares: Array) -> tuple[Array, Array, Array]:
    """Count, sum of squared deviations, and size of the mean of the whole batch from those of its groups, whose means
    are measured from their origins; NaN groups are left out."""
    xp = namespace(mean)
    good = (count > 0) & (mean == mean)
    count = xp.where(good, count, 0.0)
    lowest = xp.amin(xp.where(good, origin, float("inf")))
    above = xp.where(good, origin - lowest + mean, 0.0)
    everything = count.sum()
    overall = (count * above).sum() / everything.clip(1)
    above = above - overall
    return everything, (xp.where(good, squares, 0.0) + count * above * above).sum(), abs(lowest + overall)
