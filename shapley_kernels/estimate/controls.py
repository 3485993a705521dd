"""Control games: what regression of the differences on games with known Shapley values explains of a sample."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from shapley_kernels.allocate import shapley
from shapley_kernels.estimate.judge import numbers
from shapley_kernels.estimate.sample import Sample
from shapley_kernels.games.base import Game

NO_FIT = 1e-6
"""1 - leverage below this: without the pair itself the regression would be undetermined."""


@dataclass(frozen=True, eq=False)
class Control:
    """Games whose differences are known for every pair, and their Shapley values, less what everybody gets alike."""

    differences: np.ndarray  # [pairs, games]
    values: np.ndarray  # [games, players]
    ridge: float = 0.0


@dataclass(frozen=True, eq=False)
class Fit:
    controls: Sequence[Control]
    explained: np.ndarray  # [players], b . phi(g)
    residuals: np.ndarray  # [pairs], e: residuals free of the bias of having been fitted
    left_out: np.ndarray  # [pairs], residuals of the fits without the pair itself
    error: float  # their weighted sum of squares over what is not fully sampled
    parameters: float  # effective number


def best_of(fits: Iterator[Fit]) -> Fit:
    return min(fits, key=lambda fit: fit.error)


def fits(sample: Sample, y: np.ndarray, extra: Sequence[Control]) -> Iterator[Fit]:
    """Beside the extra controls plain or curved ones, by least squares or by ridge regression."""
    for control in _of_all_players(sample):
        for ridge in (0.0, float(len(control.values))):
            fit = _fit(sample, y, [replace(control, ridge=ridge), *extra])
            if fit is not None:
                yield fit


def _of_all_players(sample: Sample) -> tuple[Control, Control]:
    """The additive games and those of |S| alone; and these with the additive ones times (1 - 2 |S| / n)^2."""
    n = sample.players
    middle = (2 * sample.sizes / n - 1) ** 2  # [pairs], 0 for half of the players, 1 for none and all
    additive = 2 * (sample.chosen - sample.sizes[:, None] / n)  # of the game |S n {i}|
    sizes = [stratum.size for stratum in sample.strata if 2 * stratum.size < n]
    symmetric = (sample.sizes[:, None] == sizes).astype(float)  # of games of |S| alone: nobody gets more than another
    share = (np.eye(n) - 1 / n) * 2 / (n - 1)  # of c_s = 1: additive games have the same in every stratum
    curve = sum(stratum.share * (2 * stratum.size / n - 1) ** 2 for stratum in sample.strata)
    differences = np.concatenate([additive, symmetric], axis=1)
    values = np.concatenate([np.eye(n) - 1 / n, np.zeros((len(sizes), n))])
    curved = np.concatenate([differences, middle[:, None] * additive], axis=1)
    return Control(differences, values), Control(curved, np.concatenate([values, curve * share]))


def joined(controls: Sequence[Control]) -> tuple[np.ndarray, np.ndarray]:
    """Differences of all of them [pairs, games], and the ridge of each game [games]."""
    x = np.concatenate([control.differences for control in controls], axis=1)
    return x, np.concatenate([np.full(len(control.values), control.ridge) for control in controls])


def _fit(sample: Sample, y: np.ndarray, controls: Sequence[Control]) -> Fit | None:
    """Weighted ridge regression of y on the controls, None if a pair cannot be left out of it."""
    x, ridge = joined(controls)
    phi = np.concatenate([control.values for control in controls])  # [games, players]
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
    return Fit(controls, b @ phi, corrected, left_out, error, float(leverage.sum()))


def unit_of(worth: np.ndarray) -> float:
    """1, or the power of two in which worths are measured whose fourth powers would leave the range of float64."""
    exponent = int(np.frexp(np.abs(worth).max())[1])
    return 1.0 if worth.any() == 0 or abs(exponent) < 200 else 2.0 ** (exponent - 1)


def of_surrogate(game: Game, sample: Sample) -> Control:
    """The surrogate as a control, scaled to differences around 1."""
    values = numbers(shapley(game, nan="raise"), "surrogate")
    coalitions = game.ops.array_like(sample.coalitions(), game.data, game.ops.dtype("bool"))
    worth = numbers(game.worth(coalitions), "surrogate")
    unit = unit_of(worth)
    values, worth = values / unit, worth / unit
    values = values - values.mean()
    column = sample.differences(worth)[1]
    size = np.sqrt(np.mean(column**2))
    rounding = 1e3 * np.finfo("float32" if "32" in str(game.dtype) else "float64").eps * np.abs(worth).max()
    scale = 1 / size if size > rounding else 0.0  # nothing but rounding: everybody gets alike in this game
    return Control((column * scale)[:, None], (values * scale)[None])
