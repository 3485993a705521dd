"""From credits to advantages: what GRPO does with rewards, done with the credits of all candidates of a group."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from math import inf, prod
from typing import Any

import numpy as np

from shapley_kernels.arrays import (
    NUMPY,
    Array,
    Ops,
    boolean,
    broadcast,
    first_nonfinite,
    in_numpy,
    integer,
    narrowed,
    number,
    one_of,
    read,
    torch_ops,
    widest,
)
from shapley_kernels.backends import kernel, triton_missing
from shapley_kernels.kernels.group_norm import CENTERS, SCALES
from shapley_kernels.launch import RUNS, Run, keep
from shapley_kernels.rl.groups import Groups, read_groups
from shapley_kernels.rl.ranks import ALONE, Ranks, ranks_of

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
    with ranks or ALONE:
        how = Normalisation.checked(OWNER, center, scale, ddof, min_std, eps)
        ops, array, restore = read(credits, f"{OWNER}: credits")
        live = read_mask(OWNER, mask, array, shape := tuple(array.shape), "credits")
        groups = read_groups(OWNER, "credits", shape, group_ids, num_generations, ranks)
    if ranks is None:
        ops, restore, array, live = in_numpy(ops, restore, array, live)
    result = normalised(ops, ops.detached(array), live, groups, how)
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
        ddof = integer(f"{owner}: ddof", ddof, 0, "an integer >= 0 (1 is torch.std's, 0 numpy.std's)")
        least, small = (
            number(f"{owner}: {name}", x, "a finite number >= 0", lambda x: 0 <= x < inf)
            for name, x in (("min_std", min_std), ("eps", eps))
        )
        return cls(center, scale, min(ddof, 2**31), least, small)

    def of_sets(self) -> "Normalisation":
        """The same for one number per rollout, which has no slots."""
        return replace(self, center="group") if self.center == "slot" else self


def read_mask(owner: str, mask: Any, reference: Array, shape: tuple[int, ...], of: str) -> Array | None:
    """The mask of a user, in that shape, which is that of what is called `of`."""
    if mask is None:
        return None
    name = f"{owner}: mask"
    return broadcast(boolean(mask, reference, name), shape, name, f"as the {of}")


def normalised(
    ops: Ops,
    array: Array,
    live: Array | None,
    groups: Groups,
    how: Normalisation,
    rounding: float = 0.0,
    others: Array | None = None,
) -> Array:
    """`grpo_advantages` of credits in numpy or torch that need no gradient.

    Args:
        ops: of the credits.
        live: bool, of the shape of the credits, or None.
        rounding: of the credits, relative, where it is known: a std that it explains counts as 0.
        others: [..., numbers], the leading axes and the dtype those of the credits: numbers to be centred and scaled in
            place of the credits, by the statistics of these; not with slots.
    """
    options = (how.center, how.scale, how.ddof, how.min_std, how.eps, rounding)
    if groups.ranks is None and (ops is NUMPY or ops.on_cpu(array)):
        compute = _by_numba
        if ops is not NUMPY and ops.is_compiling(array):  # which would trace numpy
            compute = ops.xp.compiler.disable(_by_numba)
        return compute(ops, array, live, groups, options, others)
    if others is None and _triton_serves(ops, array, groups, how):
        x, mask = (_flat(a, lambda a: a.contiguous()) for a in (array, live))
        out = ops.xp.empty_like(x)
        kernel("group_norm", "triton").run(x, mask, *groups.runs, None, *options, None, out)
        return out.view(array.shape)
    return _by_torch(ops, array, live, groups, how, options, others)


def _by_numba(
    ops: Ops, array: Array, live: Array | None, groups: Groups, options: tuple[Any, ...], others: Array | None
) -> Array:
    x, mask, numbers, narrow = array, live, others, array.dtype.itemsize < 4
    if narrow or ops is not NUMPY:
        wide = ops.dtype("float64") if narrow else array.dtype
        x, numbers = (None if a is None else ops.to_host(ops.cast(a, wide)) for a in (array, others))
        mask = None if live is None else ops.to_host(live)
    if x.size:
        out, bad = _run(x, groups, options, numbers).on((x, mask))
    else:
        out, bad = np.zeros((x if numbers is None else numbers).shape, x.dtype), -1
    if bad != -1:
        raise ValueError(_nonfinite(groups.owner, array, live))
    result = out if ops is NUMPY and not narrow else ops.cast(ops.from_host(out), array.dtype)
    may_overflow = others is None and (options[1] == "none" or array.dtype.itemsize == 2)
    if may_overflow and (where := first_nonfinite(result, live)) is not None:
        raise OverflowError(
            f"{groups.owner}: advantages must be in the range of {array.dtype}, which that at {list(where)} is not; "
            "scale the rewards down, or pass a wider dtype"
        )
    return result


def _run(x: np.ndarray, groups: Groups, options: tuple[Any, ...], numbers: np.ndarray | None) -> Run:
    """Of `group_norm` on such credits, and on numbers in their place; kept where groups are of one size, and small."""
    kind = None
    if numbers is None and groups.size is not None:
        kind = "group_norm", x.shape, x.itemsize, groups.count, groups.size, options
        if (run := RUNS.get(kind)) is not None:
            return run
    shape, compute = x.shape if numbers is None else numbers.shape, "float64" if x.itemsize == 8 else "float32"
    run = Run("group_norm", (*groups.runs, _flat(numbers, np.ascontiguousarray), *options, None), compute, shape)
    if kind is not None and run.bind():
        keep(kind, run)
    return run


def _triton_serves(ops: Ops, array: Array, groups: Groups, how: Normalisation) -> bool:
    if not ops.on_cuda(array) or groups.size is None or triton_missing():
        return False
    return bool(kernel("group_norm", "triton").serves(groups.size, array.shape[-1], how.center, how.scale))


def _by_torch(
    ops: Ops,
    array: Array,
    live: Array | None,
    groups: Groups,
    how: Normalisation,
    options: tuple[Any, ...],
    others: Array | None,
) -> Array:
    """One operation of torch after the other, with sums over ranks between them."""
    torch, ranks = torch_ops().xp, groups.ranks
    with ranks or ALONE:
        if ops.on_cpu(array) and first_nonfinite(array, live) is not None:
            raise ValueError(_nonfinite(groups.owner, array, live))
        if ranks is not None:
            _compare(ranks, array, how)
        groups = groups.agreed(ops.device(array))
    x, mask, numbers = (_flat(a, lambda a: torch.as_tensor(a).contiguous()) for a in (array, live, others))
    out = torch.empty_like(x if numbers is None else numbers, dtype=widest(x))
    bad = kernel("group_norm", "torch").run(x, mask, *groups.runs, numbers, *options, ranks, out)
    if bad is not None and bad >= 0:
        raise ValueError(_too_large(groups.owner))
    result = narrowed(out.view(*array.shape[:-1], out.shape[1]), x.dtype, f"{groups.owner}: advantages")
    return result.numpy() if ops is NUMPY else result


def _flat(x: Array | None, placed: Callable[[Array], Any]) -> Any:
    """[rollouts, numbers], contiguous."""
    return None if x is None else placed(x).reshape(prod(x.shape[:-1]), x.shape[-1])


def _compare(ranks: Ranks, x: Array, how: Normalisation) -> None:
    """What decides the statistics, or the collectives that they take, has to be the same on all ranks."""
    ranks.compare(**asdict(how))
    candidates = x.shape[-1] if how.center == "slot" and x.shape else None
    ranks.compare(dtype=str(widest(x)).removeprefix("torch."), candidates=candidates)


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
