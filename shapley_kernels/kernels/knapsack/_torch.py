"""`knapsack` in plain torch: the reference, on any device and float dtype, differentiable in chance and worth."""

from typing import Any

import torch

CHUNK = 1 << 22
"""Numbers of one state at a time, beside those of one row."""


def run(
    chance: Any,
    weight: Any,
    mask: Any,
    worth: Any,
    t: Any,
    node_weight: Any,
    sizes: Any,
    row_of_count: Any,
    out: Any,
) -> None:
    """See the package docstring. About 6 passes over the state for each of players * log2(players) steps."""
    rows, players = out.shape
    cap = worth.shape[1] - 1
    if cap == 0 or out.numel() == 0:
        out.zero_()
        return
    step = max(1, CHUNK // (cap * (players if t is None else len(t))))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        live = torch.ones_like(out[part], dtype=torch.bool) if mask is None else mask[part]
        c = live.to(worth.dtype) if chance is None else torch.where(live, chance[part].to(worth.dtype), 0.0)
        w = live.long() if weight is None else torch.where(live, weight[part].long().clamp(max=cap), 0)
        usable = torch.isfinite(c).all(1, keepdim=True)
        c = torch.where(usable, c, 0.0)
        table = worth.expand(rows, -1)[part]
        law: _Law
        if t is None:
            law = _Sizes(c, w, live, table, sizes[row_of_count[live.sum(1)].long()])
        else:
            law = _Nodes(c, w, live, table, t, node_weight)
        credit = c * torch.stack(law.leaves(law.start(), 0, players), 1)
        out[part] = torch.where(live, torch.where(usable, credit, torch.nan), 0.0)


class _Law:
    """The distribution of the total, [rows, states, cap], of a growing set of players."""

    def __init__(self, chance: Any, weight: Any, live: Any, worth: Any, states: int) -> None:
        self.chance, self.weight, self.live, self.worth = chance, weight, live, worth
        self.states, self.cap = states, worth.shape[1] - 1
        self.total = torch.arange(self.cap, device=worth.device)

    def start(self) -> tuple[Any, Any]:
        """(state of nobody, number of live players in it [rows])."""
        state = self.worth.new_zeros(len(self.worth), self.states, self.cap)
        self.empty(state)
        return state, torch.zeros_like(self.live[:, 0], dtype=torch.long)

    def leaves(self, state: tuple[Any, Any], low: int, high: int) -> list[Any]:
        """Credits per unit of chance, [rows] each, of the players low .. high - 1, from the state of all others."""
        if high - low == 1:
            weight = self.weight[:, low, None]
            gain = self.worth.gather(1, (self.total + weight).clamp(max=self.cap)) - self.worth[:, :-1]
            return [(self.mix(state[0]) * gain).sum(1)]
        middle = (low + high) // 2
        left = right = state
        for j in range(middle, high):
            left = self.add(left, j)
        for j in range(low, middle):
            right = self.add(right, j)
        return self.leaves(left, low, middle) + self.leaves(right, middle, high)

    def add(self, old: tuple[Any, Any], j: int) -> tuple[Any, Any]:
        """The state with player j in it."""
        state, count = old[0], old[1] + self.live[:, j]
        from_total = self.total - self.weight[:, j, None]  # [rows, cap]
        moved = state.gather(2, from_total.clamp(min=0)[:, None].expand_as(state))
        moved = torch.where((from_total >= 0)[:, None], moved, 0.0)
        return self.step(state, moved, self.chance[:, j, None, None], count[:, None, None], j), count

    def empty(self, state: Any) -> None:
        """Write the state of nobody into zeros."""
        raise NotImplementedError

    def step(self, state: Any, moved: Any, chance: Any, count: Any, j: int) -> Any:
        """The state with player j, `moved` being the old one shifted by its weight, `count` counting j."""
        raise NotImplementedError

    def mix(self, state: Any) -> Any:
        """[rows, cap] of a state, weighted."""
        raise NotImplementedError


class _Nodes(_Law):
    def __init__(self, chance: Any, weight: Any, live: Any, worth: Any, t: Any, node_weight: Any) -> None:
        super().__init__(chance, weight, live, worth, len(t))
        self.t, self.node_weight = t[:, None], node_weight[:, None]

    def empty(self, state: Any) -> None:
        state[:, :, 0] = 1.0

    def step(self, state: Any, moved: Any, chance: Any, count: Any, j: int) -> Any:
        return ((1 - self.t) + self.t * (1 - chance)) * state + self.t * chance * moved

    def mix(self, state: Any) -> Any:
        return (self.node_weight * state).sum(1)


class _Sizes(_Law):
    """A state per coalition size a: the mean over the coalitions of a of the players in the set."""

    def __init__(self, chance: Any, weight: Any, live: Any, worth: Any, sizes: Any) -> None:
        super().__init__(chance, weight, live, worth, sizes.shape[1])
        self.sizes = sizes[:, :, None]
        self.size = torch.arange(self.states, device=worth.device)[:, None]

    def empty(self, state: Any) -> None:
        state[:, 0, 0] = 1.0

    def step(self, state: Any, moved: Any, chance: Any, count: Any, j: int) -> Any:
        with_j = (1 - chance) * state + chance * moved
        with_j = torch.cat([torch.zeros_like(with_j[:, :1]), with_j[:, :-1]], 1)
        grown = ((count - self.size).clamp(min=0) * state + self.size * with_j) / count.clamp(min=1)
        return torch.where(self.live[:, j, None, None], grown, state)

    def mix(self, state: Any) -> Any:
        return (self.sizes * state).sum(1)
