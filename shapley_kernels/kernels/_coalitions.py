"""Credits from the worths of all coalitions, a vector at a time: what CPU kernels of several primitives share."""

from shapley_kernels.kernels._compile import helper, inlined
from shapley_kernels.kernels._simd import fetch, lanes, load, ones, store

FOUR = 4
"""Players that are served together: the 16 coalitions that they make with some others are loaded once for all."""

FETCHED = 1 << FOUR - 1
"""Vectors of the next rows that are fetched for 16 coalitions of this one: all, while eight players are served."""


@helper
def set_weights(weights, level, inside, live, weight, to, stride, count):  # type: ignore[no-untyped-def]
    """weight[to + s * stride], of coalitions of s players, s < count, and `inside` others."""
    for s in range(count):
        weight[to + s * stride] = weights[level, s + inside] if s + inside < live else 0


@inlined
def _eight(x, y, w):  # type: ignore[no-untyped-def]
    """Differences of a player of a four, who joins coalitions x of 0, 1, 2 or 3 of the others, which makes them y,
    under the weights w of their sizes."""
    one, two = (y[1] - x[1]) + (y[2] - x[2]) + (y[3] - x[3]), (y[4] - x[4]) + (y[5] - x[5]) + (y[6] - x[6])
    return ((y[0] - x[0]) * w[0] + (y[7] - x[7]) * w[3]) + (one * w[1] + two * w[2])


@helper
def four_credits(work, table, P, start, count, weight, to, values, soon):  # type: ignore[no-untyped-def]
    """work[to + player, lane]: credits of four players p, q, r and t, who stand at places P, 2 P, 4 P and 8 P of the
    table, from the sets of others start .. start + count that have a place of their own. Sums of eight differences are
    added up in fours, one after the other, and these in fours again. Meanwhile `values` from `soon` on come into the
    cache, FETCHED vectors for each set of others."""
    size = lanes(work)
    Q, R = 2 * P, 4 * P
    a0 = b0 = c0 = d0 = a1 = b1 = c1 = d1 = load(work, table)
    for first in range(0, count, 4):
        for k in range(min(4, count - first)):
            others = start + first + k
            for x in range(FETCHED):
                fetch(values, soon + (others * FETCHED + x) * size)
            s, w = others * size, weight + ones(others) * size
            s += table + 15 * (s & -P)  # bits from P on move up by four
            w0, w1, w2, w3 = load(work, w), load(work, w + size), load(work, w + 2 * size), load(work, w + 3 * size)
            v = w0, w1, w2, w3
            n, p, q, pq = load(work, s), load(work, s + P), load(work, s + Q), load(work, s + P + Q)
            s += R
            r, pr, qr, pqr = load(work, s), load(work, s + P), load(work, s + Q), load(work, s + P + Q)
            s += R
            t, pt, qt, pqt = load(work, s), load(work, s + P), load(work, s + Q), load(work, s + P + Q)
            s += R
            rt, prt, qrt, pqrt = load(work, s), load(work, s + P), load(work, s + Q), load(work, s + P + Q)
            a = _eight((n, q, r, t, qr, qt, rt, qrt), (p, pq, pr, pt, pqr, pqt, prt, pqrt), v)
            b = _eight((n, p, r, t, pr, pt, rt, prt), (q, pq, qr, qt, pqr, pqt, qrt, pqrt), v)
            c = _eight((n, p, q, t, pq, pt, qt, pqt), (r, pr, qr, rt, pqr, prt, qrt, pqrt), v)
            d = _eight((n, p, q, r, pq, pr, qr, pqr), (t, pt, qt, rt, pqt, prt, qrt, pqrt), v)
            a1, b1, c1, d1 = (a1 + a, b1 + b, c1 + c, d1 + d) if k else (a, b, c, d)
        a0, b0, c0, d0 = (a0 + a1, b0 + b1, c0 + c1, d0 + d1) if first else (a1, b1, c1, d1)
    store(work, to, a0)
    store(work, to + size, b0)
    store(work, to + 2 * size, c0)
    store(work, to + 3 * size, d0)
