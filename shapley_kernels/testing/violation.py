"""How a law that broke reads."""

from fractions import Fraction
from typing import Any

from shapley_kernels.testing.laws import Law
from shapley_kernels.testing.samples import utility_name
from shapley_kernels.testing.subjects import Broken, Subject

ENUMERATED = 8
"""The most players of data beside which a message shows the truth."""

ROWS_SHOWN = 3
"""The most rows of data of which a message shows all."""


def describe(law: Law, subject: Subject, what: str, broken: Broken) -> str:
    """A law that broke, and why: the data, what the enumeration gives and what came."""
    data, got = broken.data, broken.got
    if broken.row is not None and data.shape[0] > ROWS_SHOWN:
        data, got = data.rows([broken.row]), got[[broken.row]]
    given = ", ".join(f"{name}={_shown(x)}" for name, x in data.others.items())
    utility = utility_name(subject.utility) + (f" of {given}" if given else "")
    lines = {"game": f"{utility} under {subject.value}, {subject.dtype}"}
    lines |= {name: _shown(x) for name, x in {**data.arrays, "mask": data.mask}.items()}
    if data.shape[1] <= ENUMERATED:
        rows = [", ".join(map(_short, row)) for row in subject.truth(data)]
        lines["expected"] = f"[[{'], ['.join(rows)}]]"
    lines["got"] = _shown(got)
    return "\n".join([f"{law.name}: {law.sentence}; {what}", *(f"  {name:<9} {x}" for name, x in lines.items())])


def _shown(x: Any) -> str:
    return str(x.tolist()) if getattr(x, "shape", ()) else str(x)


def _short(x: Fraction) -> str:
    return str(x) if x.denominator < 10**4 else repr(float(x))
