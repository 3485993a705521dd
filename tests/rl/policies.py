"""Policies so small that all they write is enumerated, for what a credit optimises."""

from itertools import product

import numpy as np

import shapley_kernels as sk

M = 3  # different candidates
NUMBERS = np.array([0.0, 0.4, 1.0])  # the reward of each
V_EMPTY = -0.3
PLACES = {"best": sk.Max, "distinct": sk.Clusters, "mean": sk.Mean}


def worth_of(game, x, mask):
    """The game of lists x [..., K] of candidates."""
    if game == "distinct":
        return sk.Clusters(x, NUMBERS[x] + 0.25, mask=mask)
    return PLACES[game](NUMBERS[x], mask=mask, v_empty=V_EMPTY)


class Policy:
    """All lists of up to `size` candidates of a random policy.

    Args:
        sequential: the next candidate depends on the last one, else on nothing.
        stops: a list may end early, by an action of its own; else it has `size` candidates.
    """

    def __init__(self, size, sequential, stops, seed=0):
        actions = M + stops
        theta = np.random.default_rng(seed).normal(size=(M + 1 if sequential else 1, actions))
        p = np.exp(theta) / np.exp(theta).sum(1, keepdims=True)
        lists = [w for n in range(size + 1) for w in product(range(M), repeat=n) if stops or n == size]
        self.x, self.mask = np.zeros((len(lists), size), int), np.zeros((len(lists), size), bool)
        self.probs = np.ones(len(lists))
        self.scores = np.zeros((len(lists), size + 1, *theta.shape))  # last: the stop
        for i, written in enumerate(lists):
            self.x[i, : len(written)], self.mask[i, : len(written)] = written, True
            for k, action in enumerate([*written, *[M] * (stops and len(written) < size)]):
                state = 1 + written[k - 1] if sequential and k else 0
                self.probs[i] *= p[state, action]
                self.scores[i, k if k < len(written) else size, state] = np.eye(actions)[action] - p[state]

    def gradient(self, game):
        """Of the expected worth."""
        worth = worth_of(game, self.x, self.mask).worth()
        return np.einsum("i,i,iksa->sa", self.probs, worth, self.scores)
