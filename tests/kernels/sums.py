"""`pairwise`, `table` and `swap`."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from math import comb, lcm
from typing import ClassVar

import numpy as np
import torch

from shapley_kernels.kernels.swap import KINDS
from shapley_kernels.values import Banzhaf, Shapley
from tests.kernels.rig import NON_FINITE, Arguments, Primitive, fractions, random_mask, real, wide

SHAPLEY = Shapley()


class Pairwise(Primitive):
    package = "pairwise"
    by_row, counts = 3, 5
    players = (1, 2, 3, 8, 17, 33, 130)
    lengths = (5, 33)
    batches: ClassVar = {3: (127, 129), 33: (9,)}
    every_dtype = (1, 3, 8)
    kinds: ClassVar = {"values": {}, "pairs alone": {"valued": False}}
    main = ("values",)
    forced: ClassVar = {
        "triton": tuple((n, {"tile": t, "num_warps": w}) for n in (1, 7, 20) for t, w in ((64, 1), (256, 8), (4096, 4)))
    }

    def case(self, rng, players, dtype, masked, valued=True):
        rows = 20 if players < 10 else 5 if players < 100 else 1
        w = rng.standard_normal((rows, players, players)) * rng.choice([1.0, 100.0], (rows, 1, 1))
        w, values = w + w.swapaxes(1, 2), rng.standard_normal((rows, players))
        mask = random_mask(rng, rows, players) if masked else None
        if masked:
            values[~mask] = rng.choice(NON_FINITE)
            w[~(mask[:, :, None] & mask[:, None, :])] = rng.choice(NON_FINITE)
        w[:, range(players), range(players)] = np.nan  # the diagonal must not matter
        return (
            torch.tensor(w, dtype=dtype),
            torch.tensor(values, dtype=dtype) if valued else None,
            None if mask is None else torch.tensor(mask),
            *torch.tensor(rng.standard_normal((2, 3)), dtype=real(dtype)),
            torch.tensor(rng.integers(0, 3, players + 1), dtype=torch.int32),
        )

    def exact(self, arguments):
        w, values, _, own, pair, row_of_count = arguments
        live, eps = self.live(arguments).numpy(), torch.finfo(own.dtype).eps
        credits, bound = np.zeros(live.shape, np.longdouble), np.zeros(live.shape)
        for row in range(len(live)):
            who = np.flatnonzero(live[row])
            level = int(row_of_count[len(who)])
            f, g = Fraction(float(own[level])), Fraction(float(pair[level]))
            for i in who:
                others = fractions(w[row, i, who[who != i]])
                a = f * (0 if values is None else Fraction(float(values[row, i])))
                credits[row, i] = wide(a + g * sum(others))
                bound[row, i] = (live.shape[1] + 2) * eps / 2 * float(abs(a) + abs(g) * sum(map(abs, others)))
        return [(credits, bound)]

    def spoil(self, arguments: Arguments, row: int, bad: float) -> Iterator[Arguments]:
        w, values, *tables = arguments
        who = self.live(arguments)[row].nonzero()[:, 0].tolist()
        if values is not None:
            values = values.clone()
            values[row, who[-1]] = bad
            yield w, values, *tables
        if len(who) > 1:
            w = w.clone()
            w[row, who[0], who[-1]] = w[row, who[-1], who[0]] = bad
            yield w, arguments[1], *tables


class Table(Primitive):
    package = "table"
    by_row, counts = 2, 3
    players = (1, 2, 3, 5, 8, 10, 13)
    every_dtype = (1, 3, 5)
    batches: ClassVar = {3: (17,), 9: (9,)}
    kinds: ClassVar = {
        "Shapley": {},
        "Banzhaf": {"value": Banzhaf(0.25)},
        # differences are exact before anything is summed: the offset costs nothing
        "offset": {"offset": 2.0**12},
        # with sums that grow, which lose a digit every four players if they are taken one after the other
        "rising": {"value": Banzhaf(), "slope": 2.0**10},
    }
    main = ("Shapley",)
    forced: ClassVar = {
        "triton": tuple((n, {"tile": t, "num_warps": w}) for n in (1, 4) for t, w in ((2, 1), (16, 8), (4096, 4)))
    }
    limits = tuple(("numba", "CHUNK", sets, 10) for sets in (1, 2))  # the tree, with few players

    def case(self, rng, players, dtype, masked, value=SHAPLEY, offset=0.0, slope=0.0):
        rows, coalitions = max(5, 16 >> players) if players <= 10 else 1, np.arange(1 << players)
        values = offset + rng.standard_normal((rows, 1 << players)) * rng.choice([1.0, 100.0], (rows, 1))
        values += slope * np.array([s.bit_count() for s in range(1 << players)])
        mask = random_mask(rng, rows, players) if masked else None
        if masked:
            values[(coalitions & (~mask * (1 << np.arange(players))).sum(1)[:, None]) != 0] = rng.choice(NON_FINITE)
        weights = np.zeros((max(players, 1), max(players, 1)))
        for m in range(1, players + 1):
            weights[m - 1, :m] = value.size_weights(m) / [comb(m - 1, s) for s in range(m)]
        return (
            torch.tensor(values, dtype=dtype),
            None if mask is None else torch.tensor(mask),
            torch.tensor(weights, dtype=real(dtype)),
            torch.tensor([0, *range(players)], dtype=torch.int32),
        )

    def shapes(self, arguments):
        return [(len(arguments[0]), len(arguments[3]) - 1)]

    def exact(self, arguments):
        values, _, weights, row_of_count = arguments
        live, eps = self.live(arguments).numpy(), torch.finfo(weights.dtype).eps
        players = live.shape[1]
        credits, bound = np.zeros(live.shape, np.longdouble), np.zeros(live.shape)
        for row in range(len(live)):
            who = np.flatnonzero(live[row]).tolist()
            weight = fractions(weights[int(row_of_count[len(who)])])
            inside = [s for s in range(1 << players) if not s & ~sum(1 << i for i in who)]
            worths = fractions(values[row, inside])
            unit = lcm(*(x.denominator for x in worths))
            whole = {s: x.numerator * (unit // x.denominator) for s, x in zip(inside, worths, strict=True)}
            for i in who:
                gains, sizes = [0] * (players + 1), [0] * (players + 1)
                for s in inside:
                    if not s >> i & 1:
                        gain = whole[s | 1 << i] - whole[s]
                        gains[s.bit_count()] += gain
                        sizes[s.bit_count()] += abs(gain)
                credits[row, i] = wide(sum(w * g for w, g in zip(weight, gains, strict=False)) / unit)
                size = float(sum(w * g for w, g in zip(weight, sizes, strict=False)) / unit)
                bound[row, i] = (players + 6) * eps / 2 * size
        return [(credits, bound)]

    def spoil(self, arguments: Arguments, row: int, bad: float) -> Iterator[Arguments]:
        everybody = sum(1 << int(i) for i in self.live(arguments)[row].nonzero()[:, 0])
        for coalition in (0, everybody):
            values = arguments[0].clone()
            values[row, coalition] = bad
            yield values, *arguments[1:]


UNEVEN = ([4, 1, 2], [5, 0, 3, 1, 6, 4, 2])


class Swap(Primitive):
    """Its rows are rollouts; they depend on those of their group. Nothing of it may be other than finite."""

    package = "swap"
    by_row = 4
    players = (1, 2, 3, 5, 7, 8, 33)
    topics: ClassVar = {2: 1, 3: 2, 5: 17, 8: 3}
    kinds: ClassVar = {
        f"{kind}, {name}": {"kind": KINDS.index(kind), **how}
        for kind in KINDS
        for name, how in {
            "no mix": {"lam": 1, "groups": ([3, 3], None)},
            "uneven": {"lam": 0.5, "groups": UNEVEN},
            "one for all": {"lam": 0, "groups": UNEVEN, "by_row": False},
            "two sizes": {"lam": 0.75, "groups": ([2, 5, 1, 1], None)},
            "tied": {"lam": 0.5, "groups": ([7], None), "tied": True},
        }.items()
    }
    main = tuple(f"{kind}, uneven" for kind in KINDS)

    def case(self, rng, players, dtype, masked, kind, groups, lam, by_row=True, tied=False):
        sizes, order = groups
        rows, topics = sum(sizes), self.topics.get(players, 1)
        x = torch.tensor(rng.normal(size=(rows, players, topics)))
        x[torch.tensor(rng.random(x.shape) < 0.25)] = -torch.inf
        count = torch.full((rows,), players, dtype=torch.int32)
        if tied:
            x.fill_(0.1)
        elif masked:
            count[1:] = torch.tensor(rng.integers(0, players + 1, rows - 1))
        x[torch.arange(players)[None, :] >= count[:, None]] = torch.nan  # what stands behind the last candidate
        weights, empty = torch.tensor(rng.normal(size=(rows, topics))), torch.tensor(rng.normal(size=rows))
        if not by_row:
            weights, empty = weights[:1], empty[:1]
        gap = np.arange(players + 1)[:, None] - np.arange(players + 1)
        mix = np.where(gap == 0, 1.0, np.where(gap > 0, (lam - 1) * float(lam) ** np.maximum(gap - 1, 0), 0.0))
        return (
            *(x.to(dtype), count, weights.to(dtype), empty.to(dtype)),
            *(None if order is None else np.array(order), np.cumsum([0, *sizes])),
            *(torch.tensor(mix if lam < 1 else np.zeros((0, 0)), dtype=real(dtype)), kind),
        )

    def shapes(self, arguments):
        rows, players = arguments[0].shape[:2]
        return [(rows, players + 1)]

    def some(self, arguments, index):
        """Whole groups: the first of those with the most rollouts."""
        order, starts = arguments[4:6]
        if not len(index):
            return (*super().some(arguments, index)[0][:4], None, np.array([0]), *arguments[6:]), index
        first = int(np.diff(starts).argmax())
        who = np.arange(starts[-1]) if order is None else order
        who = torch.tensor(who[starts[first] : starts[first + 1]])
        (x, count, weights, empty), _ = super().some(arguments[:4], who)[0], None
        return (x, count, weights, empty, None, np.array([0, len(who)]), *arguments[6:]), who

    def spoil(self, arguments: Arguments, row: int, bad: float) -> Iterator[Arguments]:
        yield from ()

    def exact(self, arguments):
        x, count, weights, empty, order, starts, mix, kind = arguments
        rows, players, topics = x.shape
        order, eps = np.arange(rows) if order is None else order, torch.finfo(real(x.dtype)).eps
        credits, bound = np.zeros((rows, players + 1), np.longdouble), np.zeros((rows, players + 1))
        shares = (mix if mix.numel() else torch.eye(players + 1)).double().numpy()
        for start, stop in pairwise(starts):
            for own in order[start:stop]:
                others = [h for h in order[start:stop] if h != own]
                n, w, c = int(count[own]), fractions(weights[own % len(weights)]), empty[own % len(empty)].item()
                places = n + (KINDS[kind] == "suffix") if others else 0
                gains = [
                    [[v * g for v, g in zip(w, gain(x, count, own, h, k, KINDS[kind], c), strict=True)] for h in others]
                    for k in range(places)
                ]  # [places][others][topics]
                mean = [sum(sum(row, Fraction(0)) for row in at) / len(others) for at in gains]
                size = [float(sum(abs(g) for row in at for g in row) / len(others)) for at in gains]
                for k in range(places):
                    share = shares[:places, k]
                    credits[own, k] = wide(
                        sum((Fraction(a) * b for a, b in zip(share, mean, strict=True)), Fraction(0))
                    )
                    bound[own, k] = ((stop - start) * topics + 2 * players + 4) * eps / 2 * (np.abs(share) @ size)
        return [(credits, bound)]


def gain(x, count, own, h, k, kind, c):
    """By topic, what the own list is worth above the one mixed with h at place k, from 0."""
    mine, theirs = x[own, : count[own]].double().tolist(), x[h, : count[h]].double().tolist()
    mixed = [*mine[:k], *theirs[k:]] if kind == "suffix" else [*mine[:k], *theirs[k : k + 1], *mine[k + 1 :]]

    def best(rows, t):
        top = max((row[t] for row in rows), default=-np.inf)
        return Fraction(c if top == -np.inf else top)

    return [best(mine, t) - best(mixed, t) for t in range(x.shape[2])]
