"""Gradients of the `order` primitive in long double, with their error bound: the formula of the contract."""

import numpy as np


def gradients(grad_out, rewards, mask, v_empty, A, B, C, row_of_count, eps):
    """Arrays as in the contract -> grad_rewards, its bound, grad_v_empty [rows], its bound (before output rounding).

    eps: of the compute dtype.
    """
    rows, players = rewards.shape
    wide = np.longdouble
    grad, bound = np.zeros(rewards.shape, wide), np.zeros(rewards.shape, wide)
    grad_c, bound_c = np.zeros(rows, wide), np.zeros(rows, wide)
    for row in range(rows):
        live = np.arange(players) if mask is None else np.flatnonzero(mask[row])
        m = len(live)
        if m == 0 or not (np.isfinite(rewards[row, live]).all() and np.isfinite(v_empty[row % len(v_empty)])):
            continue
        order = live[np.argsort(-rewards[row, live], kind="stable")]
        g = grad_out[row, order].astype(wide)
        level = row_of_count[m]
        a = A[level, :m].astype(wide)
        b = np.zeros(m, wide) if B is None else B[level, :m].astype(wide)
        b[-1] = 0
        top = np.cumsum(g)
        e = np.append(0, a * top + b * (top[-1] - top))
        weight = np.append(0, np.abs(a) + np.abs(b))
        size = np.abs(g).sum()
        ends = np.append(np.flatnonzero(np.diff(rewards[row, order])) + 1, m)
        start = 0
        for end in ends:
            tied = order[start:end]
            grad[row, tied] = (e[end] - e[start]) / (end - start)
            bound[row, tied] = (2 * players + 6) * eps / 2 * (weight[end] + weight[start]) * size / (end - start)
            start = end
        grad_c[row] = (C[level] - a[-1]) * top[-1]
        bound_c[row] = (players + 2) * eps / 2 * (abs(C[level]) + abs(a[-1])) * size
    return grad, bound, grad_c, bound_c
