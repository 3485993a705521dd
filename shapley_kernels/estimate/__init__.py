"""Black-box games: Shapley values of a judge that scores whole sets, from a budget of evaluations.

Only the differences d(S) = v(S) - v(N - S) of a coalition and its complement matter:

    phi_i = (v(N) - v(empty)) / n + sum_s c_s mean over |S| = s of d(S) u_i(S),    s = 1 .. floor(n/2),
    u_i(S) = 1/s for i in S, -1/(n-s) for i outside,    c_s = 1, or 1/2 for s = n/2 (each pair stands there once).

So the pairs (S, N - S) are sampled, each size a stratum, without replacement. Every u sums to 0 over the players, so
every estimate is efficient; a fully sampled stratum has no error. Regression on simple games, on the surrogate and on
rules takes out of d what they explain, and their known Shapley values put it back (docs/guides/judges.md).
"""

from dataclasses import dataclass
from itertools import chain
from math import lgamma, pi, sqrt
from typing import Any

import numpy as np

from shapley_kernels.arrays import number
from shapley_kernels.estimate import rules
from shapley_kernels.estimate.arguments import check, generator
from shapley_kernels.estimate.controls import Fit, best_of, fits, of_surrogate, unit_of
from shapley_kernels.estimate.judge import evaluate
from shapley_kernels.estimate.sample import Sample, draw, strata_of

ROUNDING = 1e-24
"""Of the squares of what is estimated: where controls leave no more, nothing else is looked for."""

WORTHWHILE = 0.85
"""Rules are taken if they leave less than this of the squared error without them: a little less may be chance."""


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
        level = number("interval: level", level, "a number between 0 and 1, such as 0.95", lambda x: 0 < x < 1)
        reach = _student(level, self.degrees_of_freedom) * self.standard_errors
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
    additive ones, those of |S| alone, their product, the surrogate, and rules: a few "all of these three or four
    players", which it looks for itself) with Shapley values phi(g):

        values = (f(N) - f(empty)) / n + b . phi(g) + sum_s c_s mean_k e_k u(S_k),

    e_k the residual d - b . d_g, corrected for the fit having seen pair k. Which controls enter is decided by the error
    on pairs left out, so a surrogate or a rule that does not help is not used.

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
        O(budget players^3) operations and O(budget players) memory, and for rules up to some hundred MB; none are
        looked for where C(players, 3) budget / 2 is more than 2^26.
    Error: `standard_errors`; how often the intervals hold the truth is measured by `benchmarks/estimators.py`. A game
        with interactions of at most two players, or one that the surrogate explains up to such a game, is exact to
        rounding once the pairs determine the fit without any one of them, from about 4 players evaluations on.
    Source: permutation sampling, Castro, Gomez and Tejada (2009), doi:10.1016/j.cor.2008.04.004; antithetic pairs,
        Mitchell, Cooper, Frank and Holmes (2022), arXiv 2104.12199; paired coalitions and regression, Covert and Lee
        (2021), arXiv 2012.01536; interactions on the odd part, Fumagalli et al. (2026), arXiv 2602.01399; control
        variates in stratified samples, Cochran (1977), Sampling Techniques, ch. 5, 7.

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
    worths = evaluate(judges, [plan.sample.coalitions() for plan in plans], known, progress)
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
        check(f, players, budget, surrogate)
        rng, self.players = generator(seed), int(players)
        self.exact = int(budget) >= 2**self.players
        strata = strata_of(self.players, 2 ** (self.players - 1) - 1 if self.exact else (int(budget) - 2) // 2)
        members = [draw(self.players, stratum, rng) for stratum in strata]
        self.sample = Sample(self.players, strata, np.concatenate([np.zeros((0, self.players), bool), *members]))
        # a bad surrogate is found before f, which may be dear, is called
        self.controls = [] if surrogate is None or self.exact else [of_surrogate(surrogate, self.sample)]

    def result(self, worth: np.ndarray) -> Estimate:
        sample, players = self.sample, self.players
        unit = unit_of(worth)
        gain, y = sample.differences(worth / unit)
        if self.exact:
            values = gain / players + sample.stratum_means(y)
            return Estimate(_times(values, unit), np.zeros(players), len(worth), True, np.full(players, np.inf))
        best = self._fit(y)
        values = gain / players + best.explained + sample.stratum_means(best.residuals)
        variances, freedom = sample.variances(best.left_out, best.parameters)
        return Estimate(_times(values, unit), _times(np.sqrt(variances), unit), len(worth), False, freedom)

    def _fit(self, y: np.ndarray) -> Fit:
        """The controls that leave the least error: with or without the surrogate, with or without rules beside them."""
        sample = self.sample
        best = beside = best_of(fits(sample, y, self.controls))
        if self.controls:
            best = best_of(chain([beside], fits(sample, y, [])))
        if best.error <= ROUNDING * np.sum(sample.scale * y**2):
            return best
        with_rules = rules.fit(sample, y, beside.controls, beside.parameters)
        return best if with_rules is None or with_rules.error > WORTHWHILE * best.error else with_rules


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
