"""Cases of the primitives `multilinear` and `knapsack`: arguments, the contract in rational arithmetic, the bound.

Tables are taken at their word, so these judge a kernel; values and games are judged by the laws.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import comb

import numpy as np

import shapley_kernels as sk

ROWS = 6


@dataclass(frozen=True)
class Case:
    """What `run` gets but `out`, as numpy in the compute dtype, and what is expected of it, [rows, players] each."""

    arrays: tuple
    tables: tuple
    live: np.ndarray
    exact: np.ndarray  # of Fractions
    bound: np.ndarray

    def check(self, out, rounding=0.0):
        """Within the bound (and one rounding of the output), exactly 0 at masked players."""
        out = np.asarray(out, np.float64)
        assert np.isfinite(out).all()
        assert (out[~self.live] == 0).all()
        for got, exact, bound in zip(out.flat, self.exact.flat, self.bound.flat, strict=True):
            error = abs(Fraction(float(got)) - exact)
            assert error <= Fraction(bound + rounding * (abs(float(exact)) + bound)), (float(got), float(exact), bound)


def fractions(x):
    return [Fraction(float(v)) for v in x]


def _live(rng, players, masked):
    live = rng.random((ROWS, players)) < 0.7 if masked else np.ones((ROWS, players), bool)
    live[1] = not masked  # a row without live players
    return live


def _tables(rng, form, players, real):
    """(t, weight, None, None) or (None, None, sizes, row_of_count); weights of both signs."""
    if form == "nodes":
        t, weight = sk.Shapley().nodes(players)
        t = np.concatenate([[0.0, 1.0], t]).astype(real)
        return t, np.concatenate([[0.5, -0.25], weight]).astype(real), None, None
    row_of_count = rng.permutation(players + 1).astype(np.int32)
    sizes = rng.integers(-8, 9, (players + 1, players)) / 8
    for m in range(players + 1):
        sizes[row_of_count[m], m:] = 0.0
    row_of_count[0] = 0
    return None, None, sizes.astype(real), row_of_count


def _tiny(real, players):
    return 4 * players * float(np.finfo(real).smallest_normal)


@lru_cache
def multilinear_case(seed, form, players, real="float64", masked=True):
    rng = np.random.default_rng([seed, players, masked])
    x = np.stack(
        [
            rng.choice([0.0, -1.0, -0.5, -0.25], players),
            np.full(players, -1.0),
            -np.round(rng.random(players) * 256) / 256,
            rng.integers(0, 9, players) / 2.0,
            rng.choice([-1.0, -0.75, 0.0, 2.0, 7.0], players),
            np.zeros(players),
        ]
    ).astype(real)
    live = _live(rng, players, masked)
    x[~live] = rng.choice([np.nan, np.inf, -7.0], (~live).sum())
    tables = t, weight, sizes, row_of_count = _tables(rng, form, players, real)
    exact = np.full(x.shape, Fraction(0), object)
    bound = np.zeros(x.shape)
    eps = float(np.finfo(real).eps)
    for row in range(ROWS):
        who = np.flatnonzero(live[row])
        factors = fractions(x[row, who])
        for i, own in zip(who, factors, strict=True):
            others = [1 + f for j, f in zip(who, factors, strict=True) if j != i]
            if form == "nodes":
                parts = [w * _product(p, others) for p, w in zip(fractions(t), fractions(weight), strict=True)]
                roundings = 4 * players + len(t) + 4
            else:
                symmetric = [Fraction(1)] + [Fraction(0)] * len(others)
                for y in others:
                    for s in range(len(others), 0, -1):
                        symmetric[s] += y * symmetric[s - 1]
                weights = fractions(sizes[row_of_count[len(who)], : len(who)])
                parts = [w * e / comb(len(others), s) for s, (w, e) in enumerate(zip(weights, symmetric, strict=True))]
                roundings = 6 * players + 4
            exact[row, i] = own * sum(parts)
            bound[row, i] = roundings * eps / 2 * float(abs(own) * sum(map(abs, parts))) + _tiny(real, players)
    return Case((x, live if masked else None), tables, live, exact, bound)


def _product(t, factors):
    result = Fraction(1)
    for y in factors:
        result *= 1 - t + t * y
    return result


@lru_cache
def knapsack_case(seed, form, players, cap, real="float64", masked=True, chances=True, weights=True, per_row=True):
    rng = np.random.default_rng([seed, players, cap, masked])
    live = _live(rng, players, masked)
    chance = rng.choice([0.0, 1.0, 0.5, 0.25, 0.875], (ROWS, players)).astype(real)
    weight = rng.choice([0, 1, 2, 3, cap, 2**31 - 1], (ROWS, players)).astype(np.int32)
    chance[~live], weight[~live] = np.nan, -(2**31)
    worth = (np.cumsum(rng.integers(-1, 4, (ROWS if per_row else 1, cap + 1)), axis=1) / 4).astype(real)
    tables = t, mass, sizes, row_of_count = _tables(rng, form, players, real)
    exact = np.full(live.shape, Fraction(0), object)
    bound = np.zeros(live.shape)
    eps = float(np.finfo(real).eps)
    for row in range(ROWS):
        who = np.flatnonzero(live[row])
        table = fractions(worth[row if per_row else 0])
        c = fractions(chance[row, who]) if chances else [Fraction(1)] * len(who)
        w = [min(cap, int(v)) for v in weight[row, who]] if weights else [1] * len(who)
        for i in range(len(who)):
            by_size = _totals([c[j] for j in range(len(who)) if j != i], [w[j] for j in range(len(who)) if j != i], cap)
            if form == "nodes":
                mixed = {}
                for p, q in zip(fractions(t), fractions(mass), strict=True):
                    for (a, u), chance_of in by_size.items():
                        key = (p, u)
                        mixed[key] = mixed.get(key, 0) + q * p**a * (1 - p) ** (len(who) - 1 - a) * chance_of
            else:
                s = fractions(sizes[row_of_count[len(who)]])
                mixed = {(a, u): s[a] * chance_of / comb(len(who) - 1, a) for (a, u), chance_of in by_size.items()}
            parts = [m * (table[min(cap, u + w[i])] - table[u]) for (_, u), m in mixed.items()]
            exact[row, who[i]] = c[i] * sum(parts)
            states = len(t) if form == "nodes" else players
            size = float(c[i] * sum(map(abs, parts)))
            bound[row, who[i]] = (6 * players + states + cap + 6) * eps / 2 * size + _tiny(real, players)
    arrays = (chance if chances else None, weight if weights else None, live if masked else None)
    return Case(arrays, (worth, *tables), live, exact, bound)


def _totals(chances, weights, cap):
    """{(size, total): sum over the coalitions of that size of the chance of that total}."""
    found = {(0, 0): Fraction(1)}
    for c, w in zip(chances, weights, strict=True):
        grown = dict(found)
        for (a, u), p in found.items():
            for total, q in ((min(cap, u + w), c), (u, 1 - c)):
                grown[a + 1, total] = grown.get((a + 1, total), 0) + p * q
        found = grown
    return found
