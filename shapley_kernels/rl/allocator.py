"""Rewards in, advantages out: utility, value and normalisation in one object, the drop-in for GRPO's advantage step."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from shapley_kernels.allocate import merged, semivalue
from shapley_kernels.arrays import (
    NUMPY,
    Array,
    Ops,
    boolean,
    broadcast,
    compute_dtype,
    device,
    narrowed,
    one_of,
    ops_of,
)
from shapley_kernels.backends import kernel, triton_missing
from shapley_kernels.games import Game, Max
from shapley_kernels.games.base import without_restore
from shapley_kernels.games.order.base import OrderGame
from shapley_kernels.games.order.term import OrderTerm
from shapley_kernels.games.tables import Tables
from shapley_kernels.launch import run_torch
from shapley_kernels.rl.advantages import Normalisation, normalised, read_mask
from shapley_kernels.rl.baselines import Baseline
from shapley_kernels.rl.group_value import GroupValue, Value
from shapley_kernels.rl.groups import Groups, read_groups
from shapley_kernels.rl.ranks import ALONE, Ranks
from shapley_kernels.rl.sizes import SIZES, TimesLive, multiplies, times_live, warn_of_v_empty
from shapley_kernels.rl.tokens import LENGTHS, read_ids, scattered
from shapley_kernels.rl.utility import check_utility, make_game, name_of
from shapley_kernels.values import Semivalue, Shapley, brackets

OWNER = "RewardAllocator"
OUTSIDE = ("set", "zero")
KINDS = (Semivalue, Baseline, GroupValue)


@dataclass(frozen=True)
class RewardAllocator:
    """Advantages of candidates whose set earns the reward: A = normalise(n times the value of utility(rewards)), n the
    number of candidates of the rollout.

    Args:
        utility: what a set is worth: a game such as `Max`, or any function (rewards, mask=, **data) -> game, such as
            `lambda r, mask=None: 0.7 * sk.TopM(r, 3, mask=mask) + 0.3 * sk.Max(r, mask=mask)`.
        value: how that is shared: a semivalue such as `Shapley()`, or a baseline, `Broadcast()` (plain GRPO),
            `WinnerTakesAll()`, `PrefixMarginals()`; or one that sees the other rollouts of the group, `SuffixSwap()`,
            `CandidateSwap()`, for utilities whose data belong to single candidates. Which: where groups have several
            rollouts, `SuffixSwap()` taught more than the default in training, but for pass@k (docs/results/learning.md,
            docs/guides/values.md).
        center, scale, ddof, min_std, eps: the normalisation, as in `grpo_advantages`.
        outside: what tokens outside all candidates get: "set", the advantage of the whole set, or "zero". Under
            `SuffixSwap`, "set" is the advantage of the decision that a token leads to: that of the candidate that
            follows it, or of stopping, centred and scaled as the candidates are.
        length: as in `scatter_to_tokens`: "token", or "candidate" for equal weight of short and long candidates.
        sizes: how rollouts of different numbers of candidates compare. "worth": credits of values that share out what
            a set is worth (semivalues, WinnerTakesAll, PrefixMarginals) are multiplied by the number of live candidates
            of the rollout, so that their mean, not their sum, is v(all) - v(empty) where the value is efficient.
            "share": credits as they are, of which those of longer lists are smaller. At one fixed number the factor
            cancels in the normalisation, but for `eps` and scale="none".

    Raises:
        TypeError, ValueError: arguments of the wrong kind or value.

    Source: ShapE-GRPO, arXiv 2603.29871; v(empty) and the statistics of the normalisation are a choice made here.

    >>> import shapley_kernels as sk
    >>> allocator = RewardAllocator(utility=sk.Max)
    >>> allocator.advantages([[4.0, 3.0, 5.0], [5.0, 4.0, 0.0]]).round(2).tolist()
    [[-0.15, -0.62, 0.77], [1.23, 0.31, -1.54]]
    """

    utility: Callable[..., Game] = Max
    value: Value = Shapley()  # noqa: RUF009, it is frozen
    center: str = "group"
    scale: str = "group"
    outside: str = "set"
    length: str = "token"
    sizes: str = field(default="worth", kw_only=True)
    ddof: int = field(default=1, kw_only=True)
    min_std: float = field(default=1e-6, kw_only=True)
    eps: float = field(default=1e-4, kw_only=True)

    def __post_init__(self) -> None:
        check_utility(OWNER, self.utility)
        check_value(OWNER, self.value, KINDS)
        self._how  # noqa: B018, which looks at the options of the normalisation
        for name, got, known in (
            ("outside", self.outside, OUTSIDE),
            ("length", self.length, LENGTHS),
            ("sizes", self.sizes, SIZES),
        ):
            one_of(f"{OWNER}: {name}", got, known)

    def credits(self, rewards: Any, mask: Any = None, **options: Any) -> Any:
        """The value of utility(rewards, mask=mask, **data), before `sizes` and normalisation.

        Args:
            rewards: [..., candidates]; mask: bool, broadcasts to that, True = live.
            options: as in `advantages`; groups and who stopped matter to values that see the group alone.

        Returns:
            credits [..., candidates] in the container, dtype and device of the rewards; masked candidates get 0.

        Raises:
            TypeError, ValueError: as the utility and `semivalue`; a utility that returns no game.
        """
        call = self._read("credits", rewards, mask, **options)
        return call.restored(self._share(call, self.value))

    def advantages(
        self,
        rewards: Any,
        mask: Any = None,
        *,
        group_ids: Any = None,
        num_generations: int | None = None,
        process_group: Any = None,
        stopped: Any = None,
        **data: Any,
    ) -> Any:
        """`grpo_advantages` of the credits, times the number of candidates of their rollout as `sizes` says.

        Say which rollouts answer one prompt: rows [N, K] without group_ids or num_generations are one group. Warns once
        in a process, on the CPU, where sets of different sizes are all worth less than the v_empty of 0.

        Args:
            rewards: [B, G, K], [G, K], or [N, K] with group_ids or num_generations; these and process_group as in
                `grpo_advantages`. mask: bool, broadcasts to the rewards, True = live.
            stopped: bools [B, G], [G] or [N], False where a rollout did not choose to stop: it was cut at the length
                limit, or is malformed. Values that price the stop (`SuffixSwap`) then charge the last candidates with
                the end; others do not look at it. None: all chose.
            data: what else the utility takes.

        Returns:
            advantages of the shape of the rewards, in their container, dtype and device; 0 also in groups whose
            credits differ by what their rounding explains (docs/explanation/mathematics.md).

        Raises:
            TypeError, ValueError: as `credits` and `grpo_advantages`.
        """
        layout = {"group_ids": group_ids, "num_generations": num_generations, "process_group": process_group}
        call = self._read("advantages", rewards, mask, stopped=stopped, **layout, **data)
        advantages = self._advantages(call)
        return advantages if call.restore is None else call.restore(advantages)

    def set_advantages(self, rewards: Any, mask: Any = None, **options: Any) -> Any:
        """Advantage of each whole set: its worth v(all), normalised over the rollouts of its group as GRPO does.

        Every rollout counts, one without live candidates with v(empty): leave rollouts out that do not exist, with
        group_ids. center="slot" means "group" here. Worths are computed and compared in float64, and a std that their
        rounding explains (docs/explanation/mathematics.md) gives 0: sets of different sizes that are worth the same are
        equal.

        Args:
            rewards, mask, options: as in `advantages`.

        Returns:
            advantages [B, G], [G] or [N], the shape of the rewards without its last axis.

        Raises:
            TypeError, ValueError: as `advantages`.
        """
        call = self._read("set_advantages", rewards, mask, **options)
        with call.groups.ranks or ALONE:
            _refuse_nonfinite(call.game)
        return call.restored(self._of_sets(call))

    def token_advantages(
        self, rewards: Any, candidate_ids: Any, mask: Any = None, *, cu_seqlens: Any = None, **options: Any
    ) -> Any:
        """Advantage of each token: that of its candidate; outside all candidates that of the set, or 0 (`outside`).

        Args:
            candidate_ids: ints [..., T] with the leading axes of the rewards, or [total tokens] with cu_seqlens, as in
                `scatter_to_tokens`.
            rewards, mask, options: as in `advantages`.

        Returns:
            advantages of the shape of candidate_ids, in the container, dtype and device of the rewards.

        Raises:
            TypeError, ValueError: as `advantages` and `scatter_to_tokens`.
        """
        call = self._read("token_advantages", rewards, mask, **options)
        game, ops = call.game, call.game.ops
        with call.groups.ranks or ALONE:  # whether the ids fit, while the other ranks can still be told
            ids = read_ids(candidate_ids, call.given)
            place: Any = (ops_of(ids).to_host(ids) if ops is NUMPY else ids, self.length, cu_seqlens)
            if call.groups.ranks is not None:
                nothing = ops.zeros(game.data, (*game.batch_shape, game.players), ops.dtype("float32"))
                scattered(ops, nothing, None, *place)
        result = scattered(ops, *self._for_tokens(call), *place)
        return result if call.restore is None else call.restore(result)

    def for_tokens(self, rewards: Any, mask: Any = None, **options: Any) -> tuple[Any, Any]:
        """What `token_advantages` lays on tokens: the advantages of candidates, and `outside` for `scatter_to_tokens`.

        Args:
            rewards, mask, options: as in `advantages`.

        Returns:
            advantages of the shape of the rewards; and "zero", or by rollout (the shape without the last axis) or by
            decision ([..., candidates + 1]) what tokens outside the candidates get.

        Raises:
            TypeError, ValueError: as `advantages`.
        """
        call = self._read("for_tokens", rewards, mask, **options)
        advantages, outside = self._for_tokens(call)
        return call.restored(advantages), "zero" if outside is None else call.restored(outside)

    @cached_property
    def _how(self) -> Normalisation:
        return Normalisation.checked(OWNER, self.center, self.scale, self.ddof, self.min_std, self.eps)

    @cached_property
    def _how_of_sets(self) -> Normalisation:
        return self._how.of_sets()

    @cached_property
    def _multiplies(self) -> bool:
        return multiplies(self.value, self.sizes)

    @cached_property
    def _times_live(self) -> TimesLive:
        return TimesLive(self.value)  # type: ignore[arg-type]

    def _read(
        self,
        method: str,
        rewards: Any,
        mask: Any,
        *,
        group_ids: Any = None,
        num_generations: Any = None,
        process_group: Any = None,
        stopped: Any = None,
        **data: Any,
    ) -> "_Call":
        """The arguments of a method. All ranks call the same one of an allocator that says the same."""
        sees_groups = isinstance(self.value, GroupValue)
        ranks = None if process_group is None else Ranks(OWNER, process_group)
        with ranks or ALONE:
            if ranks is not None:
                ranks.compare(method=method, **agreed(self))
            game = make_game(OWNER, self.utility, rewards, mask, data)
            shape = (*game.batch_shape, game.players)
            live = None if mask is None else read_mask(OWNER, mask, game.data, shape, "rewards")
            groups = NO_GROUPS
            if method != "credits" or sees_groups:
                groups = read_groups(OWNER, "rewards", shape, group_ids, num_generations, ranks)
            if stopped is not None and sees_groups:
                name = f"{OWNER}: stopped"
                stopped = broadcast(boolean(stopped, game.data, name), game.batch_shape, name, "[rollouts]")
        given, twin, restore = game.data, None, game.restore
        if game.ops is not NUMPY and method != "credits" and ranks is None and isinstance(self.value, Semivalue):
            twin = game.in_numpy(keep_gradient=False)  # not for other values, which may be the user's, in torch
        if twin is not None:
            live = None if live is None else game.ops.to_host(live)
            game, restore, twin.restore = twin, twin.restore, None
        elif restore is not None:
            game = without_restore(game)
        return _Call(game, live, groups, stopped, restore, given)

    def _advantages(self, call: "_Call") -> Array:
        game, value, factor = call.game, self.value, self._multiplies
        if factor and isinstance(value, Semivalue) and _takes_factor(game):
            value, factor = self._times_live, False
        if not factor and game.ops is not NUMPY and _may_fuse(call, value):
            fused = _in_one_launch(call, value, self._how, rounding_of(game.dtype))
            if fused is not None:
                return fused
        dtype = game.dtype
        if value is not self.value and dtype.itemsize < 4:  # whose range the product may leave
            value, factor = self.value, True
        with call.groups.ranks or ALONE:
            credits = semivalue(game, value) if isinstance(value, Semivalue) else self._share(call, value, wide=True)
            rounding = rounding_of(credits.dtype)
            if factor:
                credits = times_live(game.ops.cast(credits, game.ops.widest(credits)), game.mask)
            if game.mask is not None:
                warn_of_v_empty(OWNER, game, self.value, self.sizes, self.outside)
        advantages = normalised(game.ops, credits, call.live, call.groups, self._how, rounding)
        return advantages if advantages.dtype == dtype else call.narrowed(advantages)

    def _share(self, call: "_Call", value: Value, wide: bool = False) -> Array:
        """Credits; `wide`: in float64, where no kernel computes them."""
        if isinstance(value, GroupValue):
            return self._decisions(call, value, call.game.in_double() if wide else call.game)[..., :-1]
        return credits_of(call.game, value, wide)

    def _decisions(self, call: "_Call", value: GroupValue, game: Game) -> Array:
        """Credits [..., players + 1] of the candidates and the stop."""
        with call.groups.ranks or ALONE:
            _refuse_nonfinite(game)
        return value.decisions(game, call.groups, call.stopped)

    def _of_sets(self, call: "_Call") -> Array:
        with call.groups.ranks or ALONE:
            worth = call.game.in_double().worth()
        how, rounding = self._how_of_sets, rounding_of(worth.dtype)
        advantages = normalised(call.game.ops, worth[..., None], None, call.groups, how, rounding)
        return narrowed(advantages[..., 0], call.game.dtype, f"{OWNER}: advantages")

    def _for_tokens(self, call: "_Call") -> tuple[Array, Array | None]:
        """Advantages, and what tokens outside candidates get: [...], [..., players + 1] by decisions, or None."""
        value, game = self.value, call.game
        if self.outside == "zero" or not isinstance(value, GroupValue) or not value.prices_stop:
            return self._advantages(call), self._of_sets(call) if self.outside == "set" else None
        decisions = game.ops.detached(self._decisions(call, value, game.in_double()))
        credits, rounding = decisions[..., :-1], rounding_of(decisions.dtype)
        stop = normalised(
            game.ops, credits, call.live, call.groups, self._how_of_sets, rounding, others=decisions[..., -1:]
        )
        advantages = normalised(game.ops, credits, call.live, call.groups, self._how, rounding)
        outside = _leading_to(game.ops, advantages, stop, game.mask)
        return call.narrowed(advantages), call.narrowed(outside)


@dataclass
class _Call:
    """What one call is about.

    Args:
        game: with results in numpy or torch.
        live: who is in the statistics, which is for the caller to say: the mask of the game may be another.
        stopped: bool [...], or None.
        restore: from a result to the container of the caller, or None.
        given: data in the container that the game came in.
    """

    game: Game
    live: Array | None
    groups: Groups
    stopped: Array | None
    restore: Callable[[Array], Any] | None
    given: Array

    def narrowed(self, advantages: Array) -> Array:
        """Those of float64, or of the dtype of the game, in its dtype."""
        return narrowed(advantages, self.game.dtype, f"{OWNER}: advantages")

    def restored(self, result: Array) -> Any:
        return self.restore(result) if self.restore else result


NO_GROUPS = Groups(OWNER, 0, 0)
"""Of calls that do not look at groups."""


def rounding_of(dtype: Any) -> float:
    """The relative error that is expected of credits and worths in this dtype: more than that of those in float64; of
    others what a few roundings make, since more may be meant."""
    if dtype.itemsize > 2:  # not kept in a cache, of which torch.compile would warn
        return 2.0**-46 if dtype.itemsize == 8 else 2.0**-21
    return 2.0**-7 if "bfloat16" in str(dtype) else 2.0**-10


def agreed(allocator: RewardAllocator) -> dict[str, Any]:
    """By name, what processes that share groups have to have in common; `Ranks.compare` takes it."""
    names = ("value", "sizes", "outside", "length")
    mine = {name: getattr(allocator, name) for name in names}
    return {"utility": name_of(allocator.utility), **mine, **asdict(allocator._how)}


def _takes_factor(game: Game) -> bool:
    """Whether `TimesLive` costs no more than its value: for games of sorted rewards, and sums of them. Not while torch
    traces, which cannot keep a value that is made meanwhile."""
    if game.ops is not NUMPY and game.ops.is_traced(game.data):
        return False
    return isinstance(game, OrderGame) or all(isinstance(part, OrderGame) for _, part in game._parts())


def credits_of(game: Game, value: Semivalue | Baseline, wide: bool = False) -> Array:
    """Of a game with results in numpy or torch; `wide`: in float64, where no kernel computes them."""
    if isinstance(value, Semivalue):
        return semivalue(game, value)
    _refuse_nonfinite(game)
    return value.wide_credits(game) if wide else value.credits(game)


def check_value(owner: str, value: Any, kinds: tuple[type, ...]) -> None:
    if not isinstance(value, kinds):
        swap = " rl.SuffixSwap()," if GroupValue in kinds else ""
        raise TypeError(
            f"{owner}: value must be a semivalue such as sk.Shapley(),{swap} or a baseline, "
            f"got {value!r}{brackets(value, *kinds)}"
        )


def _may_fuse(call: _Call, value: Value) -> bool:
    """Whether `_in_one_launch` may be asked: on the GPU, for semivalues, and groups of one size."""
    game = call.game
    if not game.ops.on_cuda(game.data) or not isinstance(value, Semivalue) or call.groups.size is None:
        return False
    return not game.ops.is_traced(game.data) and _same(game.mask, call.live) and not triton_missing()


def _in_one_launch(call: _Call, value: Any, how: Normalisation, rounding: float) -> Array | None:
    """Advantages by the kernel of the GPU that computes the credits and normalises them, or None where that takes more
    than one launch: for games other than one term of the order family, long rows, and groups other than small ones."""
    game, size = call.game, call.groups.size
    terms = merged(game.terms(value))
    if len(terms) != 1 or not isinstance(terms[0], OrderTerm) or terms[0].factor is not None:
        return None
    term, fused = terms[0], kernel("order", "gpu_fused_norm")
    double = term.game.rewards.element_size() == 8
    if 0 in game.batch_shape or not size or not game.players:
        return None
    if not fused.serves(size, game.players, double, how.center, how.scale):
        return None
    options = (size, how.center, how.scale, how.ddof, how.min_std, how.eps, rounding)
    return term.credits(_FusedLaunch(game.dtype, fused.run, options))


def _same(mask: Array | None, live: Array | None) -> bool:
    """Whether two tensors are the same entries of memory; of those of one call, None is only the same as None."""
    if mask is live or mask is None or live is None:
        return mask is live
    return mask.shape == live.shape and mask.stride() == live.stride() and mask.data_ptr() == live.data_ptr()


class _FusedLaunch:
    """A run of `order` that normalises as well: a `games.term.AnyLauncher`."""

    traced = False

    def __init__(self, dtype: Any, run: Any, options: tuple[Any, ...]) -> None:
        self.dtype, self.run, self.options = dtype, run, options

    def __call__(
        self,
        primitive: str,
        arrays: Sequence[Array | float | None],
        tables: Tables,
        shape: tuple[int, ...],
        dtype: Any = None,
        form: str | None = None,
    ) -> Array:
        rewards: Any = arrays[0]
        placed = tables.on("torch", compute_dtype(rewards.dtype), device(rewards))

        def run(*tensors: Any) -> None:
            self.run(*tensors[:-1], *self.options, tensors[-1])

        return run_torch(run, arrays, placed, shape, dtype or self.dtype)


def _leading_to(ops: Ops, advantages: Array, stop: Array, mask: Array | None) -> Array:
    """[..., players + 1], for `scatter_to_tokens`: the advantages [..., players] of the candidates, for a masked one
    that of the next live one, and that of the stop [..., 1]."""
    xp, players = ops.xp, advantages.shape[-1]
    table = xp.concatenate([advantages, stop], -1)
    if mask is None or players == 0:
        return table
    place = ops.array_like(np.arange(players), table, ops.dtype("int64"))
    place = ops.next_lowest(xp.where(mask, place, players))
    return ops.take(table, xp.concatenate([place, xp.full_like(place[..., :1], players)], -1))


def _refuse_nonfinite(game: Game) -> None:
    """What the kernels do for semivalues: on the CPU, a ValueError for live data that are not finite.

    `worth` alone would not tell: the maximum of a row does not show that another entry of it is NaN.
    """
    if game.ops.on_cpu(game.data):
        for _, part in game._parts():
            part.refuse_bad_data()
