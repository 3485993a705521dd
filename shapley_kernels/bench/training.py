"""What training makes of credits, as points: their gradient, advantages, advantages of rollouts that know their group
by a name, and advantages laid on tokens."""

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np

import shapley_kernels as sk
from shapley_kernels.bench.cases import Call, Inputs, Point, size_of
from shapley_kernels.bench.lines import Unsuited, numpy_rows, torch_rows
from shapley_kernels.testing.samples import place, rounded

CANDIDATES, TOKENS = 5, 256
"""Of a rollout, where the shape does not say."""


class OfMax(Inputs):
    """Rewards of `Max` under another name."""

    def __init__(self, point: Point, seed: int = 0) -> None:
        super().__init__(replace(point, game="Max"), seed)
        self.point = point

    def sorting(self) -> Call:
        raise Unsuited("a sort is a part of it")


class Gradient(OfMax):
    """Credits of `Max` and, from an incoming gradient, that of the rewards, none of which are equal: of equal ones our
    kernels take the mean over all orders, and torch one of them."""

    def __init__(self, point: Point, seed: int = 0) -> None:
        super().__init__(point, seed)
        apart = self.sample.arrays["rewards"].argsort(-1).argsort(-1) / self.players
        self.sample = replace(self.sample, arrays={"rewards": rounded(apart, point.dtype)})

    def _call(self, credits: Callable[[Any], Any], dtype: str | None = None) -> Call:
        try:
            import torch
        except ImportError:
            raise Unsuited("gradients need torch: pip install 'shapley_kernels[torch]'") from None

        arrays = self.arrays("torch", dtype)
        rewards = arrays["rewards"].requires_grad_()
        incoming = torch.linspace(0.5, 1.5, self.players).to(rewards).expand_as(rewards)
        return lambda: torch.autograd.grad(credits(arrays), rewards, incoming)[0]

    def ours(self, container: str, backend: str) -> Call:
        return self._call(lambda arrays: sk.shapley(sk.Max(**arrays), backend=backend))

    def lines(self, container: str) -> Call:
        if self.point.masked or container != "torch":
            raise Unsuited("gradients have five lines in torch alone, and without a mask")
        import torch

        inside = torch.from_numpy(1 / np.arange(self.players, 0, -1, dtype=np.float32)).to(**_like(self.point))
        return self._call(lambda arrays: torch_rows(arrays["rewards"], inside))

    @cached_property
    def reference(self) -> np.ndarray:
        call = self._call(lambda arrays: sk.shapley(sk.Max(**arrays), backend="torch"), "float64")
        return np.asarray(call().cpu())


def _like(point: Point) -> dict[str, Any]:
    import torch

    return {"dtype": getattr(torch, point.dtype), "device": point.device}


class Advantages(OfMax):
    """`RewardAllocator(sk.Max).advantages`, rewards [groups, rollouts, candidates]."""

    allocator = sk.RewardAllocator(sk.Max)

    def __init__(self, point: Point, seed: int = 0) -> None:
        if len(point.shape) != 3:
            raise Unsuited(f"{point.game} take a shape of groups, rollouts, candidates")
        super().__init__(point, seed)

    def ours(self, container: str, backend: str) -> Call:
        if backend == "torch":
            raise Unsuited(f"{self.point.game} take the backend of their tensors")
        return partial(self.allocator.advantages, **self.arrays(container))

    def lines(self, container: str) -> Call:
        if self.point.masked or container == "compiled":
            raise Unsuited(f"no such five-liner for {self.point.game}")
        rewards, inside = self.rewards(container), 1 / np.arange(self.players, 0, -1, dtype=np.float32)
        if container == "torch":
            import torch

            weights = torch.from_numpy(inside).to(rewards)
            return lambda: _standardised(torch_rows(rewards, weights), keepdim=True)
        return lambda: _standardised(numpy_rows(rewards, inside.astype(rewards.dtype)), keepdims=True, ddof=1)

    @cached_property
    def reference(self) -> np.ndarray:
        return np.asarray(self.allocator.advantages(**self.arrays("numpy", "float64")))

    @property
    def unit(self) -> np.ndarray:
        """An error of the largest credit, over the least standard deviation of a group."""
        credits = self.allocator.credits(**self.arrays("numpy", "float64"))
        return np.abs(credits).max(keepdims=True)[0] * self.players / (credits.std((1, 2)).min() + self.allocator.eps)

    @property
    def terms(self) -> int:
        return prod(self.point.shape[1:]) + self.players


def _standardised(credits: Any, **options: Any) -> Any:
    mean = credits.mean((1, 2), **{name: x for name, x in options.items() if name != "ddof"})
    return (credits - mean) / (credits.std((1, 2), **options) + 1e-4 / credits.shape[-1])


class TokenAdvantages(Advantages):
    """`RewardAllocator(sk.Max).token_advantages` of `TOKENS` tokens for each rollout, those outside candidates with the
    advantage of the set."""

    def __init__(self, point: Point, seed: int = 0) -> None:
        if point.masked:
            raise Unsuited("no five-liner knows masks")
        super().__init__(point, seed)
        ids = np.random.default_rng(seed).integers(0, self.players + 1, (*point.shape[:2], TOKENS))
        self.ids = np.sort(ids, -1)

    def _placed(self, container: str) -> tuple[Any, Any]:
        rewards = self.rewards(container)
        return rewards, self.ids if container == "numpy" else place(self.ids, "torch", "int64", self.point.device)

    def ours(self, container: str, backend: str) -> Call:
        super().ours(container, backend)
        return partial(self.allocator.token_advantages, *self._placed(container))

    def lines(self, container: str) -> Call:
        advantages, (rewards, ids) = super().lines(container), self._placed(container)
        if container == "numpy":

            def by_numpy() -> Any:
                sets = _standardised(rewards.max(-1, keepdims=True), keepdims=True, ddof=1)
                return np.take_along_axis(np.concatenate([sets, advantages()], -1), ids, -1)

            return by_numpy
        import torch

        def by_torch() -> Any:
            sets = _standardised(rewards.amax(-1, keepdim=True), keepdim=True)
            return torch.cat([sets, advantages()], -1).gather(-1, ids)

        return by_torch

    @cached_property
    def reference(self) -> np.ndarray:
        rewards = self.arrays("numpy", "float64")["rewards"]
        return np.asarray(self.allocator.token_advantages(rewards, self.ids))

    @property
    def unit(self) -> np.ndarray:
        sets = self.arrays("numpy", "float64")["rewards"].max(-1)
        return np.maximum(super().unit, np.abs(sets).max() / (sets.std(1).min() + self.allocator.eps))

    @property
    def bytes(self) -> int:
        return super().bytes + self.ids.nbytes + self.ids.size * size_of(self.point.dtype)


class AdvantagesById(Advantages):
    """The same by names of groups in any order, as strings."""

    def ours(self, container: str, backend: str) -> Call:
        if backend == "torch":
            raise Unsuited(f"{self.point.game} take the backend of their tensors")
        groups, rollouts, _ = self.point.shape
        arrays = {name: x.reshape(-1, self.players)[self.order] for name, x in self.arrays(container).items()}
        names = np.repeat(np.arange(groups), rollouts)[self.order].astype(str).tolist()
        return partial(self.allocator.advantages, **arrays, group_ids=names)

    def lines(self, container: str) -> Call:
        raise Unsuited(f"no five-liner for {self.point.game}")

    @property
    def order(self) -> np.ndarray:
        """Of the rollouts."""
        return np.random.default_rng(0).permutation(prod(self.point.shape[:2]))

    @cached_property
    def reference(self) -> np.ndarray:
        return super().reference.reshape(-1, self.players)[self.order]


class AdvantagesBySwap(Advantages):
    """`rl.SuffixSwap` in place of Shapley."""

    allocator = sk.RewardAllocator(sk.Max, sk.rl.SuffixSwap())

    def lines(self, container: str) -> Call:
        raise Unsuited(f"no five-liner for {self.point.game}")


class Tokens(Inputs):
    """`rl.scatter_to_tokens`, shape [rollouts, tokens]; the lines look at no id before they take what it names."""

    def __init__(self, point: Point, seed: int = 0) -> None:
        self.point, self.seed = point, seed
        if len(point.shape) != 2 or point.masked:
            raise Unsuited("tokens take a shape of rollouts, tokens, and no mask")
        rng = np.random.default_rng(seed)
        self.ids = np.sort(rng.integers(0, CANDIDATES + 1, point.shape), 1)
        self.advantages = rng.random((point.shape[0], CANDIDATES)).astype(np.float32)

    def _placed(self, container: str) -> tuple[Any, Any, Any]:
        zeros = np.zeros((len(self.ids), 1), np.float32)
        if container == "numpy":
            return self.advantages, self.ids, zeros
        import torch

        advantages, ids, none = (torch.from_numpy(x).to(self.point.device) for x in (self.advantages, self.ids, zeros))
        return advantages, ids, none

    def ours(self, container: str, backend: str) -> Call:
        if backend == "torch":
            raise Unsuited("tokens take the backend of their tensors")
        advantages, ids, _ = self._placed(container)
        return lambda: sk.rl.scatter_to_tokens(advantages, ids)

    def lines(self, container: str) -> Call:
        advantages, ids, zeros = self._placed(container)
        if container == "numpy":
            return lambda: np.take_along_axis(np.concatenate([zeros, advantages], 1), ids, 1)
        if container == "compiled":
            raise Unsuited("no compiled five-liner for tokens")
        import torch

        return lambda: torch.cat([zeros, advantages], 1).gather(1, ids)

    def sorting(self) -> Call:
        raise Unsuited("no rows to sort")

    @cached_property
    def reference(self) -> np.ndarray:
        padded = np.concatenate([np.zeros((len(self.ids), 1)), self.advantages], 1)
        return np.take_along_axis(padded, self.ids, 1)

    @property
    def unit(self) -> np.ndarray:
        return np.ones((1, 1))

    @property
    def terms(self) -> int:
        """Nothing is rounded."""
        return 0

    @property
    def bytes(self) -> int:
        return self.ids.nbytes + self.ids.size * size_of("float32") + self.advantages.nbytes


PIECES = {
    "gradient": Gradient,
    "advantages": Advantages,
    "advantages-by-id": AdvantagesById,
    "advantages-by-swap": AdvantagesBySwap,
    "token-advantages": TokenAdvantages,
    "tokens": Tokens,
}


def inputs_of(point: Point, seed: int = 0) -> Inputs:
    """Of a game, or of a piece of training."""
    return PIECES.get(point.game, Inputs)(point, seed)
