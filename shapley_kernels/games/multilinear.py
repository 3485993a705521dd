"""Games of independent successes and saturating sums: noisy-or, at-least-m, logarithm of a sum.

Their multilinear extensions are products, or distributions of sums, and a semivalue is a mixture of coalitions that
every player joins independently (`Semivalue.nodes`), or of coalitions by size; see docs/explanation/mathematics.md.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from fractions import Fraction
from math import ceil, inf, prod
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from shapley_kernels.arrays import NUMPY, Array, Ops, compute_dtype, integer, number
from shapley_kernels.games.base import Game
from shapley_kernels.games.tables import Entries, Tables, by_live_count, kept
from shapley_kernels.games.term import AnyLauncher, Term
from shapley_kernels.values import Semivalue


def product_tables(
    value: Semivalue, players: int, counts: tuple[int, ...], scale: float = 1.0, worth: tuple[float, ...] = ()
) -> Tables:
    """Of the primitives `multilinear`, and with a worth before them `knapsack`: (t, weight, None, None) where the value
    has nodes, else (None, None, sizes, row_of_count), times `scale`."""
    if value.nodes(players) is not None:
        return kept(_nodes, scale, value, players, worth)
    key = (scale, value, worth)
    return by_live_count(_sizes, key, players, counts, first=lambda *_: (*_row(worth), None, None))


def _nodes(scale: float, value: Semivalue, players: int, worth: tuple[float, ...]) -> tuple[np.ndarray | None, ...]:
    t, weight = value.nodes(players)  # type: ignore[misc]
    return *_row(worth), t, scale * weight, None, None


def _sizes(scale: float, value: Semivalue, worth: tuple[float, ...], n: int) -> Entries:
    return (scale * value.size_weights(n),)


def _row(worth: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    return (np.array([worth]),) if worth else ()


@dataclass(frozen=True, eq=False)
class ProductTerm(Term):
    """The `multilinear` primitive: credits of v(S) = 1 - prod_{i in S} (1 - p_i)."""

    p: Array  # [batch..., players]
    primitive: ClassVar[str] = "multilinear"

    @property
    def propagates_nan(self) -> bool:  # type: ignore[override]
        """Where the constructor saw to the domain."""
        return bool(self.game.is_eager())

    def arrays(self) -> tuple[Any, ...]:
        return self.p, self.game.mask

    def tables(self) -> Tables:
        return product_tables(self.value, self.game.players, self.game.live_counts(self.value), self.scale)

    def credits(self, launch: AnyLauncher) -> Array:
        return launch(self.primitive, self.arrays(), self.tables(), tuple(self.p.shape), form="chances")

    def error_bound(self) -> np.ndarray:
        """[rows, players]: that of the primitive, (6 n + nodes + 8) eps/2 |p_i| absolute with coefficients that are
        rounded themselves, and what rounding of the nodes to the compute dtype may do."""
        game = self.game
        rows = zip(game.in_rows(self.p), game.live_rows(), strict=True)
        return np.array([_product_bound(self, p, live) for p, live in rows]).reshape(-1, game.players)


def _product_bound(term: ProductTerm, p: np.ndarray, live: np.ndarray) -> np.ndarray:
    n, bound = len(p), np.zeros(len(p))
    computing = np.finfo(compute_dtype(term.p.dtype))
    if not live.any():
        return bound
    y = 1 - p[live]
    nodes = term.value.nodes(n)
    if nodes is None:
        m = len(y)
        weights = np.abs(term.value.size_weights(m))
        # coalitions without i are a part of all: their mean is at most the whole over their share
        absolute, moved = float(weights @ (m / (m - np.arange(m)) * products_by_size(y)[:-1])), 0.0
        roundings = 7 * n + 8
    else:
        products = [node_products(y, t) for t in nodes[0]]
        rounded = [node_products(y, float(t)) for t in nodes[0].astype(computing.dtype)]
        absolute = np.abs(nodes[1]) @ np.array(products)
        moved = np.abs(nodes[1]) @ np.abs(np.array(products) - np.array(rounded))
        roundings = 6 * n + len(nodes[1]) + 8
    tiny = 2 * n * max(1.0, abs(term.scale)) * float(computing.smallest_normal)
    bound[live] = abs(term.scale) * np.abs(p[live]) * (roundings * float(computing.eps) / 2 * absolute + moved) + tiny
    return bound


def node_products(y: np.ndarray, t: float) -> np.ndarray:
    """prod_{j != i} (1 - t + t y_j) for each i."""
    factor = 1 - t + t * y
    before = np.cumprod(np.append(1.0, factor[:-1]))
    return before * np.cumprod(np.append(1.0, factor[:0:-1]))[::-1]


def products_by_size(y: np.ndarray) -> np.ndarray:
    """[s], s = 0 .. len(y): mean over the coalitions of s players of the product of their y."""
    mean = np.zeros(len(y) + 1)
    mean[0] = 1.0
    for k in range(1, len(y) + 1):
        a = np.arange(1, k + 1)
        mean[1 : k + 1] = ((k - a) * mean[1 : k + 1] + a * y[k - 1] * mean[:k]) / k
    return mean


MOST_AT_ONCE = 1 << 15
"""Chances that a constructor looks at: of more, those who compute with them do, since reading them takes as long."""


class NoisyOr(Game):
    """v(S) = 1 - prod_{i in S} (1 - p_i): the chance that some of S succeed, independently.

    phi_i = p_i int prod_{j != i} (1 - t p_j) over the measure of the value on [0, 1]; dt for Shapley.

    Args:
        p: [..., players] chances of success in [0, 1]; float16, bfloat16, float32 or float64.
        mask: [..., players] bool, True = live; None = all live. What stands at masked players is never read.

    Raises:
        TypeError, ValueError: arrays of the wrong kind or shape; on the CPU, chances outside [0, 1] (of more than 2^15
            in numpy, only when something is computed).

    Cost: O(players^2) per row.
    Error: (7 players + 8) eps/2 relative: nothing cancels.
    Source: Owen (1972), Multilinear extensions of games, doi:10.1287/mnsc.18.5.64.
    """

    arguments: ClassVar[dict[str, Any]] = {"p": (-1,)}
    runs_on = attrgetter("p", "mask")
    domain: ClassVar[dict[str, tuple[float, float]]] = {"p": (0.0, 1.0)}
    remedy: ClassVar[str] = "p are chances; clip them, or mask players that do not take part (mask=)"

    def __init__(self, p: Any, mask: Any = None) -> None:
        self.p = self._read("p", p, "[..., players]", mask)
        self._later = self.ops is NUMPY and self.p.size > MOST_AT_ONCE
        if not self._later:
            self._check_domain()

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        return {"p": rng.integers(0, 9, (rows, players)) / 8}

    def terms(self, value: Semivalue) -> list[Term]:
        return [ProductTerm(self, value, self.p)]

    def refuse_impossible_data(self) -> None:
        if self._later:
            self._check_domain()

    def pairs(self, value: Semivalue) -> Array:
        self.refuse_impossible_data()
        return -product_pairs(self.ops, -self.wide(self.p), self.mask, value)

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        p = self.in_rows(self.p)[row]
        return lambda members: 1 - prod((1 - Fraction(float(p[i])) for i in members), start=Fraction(1))

    def _worth(self, members: Array) -> Array:
        self.refuse_impossible_data()
        xp = self.ops.xp
        p = xp.where(members, self.wide(self.p), 0.0)
        failed = xp.cumprod(1 - p, -1)  # with p added where all before failed, nothing cancels
        before = xp.concatenate([xp.ones_like(failed[..., :1]), failed[..., :-1]], -1)
        return (p * before).sum(-1)


def product_pairs(ops: Ops, x: Array, mask: Array | None, value: Semivalue) -> Array:
    """Interactions in v(S) = prod_{i in S} (1 + x_i): x_i x_j sum_q weight_q prod_{l != i, j} (1 + t_q x_l).

    Args:
        x: [..., players] in the compute dtype; mask: [..., players] bool or None.
        value: of a game of one player less, with nodes.

    Returns:
        [..., players, players], symmetric; what stands on the diagonal and at masked players means nothing.

    Raises:
        ValueError: a value without nodes.

    Cost: O(nodes players^2) per row, arrays of players^2.
    Error: (4 players + nodes + 8) eps/2 relative for x <= 0, as nothing cancels and nothing is divided out.
    """
    nodes = value.nodes(max(x.shape[-1] - 1, 1))
    if nodes is None:
        raise ValueError(f"product_pairs: expected a value with nodes such as Shapley or Banzhaf, got {value}")
    xp, players = ops.xp, x.shape[-1]
    x = x if mask is None else xp.where(mask, x, 0.0)
    ones, later = xp.ones_like(x[..., :1]), ops.array_like(np.tri(players, k=-1, dtype=bool).T, x, ops.dtype("bool"))
    total = xp.zeros_like(x[..., :, None] * x[..., None, :])
    for node, weight in zip(*(part.tolist() for part in nodes), strict=True):
        factor = 1.0 + node * x
        before = xp.cumprod(xp.concatenate([ones, factor[..., :-1]], -1), -1)
        after = xp.flip(xp.cumprod(xp.flip(xp.concatenate([factor[..., 1:], ones], -1), (-1,)), -1), (-1,))
        through = xp.cumprod(xp.where(later, factor[..., None, :], 1.0), -1)  # [i, l]: players i + 1 .. l
        between = xp.concatenate([xp.ones_like(through[..., :1]), through[..., :-1]], -1)
        total = total + weight * before[..., :, None] * between * after[..., None, :]
    above = xp.where(later, x[..., :, None] * x[..., None, :] * total, 0.0)
    return above + above.swapaxes(-1, -2)


@dataclass(frozen=True, eq=False)
class TotalTerm(Term):
    """The `knapsack` primitive: `worth` of a sum of independent integers, capped at its length - 1."""

    prob: Array | None  # [batch..., players]
    weight: Array | None  # [batch..., players] int32
    worth: tuple[float, ...]  # of totals 0 .. cap
    primitive: ClassVar[str] = "knapsack"

    @property
    def propagates_nan(self) -> bool:  # type: ignore[override]
        """As of `ProductTerm`."""
        return bool(self.game.is_eager())

    def arrays(self) -> tuple[Any, ...]:
        return self.prob, self.weight, self.game.mask

    def tables(self) -> Tables:
        worth = self.worth if self.scale == 1.0 else tuple(self.scale * x for x in self.worth)
        return product_tables(self.value, self.game.players, self.game.live_counts(self.value), worth=worth)

    def error_bound(self) -> np.ndarray:
        """[rows, players]: that of the primitive, (8 n + states + cap + 8) eps/2 chance_i max_w |D_i(w)| sum_s |w_s|
        with coefficients that are rounded themselves."""
        game, n = self.game, self.game.players
        worth, cap = self.scale * np.array(self.worth), len(self.worth) - 1
        live = game.live_rows()
        prob = np.ones(live.shape) if self.prob is None else game.in_rows(self.prob)
        weight = np.ones(live.shape, int) if self.weight is None else game.in_rows(self.weight).astype(int)
        computing, total, bound = np.finfo(compute_dtype(game.dtype)), np.arange(cap + 1), np.zeros(live.shape)
        for row, players in enumerate(map(np.flatnonzero, live)):
            mass = np.abs(self.value.size_weights(len(players))).sum() if len(players) else 0.0
            for i in players:
                gain = np.abs(worth[np.minimum(total + weight[row, i], cap)] - worth).max()
                size = computing.eps / 2 * prob[row, i] * gain * mass
                bound[row, i] = (9 * n + cap + 8) * (size + computing.smallest_subnormal)
        return bound


class AtLeast(Game):
    """v(S) = P(at least m of S succeed), independently.

    Args:
        p, mask: as in `NoisyOr`, which is m = 1.
        m: integer >= 0; at m = 0 every set is worth 1, the empty one too.

    Raises:
        TypeError, ValueError: as in `NoisyOr`, or m of the wrong kind.

    Cost: O(players^2 m log players) per row; credits of m = 1 come cheaper from `NoisyOr`.
    Error: (9 players + m + 8) eps/2 p_i at most; relative to the credit, as nothing cancels.
    Source: Owen (1972), doi:10.1287/mnsc.18.5.64.
    """

    arguments: ClassVar[dict[str, Any]] = {"p": (-1,)}
    domain: ClassVar[dict[str, tuple[float, float]]] = NoisyOr.domain
    remedy: ClassVar[str] = NoisyOr.remedy

    def __init__(self, p: Any, m: int, mask: Any = None) -> None:
        self.m = integer("AtLeast: m", m, 0)
        self.p = self._read("p", p, "[..., players]", mask)
        self._check_domain()

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        return {"p": rng.integers(0, 9, (rows, players)) / 8, "m": min(2, players)}

    def terms(self, value: Semivalue) -> list[Term]:
        cap = min(self.m, self.players + 1)  # beyond, nobody ever matters
        return [TotalTerm(self, value, self.p, None, (*[0.0] * cap, 1.0))]

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        p = self.in_rows(self.p)[row]

        def worth(members: list[int]) -> Fraction:
            chances = [Fraction(1)]  # of 0, 1, ... successes
            for i in members:
                c = Fraction(float(p[i]))
                pairs = zip([*chances, Fraction(0)], [Fraction(0), *chances], strict=True)
                chances = [(1 - c) * same + c * fewer for same, fewer in pairs]
            return sum(chances[self.m :], Fraction(0))

        return worth

    def _worth(self, members: Array) -> Array:
        xp = self.ops.xp
        p = xp.where(members, self.wide(self.p), 0.0)
        none = xp.zeros_like(p[..., :1].sum(-1, keepdims=True))  # [..., 1], also without players
        fewer = [none[..., 0] + 1.0, *[none[..., 0]] * (min(self.m, self.players + 1) - 1)]  # P(k successes), k < m
        enough = none[..., 0] + float(self.m == 0)
        for i in range(self.players if self.m else 0):
            c = p[..., i]
            enough = enough + c * fewer[-1]
            pairs = zip(fewer, [none[..., 0], *fewer[:-1]], strict=True)
            fewer = [(1 - c) * same + c * less for same, less in pairs]
        return enough


STEP = 0.28
"""Of the trapezoid rule of `LogSum`: its error falls like exp(-pi^2 / STEP)."""

TOP = 4.5
"""Largest u = ln s: exp(-e^4.5) = 1e-39."""

BELOW = 32.0
"""How far below 1 / (1 + sum w / base) ln s has to reach: what is left out is e^-32 = 1e-14 of a credit."""

CHUNK = 1 << 22
"""Numbers of workspace at a time, beside those of one grid point."""


@dataclass(frozen=True, eq=False)
class LogSumTerm(Term):
    """`LogSum` as a mixture of noisy-ors over s; see there."""

    def credits(self, launch: AnyLauncher) -> Array:
        game, ops, xp = self.game, self.game.ops, self.game.ops.xp
        dtype = game.compute_dtype
        w = game.ratios(game.usable())  # [batch..., players]
        lowest = -BELOW - xp.log1p(w.sum(-1))  # [batch...]
        held = xp.isfinite(lowest)  # not so on a GPU, where nobody looked: such rows become NaN
        lowest, w = xp.where(held, lowest, -BELOW), xp.where(held[..., None], w, float("nan"))
        u = TOP - STEP * np.arange(1 + ceil((TOP - ops.to_float64(lowest).min()) / STEP))  # [points]
        tables = product_tables(self.value, game.players, game.live_counts(self.value))
        total = xp.zeros_like(w)
        step = max(1, CHUNK // prod(w.shape))
        for start in range(0, len(u), step):
            part = u[start : start + step]
            with np.errstate(over="ignore"):  # to infinity, which is as good: expm1 is -1 there
                p = xp.stack([-xp.expm1(-float(np.exp(point)) * w) for point in part])  # [points, batch..., players]
            live = None if game.mask is None else xp.stack([game.mask] * len(part))
            credits = launch("multilinear", (p, live), tables, tuple(p.shape), dtype)
            for point, credit in zip(part, credits, strict=True):
                # this row's own grid
                used = float(STEP * np.exp(-np.exp(point))) * ops.cast(lowest <= point + STEP, dtype)
                total = total + used[..., None] * credit
        with np.errstate(over="ignore", invalid="ignore"):
            return ops.cast(total if self.scale == 1.0 else self.scale * total, launch.dtype)

    def error_bound(self) -> np.ndarray:
        """[rows, players]: see `LogSum`; the credit is at most sum_s |w_s| log(1 + w_i / base)."""
        game, n, masks = self.game, self.game.players, self.game.live_rows()
        w = np.where(masks, game.in_rows(game.w), 0.0) / game.base
        computing = np.finfo(compute_dtype(game.dtype))
        mass = np.array([np.abs(self.value.size_weights(m)).sum() if m else 0.0 for m in masks.sum(-1)])
        points = (TOP + BELOW + np.log1p(w.sum(-1))) / STEP + 2
        roundings = (7 * n + 16 + points) * computing.eps / 2 + 1e-13
        tiny = 2 * n * points[:, None] * float(computing.smallest_normal)  # as of the noisy-ors
        return abs(self.scale) * ((mass * roundings)[:, None] * np.log1p(w) + np.where(masks, tiny, 0.0))


class LogSum(Game):
    """v(S) = log((base + sum_{i in S} w_i) / base): diminishing returns of a sum.

    log(1 + x) = int_0^inf e^-s (1 - e^-sx) ds / s makes it a mixture of noisy-ors with p_i = 1 - exp(-s w_i / base);
    the integral over ln s is a trapezoid sum of about 130 + 3.6 log(1 + sum w / base) points.

    Args:
        w: [..., players] weights >= 0; float16, bfloat16, float32 or float64.
        base: finite number > 0; worth 0 is what the base alone has.
        mask: as in `NoisyOr`.

    Raises:
        TypeError, ValueError: arrays of the wrong kind or shape; base <= 0; on the CPU, negative weights, or a sum of
            w / base beyond the range of promote(dtype, float32) (on a GPU such a row gets NaN).

    Cost: O(points players^2) per row; on a GPU, the largest sum of a row is read back. Up to 10 players `Table` on all
        2^players worths is faster, but it subtracts logarithms and so loses small weights beside large ones.
    Error: (7 players + points + 16) eps/2 + 1e-13 relative to log(1 + w_i / base); under Shapley within 1e-12 of the
        credit itself in float64 for weights from 1e-6 to 1e6 (tests/test_multilinear.py).
    Source: the integral is Frullani's.
    """

    arguments: ClassVar[dict[str, Any]] = {"w": (-1,)}
    domain: ClassVar[dict[str, tuple[float, float]]] = {"w": (0.0, float("inf"))}
    w: Array
    base: float

    def __init__(self, w: Any, base: float = 1.0, mask: Any = None) -> None:
        self.base = number("LogSum: base", base, "a finite number > 0", lambda x: 0 < x < inf)
        self.w = self._read("w", w, "[..., players]", mask)
        self._check_domain()
        if self.ops.is_exporting():
            raise TypeError(
                "LogSum: w must not be traced by torch.export, since the points of its integral depend on the weights; "
                "export sk.Table of its 2^players worths"
            )
        if self.ops.on_cpu(self.w):
            self._check_range()

    def _check_range(self) -> None:
        with np.errstate(over="ignore"):
            total = self.ratios(self.usable()).sum(-1)
        where = self.ops.first_true(~self.ops.xp.isfinite(total))
        if where is not None:
            raise ValueError(
                f"LogSum: the sum of w / base must be in the range of {compute_dtype(self.dtype)}, got "
                f"{total[where].item()}{f' in row {list(where)}' if where else ''}; pass a larger base, or weights in "
                "float64"
            )

    def usable(self) -> Array:
        """[..., players] bool: finite weights of live players."""
        finite = self.ops.xp.isfinite(self.w)
        return finite if self.mask is None else finite & self.mask

    def ratios(self, members: Array) -> Array:
        """w / base in the compute dtype, 0 outside `members`."""
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # for `_check_range`
            return self.ops.xp.where(members, self.wide(self.w), 0.0) / self.base

    @classmethod
    def example(cls, rng: "np.random.Generator", rows: int, players: int) -> dict[str, Any]:
        w = rng.integers(0, 9, (rows, players)) * rng.choice([0.125, 1.0, 32.0], (rows, 1))
        return {"w": w, "base": float(rng.choice([1.0, 2.5]))}

    def terms(self, value: Semivalue) -> list[Term]:
        return [LogSumTerm(self, value)]

    def _exact_worth(self, row: int) -> Callable[[list[int]], Fraction]:
        w = self.in_rows(self.w)[row]
        smallest = min((Fraction(x) for x in w[self.live_players(row)].tolist() if 0 < x < inf), default=Fraction(1))
        ratio = smallest / Fraction(self.base)
        digits = len(str(ratio.denominator // ratio.numerator))  # before the first one of a small weight's own worth

        def worth(members: list[int]) -> Fraction:
            """To 50 digits of the smallest weight's."""
            total = 1 + sum((Fraction(float(w[i])) for i in members), Fraction(0)) / Fraction(self.base)
            with localcontext() as context:
                context.prec = 60 + digits
                return Fraction((Decimal(total.numerator) / Decimal(total.denominator)).ln())

        return worth

    def _worth(self, members: Array) -> Array:
        return self.ops.xp.log1p(self.ratios(members).sum(-1))
