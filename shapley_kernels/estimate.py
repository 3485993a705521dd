"""Black-box games: Shapley values of a judge that scores whole sets, from a budget of evaluations.

Only the differences d(S) = v(S) - v(N - S) of a coalition and its complement matter:

    phi_i = (v(N) - v(empty)) / n + sum_s c_s mean over |S| = s of d(S) u_i(S),    s = 1 .. floor(n/2),
    u_i(S) = 1/s for i in S, -1/(n-s) for i outside,    c_s = 1, or 1/2 for s = n/2 (each pair stands there once).

So the pairs (S, N - S) are sampled, each size a stratum, without replacement. Every u sums to 0 over the players, so
every estimate is efficient; a fully sampled stratum has no error. Regression on simple games and the surrogate takes
out of d what they explain, and their known Shapley values put it back (docs/guides/judges.md).
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import isawaitable
from itertools import combinations, islice
from math import ceil, isqrt, lgamma, pi, sqrt
from numbers import Integral, Real
from typing import Any

import numpy as np

from shapley_kernels._async import gathered, is_async, wait
from shapley_kernels.allocate import shapley
from shapley_kernels.arrays import describe, read
from shapley_kernels.backends import BackendUnavailable
from shapley_kernels.games.base import Game

BATCHES = 16
"""`f` is called about this many times, on batches of equal size, but not for fewer than `SMALLEST_BATCH` coalitions."""
SMALLEST_BATCH = 64

CALLS = 32
"""Of an `async def`, at the same time."""

MOST_BYTES = 2**36
"""Of the coalitions that are evaluated, a byte per player; of more, no memory would be left for the work on them."""

MOST_PLAYERS = isqrt(MOST_BYTES // 2) - 1
"""Of whom the smallest budget, about 2 players coalitions, is that many bytes."""

BEYOND = 2**128
"""Numbers of coalitions from here on are not told apart: no sample comes near."""

NO_FIT = 1e-6
"""1 - leverage below this: without the pair itself the regression would be undetermined."""


@dataclass(frozen=True, eq=False)
class Estimate:
    """Shapley values and how far off they may be.

    Attributes:
        values: [players] float64; they sum to v(all) - v(empty).
        standard_errors: [players] float64, 0 when exact.
        evaluations: coalitions that were evaluated, all distinct, the empty and the full one included.
        exact: whether that were all 2^players.
        degrees_of_freedom: [players] float64, of Student's t for the standard errors; infinite when exact.
    """

    values: np.ndarray
    standard_errors: np.ndarray
    evaluations: int
    exact: bool
    degrees_of_freedom: np.ndarray

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Confidence interval of every value by itself: values -+ standard_errors times a quantile of Student's t.

        Args:
            level: in (0, 1), the probability that the interval of a player holds its Shapley value.

        Returns:
            (low, high), each [players] float64.
        """
        if not isinstance(level, Real) or not 0 < level < 1:
            raise ValueError(f"interval: level must be a number between 0 and 1, such as 0.95, got {level!r}")
        reach = _student(float(level), self.degrees_of_freedom) * self.standard_errors
        return self.values - reach, self.values + reach


def estimate(
    f: Any,
    players: Any,
    *,
    budget: int,
    seed: "int | np.random.Generator",
    surrogate: Any = None,
    progress: bool = False,
    known: dict[tuple[int, bytes], float] | None = None,
) -> Any:
    """Shapley values of a game that is known only by evaluation; efficient, and unbiased up to O(1 / pairs^2).

    With d(S) = f(S) - f(N - S), sampled pairs k of size s, and b the weighted ridge fit of d on control games g (the
    additive ones, those of |S| alone, their product, and the surrogate) with Shapley values phi(g):

        values = (f(N) - f(empty)) / n + b . phi(g) + sum_s c_s mean_k e_k u(S_k),

    e_k the residual d - b . d_g, corrected for the fit having seen pair k. Which controls enter is decided by the error
    on pairs left out, so a surrogate that does not help is not used.

    Args:
        f: takes coalitions, bool [m, players], True = in the coalition, and returns their worth [m]: numpy, torch or a
            list of finite numbers. Assumed deterministic; noise in f counts as part of the game, and the standard
            errors are then those of a game that is sampled without replacement. What it raises propagates. It may be
            `async def`: then its calls run at the same time. A list of such functions, one for each of several games,
            gives a list of estimates.
        players: from 1 to 185,362, of whom the smallest budget takes 64 GiB. Of several games one number, or a list.
        budget: coalitions that may be evaluated, the empty and the full one included; at least
            min(2^players, 2 + 4 floor(players / 2)). From 2^players on the result is exact. They come in pairs, so
            one of an odd budget stays unused.
        seed: an integer >= 0 or a numpy Generator; equal seeds give equal results.
        surrogate: a single game on the same players that resembles f, such as `sk.Max(rewards)`; its own Shapley
            value is exact, only what it leaves of f is estimated. Of several games a list, or None.
        progress: show a progress bar on stderr (needs rich or tqdm), a step for each call of f.
        known: an empty dict, which is filled with the worths that f gave, by game and coalition. What was paid for is
            kept there when a call fails: call again with it, and the same seed, and only the others are evaluated.

    Returns:
        `Estimate` with values, standard_errors, evaluations, exact, and `interval(level=0.95)`; a list of them for a
        list. Values are credits: `grpo_advantages` makes them advantages.

    Raises:
        TypeError, ValueError: arguments of the wrong kind; f returns another shape than [m], NaN, infinity, or
            something that is not numbers.
        OverflowError: values or standard errors beyond the range of float64.
        BackendUnavailable: progress=True without rich or tqdm.

    Cost: `budget` evaluations in about 16 calls of f (one for up to 64 coalitions); beside that
        O(budget players^2 + players^3) operations and O(budget players) memory.
    Error: `standard_errors`; how often the intervals hold the truth is printed by `benchmarks/estimators.py`. A game
        with interactions of at most two players, or one that the surrogate explains up to such a game, is exact to
        rounding once the pairs determine the fit without any one of them, from about 4 players evaluations on.
    Source: permutation sampling, Castro, Gomez and Tejada (2009), doi:10.1016/j.cor.2008.04.004; antithetic pairs,
        Mitchell, Cooper, Frank and Holmes (2022), arXiv 2104.12199; paired coalitions and regression, Covert and Lee
        (2021), arXiv 2012.01536; control variates in stratified samples, Cochran (1977), Sampling Techniques, ch. 5, 7.

    >>> import numpy as np, shapley_kernels as sk
    >>> judge = lambda coalitions: (coalitions @ np.array([3.0, 2.0, 1.0])) ** 2
    >>> sk.estimate(judge, 3, budget=8, seed=0).values.round(9).tolist()
    [18.0, 12.0, 6.0]
    """
    several = isinstance(f, (list, tuple))
    judges = list(f) if several else [f]
    plans = [
        _Plan(judge, of_one, budget, seed, game)
        for judge, of_one, game in zip(
            judges, _each("players", players, judges), _each("surrogate", surrogate, judges), strict=True
        )
    ]
    worths = _evaluate(judges, [plan.sample.coalitions() for plan in plans], known, progress)
    results = [plan.result(worth) for plan, worth in zip(plans, worths, strict=True)]
    return results if several else results[0]


def _each(name: str, x: Any, judges: list[Any]) -> list[Any]:
    if not isinstance(x, (list, tuple)):
        return [x] * len(judges)
    if len(x) != len(judges):
        raise ValueError(f"estimate: {name} must be one for all, or a list of {len(judges)}, as f, got {len(x)}")
    return list(x)


class _Plan:
    """One game: which coalitions are evaluated, and what follows from their worths."""

    def __init__(self, f: Any, players: Any, budget: Any, seed: Any, surrogate: Any) -> None:
        _check(f, players, budget, surrogate)
        rng, self.players = _generator(seed), int(players)
        self.exact = int(budget) >= 2**self.players
        strata = _strata(self.players, 2 ** (self.players - 1) - 1 if self.exact else (int(budget) - 2) // 2)
        members = [_draw(self.players, stratum, rng) for stratum in strata]
        self.sample = _Sample(self.players, strata, np.concatenate([np.zeros((0, self.players), bool), *members]))
        # a bad surrogate is found before f, which may be dear, is called
        self.controls = [] if surrogate is None or self.exact else [_control(surrogate, self.sample)]

    def result(self, worth: np.ndarray) -> Estimate:
        sample, players = self.sample, self.players
        unit = _unit(worth)
        gain, y = sample.differences(worth / unit)
        if self.exact:
            values = gain / players + sample.stratum_means(y)
            return Estimate(_times(values, unit), np.zeros(players), len(worth), True, np.full(players, np.inf))
        best = min(_fits(sample, y, self.controls), key=lambda fit: fit.error)
        values = gain / players + best.explained + sample.stratum_means(best.residuals)
        variances, freedom = sample.variances(best.left_out, best.parameters)
        return Estimate(_times(values, unit), _times(np.sqrt(variances), unit), len(worth), False, freedom)


def _unit(worth: np.ndarray) -> float:
    """1, or the power of two in which worths are measured whose fourth powers would leave the range of float64."""
    exponent = int(np.frexp(np.abs(worth).max())[1])
    return 1.0 if worth.any() == 0 or abs(exponent) < 200 else 2.0 ** (exponent - 1)


def _times(x: np.ndarray, unit: float) -> np.ndarray:
    with np.errstate(over="ignore"):
        result = x * unit
    if not np.isfinite(result).all():
        player = int(np.flatnonzero(~np.isfinite(result))[0])
        raise OverflowError(
            f"estimate: values and their errors must be in the range of float64, which those of player {player} are "
            "not; scale the worths down"
        )
    return result


# ---- which coalitions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stratum:
    """The pairs of a coalition of `size` and its complement: how many there are, and how many are sampled."""

    size: int
    share: float  # c_s
    population: int
    count: int

    @property
    def unseen(self) -> float:
        """Finite-population correction."""
        return 1 - self.count / self.population


def _strata(players: int, pairs: int) -> list[_Stratum]:
    """How many pairs of every size: proportional to c_s (s (n - s))^-3/4, at least two (or all), so that there is a
    standard error. The exponent 1/2 is best if what is left of d(S) varies as much for every size, 1 (the Shapley
    kernel) if small coalitions vary more, as under a maximum."""
    sizes = range(1, players // 2 + 1)
    shares = [0.5 if 2 * s == players else 1.0 for s in sizes]
    population = _populations(players)
    wanted = np.array([c / (s * (players - s)) ** 0.75 for s, c in zip(sizes, shares, strict=True)])
    most = np.array([min(total, pairs) for total in population], np.int64)
    least = np.minimum(most, 2)
    low, high = 0.0, (pairs + 1) / wanted.min(initial=1.0)
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * wanted, least, most).sum() <= pairs else (low, middle)
    ideal = np.clip(low * wanted, least, most)
    count = np.floor(ideal).astype(np.int64)
    order = np.argsort(count - ideal, kind="stable")
    spare = order[count[order] < most[order]][: pairs - count.sum()]
    count[spare] += 1
    return [_Stratum(*row) for row in zip(sizes, shares, population, count.tolist(), strict=True)]


def _populations(players: int) -> list[int]:
    """How many pairs there are of the sizes 1 .. players // 2, or a number beyond `BEYOND`."""
    found, subsets = [], 1
    for s in range(1, players // 2 + 1):
        if subsets < BEYOND:
            subsets = subsets * (players - s + 1) // s
        found.append(subsets // 2 if 2 * s == players else subsets)
    return found


def _draw(players: int, stratum: _Stratum, rng: "np.random.Generator") -> np.ndarray:
    """Distinct coalitions of a stratum, uniformly without replacement: bool [count, players]. Of size players / 2, only
    those with player 0 are drawn: the others are their complements."""
    size, count = stratum.size, stratum.count
    if stratum.population <= 4 * count:
        every = combinations(range(players), size)
        listed = np.array(list(islice(every, stratum.population)))  # player 0 leads the list
        return _coalitions(players, rng.permutation(listed)[:count])
    found = np.zeros((0, players), bool)
    while len(found) < count:
        drawn = _coalitions(players, np.argsort(rng.random((count, players)), axis=1)[:, :size])
        if 2 * size == players:
            drawn ^= ~drawn[:, :1]
        found = np.concatenate([found, drawn])
        first = np.unique(np.packbits(found, axis=1), axis=0, return_index=True)[1]
        found = found[np.sort(first)][:count]
    return found


def _coalitions(players: int, members: np.ndarray) -> np.ndarray:
    """Indices [count, size] as bool [count, players]."""
    coalitions = np.zeros((len(members), players), bool)
    np.put_along_axis(coalitions, members, True, axis=1)
    return coalitions


# ---- what is computed from them -------------------------------------------------------------------------------------


class _Sample:
    """The sampled pairs, stratum after stratum, and the statistics of a stratified sample."""

    def __init__(self, players: int, strata: list[_Stratum], chosen: np.ndarray) -> None:
        self.players, self.strata, self.chosen = players, strata, chosen
        counts = [stratum.count for stratum in strata]
        ends = np.cumsum(counts, dtype=np.int64)
        self.slices = [slice(int(end) - count, int(end)) for end, count in zip(ends, counts, strict=True)]
        self.sizes = np.repeat([float(stratum.size) for stratum in strata], counts)  # [pairs]
        self.unseen = np.repeat([stratum.unseen for stratum in strata], counts)
        # of e_k^2 in the variances of all players together
        scale = np.repeat([s.share**2 * players / (s.size * (players - s.size)) / s.count**2 for s in strata], counts)
        self.scale = scale * self.unseen
        # fully sampled strata need no regression, they only help while there are few pairs
        weights = scale * (self.unseen + players / max(len(chosen), 1))
        self.weights = weights / (weights.mean() if len(weights) else 1.0)

    def coalitions(self) -> np.ndarray:
        """What has to be evaluated  [2 + 2 pairs, players]: the empty set, the chosen ones, all their complements."""
        first = np.concatenate([np.zeros((1, self.players), bool), self.chosen])
        return np.concatenate([first, ~first])

    def differences(self, worth: np.ndarray) -> tuple[float, np.ndarray]:
        """From the worth of `coalitions`: gain = v(N) - v(empty), and d [pairs] of v(S) - gain |S| / n, the game less
        what everybody gets alike."""
        first, complements = np.split(worth, 2)
        gain = float(complements[0] - first[0])
        return gain, (first - complements)[1:] - gain * (2 * self.sizes / self.players - 1)

    def vectors(self, stratum: _Stratum, part: slice) -> np.ndarray:
        """u [count, players]"""
        return np.where(self.chosen[part], 1 / stratum.size, -1 / (self.players - stratum.size))

    def stratum_means(self, e: np.ndarray) -> np.ndarray:
        """sum_s c_s mean_k e_k u(S_k)  [players]"""
        total = np.zeros(self.players)
        for stratum, part in zip(self.strata, self.slices, strict=True):
            total += stratum.share / stratum.count * (e[part] @ self.vectors(stratum, part))
        return total

    def variances(self, e: np.ndarray, parameters: float) -> tuple[np.ndarray, np.ndarray]:
        """Variance of `stratum_means`, and its degrees of freedom (Welch-Satterthwaite)  2 x [players]"""
        parts = np.zeros((len(self.strata), self.players))
        for row, stratum, part in zip(parts, self.strata, self.slices, strict=True):
            if stratum.unseen:
                spread = np.var(e[part, None] * self.vectors(stratum, part), axis=0, ddof=1)
                row[:] = stratum.share**2 * stratum.unseen / stratum.count * spread
        total = parts.sum(0)
        total *= 1 + parameters / (2 * len(e))  # second order: fits that leave out one another's pair are correlated
        most = max(len(e) - parameters, 1.0)
        freedom = np.array([max(stratum.count - 1, 1) for stratum in self.strata])
        with np.errstate(divide="ignore", invalid="ignore"):
            found = parts.sum(0) ** 2 / (parts**2 / freedom[:, None]).sum(0)
        return total, np.clip(np.where(np.isfinite(found), found, most), 1.0, most)


@dataclass(frozen=True, eq=False)
class _Control:
    """Games whose differences are known for every pair, and their Shapley values, less what everybody gets alike."""

    differences: np.ndarray  # [pairs, games]
    values: np.ndarray  # [games, players]
    ridge: float


@dataclass(frozen=True, eq=False)
class _Fit:
    explained: np.ndarray  # [players], b . phi(g)
    residuals: np.ndarray  # [pairs], e: residuals free of the bias of having been fitted
    left_out: np.ndarray  # [pairs], residuals of the fits without the pair itself
    error: float  # their weighted sum of squares over what is not fully sampled
    parameters: float  # effective number


def _fits(sample: _Sample, y: np.ndarray, surrogates: list[_Control]) -> Iterator[_Fit]:
    """Controls to choose from: plain or curved, by least squares or by ridge regression, with or without surrogate."""
    n = sample.players
    middle = (2 * sample.sizes / n - 1) ** 2  # [pairs], 0 for half of the players, 1 for none and all
    additive = 2 * (sample.chosen - sample.sizes[:, None] / n)  # of the game |S n {i}|
    sizes = [stratum.size for stratum in sample.strata if 2 * stratum.size < n]
    symmetric = (sample.sizes[:, None] == sizes).astype(float)  # of games of |S| alone: nobody gets more than another
    share = (np.eye(n) - 1 / n) * 2 / (n - 1)  # of c_s = 1: additive games have the same in every stratum
    curve = sum(stratum.share * (2 * stratum.size / n - 1) ** 2 for stratum in sample.strata)
    plain = (
        np.concatenate([additive, symmetric], axis=1),
        np.concatenate([np.eye(n) - 1 / n, np.zeros((len(sizes), n))]),
    )
    curved = np.concatenate([plain[0], middle[:, None] * additive], axis=1), np.concatenate([plain[1], curve * share])
    for extra in ([], surrogates) if surrogates else ([],):
        for differences, values in (plain, curved):
            for ridge in (0.0, float(len(values))):
                fit = _fit(sample, y, [_Control(differences, values, ridge), *extra])
                if fit is not None:
                    yield fit


def _fit(sample: _Sample, y: np.ndarray, controls: list[_Control]) -> _Fit | None:
    """Weighted ridge regression of y on the controls, None if a pair cannot be left out of it."""
    x = np.concatenate([control.differences for control in controls], axis=1)  # [pairs, games]
    phi = np.concatenate([control.values for control in controls])  # [games, players]
    ridge = np.concatenate([np.full(len(control.values), control.ridge) for control in controls])
    weighted = x * sample.weights[:, None]
    inverse = np.linalg.pinv(weighted.T @ x + np.diag(ridge), rcond=1e-10, hermitian=True)
    influence = weighted @ inverse  # [pairs, games], of y on b
    b = y @ influence
    leverage = (influence * x).sum(1)
    if leverage.max(initial=0.0) > 1 - NO_FIT:
        return None
    residuals = y - x @ b
    left_out = residuals / (1 - leverage)
    shift = -influence * left_out[:, None]  # b without the pair, less b
    corrected = residuals.copy()
    for stratum, part in zip(sample.strata, sample.slices, strict=True):
        if stratum.unseen:  # b is correlated with the sample; this is the covariance, by leaving out (jackknife)
            moved = ((shift[part] - shift[part].mean(0)) * x[part]).sum(1)
            corrected[part] -= stratum.unseen * stratum.count / (stratum.count - 1) * moved
    error = float((sample.scale * left_out**2).sum())
    return _Fit(b @ phi, corrected, left_out, error, float(leverage.sum()))


def _control(game: Game, sample: _Sample) -> _Control:
    """The surrogate as a control, scaled to differences around 1."""
    values = _numbers(shapley(game, nan="raise"), "surrogate")
    coalitions = game.ops.array_like(sample.coalitions(), game.data, game.ops.dtype("bool"))
    worth = _numbers(game.worth(coalitions), "surrogate")
    unit = _unit(worth)
    values, worth = values / unit, worth / unit
    values = values - values.mean()
    column = sample.differences(worth)[1]
    size = np.sqrt(np.mean(column**2))
    rounding = 1e3 * np.finfo("float32" if "32" in str(game.dtype) else "float64").eps * np.abs(worth).max()
    scale = 1 / size if size > rounding else 0.0  # nothing but rounding: everybody gets alike in this game
    return _Control((column * scale)[:, None], (values * scale)[None], 0.0)


def _student(level: float, freedom: np.ndarray) -> np.ndarray:
    """x with P(|t| <= x) = level, by Newton steps on the integral of C cos^(nu - 1) from 0 to arctan(x / sqrt(nu)).
    That is concave, so that the steps from 0 never pass the root."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    nu = np.clip(freedom, 1.0, 1000.0)[:, None]  # above, it is the normal distribution to 0.3 %
    peak = np.exp([[lgamma((v + 1) / 2) - lgamma(v / 2)] for v in nu[:, 0]]) * 2 / sqrt(pi)
    angle = np.zeros_like(nu)
    for _ in range(40):
        inside = angle / 2 * peak * (np.cos(angle / 2 * (nodes + 1)) ** (nu - 1) @ weights[:, None])
        angle += (level - inside) / (peak * np.cos(angle) ** (nu - 1))
    return (np.tan(angle) * np.sqrt(nu))[:, 0]


# ---- the judge ------------------------------------------------------------------------------------------------------


def _evaluate(
    judges: list[Any],
    coalitions: list[np.ndarray],
    known: dict[tuple[int, bytes], float] | None,
    progress: bool,
) -> list[np.ndarray]:
    """The worths of the coalitions of each game  [m] float64, in batches of equal size."""
    worths, jobs = [np.zeros(len(rows)) for rows in coalitions], []
    for game, rows in enumerate(coalitions):
        found = [None] * len(rows) if not known else [known.get((game, row.tobytes())) for row in rows]
        new = np.array([k for k, worth in enumerate(found) if worth is None], int)
        worths[game][:] = [worth or 0.0 for worth in found]
        batches = max(1, min(BATCHES, ceil(len(new) / SMALLEST_BATCH)))
        jobs += [(game, places) for places in np.array_split(new, batches) if len(places)]
    with _bar(sum(len(places) for _, places in jobs), progress) as advance:

        def keep(game: int, places: np.ndarray, answer: Any) -> None:
            rows = coalitions[game][places]
            worths[game][places] = found = _worth(rows, answer)
            if known is not None:
                known.update(zip([(game, row.tobytes()) for row in rows], found.tolist(), strict=True))
            advance(len(rows))

        async def ask(game: int, places: np.ndarray) -> None:
            with _signature(coalitions[game][places]) as rows:
                answer = judges[game](rows)
                answer = await answer if isawaitable(answer) else answer
            keep(game, places, answer)

        if any(map(is_async, judges)):
            wait(gathered([partial(ask, *job) for job in jobs], CALLS))
        else:
            for game, places in jobs:
                with _signature(coalitions[game][places]) as rows:
                    answer = judges[game](rows)
                keep(game, places, answer)
    return worths


@contextmanager
def _signature(batch: np.ndarray) -> Iterator[np.ndarray]:
    """The batch; what f raises says what it is called with."""
    try:
        yield batch
    except Exception as error:
        if hasattr(error, "add_note"):  # Python 3.11
            error.add_note(f"estimate: f takes bool [m, players], here {batch.shape}, and returns [m] numbers")
        raise


def _worth(batch: np.ndarray, answer: Any) -> np.ndarray:
    """What f gave for a batch, checked."""
    worth = _numbers(answer, "f")
    if worth.shape != (len(batch),):
        raise ValueError(
            f"f: expected one worth for each of the {len(batch)} coalitions, shape ({len(batch)},), got shape "
            f"{worth.shape}; f takes bool [m, players] and returns [m]"
        )
    bad = np.flatnonzero(~np.isfinite(worth))
    if len(bad):
        players = np.flatnonzero(batch[bad[0]]).tolist()
        raise ValueError(
            f"f: worth must be finite, got {worth[bad[0]]} for the coalition of players {players}; "
            "give every coalition a number, the empty one included"
        )
    return worth


def _numbers(x: Any, name: str) -> np.ndarray:
    """What f or a surrogate returns, as float64 on the CPU."""
    ops, array, _ = read(x, name)
    return array if array.dtype == np.float64 else ops.to_float64(array)


@contextmanager
def _bar(total: int, shown: bool) -> Iterator[Callable[[int], object]]:
    """A function that moves a progress bar on stderr."""
    if not shown:
        yield lambda amount: None
        return
    try:
        from rich.console import Console
        from rich.progress import Progress
    except ImportError:
        pass
    else:
        with Progress(console=Console(stderr=True)) as bar:
            task = bar.add_task("evaluations", total=total)
            yield lambda amount: bar.advance(task, amount)
        return
    try:
        from tqdm import tqdm
    except ImportError:
        raise BackendUnavailable("progress=True needs rich or tqdm: pip install rich, or leave progress out") from None
    with tqdm(total=total, desc="evaluations", file=sys.stderr) as bar:
        yield bar.update


# ---- arguments ------------------------------------------------------------------------------------------------------


def _check(f: Any, players: Any, budget: Any, surrogate: Any) -> None:
    if not callable(f) or isinstance(f, Game):
        hint = "; of a game, sk.shapley(game) is exact" if isinstance(f, Game) else ""
        raise TypeError(f"estimate: f must be a function of coalitions, bool [m, players], got {describe(f)}{hint}")
    for name, x in (("players", players), ("budget", budget)):
        if not isinstance(x, Integral) or isinstance(x, bool):
            raise TypeError(f"estimate: {name} must be an integer >= 1, got {x!r}")
    players, budget = int(players), int(budget)  # powers of numpy's integers overflow
    if players < 1:
        raise ValueError(f"estimate: players must be an integer >= 1, got {players!r}")
    if players > MOST_PLAYERS:
        raise ValueError(
            f"estimate: players must be at most {MOST_PLAYERS}, got {players}: the smallest budget would not fit in "
            "memory; group players, and estimate the groups"
        )
    least = min(2**players, 2 + 4 * (players // 2))
    if budget < least:
        raise ValueError(
            f"estimate: budget must be at least {least} evaluations for {players} players "
            f"(and {2**players if players < 64 else f'2^{players}'} make it exact), got {budget}"
        )
    most = MOST_BYTES // players
    if budget > most and players >= most.bit_length():  # else 2^players is less
        raise ValueError(
            f"estimate: budget must be at most {most} evaluations for {players} players, since all coalitions are kept "
            f"in memory, got {budget if budget.bit_length() < 64 else 'more than 2^63'}"
        )
    if surrogate is not None:
        _check_surrogate(surrogate, players)


def _check_surrogate(surrogate: Any, players: int) -> None:
    if not isinstance(surrogate, Game):
        raise TypeError(
            f"estimate: surrogate must be a game such as sk.Max(rewards), got {describe(surrogate)}; "
            "wrap the rewards in the utility that f resembles"
        )
    if surrogate.batch_shape:
        raise ValueError(
            f"estimate: surrogate must be a single game, got batch shape {surrogate.batch_shape}; pass one row of data"
        )
    if surrogate.players != players:
        raise ValueError(
            f"estimate: surrogate must have {players} players, as f, got {surrogate.players}; "
            "give players that it does not know a row of data, or mask them"
        )
    if "float16" in str(surrogate.dtype):
        raise TypeError(
            f"estimate: surrogate must be float32 or float64, got {surrogate.dtype}, whose rounding would bias the "
            "estimate; convert its data first"
        )


def _generator(seed: Any) -> "np.random.Generator":
    if isinstance(seed, np.random.Generator):
        return seed
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise TypeError(f"estimate: seed must be an integer >= 0 or a numpy Generator, got {seed!r}")
    if seed < 0:
        raise ValueError(f"estimate: seed must be an integer >= 0, got {seed!r}")
    return np.random.default_rng(int(seed))
