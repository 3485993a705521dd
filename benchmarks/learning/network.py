"""A small transformer in plain torch. Policies of many rates and seeds are trained at once: arrays begin with
[runs]."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import layer_norm

from benchmarks.learning import training

WIDTH, LAYERS = 32, 2
Weights = dict[str, torch.Tensor]


def new_weights(seeds: Iterable[int], **embedded: int) -> Weights:
    """Those of the layers, and so many embeddings of each kind that is named."""
    shapes = {name: (many, WIDTH) for name, many in embedded.items()}
    for i in range(LAYERS):
        shapes |= {f"qkv{i}": (WIDTH, 3 * WIDTH), f"out{i}": (WIDTH, WIDTH)}
        shapes |= {f"up{i}": (WIDTH, 2 * WIDTH), f"down{i}": (2 * WIDTH, WIDTH)}
    drawn = [np.random.default_rng((1, seed)) for seed in seeds]
    return {
        name: torch.tensor(np.stack([rng.normal(0.0, 0.2, shape) for rng in drawn]), dtype=torch.float32)
        for name, shape in shapes.items()
    }


def for_each_rate(w: Weights, rates: int) -> Weights:
    """Copies of [seeds] to train, as [rates * seeds]."""
    return {name: x.repeat(rates, *(1,) * (x.ndim - 1)).requires_grad_() for name, x in w.items()}


def attend(w: Weights, x: Any, memory: list[Any], sees: Any) -> Any:
    """What all layers make of x [runs, users, tokens, WIDTH]; its keys and values join those in memory."""
    for i in range(LAYERS):
        q, *kv = through(normal(x), w[f"qkv{i}"]).chunk(3, -1)
        memory[i] = kv if memory[i] is None else [torch.cat(both, 2) for both in zip(memory[i], kv, strict=True)]
        scores = q @ memory[i][0].mT / WIDTH**0.5
        scores = scores if sees is None else scores + sees
        x = x + through(scores.softmax(-1) @ memory[i][1], w[f"out{i}"])
        x = x + through(through(normal(x), w[f"up{i}"]).relu(), w[f"down{i}"])
    return x


def normal(x: Any) -> Any:
    return layer_norm(x, (WIDTH,))


def through(x: Any, weight: Any) -> Any:
    """[runs, .., in] by [runs, in, out]."""
    return (x.flatten(1, -2) @ weight).unflatten(1, x.shape[1:-1])


def ascend(adam: training.Adam, objective: Any) -> None:
    gradients = torch.autograd.grad(objective, adam.arrays)
    with torch.no_grad():
        adam.ascend(gradients)
