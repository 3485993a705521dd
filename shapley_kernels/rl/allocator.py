"""Rewards in, advantages out: utility, value and normalisation in one object, the drop-in for GRPO's advantage step."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from shapley_kernels.allocate import semivalue
from shapley_kernels.arrays import (
    Array,
    boolean,
    broadcast,
    cast,
    constant,
    is_torch,
    named_dtype,
    namespace,
    narrowed,
    on_cpu,
    one_of,
    widest,
    zeros,
)
from shapley_kernels.games import Game, Max
from shapley_kernels.games.base import in_double, without_restore
from shapley_kernels.rl import fused
from shapley_kernels.rl.advantages import OPTIONS, Options, as_numbers, beside, check_options, normalised
from shapley_kernels.rl.baselines import Baseline
from shapley_kernels.rl.group_value import GroupValue, Layout, Value
from shapley_kernels.rl.ranks import Ranks, on_all_ranks
from shapley_kernels.rl.sizes import SIZES, TimesLive, factor_is_free, multiplies, times_live, warn_of_v_empty
from shapley_kernels.rl.tokens import LENGTHS, scatter_to_tokens
from shapley_kernels.rl.utility import make_game, name_of
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
            `CandidateSwap()`, for utilities whose data belong to single candidates.
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
        if not callable(self.utility):
            raise TypeError(
                f"{OWNER}: utility must be a class of games or a function (rewards, mask=) -> game, "
                f"got {self.utility!r}; pass sk.Max, not sk.Max(rewards), and for a game with parameters "
                "functools.partial(sk.TopM, m=3)"
            )
        if not isinstance(self.value, KINDS):
            raise TypeError(
                f"{OWNER}: value must be a semivalue such as sk.Shapley(), rl.SuffixSwap(), or a baseline, "
                f"got {self.value!r}{brackets(self.value, *KINDS)}"
            )
        check_options(OWNER, self.center, self.scale, self.ddof, self.min_std, self.eps)
        for name, got, known in (
            ("outside", self.outside, OUTSIDE),
            ("length", self.length, LENGTHS),
            ("sizes", self.sizes, SIZES),
        ):
            one_of(f"{OWNER}: {name}", got, known)

    def credits(
        self,
        rewards: Any,
        mask: Any = None,
        *,
        group_ids: Any = None,
        num_generations: int | None = None,
        stopped: Any = None,
        **data: Any,
    ) -> Any:
        """The value of utility(rewards, mask=mask, **data), before `sizes` and normalisation.

        Args:
            rewards: [..., candidates]; mask: bool, broadcasts to that, True = live; data: what else the utility takes.
            group_ids, num_generations, stopped: as in `advantages`, for values that see the group; others do not look
                at them.

        Returns:
            credits [..., candidates] in the container, dtype and device of the rewards; masked candidates get 0.

        Raises:
            TypeError, ValueError: as the utility and `semivalue`; a utility that returns no game.
        """
        game = self._game(rewards, mask, data)
        return self._share(game, self.value, (group_ids, num_generations, None), stopped)

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

        Warns once in a process, on the CPU, where sets of different sizes are all worth less than the v_empty of 0.

        Args:
            rewards: [B, G, K], [G, K], or [N, K] with group_ids or num_generations; these and process_group as in
                `grpo_advantages`, mask and data as in `credits`.
            stopped: bools [B, G], [G] or [N], False where a rollout did not choose to stop: it was cut at the length
                limit, or is malformed. Values that price the stop (`SuffixSwap`) then charge the last candidates with
                the end; others do not look at it. None: all chose.

        Returns:
            advantages of the shape of the rewards, in their container, dtype and device; 0 also in groups whose
            credits differ by what their rounding explains (docs/explanation/mathematics.md).

        Raises:
            TypeError, ValueError: as `credits` and `grpo_advantages`.
        """
        ranks = self._ranks(process_group, "advantages")
        with on_all_ranks(ranks):
            game = self._game(rewards, mask, data)
        return self._advantages(game, mask, (group_ids, num_generations, ranks), stopped)

    def set_advantages(
        self,
        rewards: Any,
        mask: Any = None,
        *,
        group_ids: Any = None,
        num_generations: int | None = None,
        process_group: Any = None,
        **data: Any,
    ) -> Any:
        """Advantage of each whole set: its worth v(all), normalised over the rollouts of its group as GRPO does.

        Every rollout counts, one without live candidates with v(empty): leave rollouts out that do not exist, with
        group_ids. center="slot" means "group" here. Worths are computed and compared in float64, and a std that their
        rounding explains (docs/explanation/mathematics.md) gives 0: sets of different sizes that are worth the same
        are equal.

        Args: as in `advantages`.

        Returns:
            advantages [B, G], [G] or [N], the shape of the rewards without its last axis.

        Raises:
            TypeError, ValueError: as in `advantages`.
        """
        ranks = self._ranks(process_group, "set_advantages")
        with on_all_ranks(ranks):
            game = self._game(rewards, mask, data)
        return self._of_sets(game, (group_ids, num_generations, ranks))

    def token_advantages(
        self,
        rewards: Any,
        candidate_ids: Any,
        mask: Any = None,
        *,
        cu_seqlens: Any = None,
        group_ids: Any = None,
        num_generations: int | None = None,
        process_group: Any = None,
        stopped: Any = None,
        **data: Any,
    ) -> Any:
        """Advantage of each token: that of its candidate; outside all candidates that of the set, or 0 (`outside`).

        Args:
            candidate_ids: ints [..., T] with the leading axes of the rewards, or [total tokens] with cu_seqlens, as in
                `scatter_to_tokens`. The rest as in `advantages`.

        Returns:
            advantages of the shape of candidate_ids, in the container, dtype and device of the rewards.

        Raises:
            TypeError, ValueError: as `advantages` and `scatter_to_tokens`.
        """
        ranks = self._ranks(process_group, "token_advantages")
        layout, place = (group_ids, num_generations, ranks), {"length": self.length, "cu_seqlens": cu_seqlens}
        with on_all_ranks(ranks):
            game = self._game(rewards, mask, data)
            if ranks is not None:  # whether the ids fit, while the other ranks can still be told
                nothing = zeros(game.data, (*game.batch_shape, game.players), "float32")
                scatter_to_tokens(nothing, candidate_ids, **place)
        advantages, outside = self._for_tokens(game, mask, layout, stopped)
        return scatter_to_tokens(advantages, candidate_ids, outside=outside, **place)

    def for_tokens(
        self,
        rewards: Any,
        mask: Any = None,
        *,
        group_ids: Any = None,
        num_generations: int | None = None,
        stopped: Any = None,
        **data: Any,
    ) -> tuple[Any, Any]:
        """What `token_advantages` lays on tokens: the advantages of candidates, and `outside` for `scatter_to_tokens`.

        Args: as in `advantages`.

        Returns:
            advantages of the shape of the rewards; and "zero", or by rollout (the shape without the last axis) or by
            decision ([..., candidates + 1]) what tokens outside the candidates get.

        Raises:
            TypeError, ValueError: as `advantages`.
        """
        return self._for_tokens(self._game(rewards, mask, data), mask, (group_ids, num_generations, None), stopped)

    def _ranks(self, process_group: Any, method: str) -> Ranks | None:
        """The ranks that share the groups; all of them call the same method of an allocator that says the same."""
        if process_group is None:
            return None
        ranks = Ranks(OWNER, process_group)
        with ranks:
            ranks.compare(method=method, **agreed(self))
        return ranks

    def _game(self, rewards: Any, mask: Any, data: dict[str, Any]) -> Game:
        game = make_game(OWNER, self.utility, rewards, mask, data)
        if mask is not None and game.mask is None:
            raise ValueError(
                f"{OWNER}: utility must hand its mask on, as in sk.Max(rewards, mask=mask), got a game without"
            )
        shape = tuple(np.shape(rewards))
        if (*game.batch_shape, game.players) != shape:
            raise ValueError(
                f"{OWNER}: utility must give a game of the candidates of rewards {shape}, got one of "
                f"{(*game.batch_shape, game.players)}; what has several numbers per candidate goes by name: "
                "utility=lambda rewards, mask=None, scores=None: sk.FacilityLocation(scores, mask=mask)"
            )
        return game

    def _advantages(self, game: Game, mask: Any, layout: Layout, stopped: Any) -> Any:
        value, factor = self.value, multiplies(self.value, self.sizes)
        if factor and isinstance(value, Semivalue) and factor_is_free(game):
            value, factor = self._times_live, False
        options = self._options_for(game.dtype)
        if (found := None if factor else fused.advantages(game, value, mask, layout, options)) is not None:
            return found
        if value is not self.value and game.dtype.itemsize < 4:  # whose range the product may leave
            value, factor = self.value, True
        with on_all_ranks(layout[2]):
            native = without_restore(game) if game.restore else game
            credits = self._share(native, value, layout, stopped, wide=True)
            if factor:
                credits = times_live(cast(credits, widest(credits)), game.mask)
            warn_of_v_empty(OWNER, game, self.value, self.sizes, self.outside)
        if not isinstance(value, Semivalue):
            options = self._options_for(credits.dtype)
        return _handed_back(normalised(credits, mask, layout, options), game)

    def _share(self, game: Game, value: Value, layout: Layout, stopped: Any, wide: bool = False) -> Any:
        """Credits; `wide`: in float64, where no kernel computes them."""
        if isinstance(value, Semivalue):
            return semivalue(game, value)
        if isinstance(value, Baseline):
            _refuse_nonfinite(game)
            return value.wide_credits(game) if wide else value.credits(game)
        credits = self._decisions(value, in_double(game) if wide else game, layout, stopped)[..., :-1]
        return game.restore(credits) if game.restore else credits

    def _decisions(self, value: GroupValue, game: Game, layout: Layout, stopped: Any) -> Array:
        """Credits [..., players + 1] of the candidates and the stop, numpy or torch."""
        with on_all_ranks(layout[2]):
            _refuse_nonfinite(game)
            if stopped is not None:
                name = f"{OWNER}: stopped"
                stopped = broadcast(boolean(stopped, game.data, name), game.batch_shape, name, "[rollouts]")
        return value.decisions(game, layout, stopped)

    def _of_sets(self, game: Game, layout: Layout) -> Any:
        with on_all_ranks(layout[2]):
            _refuse_nonfinite(game)
            worth = in_double(game).worth()
        options = self._options_for(worth.dtype)
        if self.center == "slot":
            options = ("group", *options[1:])
        return _handed_back(normalised(worth[..., None], None, layout, options)[..., 0], game)

    def _for_tokens(self, game: Game, mask: Any, layout: Layout, stopped: Any) -> tuple[Any, Any]:
        """Advantages, and `outside` for `scatter_to_tokens`."""
        value = self.value
        if self.outside == "zero" or not isinstance(value, GroupValue) or not value.prices_stop:
            advantages = self._advantages(game, mask, layout, stopped)
            return advantages, self._of_sets(game, layout) if self.outside == "set" else "zero"
        decisions = self._decisions(value, in_double(game), layout, stopped)
        credits, stop = decisions[..., :-1], decisions[..., -1:]
        options = self._options_for(credits.dtype)
        stop = beside(stop, credits, mask, layout, options)
        advantages = normalised(credits, mask, layout, options)
        outside = _handed_back(_leading_to(advantages, stop, game.mask), without_restore(game))
        return _handed_back(advantages, game), outside

    def _options_for(self, dtype: Any) -> Options:
        """With the relative error that is expected of credits and worths in this dtype: more than that of those in
        float64; of others what a few roundings make, since more may be meant."""
        if (found := self._options.get(dtype)) is None:
            bits = {"float16": 10, "bfloat16": 7, "float32": 21}.get(str(dtype).split(".")[-1], 46)
            options = as_numbers(self.center, self.scale, self.ddof, self.min_std, self.eps)
            found = self._options[dtype] = (*options[:-1], 2.0**-bits)
        return found

    @cached_property
    def _options(self) -> dict[Any, Options]:
        """By dtype."""
        return {}

    @cached_property
    def _times_live(self) -> TimesLive:
        return TimesLive(self.value)  # type: ignore[arg-type]


def agreed(allocator: RewardAllocator) -> dict[str, Any]:
    """By name, what processes that share groups have to have in common; `Ranks.compare` takes it."""
    names = ("value", "sizes", "outside", "length", *OPTIONS)
    return {"utility": name_of(allocator.utility)} | {name: getattr(allocator, name) for name in names}


def _handed_back(advantages: Array, game: Game) -> Any:
    """Those of float64, or of the dtype of the game, in its dtype and container."""
    advantages = narrowed(advantages, game.dtype, f"{OWNER}: advantages")
    return game.restore(advantages) if game.restore else advantages


def _leading_to(advantages: Array, stop: Array, mask: Array | None) -> Array:
    """[..., players + 1], for `scatter_to_tokens`: the advantages [..., players] of the candidates, for a masked one
    that of the next live one, and that of the stop [..., 1]."""
    xp, players = namespace(advantages), advantages.shape[-1]
    table = xp.concatenate([advantages, stop], -1)
    if mask is None or players == 0:
        return table
    place = constant(np.arange(players), table, named_dtype(table, "int64"))
    place = xp.flip(xp.where(mask, place, players), (-1,))
    upto = place.cummin(-1).values if is_torch(place) else np.minimum.accumulate(place, -1)
    place = xp.concatenate([xp.flip(upto, (-1,)), xp.full_like(place[..., :1], players)], -1)
    return table.gather(-1, place) if is_torch(table) else np.take_along_axis(table, place, -1)


def _refuse_nonfinite(game: Game) -> None:
    """What the kernels do for semivalues: on the CPU, a ValueError for live data that are not finite.

    `worth` alone would not tell: the maximum of a row does not show that another entry of it is NaN.
    """
    if on_cpu(game.data):
        for _, part in game._parts():
            part.refuse_bad_data()
