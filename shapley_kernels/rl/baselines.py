"""Other ways to share the worth of a set, to compare with: each takes the place of a semivalue in `RewardAllocator`.

They read a game through `worth` alone, so they serve any game. Below, "unbiased" means that E[sum_i credit_i grad log
p(candidate_i)] = grad E[v(all)], before any normalisation.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import Array
from shapley_kernels.games import Game
from shapley_kernels.games.overflow import within_range


class Baseline:
    """A rule for credit that is not a semivalue; subclass it and write `share` to add one."""

    splits_worth: ClassVar[bool] = False
    """Whether its credits share out v(all), and so are smaller in larger sets: `RewardAllocator` multiplies such by the
    number of candidates (sizes="worth"). Others are per candidate, and stay as they are."""

    def credits(self, game: Game) -> Any:
        """Credits [..., players] in the container, dtype and device of the game; masked players get exactly 0.

        Raises:
            OverflowError: on the CPU, credits that the dtype does not hold.
        """
        credits = game.ops.cast(self.wide_credits(game), game.dtype)
        if game.ops.on_cpu(credits):
            credits = within_range(game, "credits", credits, self._credits, trailing=1)
        return game.restore(credits) if game.restore else credits

    def wide_credits(self, game: Game) -> Array:
        """`credits` before they are rounded to the dtype of the game, in numpy or torch."""
        with np.errstate(over="ignore", invalid="ignore"):  # `within_range` looks
            return self._credits(game.in_double())

    def _credits(self, game: Game) -> Array:
        worth = game.wide_worth()
        credits = self.share(game, worth) if game.players else worth[..., None][..., :0]
        return credits if game.mask is None else game.ops.xp.where(game.mask, credits, 0.0)

    def share(self, game: Game, worth: Array) -> Array:
        """Credits [..., players] from v(all) [...], numpy or torch, in the compute dtype; what stands at masked players
        does not matter."""
        raise NotImplementedError


@dataclass(frozen=True)
class Broadcast(Baseline):
    """Every candidate gets the worth of the whole set, credit_i = v(all): what GRPO does with a set reward.

    It optimises the expected worth of the set, and is unbiased for it, whether candidates are independent or each is
    written in view of those before it. The price is noise: a weak candidate is paid for the strong one beside it.
    Credits sum to K v(all).

    Cost: O(players) per row beside one `worth`.
    Source: Shao et al. (2024), arXiv 2402.03300.
    """

    def share(self, game: Game, worth: Array) -> Array:
        return worth[..., None] * game.ops.array_like(np.ones(game.players), worth, worth.dtype)


@dataclass(frozen=True)
class WinnerTakesAll(Baseline):
    """Only the best candidate is paid: credit_i = (v(all) - v(empty)) / winners where v({i}) is highest, else 0.

    Equal best candidates share equally. For `Max` and independent candidates it optimises K E[(r - v(empty)) w(r)],
    w(r) the chance that a candidate with reward r wins, *held fixed*: paid for winning against the others as they are,
    nothing for coming close. So it is biased, for independent candidates too. Credits sum to v(all) - v(empty).

    Cost: O(players^2) time and memory per row: `worth` of each candidate alone.
    Source: named as a baseline by ShapE-GRPO, arXiv 2603.29871; this reading of the name is ours.
    """

    splits_worth = True

    def share(self, game: Game, worth: Array) -> Array:
        xp, alone = game.ops.xp, _worth_of_each(game, np.eye(game.players, dtype=bool))
        if game.mask is not None:
            alone = xp.where(game.mask, alone, -float("inf"))
        best = alone == xp.amax(alone, -1)[..., None]
        part = (worth - game.wide_worth(_nobody(game))) / best.sum(-1)
        return xp.where(best, part[..., None], 0.0)


@dataclass(frozen=True)
class PrefixMarginals(Baseline):
    """Every candidate gets what it adds to those before it: credit_k = v(o_1 .. o_k) - v(o_1 .. o_{k-1}), as written.

    For independent candidates it optimises what Shapley credit does, for `Max` the mixture sum_m J_m / m of the
    expected best J_m of m = 1 .. K candidates, but with more noise: the Shapley value is its average over all
    orders. So it is biased for J_K, and also where candidates are written in view of those before: what a candidate
    does for later ones is not paid (v(all) - v(o_1 .. o_{k-1}) would be unbiased). Of two equal candidates only the
    first is paid. Credits sum to v(all) - v(empty).

    Cost: O(players^2) time and memory per row: `worth` of each prefix.
    Source: Shapley (1953), whose value is the average of these over all orders, doi:10.1515/9781400881970-018.
    """

    splits_worth = True

    def share(self, game: Game, worth: Array) -> Array:
        upto = _worth_of_each(game, np.tril(np.ones((game.players, game.players), bool)))  # v(o_1 .. o_k), [..., k]
        before = game.ops.xp.concatenate([game.wide_worth(_nobody(game))[..., None], upto[..., :-1]], -1)
        return upto - before


def _nobody(game: Game) -> Array:
    return game.ops.zeros(game.data, (game.players,), game.ops.dtype("bool"))


def _worth_of_each(game: Game, coalitions: np.ndarray) -> Array:
    """v of each of the coalitions [count, players], for every game of the batch: [..., count]."""
    lead = (len(coalitions), *(1,) * len(game.batch_shape), game.players)
    ops = game.ops
    worth = game.wide_worth(ops.array_like(coalitions.reshape(lead), game.data, ops.dtype("bool")))
    return ops.xp.moveaxis(worth, 0, -1)
