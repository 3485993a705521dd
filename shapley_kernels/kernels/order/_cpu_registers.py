"""Short rows, one per SIMD lane and wholly in registers: the step form

    out_i = sum_k (s_k - s_{k+1}) (A_k if s_k <= x_i else B_k) + c C,      s = x sorted, best first, s_{n+1} = c,

which needs no order of the players, only the sorted rewards. The compiler vectorises the loop over rows if all that one
row takes is straight code, so that is written out here for a number of players: loads and stores of stride `players`
become whole vectors and shuffles, a comparator becomes a minimum and a maximum.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from shapley_kernels.kernels.order._sorting_networks import network

_TEMPLATE = """
def {name}(rewards, mask, v_empty, A, B, C, row_of_count, start, stop, out):
    real = A.dtype.type
    zero, one, least = real(0), real(1), real(-inf)
    {head}
    c_of = np_empty({tile}, A.dtype)
    bad = False
    for first in range(start, stop, {tile}):
        width = min({tile}, stop - first)
        if first == start or v_empty.size > 1:
            for lane in range(width):
                c_of[lane] = v_empty[first + lane if v_empty.size > 1 else 0]
        part = slice(first * {players}, (first + width) * {players})
        x, credit = rewards[part], out[part]
        {live}
        for lane in range(width):
            at = lane * {players}
            c = c_of[lane]
            {body}
    return start if bad else -1
"""

_TILE = 1024
"""Rows whose v_empty is laid out at a time."""


def kernel(players: int, masked: bool, has_b: bool) -> Callable[..., Any]:
    """rows(rewards, mask, v_empty, A, B, C, row_of_count, start, stop, out) with flat rewards, mask (bytes) and out.

    Args:
        players: at most about 8: O(players^2) steps per row, all in registers.
        masked, has_b: whether there are a mask and coefficients B; else these arguments are None.

    The function returns its first row if any credit is not finite, else -1.
    """
    name = f"rows_of_{players}" + "_masked" * masked + "_with_b" * has_b
    head, body = _lines(players, masked, has_b)
    source = _TEMPLATE.format(
        name=name,
        players=players,
        tile=_TILE,
        head="\n    ".join(head),
        live="p = mask[part]" if masked else "",
        body="\n            ".join(body),
    )
    space: dict[str, Any] = {"__name__": __name__, "np_empty": np.empty, "inf": np.inf}
    exec(compile(source, __file__, "exec"), space)
    return space[name]


def _lines(players: int, masked: bool, has_b: bool) -> tuple[list[str], list[str]]:
    """The code before the loop, which reads the tables, and of one row."""
    each = range(players)
    tables = [("a", "A"), ("b", "B")] if has_b else [("a", "A")]
    head, choose = [], []
    for n in range(players, 0 if masked else players - 1, -1):  # e, a_k, b_k: C, A_k, B_k of n live players
        names = [("e", f"C[row_of_count[{n}]]")]
        names += [(f"{x}{k}", f"{table}[row_of_count[{n}], {k}]") for x, table in tables for k in range(n)]
        head += [f"{x}_{n} = {entry}" for x, entry in names]
        # for a vector of rows, choosing by the number of live players is cheaper than looking up
        choose += [f"{x} = {x}_{n}" + (f" if live == real({n}) else {x}" if n < players else "") for x, _ in names]
    row = [f"x{i} = x[at + {i}]" for i in each]
    if masked:
        row += [f"p{i} = p[at + {i}] != 0" for i in each]
        row += [f"x{i} = x{i} if p{i} else zero" for i in each]
        row += ["live = " + " + ".join(f"(one if p{i} else zero)" for i in each)]
    row += choose
    row += ["nan_flag = " + " + ".join(f"x{i} * zero" for i in each) + " + c * zero"]  # 0, or NaN for the whole row
    row += ["shift = c * e + nan_flag"]
    row += [f"s{i} = x{i} if p{i} else least" if masked else f"s{i} = x{i}" for i in each]
    row += [
        f"s{i}, s{j} = (s{i} if s{i} > s{j} else s{j}), (s{j} if s{i} > s{j} else s{i})" for i, j in network(players)
    ]
    row += [f"s{k} = s{k} if real({k}) < live else c" for k in each if masked]  # gaps of masked players are 0
    row += [f"d{k} = s{k} - {f's{k + 1}' if k + 1 < players else 'c'}" for k in each]
    row += [f"g{k} = d{k} * a{k}" for k in each]
    row += [f"h{k} = d{k} * b{k}" if has_b else f"h{k} = zero" for k in each]
    for i in each:
        total = " + ".join(f"(g{k} if s{k} <= x{i} else h{k})" for k in each) + " + shift"
        row += [f"y{i} = ({total}) if p{i} else zero" if masked else f"y{i} = {total}", f"credit[at + {i}] = y{i}"]
    row += ["bad |= " + " + ".join(f"y{i} * zero" for i in each) + " != zero"]
    return head, row
