"""The sample: pairs of a coalition and its complement, in strata by size, and the statistics of a stratified sample."""

from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np

BEYOND = 2**128
"""Numbers of coalitions from here on are not told apart: no sample comes near."""


@dataclass(frozen=True)
class Stratum:
    """The pairs of a coalition of `size` and its complement: how many there are, and how many are sampled."""

    size: int
    share: float  # c_s
    population: int
    count: int

    @property
    def unseen(self) -> float:
        """Finite-population correction."""
        return 1 - self.count / self.population


def strata_of(players: int, pairs: int) -> list[Stratum]:
    """How many pairs of every size: proportional to c_s (s (n - s))^-3/4, at least two (or all), so that there is a
    standard error. The exponent 1/2 is best if what is left of d(S) varies as much for every size, 1 (the Shapley
    kernel) if small coalitions vary more, as under a maximum."""
    sizes = range(1, players // 2 + 1)
    shares = [0.5 if 2 * s == players else 1.0 for s in sizes]
    population = populations(players)
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
    return [Stratum(*row) for row in zip(sizes, shares, population, count.tolist(), strict=True)]


def populations(players: int) -> list[int]:
    """How many pairs there are of the sizes 1 .. players // 2, or a number beyond `BEYOND`."""
    pairs, subsets = [], 1
    for s in range(1, players // 2 + 1):
        if subsets < BEYOND:
            subsets = subsets * (players - s + 1) // s
        pairs.append(subsets // 2 if 2 * s == players else subsets)
    return pairs


def draw(players: int, stratum: Stratum, rng: "np.random.Generator") -> np.ndarray:
    """Distinct coalitions of a stratum, uniformly without replacement: bool [count, players]. Of size players / 2, only
    those with player 0 are drawn: the others are their complements."""
    size, count = stratum.size, stratum.count
    if stratum.population <= 4 * count:
        every = combinations(range(players), size)
        listed = np.array(list(islice(every, stratum.population)))  # player 0 leads the list
        return _coalitions(players, rng.permutation(listed)[:count])
    distinct = np.zeros((0, players), bool)
    while len(distinct) < count:
        drawn = _coalitions(players, np.argsort(rng.random((count, players)), axis=1)[:, :size])
        if 2 * size == players:
            drawn ^= ~drawn[:, :1]
        distinct = np.concatenate([distinct, drawn])
        first = np.unique(np.packbits(distinct, axis=1), axis=0, return_index=True)[1]
        distinct = distinct[np.sort(first)][:count]
    return distinct


def _coalitions(players: int, members: np.ndarray) -> np.ndarray:
    """Indices [count, size] as bool [count, players]."""
    coalitions = np.zeros((len(members), players), bool)
    np.put_along_axis(coalitions, members, True, axis=1)
    return coalitions


class Sample:
    """The sampled pairs, stratum after stratum, and the statistics of a stratified sample."""

    def __init__(self, players: int, strata: list[Stratum], chosen: np.ndarray) -> None:
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

    def vectors(self, stratum: Stratum, part: slice) -> np.ndarray:
        """u [count, players]"""
        return np.where(self.chosen[part], 1 / stratum.size, -1 / (self.players - stratum.size))

    def stratum_means(self, e: np.ndarray) -> np.ndarray:
        """sum_s c_s mean_k e_k u(S_k)  [players]"""
        total = np.zeros(self.players)
        for stratum, part in zip(self.strata, self.slices, strict=True):
            total += stratum.share / stratum.count * (e[part] @ self.vectors(stratum, part))
        return total

    def variances(self, e: np.ndarray, parameters: float) -> tuple[np.ndarray, np.ndarray]:
        """Variance of `stratum_means`, and its degrees of freedom (Welch-Satterthwaite)  2 x [players]

        In a stratum it is that of e u for the player, or what it would be if e had nothing to do with who is in,
        whichever is more: few pairs may not show it. Its degrees of freedom are what the kurtosis leaves of them.
        """
        parts = np.zeros((len(self.strata), self.players))
        freedom = np.ones_like(parts)
        with np.errstate(divide="ignore", invalid="ignore"):
            for row, degrees, stratum, part in zip(parts, freedom, self.strata, self.slices, strict=True):
                if stratum.unseen:
                    x = e[part, None] * self.vectors(stratum, part)  # [count, players]
                    squares = np.square(x - x.mean(0))
                    own, alike = squares.mean(0), np.mean(e[part] ** 2) / (stratum.size * (self.players - stratum.size))
                    row[:] = stratum.share**2 * stratum.unseen / (stratum.count - 1) * np.maximum(own, alike)
                    degrees[:] = np.fmin(2 * stratum.count * own**2 / squares.var(0), stratum.count - 1)
            degrees = parts.sum(0) ** 2 / (parts**2 / np.maximum(freedom, 1.0)).sum(0)
        most = max(len(e) - parameters, 1.0)
        total = parts.sum(0) * (1 + parameters / (2 * len(e)))  # fits that leave out one another's pair are correlated
        return total, np.clip(np.where(np.isfinite(degrees), degrees, most), 1.0, most)
