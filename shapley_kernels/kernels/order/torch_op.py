"""`order` as torch sees it: a function whose gradient is a kernel too, and one node of the graphs of torch.compile.

`Order` serves eager calls and torch.func; `order` is the same as a custom operator, which torch.compile does not look
into.
"""

from collections.abc import Callable, Sequence
from operator import index
from typing import Any

import torch
from torch import Tensor, library

from shapley_kernels.backends import allowed, kernel
from shapley_kernels.kernels.order import _torch


def call(backend: str, tensors: Sequence[Any], tables: Any, dtype: torch.dtype, compute: str) -> Tensor:
    """Credits that torch traces, or differentiates; a node of the graph under torch.compile.

    Args:
        backend: as in `shapley`.
        tensors: rewards [rows, players], mask and v_empty of the contract.
        tables: gives those of the contract, by `on("torch", compute, device)`.
        dtype: of the result.
        compute: "float32" or "float64".
    """
    rewards, mask, v_empty = tensors
    where = "cpu" if rewards.is_cpu else str(rewards.device)
    compiling = torch.compiler.is_compiling()
    if compiling:
        backend = _constant_backend(backend, index(rewards.shape[1]), where)
    else:
        backend = allowed(backend, "order", rewards.shape[1], where)
    placed: Any = tables.on("torch", compute, where)
    if backend == "torch":
        out = rewards.new_empty(rewards.shape, dtype=dtype)
        run: Any = _torch.run
        run(rewards, mask, v_empty, *placed, out)
        return out
    apply: Any = order if compiling else Order.apply
    return apply(rewards, mask, v_empty, *placed, backend, dtype)


def _credits(
    rewards: Tensor,
    mask: Tensor | None,
    v_empty: Tensor,
    A: Tensor,
    B: Tensor | None,
    C: Tensor,
    row_of_count: Tensor,
    backend: str,
    dtype: torch.dtype,
) -> Tensor:
    """Arguments as in the contract of `order`, backend "numba" or "triton" -> out [rows, players] in `dtype`."""
    tables = (A, B, C, row_of_count)
    return _run(backend, "", (rewards, mask, v_empty), tables, dtype)


def _gradients(
    grad: Tensor,
    rewards: Tensor,
    mask: Tensor | None,
    v_empty: Tensor,
    A: Tensor,
    B: Tensor | None,
    C: Tensor,
    row_of_count: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor]:
    """As in the contract -> grad_rewards [rows, players] in the dtype of rewards, grad_v_empty [rows] in that of
    v_empty."""
    tables, grad_c = (A, B, C, row_of_count), v_empty.new_empty(len(rewards))
    arrays = (grad.resolve_neg(), rewards, mask, v_empty)
    return _run(backend, "_backward", arrays, tables, rewards.dtype, grad_c), grad_c


def _run(
    backend: str, suffix: str, arrays: tuple[Any, ...], tables: tuple[Any, ...], dtype: torch.dtype, *more: Tensor
) -> Tensor:
    """A kernel on tensors; `more` are results beside the first."""
    run = kernel("order", backend + suffix).run
    if backend == "numba":  # which reads and writes the compute dtype
        wide = tables[0].dtype
        inputs = [x if x is None or x.dtype == torch.bool else x.to(wide) for x in arrays]
        out = torch.empty(arrays[0].shape, dtype=wide)
        given = (*(None if x is None else x.contiguous() for x in inputs), *tables, out, *more)
        run(*(None if x is None else x.detach().numpy() for x in given))
        return out.to(dtype)
    out = torch.empty(arrays[0].shape, dtype=dtype, device=arrays[0].device)
    run(*(None if x is None else x.contiguous() for x in arrays), *tables, out, *more)
    return out


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.backend, _ = inputs
    ctx.save_for_backward(*tensors)


def _refuse(ctx: Any, *_: Tensor) -> None:
    raise RuntimeError(
        "the kernels of `order` have no second derivative: use backend='torch' where a gradient is differentiated again"
    )


def _backward(gradients: Callable[..., Any], ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    rewards, mask, v_empty, *tables = ctx.saved_tensors
    grad_rewards, grad_c = gradients(grad, rewards, mask, v_empty, *tables, ctx.backend)
    if not ctx.needs_input_grad[2]:
        grad_c = None
    elif v_empty.shape[0] == 1:
        grad_c = grad_c.sum(0, keepdim=True)
    return grad_rewards, None, grad_c, None, None, None, None, None, None


def _over_batch(call: Callable[..., Any], with_rows: int) -> Callable[..., Any]:
    """The vmap rule of a function whose first arguments have rows, each of its own: more of them."""

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        size, first = info.batch_size, with_rows - 3  # rewards, after which come mask and v_empty
        rows = args[first].shape[-2] if in_dims[first] is None else args[first].movedim(in_dims[first], 0).shape[1]
        folded = []
        for x, dim in zip(args[:with_rows], in_dims, strict=False):
            if x is not None:
                x = x.movedim(dim, 0) if dim is not None else x.expand(size, *x.shape)
                x = x.expand(size, rows, *x.shape[2:]).reshape(size * rows, *x.shape[2:])
            folded.append(x)
        results = call(*folded, *args[with_rows:])
        if isinstance(results, Tensor):
            return results.unflatten(0, (size, rows)), 0
        return tuple(x.unflatten(0, (size, rows)) for x in results), (0,) * len(results)

    return rule


class Gradient(torch.autograd.Function):
    """`_gradients`, which are not differentiable again."""

    backward = staticmethod(_refuse)

    @staticmethod
    def forward(*arguments: Any) -> tuple[Tensor, Tensor]:  # torch inspects the signature at every call: a short one
        return _gradients(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return _over_batch(Gradient.apply, 4)(info, in_dims, *args)


class Order(torch.autograd.Function):
    """`_credits` with a gradient in rewards and v_empty."""

    setup_context = staticmethod(_keep)

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        return _credits(*arguments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        return _backward(Gradient.apply, ctx, grad)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        return _over_batch(Order.apply, 3)(info, in_dims, *args)


gradient = library.custom_op("shapley_kernels::order_gradient", _gradients, mutates_args=())
gradient.register_fake(
    lambda grad, rewards, mask, v_empty, *_: (rewards.new_empty(rewards.shape), v_empty.new_empty(rewards.shape[0]))
)
gradient.register_autograd(_refuse)
gradient.register_vmap(_over_batch(gradient, 4))

order = library.custom_op("shapley_kernels::order", _credits, mutates_args=())
order.register_fake(lambda rewards, *rest: rewards.new_empty(rewards.shape, dtype=rest[-1]))
order.register_autograd(lambda ctx, grad: _backward(gradient, ctx, grad), setup_context=_keep)
order.register_vmap(_over_batch(order, 3))


@torch.compiler.assume_constant_result
def _constant_backend(backend: str, players: int, where: str) -> str:
    """`allowed`, which torch.compile calls while it traces, and takes for a constant of the graph."""
    return allowed(backend, "order", players, where)
