"""From credits to advantages: what GRPO does with rewards, done with the credits of all candidates of a group."""

import sys
from dataclasses import asdict, dataclass, replace
from numbers import Integral, Real
from typing import Any

import numpy as np

from shapley_kernels.arrays import (
    Array,
    as_float,
    boolean,
    broadcast,
    cast,
    device,
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
from shapley_kernels.rl.groups import Groups, read_groups
from shapley_kernels.rl.ranks import Ranks, on_all_ranks, ranks_of
from shapley_kernels.rl.reductions import Reductions, reductions

OWNER = "grpo_advantages"


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

    Rows [N, K] without `group_ids` or `num_generations` are **one** group: all rollouts are compared with each other,
    those of other prompts too. Above 64 rows that draws a warning, as do ids that differ from rollout to rollout.

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
    ranks = ranks_of(OWNER, process_group)
    with on_all_ranks(ranks):
        how = Normalisation.checked(OWNER, center, scale, ddof, min_std, eps)
        array, restore = native(credits, f"{OWNER}: credits")
        array = floating(array.detach() if is_torch(array) else array, f"{OWNER}: credits")
        live = read_mask(OWNER, mask, array, shape := tuple(array.shape), "credits")
        groups = read_groups(OWNER, "credits", shape, group_ids, num_generations, ranks)
    result = normalised(array, live, groups, how)
    return restore(result) if restore else result


@dataclass(frozen=True)
class Normalisation:
    """What `grpo_advantages` does with credits; the options are explained there."""

    center: str = "group"
    scale: str = "group"
    ddof: int = 1
    min_std: float = 1e-6
    eps: float = 1e-4

    @classmethod
    def checked(cls, owner: str, center: Any, scale: Any, ddof: Any, min_std: Any, eps: Any) -> "Normalisation":
        """From what a user passed, in plain numbers.

        Raises:
            TypeError, ValueError: options that there are none of.
        """
        for name, got, known in (("center", center, CENTERS), ("scale", scale, SCALES)):
            one_of(f"{owner}: {name}", got, known)
        if not isinstance(ddof, (int, Integral)) or isinstance(ddof, bool):
            raise TypeError(f"{owner}: ddof must be an integer >= 0, got {ddof!r}; 1 is torch.std's, 0 numpy.std's")
        if ddof < 0:
            raise ValueError(f"{owner}: ddof must be an integer >= 0, got {ddof!r}; 1 is torch.std's, 0 numpy.std's")
        for name, x in (("min_std", min_std), ("eps", eps)):
            if not isinstance(x, (float, Real)):
                raise TypeError(f"{owner}: {name} must be a finite number >= 0, got {x!r}")
            if not 0 <= as_float(x, name) < float("inf"):
                raise ValueError(f"{owner}: {name} must be a finite number >= 0, got {x!r}")
        return cls(center, scale, min(int(ddof), 2**31), float(min_std), float(eps))

    def of_sets(self) -> "Normalisation":
        """The same for one number per rollout, which has no slots."""
        return replace(self, center="group") if self.center == "slot" else self


def read_mask(owner: str, mask: Any, reference: Array, shape: tuple[int, ...], of: str) -> Array | None:
    """The mask of a user, in that shape, which is that of what is called `of`."""
    if mask is None:
        return None
    name = f"{owner}: mask"
    return broadcast(boolean(mask, reference, name), shape, name, f"as the {of}")


def normalised(array: Array, live: Array | None, groups: Groups, how: Normalisation, rounding: float = 0.0) -> Array:
    """`grpo_advantages` of credits in numpy or torch that need no gradient.

    Args:
        live: bool, of the shape of the credits, or None.
        rounding: of the credits, relative, where it is known: a std that it explains counts as 0.
    """
    if on_cpu(array) and groups.ranks is None:
        return _by_numba(array, live, groups, how, rounding)
    if (result := _by_triton(array, live, groups, how, rounding)) is None:
        result = _by_operations(array, live, groups, how, rounding)
    return result


def beside(
    others: Array, credits: Array, live: Array | None, groups: Groups, how: Normalisation, rounding: float
) -> Array:
    """What `normalised` does to the credits, done to other numbers of the rollouts: centred and scaled by the
    statistics of the live credits of the group. center="slot" means "group" here.

    Args:
        others: [..., numbers], the leading axes and the dtype those of the credits, numpy or torch.
    """
    x = _only(cast(credits, widest(credits)), live)
    with on_all_ranks(groups.ranks):
        groups = groups.agreed(device(x))
    if 0 in x.shape and groups.ranks is None:
        return cast(others, credits.dtype)
    sums = reductions(groups, x)
    live = None if live is None else live.reshape(sums.shape)
    numbers = cast(others, x.dtype).reshape((*sums.shape[:-1], others.shape[-1]))
    result = _normalise(x.reshape(sums.shape), live, sums, groups.owner, how.of_sets(), rounding, numbers)
    return cast(result.reshape(others.shape), credits.dtype)


def _by_numba(array: Array, live: Array | None, groups: Groups, how: Normalisation, rounding: float) -> Array:
    x = _numpy(array if array.dtype.itemsize == 4 else cast(array, named_dtype(array, "float64")))
    mask = None if live is None else _numpy(live)
    out = np.empty(x.shape, x.dtype)
    if x.size:
        shape = (-1, x.shape[-1])
        flat = None if mask is None else mask.reshape(shape)
        options = (CENTERS.index(how.center), SCALES.index(how.scale), how.ddof, how.min_std, how.eps, rounding)
        run = kernel("group_norm", "numba").run
        if run(x.reshape(shape), flat, *groups.runs(), *options, out.reshape(shape)) != -1:
            raise ValueError(_nonfinite(groups.owner, x, mask))
    result = cast(sys.modules["torch"].from_numpy(out) if is_torch(array) else out, array.dtype)
    narrow = how.scale == "none" or array.dtype.itemsize == 2
    if narrow and (where := first_nonfinite(result, live)) is not None:
        raise OverflowError(
            f"{groups.owner}: advantages must be in the range of {array.dtype}, which that at {list(where)} is not; "
            "scale the rewards down, or pass a wider dtype"
        )
    return result


def _numpy(x: Array) -> np.ndarray:
    return np.asarray(x.numpy() if is_torch(x) else x, order="C")


def _by_triton(array: Array, live: Array | None, groups: Groups, how: Normalisation, rounding: float) -> Array | None:
    """By the kernel of the GPU where the credits are there and it takes such groups, else None."""
    if not on_cuda(array) or groups.size is None or triton_missing():
        return None
    shape, module = (groups.count, groups.size, array.shape[-1]), kernel("group_norm", "triton")
    if not module.serves(*shape[1:], how.center, how.scale):
        return None
    x = array.contiguous().view(shape)
    out = namespace(x).empty_like(x)
    mask = None if live is None else live.contiguous().view(shape)
    module.run(x, mask, how.center, how.scale, how.ddof, how.min_std, how.eps, rounding, out)
    return out.view(array.shape)


def _by_operations(array: Array, live: Array | None, groups: Groups, how: Normalisation, rounding: float) -> Array:
    """One operation of numpy or torch after the other, with sums over ranks between them."""
    x, ranks = _only(cast(array, widest(array)), live), groups.ranks
    with on_all_ranks(ranks):
        if on_cpu(array) and not namespace(x).isfinite(x).all():
            raise ValueError(_nonfinite(groups.owner, x, live))
        if ranks is not None:
            _compare(ranks, x, how)
        groups = groups.agreed(device(x))
    if 0 not in array.shape or ranks is not None:
        sums = reductions(groups, x)
        live = None if live is None else live.reshape(sums.shape)
        x = _normalise(x.reshape(sums.shape), live, sums, groups.owner, how, rounding)
    return narrowed(x.reshape(array.shape), array.dtype, f"{groups.owner}: advantages")


def _compare(ranks: Ranks, x: Array, how: Normalisation) -> None:
    """What decides the statistics, or the collectives that they take, has to be the same on all ranks."""
    ranks.compare(**asdict(how))
    candidates = x.shape[-1] if how.center == "slot" and x.shape else None
    ranks.compare(dtype=str(x.dtype).removeprefix("torch."), candidates=candidates)


def _only(x: Array, live: Array | None) -> Array:
    """x at live candidates, 0 elsewhere."""
    return x if live is None else namespace(x).where(live, x, 0.0)


def _nonfinite(owner: str, x: Array, live: Array | None) -> str:
    """What is wrong with credits that gave something that is not finite."""
    where = first_nonfinite(x, live)
    if where is None:
        return _too_large(owner)
    axes = {3: "group, rollout, candidate", 2: "rollout, candidate"}.get(len(x.shape), "candidate last")
    return (
        f"{owner}: live credits must be finite, got {float(x[where])} at {list(where)} ({axes}); "
        "mask candidates that do not take part (mask=)"
    )


def _too_large(owner: str) -> str:
    return (
        f"{owner}: differences of live credits must be small enough to be squared, below about 1e154; "
        "scale the rewards down"
    )


def _normalise(
    x: Array,
    live: Array | None,
    groups: Reductions,
    owner: str,
    how: Normalisation,
    rounding: float,
    others: Array | None = None,
) -> Array:
    """`grpo_advantages` on native arrays in the shape of `groups`, masked entries 0; or of `others`, further numbers of
    the rollouts in place of x, by the statistics of x (without slots)."""
    center, scale, ddof, min_std, eps = how.center, how.scale, how.ddof, how.min_std, how.eps
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
        raise ValueError(_too_large(owner))
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
