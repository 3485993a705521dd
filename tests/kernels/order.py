"""`order` and its gradients."""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch

from tests.kernels.rig import NON_FINITE, Arguments, Primitive, arrays, random_mask, real


def reward_rows(rng: np.random.Generator, players: int, dtype: torch.dtype = torch.float64) -> np.ndarray:
    """One row a kind: random, negative, ties, constant, zeros of both signs, 0-1, a large common offset, sorted either
    way, such as differ in their last bits alone, and near either end of the range."""
    random, info = rng.standard_normal(players), torch.finfo(dtype)
    tiny = info.tiny if info.bits > 16 else 2**10 * info.tiny  # the interpreter misreads subnormal bfloat16
    near = 1 + rng.permutation(players) * info.eps
    return np.stack(
        [
            random,
            -np.abs(random) - 0.5,
            rng.integers(-2, 3, players),
            np.full(players, 0.7),
            rng.choice([-0.0, 0.0, 1.0], players),
            rng.integers(0, 2, players),
            1000 + random,
            np.sort(random),
            np.sort(random)[::-1],
            near,
            -near,
            np.where(rng.random(players) < 0.5, near, random),
            random * tiny,
            random * (info.max / 16),
        ]
    )


def by_rank(arguments: list[Any]) -> Iterator[tuple[int, np.ndarray, Any, Any, Any, Any]]:
    """Of each row with live players: row, players from the best on, their rewards, v_empty, A, B and C."""
    rewards, mask, v_empty, A, B, C, row_of_count = arguments
    for row, values in enumerate(rewards):
        live = np.arange(len(values)) if mask is None else np.flatnonzero(mask[row])
        if m := len(live):
            best_first = live[np.argsort(-values[live], kind="stable")]
            level = row_of_count[m]
            b = np.zeros(m) if B is None else B[level, :m]
            c = np.longdouble(v_empty[row % len(v_empty)])
            yield row, best_first, values[best_first].astype(np.longdouble), c, A[level, :m], b, C[level]


class Order(Primitive):
    package = "order"
    by_row, counts = 3, 6
    players = (1, 2, 3, 4, 5, 8, 9, 13, 16, 17, 18, 32, 33, 64, 65, 100, 257, 1024)
    every_dtype = (5, 18, 100)
    without_players = ("torch", "triton")
    lengths = (5, 18, 65)
    batches: ClassVar = {5: (127, 129), 18: (128,), 200: (3, 5)}
    kinds: ClassVar = {"plain": {}, "B, v_empty by row": {"has_b": True, "per_row": True}}
    main = ("B, v_empty by row",)
    forced: ClassVar = {
        "numba": tuple(
            (players, {"form": form})
            for form, lengths in {
                "lanes": (6, 7, 15, 31, 34, 40, 129, 200, 600),
                "rows": (1, 2, 5, 8, 9, 32, 33, 64),
            }.items()
            for players in lengths
        ),
        "triton": (
            *((n, {"form": "rolled"}) for n in (1, 2, 12)),
            *((n, {"form": "tile"}) for n in (1, 6, 16)),
            *(
                (n, {"form": f, "rows_per_program": r})
                for f, n in (("unrolled", 7), ("rolled", 18))
                for r in (1, 4, 256)
            ),
        ),
    }

    def case(self, rng, players, dtype, masked, has_b=False, per_row=False, repeats=1):
        rows = np.concatenate([reward_rows(rng, players, dtype) for _ in range(repeats)])
        rewards = torch.tensor(rows, dtype=dtype)
        rows, mask = len(rewards), None
        if masked:
            mask = torch.tensor(random_mask(rng, rows, players))
            junk = torch.tensor(rng.choice([*NON_FINITE, 6e4, -6e4], (rows, players)), dtype=dtype)
            rewards = torch.where(mask, rewards, junk)

        def table(*shape: int) -> torch.Tensor:
            return torch.tensor(rng.standard_normal(shape) / max(1, players), dtype=real(dtype))

        tables = (table(rows if per_row else 1), table(3, players), table(3, players) if has_b else None, table(3))
        return rewards, mask, *tables, torch.tensor(rng.integers(0, 3, players + 1), dtype=torch.int32)

    def exact(self, arguments):
        info = torch.finfo(arguments[3].dtype)
        players = arguments[0].shape[1]
        credits = np.zeros(arguments[0].shape, np.longdouble)
        bound = np.zeros_like(credits)
        for row, who, r, c, a, b, shift in by_rank(arrays(arguments)):
            gaps = r - np.append(r[1:], c)
            credits[row, who] = np.cumsum((gaps * a)[::-1])[::-1] + np.append(0, np.cumsum(gaps * b)[:-1]) + c * shift
            size = (np.abs(gaps) * (np.abs(a) + np.abs(b))).sum()
            underflow = 2 * players * info.tiny * info.eps
            bound[row, who] = (players + 2) * info.eps / 2 * size + abs(c * shift) * info.eps + underflow
        return [(credits, bound)]

    def spoil(self, arguments: Arguments, row: int, bad: float) -> Iterator[Arguments]:
        rewards, mask, v_empty, *tables = (None if x is None else x.clone() for x in arguments)
        rewards[row, -1 if mask is None else mask[row].nonzero()[-1, 0]] = bad
        yield rewards, *arguments[1:]
        if len(v_empty) > 1:
            v_empty[row] = bad
            yield *arguments[:2], v_empty, *tables

    def also(self, arguments, results):
        tied_alike(arguments[0], self.live(arguments), results[0])


def tied_alike(rewards: torch.Tensor, live: torch.Tensor, out: torch.Tensor) -> None:
    """Equal rewards get bitwise equal results."""
    rewards = torch.where(live, rewards.double(), torch.inf)
    order = rewards.argsort(dim=1, stable=True)
    tied = rewards.gather(1, order).diff(dim=1) == 0
    patterns = out.double().gather(1, order).view(torch.int64)
    assert (patterns[:, 1:] == patterns[:, :-1])[tied & live.gather(1, order)[:, 1:]].all()


class OrderBackward(Primitive):
    package, suffix = "order", "_backward"
    by_row, counts = 4, 7
    players = (1, 2, 5, 7, 9, 20, 64, 65, 200)
    every_dtype = (7,)
    lengths = (5, 65)
    batches: ClassVar = {5: (9,), 100: (9,)}
    kinds: ClassVar = Order.kinds
    main = Order.main
    backends = ("numba", "triton")
    forced: ClassVar = {
        "triton": (
            *((n, {"pairs": pairs}) for n in (1, 2, 5, 7, 20) for pairs in (True, False)),
            *((9, {"rows_per_program": rows}) for rows in (1, 16)),
        )
    }
    spoilt = 0.0

    def case(self, rng, players, dtype, masked, **how):
        tensors = Order().case(rng, players, dtype, masked, **how)
        grad_out = torch.tensor(rng.standard_normal(tensors[0].shape), dtype=dtype)
        return grad_out if tensors[1] is None else torch.where(tensors[1], grad_out, torch.nan), *tensors

    def shapes(self, arguments):
        return [tuple(arguments[0].shape), (len(arguments[0]),)]

    def exact(self, arguments):
        return gradients(*arrays(arguments), eps=torch.finfo(arguments[4].dtype).eps)

    def spoil(self, arguments: Arguments, row: int, bad: float) -> Iterator[Arguments]:
        for tensors in Order().spoil(arguments[1:], row, bad):
            yield arguments[0], *tensors

    def also(self, arguments, results):
        tied_alike(arguments[1], self.live(arguments), results[0])


def gradients(grad_out, rewards, mask, v_empty, A, B, C, row_of_count, eps):
    """The formula of the contract in long double, of float64 arrays."""
    players = rewards.shape[1]
    grad, grad_c = np.zeros(rewards.shape, np.longdouble), np.zeros(len(rewards), np.longdouble)
    bound, bound_c = np.zeros_like(grad), np.zeros_like(grad_c)
    for row, who, r, _, a, b, shift in by_rank([rewards, mask, v_empty, A, B, C, row_of_count]):
        g = grad_out[row, who].astype(np.longdouble)
        b = np.append(b[:-1], 0)
        top, size = np.cumsum(g), np.abs(g).sum()
        e = np.append(0, a * top + b * (top[-1] - top))
        weight = np.append(0, np.abs(a) + np.abs(b))
        start = 0
        for end in np.append(np.flatnonzero(np.diff(r)) + 1, len(r)):
            tied = who[start:end]
            grad[row, tied] = (e[end] - e[start]) / (end - start)
            bound[row, tied] = (2 * players + 6) * eps / 2 * (weight[end] + weight[start]) * size / (end - start)
            start = end
        grad_c[row] = (shift - a[-1]) * top[-1]
        bound_c[row] = (players + 2) * eps / 2 * (abs(shift) + abs(a[-1])) * size
    return [(grad, bound), (grad_c, bound_c)]
