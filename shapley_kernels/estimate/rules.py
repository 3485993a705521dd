"""Rules: interactions of three and four players, found in the sample itself.

A rule R is the game that is worth 1 when all of R are in. Its difference is [R in S] - [R n S = {}], as that of its
dual, which is worth 1 when any of R is in. Few of the many rules explain much of most games. Which, and with what
coefficients, orthogonal matching pursuit finds from part of the pairs (folds); the others tell how well it did, and are
predicted by what was found without them, as by a surrogate that was given.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np

from shapley_kernels.estimate.controls import Control, Fit, joined
from shapley_kernels.estimate.sample import Sample

FOLDS = 5
"""A pair is predicted from the other folds."""

MOST_BYTES = 2**26
"""Of all rules of three players on all pairs, a byte each: of more, none are looked for."""

GROWN = 128
"""Rules of three players to which a fourth is added: the best ones."""

FEWEST = 64
"""Rules of each size that are looked at again and again; half as many as pairs if that is more."""

MOST_RULES = 256
"""Beside the controls."""

PACE = 0.25
"""Rules are added one by one, then this share of those that are there at a time."""

PATIENCE = 8
"""Steps that go on although the other folds are predicted no better."""

DEPENDENT = 1e-2
"""Of its squared length, what others leave of a rule that they make superfluous."""


@dataclass(frozen=True, eq=False)
class _Rules:
    members: np.ndarray  # [rules, players] bool
    differences: np.ndarray  # [rules, pairs] int8

    @classmethod
    def of(cls, sample: Sample, players: np.ndarray) -> "_Rules":
        """Rules of so many players [rules, k]."""
        inside = np.ascontiguousarray(sample.chosen.T)
        members = np.zeros((len(players), sample.players), bool)
        np.put_along_axis(members, players, True, axis=1)
        full, empty = inside[players[:, 0]], ~inside[players[:, 0]]
        for player in players.T[1:]:
            full &= inside[player]
            empty &= ~inside[player]
        return cls(members, full.view(np.int8) - empty.view(np.int8))

    def __getitem__(self, few: Any) -> "_Rules":
        return _Rules(self.members[few], self.differences[few])

    def values(self) -> np.ndarray:
        """Shapley values, less what everybody gets alike  [rules, players]"""
        return self.members / self.members.sum(1, keepdims=True) - 1 / self.members.shape[1]


def fit(sample: Sample, y: np.ndarray, controls: Sequence[Control], parameters: float) -> Fit | None:
    """A fit with rules beside these controls, who have so many parameters; None where no rule helps."""
    pairs, n = len(y), sample.players
    most = min((pairs - int(parameters)) // 4, MOST_RULES)
    if n < 4 or pairs * comb(n, 3) > MOST_BYTES or most < FOLDS:
        return None
    fold = np.arange(pairs) % FOLDS  # a stratum's pairs are in random order
    searches = [_Search(sample.weights * (fold != f), *joined(controls), y) for f in range(FOLDS)]
    sets = _best(sample, fold, searches, most)
    if not any(len(rules.members) for rules in sets):
        return None
    phi = np.concatenate([control.values for control in controls])
    own, average, explained = np.zeros(pairs), np.zeros(pairs), np.zeros(n)
    for f, (search, rules) in enumerate(zip(searches, sets, strict=True)):
        of_controls, of_rules = search.solve(rules.differences)
        predicted = search.x[:pairs] @ of_controls + of_rules @ rules.differences
        own += predicted * (fold == f)
        average += predicted / FOLDS
        explained += (of_controls @ phi + of_rules @ rules.values()) / FOLDS
    left_out = y - own
    # what was sampled is known, whoever predicted it; so the mean over a stratum is right for any prediction
    residuals = y - sample.unseen * own - (1 - sample.unseen) * average
    count = sum(len(rules.members) for rules in sets) / FOLDS
    return Fit(controls, explained, residuals, left_out, float((sample.scale * left_out**2).sum()), parameters + count)


def _best(sample: Sample, fold: np.ndarray, searches: list["_Search"], most: int) -> list[_Rules]:
    """The rules to predict each fold with. How many is decided by how well the others are predicted with as many."""
    threes = _Rules.of(sample, np.array(list(combinations(range(sample.players), 3))))
    candidates = [search.candidates(sample, threes) for search in searches]
    paths = [search.path(rules.differences, most) for search, rules in zip(searches, candidates, strict=True)]
    steps, errors, total = [], [], []
    for step in zip(*paths, strict=False):
        steps.append([chosen for chosen, _ in step])
        errors.append([(sample.scale * left**2)[fold == f].sum() for f, (_, left) in enumerate(step)])
        total.append(sum(errors[-1]))
        if len(total) - np.argmin(total) > PATIENCE:
            break
    best = np.argmin(np.array(total)[:, None] - np.array(errors), axis=0)
    return [rules[steps[k][f]] for f, (rules, k) in enumerate(zip(candidates, best, strict=True))]


class _Search:
    """Orthogonal matching pursuit on the pairs that have weights, beside controls, whose ridge is rows of its own."""

    def __init__(self, weights: np.ndarray, x: np.ndarray, ridge: np.ndarray, y: np.ndarray) -> None:
        games = len(ridge)
        self.x = np.concatenate([x, np.diag(np.sqrt(ridge))])  # [pairs + games, games]
        self.weights, self.y = np.concatenate([weights, np.ones(games)]), np.concatenate([y, np.zeros(games)])
        values, vectors = np.linalg.eigh((self.weights * self.x.T) @ self.x)
        kept = values > 1e-10 * values[-1]
        self.turn = vectors[:, kept] / np.sqrt(values[kept])
        self.base = self.x @ self.turn  # orthonormal, with these weights
        self.left = self.y - self.base @ (self.base.T @ (self.weights * self.y))

    def candidates(self, sample: Sample, threes: _Rules) -> _Rules:
        """The rules of each size that alone explain most of what the controls leave."""
        pairs, n = sample.chosen.shape
        count = max(pairs // 2, FEWEST)
        residuals = (self.weights * self.left)[:pairs]
        residuals = (residuals / np.abs(residuals).max(initial=1e-300)).astype(np.float32)

        def order(rules: _Rules) -> np.ndarray:
            return np.argsort(-np.abs(rules.differences @ residuals))

        best = order(threes)
        grown = (threes.members[best[:GROWN], None] | np.eye(n, dtype=bool)).reshape(-1, n)
        grown = np.unique(grown[grown.sum(1) == 4], axis=0)
        fours = _Rules.of(sample, np.nonzero(grown)[1].reshape(-1, 4))
        few, others = threes[best[:count]], fours[order(fours)[:count]]
        return _Rules(
            np.concatenate([few.members, others.members]), np.concatenate([few.differences, others.differences])
        )

    def path(self, differences: np.ndarray, most: int) -> Iterator[tuple[list[int], np.ndarray]]:
        """More and more of these rules, and what they leave of y [pairs]: in other folds, how wrong they are."""
        pairs, root = differences.shape[1], np.sqrt(self.weights)[:, None]
        columns, weights = differences.astype(np.float32), self.weights[:pairs].astype(np.float32)
        q, left, unit = self.base, self.left, np.abs(self.left).max() or 1.0
        chosen: list[int] = []
        squares = np.abs(columns) @ weights
        rest = squares - np.square(columns @ (weights[:, None] * q[:pairs].astype(np.float32))).sum(1)
        rest[rest <= DEPENDENT * squares] = np.inf  # no use beside the controls
        yield [], left[:pairs]
        while len(chosen) < most:
            score = np.square(columns @ (self.weights * left / unit)[:pairs].astype(np.float32)) / rest
            count = min(max(1, int(PACE * len(chosen))), most - len(chosen), len(columns) - 1)
            new = np.argpartition(-score, count)[:count]
            new = new[np.isfinite(rest[new])]
            added = np.concatenate([columns[new].T, np.zeros((len(self.y) - pairs, len(new)))])
            added -= q @ (q.T @ (self.weights[:, None] * added))
            free = np.square(np.diag(np.linalg.qr(added * root, mode="r"))) > DEPENDENT * rest[new]
            rest[new] = np.inf  # each is taken once
            if not free.any():
                return
            added = np.linalg.solve(np.transpose(np.linalg.qr(added[:, free] * root, mode="r")), added[:, free].T).T
            q = np.concatenate([q, added], axis=1)
            left = left - added @ (added.T @ (self.weights * left))
            chosen = [*chosen, *new[free].tolist()]
            yield chosen, left[:pairs]

    def solve(self, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of the controls, and of columns [rules, pairs] beside them."""
        pairs = columns.shape[1]
        weighted = columns * self.weights[:pairs]
        of_base = weighted @ self.base[:pairs]
        gram = weighted @ columns.T - of_base @ of_base.T
        b = np.linalg.lstsq(gram, weighted @ self.left[:pairs], rcond=1e-12)[0]
        return self.turn @ (self.base.T @ (self.weights * self.y) - b @ of_base), b
