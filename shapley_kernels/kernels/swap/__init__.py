"""`swap`: what a rollout is worth above what it would have been with candidates of the other rollouts of its group.

For sums of maxima, v(S) = sum_t w_t m_t(S), m_t(S) the largest x_it of S, or `empty` where S has no x_it above -inf:

    D_k = mean over the other rollouts h of  v(own) - v(mixed_hk),      out_k = sum_{j >= k} D_j mix_jk

where mixed_hk is, of the live candidates in order, own 1 .. k-1 with those of h from k on (KINDS "suffix",
k = 1 .. n + 1 for n own candidates), or all own ones but the k-th, and the k-th of h if it has one ("candidate",
k = 1 .. n).

    run(x, count, weights, empty, order, starts, mix, kind, out)

x       [rollouts, K, topics], contiguous
count   [rollouts] int32, the number of candidates of each; what stands behind them must not matter
weights [rollouts, topics], or [1, topics] for all alike
empty   [rollouts], or [1] for all alike
order   [rollouts] int64, the rollouts of the first group, then those of the second, ..; None: as they stand. numpy,
        for every backend
starts  [groups + 1] int64, where each group begins in `order`; numpy
mix     [K + 1, K + 1], compute dtype, or [0, 0]: out = D
kind    index in KINDS
out     [rollouts, K + 1]: every element is written; 0 behind the last place, and in groups of one rollout

Compute dtype is promote(dtype of x, float32). x holds no NaN and no +inf.

Promises: a group's result does not depend on the other groups. Where own and mixed sets are all worth the same, topic
by topic, out is exactly 0.

Cost: O(G topics K) per rollout of a group of G, beside O(topics K) memory per rollout of one group.
Error: at most (G topics + 2 K + 4) eps/2 sum_j |mix_jk| M_j of the compute dtype, and one output rounding; M_j is the
mean over h of sum_t |w_t| |m_t(own) - m_t(mixed_hj)|. The maxima themselves are exact.
"""

import numpy as np

KINDS = ("suffix", "candidate")


def others(order: np.ndarray | None, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[others, rollouts] int64: the other rollouts of the group of each rollout, beginning with the next one, as many
    as the largest group has; and bool, whether there is one: in smaller groups they begin anew."""
    sizes = np.diff(starts)
    size, first = np.repeat(sizes, sizes), np.repeat(starts[:-1], sizes)
    order = np.arange(len(size)) if order is None else order
    at = np.arange(len(order)) - first
    step = np.arange(1, max(1, sizes.max(initial=1)))[:, None]
    partner, there = np.empty((len(step), len(order)), np.int64), np.empty((len(step), len(order)), bool)
    partner[:, order] = order[first + (at + step) % size]
    there[:, order] = step < size
    return partner, there
