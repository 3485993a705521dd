"""`multilinear` and `knapsack`. Their tables are taken at their word; values and games are judged by the laws."""

from collections.abc import Iterator
from fractions import Fraction
from math import comb, prod
from typing import ClassVar

import numpy as np
import torch

import shapley_kernels as sk
from tests.kernels.rig import Arguments, Primitive, fractions, is_float, random_mask, real, wide


def _tables(rng, form, players, dtype):
    """(t, weight, None, None) or (None, None, sizes, row_of_count); weights of both signs."""
    if form == "nodes":
        t, weight = sk.Shapley().nodes(max(players, 1))
        both = np.concatenate([[0.0, 1.0], t]), np.concatenate([[0.5, -0.25], weight])
        return *(torch.tensor(x, dtype=dtype) for x in both), None, None
    row_of_count = rng.permutation(players + 1).astype(np.int32)
    sizes = rng.integers(-8, 9, (players + 1, players)) / 8
    for m in range(players + 1):
        sizes[row_of_count[m], m:] = 0.0
    row_of_count[0] = 0
    return None, None, torch.tensor(sizes, dtype=dtype), torch.tensor(row_of_count)


class _Product(Primitive):
    """What both share; their first argument is what may spoil a row."""

    rounds = False
    limits = (("torch", "CHUNK", 1, 2), ("torch", "CHUNK", 1, 5), ("triton", "WORKSPACE", 1, 2))

    def spoil(self, arguments: Arguments, row: int, bad: float) -> Iterator[Arguments]:
        if arguments[0] is None:
            return
        first = arguments[0].clone()
        first[row, self.live(arguments)[row].nonzero()[-1, 0]] = bad
        yield first, *arguments[1:]

    def sums(self, arguments, roundings, parts):
        """The sums of the parts of each live player, and their bounds."""
        live, info = self.live(arguments).numpy(), torch.finfo(next(x.dtype for x in arguments[::-1] if is_float(x)))
        credits, bound = np.zeros(live.shape, np.longdouble), np.zeros(live.shape)
        for row in range(len(live)):
            who = np.flatnonzero(live[row])
            for place, i in enumerate(who):
                own = parts(row, who, place)
                credits[row, i] = wide(sum(own, Fraction(0)))
                size = float(sum(map(abs, own)))
                bound[row, i] = roundings * info.eps / 2 * size + 4 * live.shape[1] * info.tiny
        return [(credits, bound)]


class Multilinear(_Product):
    package = "multilinear"
    by_row, counts = 2, 5
    players = (1, 2, 3, 5, 9)
    without_players = ("numba", "triton")
    kinds: ClassVar = {"nodes": {"form": "nodes"}, "sizes": {"form": "sizes"}}
    main = ("nodes", "sizes")

    def case(self, rng, players, dtype, masked, form):
        p = np.stack(
            [
                rng.choice([0.0, 1.0, 0.5, 0.25], players),
                np.full(players, 1.0),
                np.round(rng.random(players) * 256) / 256,
                -rng.integers(0, 9, players) / 2.0,
                rng.choice([1.0, 0.75, 0.0, -2.0, -7.0], players),
                np.zeros(players),
            ]
        )
        mask = random_mask(rng, len(p), players) if masked else None
        if masked:
            p[~mask] = rng.choice([np.nan, np.inf, 7.0], (~mask).sum())
        tables = _tables(rng, form, players, real(dtype))
        return torch.tensor(p, dtype=dtype), None if mask is None else torch.tensor(mask), *tables

    def exact(self, arguments):
        p, _, t, weight, sizes, row_of_count = arguments
        players = p.shape[1]
        if sizes is None:
            nodes = list(zip(fractions(t), fractions(weight), strict=True))

        def parts(row, who, place):
            own, *others = (Fraction(v) for v in p[row, np.roll(who, -place)].tolist())
            factors = [1 - v for v in others]
            if sizes is None:
                return [own * w * prod((1 - q + q * y for y in factors), start=Fraction(1)) for q, w in nodes]
            symmetric = [Fraction(1)] + [Fraction(0)] * len(factors)
            for y in factors:
                for s in range(len(factors), 0, -1):
                    symmetric[s] += y * symmetric[s - 1]
            weights = fractions(sizes[row_of_count[len(who)], : len(who)])
            of_size = enumerate(zip(weights, symmetric, strict=True))
            return [own * w * e / comb(len(factors), s) for s, (w, e) in of_size]

        return self.sums(arguments, 4 * players + len(t) + 4 if sizes is None else 6 * players + 4, parts)


class Knapsack(_Product):
    package = "knapsack"
    by_row, counts = 4, 7
    players = (1, 2, 3, 5)
    lengths = (2,)
    batches: ClassVar = {2: (9,)}
    kinds: ClassVar = {
        "chances, nodes": {"form": "nodes", "weights": False},
        "weights, sizes": {"form": "sizes", "chances": False},
        "both, nodes": {"form": "nodes"},
        "both, sizes": {"form": "sizes"},
        # of which the CPU has forms of their own
        "chances, even, nodes": {"form": "nodes", "weights": False, "even": True},
        "weights, even, nodes": {"form": "nodes", "chances": False, "even": True},
        "weights, even, sizes": {"form": "sizes", "chances": False, "even": True},
    }
    main = ("both, nodes", "both, sizes", "chances, even, nodes", "weights, even, nodes")
    caps: ClassVar = {1: 3, 2: 1, 3: 0, 5: 4}
    rows = 5

    def case(self, rng, players, dtype, masked, form, chances=True, weights=True, even=False):
        cap = self.caps.get(players, 3)
        mask = random_mask(rng, self.rows, players) if masked else np.ones((self.rows, players), bool)
        chance = rng.choice([0.0, 1.0, 0.5, 0.25, 0.875], (self.rows, players))
        weight = rng.choice([0, 1, 2, 3, cap, 2**31 - 1], (self.rows, players)).astype(np.int32)
        chance[~mask], weight[~mask] = np.nan, -(2**31)
        worth = np.cumsum(rng.integers(-1, 4, (self.rows if players % 2 == 0 else 1, cap + 1)), axis=1) / 4
        if even:
            worth = worth[:1, :1] + 0.75 * np.arange(cap + 1)
            worth[:, -1] += 0.5
        return (
            torch.tensor(chance, dtype=dtype) if chances else None,
            torch.tensor(weight) if weights else None,
            torch.tensor(mask) if masked or not chances else None,
            torch.tensor(worth, dtype=real(dtype)),
            *_tables(rng, form, players, real(dtype)),
        )

    def shapes(self, arguments):
        return [tuple(next(x.shape for x in arguments if x is not None))]

    def exact(self, arguments):
        chance, weight, _, worth, t, mass, sizes, row_of_count = arguments
        (players,), cap = self.shapes(arguments)[0][1:], worth.shape[1] - 1

        def parts(row, who, place):
            who = np.roll(who, -place)
            chances = [Fraction(1)] * len(who) if chance is None else fractions(chance[row, who])
            weights = [1] * len(who) if weight is None else [min(cap, v) for v in weight[row, who].tolist()]
            table, others = fractions(worth[row % len(worth)]), len(who) - 1
            mixed: dict[int, Fraction] = {}
            parts = []
            for (a, u), of_total in totals(chances[1:], weights[1:], cap).items():
                gain = chances[0] * of_total * (table[min(cap, u + weights[0])] - table[u])
                if sizes is None:
                    both = zip(fractions(t), fractions(mass), strict=True)
                    parts += [(q, u, q * p**a * (1 - p) ** (others - a) * gain) for p, q in both]
                else:
                    parts.append((a, u, fractions(sizes[row_of_count[len(who)]])[a] * gain / comb(others, a)))
            for *key, part in parts:
                mixed[tuple(key)] = mixed.get(tuple(key), 0) + part
            return list(mixed.values())

        states = players if t is None else len(t)
        return self.sums(arguments, 6 * players + states + cap + 6, parts)


def totals(chances, weights, cap):
    """{(size, total): sum over the coalitions of that size of the chance of that total}."""
    so_far = {(0, 0): Fraction(1)}
    for c, w in zip(chances, weights, strict=True):
        grown = dict(so_far)
        for (a, u), p in so_far.items():
            for total, q in ((min(cap, u + w), c), (u, 1 - c)):
                grown[a + 1, total] = grown.get((a + 1, total), 0) + p * q
        so_far = grown
    return so_far
