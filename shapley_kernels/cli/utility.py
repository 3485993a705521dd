"""From the words on the command line to the library's utilities and values; each takes only the numbers it needs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

from shapley_kernels._command import CommandError
from shapley_kernels.cli.rows import DataColumn

ValueName = Literal[
    "shapley",
    "banzhaf",
    "beta",
    "stratum",
    "leave-one-out",
    "suffix-swap",
    "candidate-swap",
    "broadcast",
    "winner-takes-all",
    "prefix",
]

VALUES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "shapley": ("Shapley", (), ()),
    "banzhaf": ("Banzhaf", (), ("p",)),
    "beta": ("BetaShapley", ("alpha", "beta"), ()),
    "stratum": ("Stratum", ("size",), ()),
    "leave-one-out": ("LeaveOneOut", (), ()),
    "suffix-swap": ("SuffixSwap", (), ("lam",)),
    "candidate-swap": ("CandidateSwap", (), ()),
    "broadcast": ("Broadcast", (), ()),
    "winner-takes-all": ("WinnerTakesAll", (), ()),
    "prefix": ("PrefixMarginals", (), ()),
}
"""Name: the class, of `sk` or `rl`, the options it needs, and those it may have."""

UTILITIES: dict[str, tuple[str, str]] = {
    "max": ("Max", ""),
    "min": ("Min", ""),
    "mean": ("Mean", ""),
    "median": ("Median", ""),
    "range": ("Range", ""),
    "topm": ("TopM", "m"),
    "topm-mean": ("TopMMean", "m"),
    "kth-best": ("KthBest", "k"),
    "discounted": ("Discounted", "weights?"),
    "owa": ("OWA", "weights"),
    "noisy-or": ("NoisyOr", "chances"),
    "clusters": ("Clusters", "labels"),
    "facility": ("FacilityLocation", "topics"),
    "coverage": ("Coverage", "covers"),
}
"""Name: the class of `sk`, and what stands in the brackets behind the name: nothing, an integer, numbers, a column."""

COLUMNS = ("labels", "topics", "covers")
SUMS = "a sum such as 0.7*topm(3) + 0.3*max"

_TERM = re.compile(
    r"\s*(?P<sign>[+-]?)\s*(?:(?P<weight>\d*\.?\d+(?:[eE][+-]?\d+)?)\s*\*\s*)?"
    rf"(?P<name>{'|'.join(sorted(UTILITIES, key=len, reverse=True))})\b\s*(?:\((?P<inside>[^()]*)\))?\s*"
)


@dataclass(frozen=True)
class Utility:
    """What a set is worth: a function (rewards, mask=, **data) -> game that a `RewardAllocator` takes.

    Args:
        terms: weight, name, arguments, and the column of its data or None.
        v_empty: worth of the empty set, of a single utility of rewards.
    """

    text: str
    terms: tuple[tuple[float, str, Mapping[str, Any], DataColumn | None], ...]
    v_empty: float = 0.0

    def __call__(self, rewards: Any, mask: Any = None, **data: Any) -> Any:
        import shapley_kernels as sk

        worth: Any = None
        for weight, name, arguments, column in self.terms:
            numbers = [rewards]
            if column:
                x = data[f"data{self.columns.index(column)}"]  # [rows, players, numbers of each]
                numbers = [x[..., 0].astype(int)] if column.kind == "labels" else [x]
                numbers += [rewards] * column.rewards
            empty = {"v_empty": self.v_empty} if self.v_empty else {}
            game = getattr(sk, UTILITIES[name][0])(*numbers, mask=mask, **arguments, **empty)
            game = game if weight == 1 else weight * game
            worth = game if worth is None else worth + game
        return worth

    @property
    def columns(self) -> tuple[DataColumn, ...]:
        """The columns that are read beside the rewards."""
        return tuple(dict.fromkeys(column for *_, column in self.terms if column))

    @property
    def reads_rewards(self) -> bool:
        return any(column is None or column.rewards for *_, column in self.terms)

    @property
    def chances(self) -> bool:
        """Whether the rewards have to be in [0, 1]."""
        return any(name == "noisy-or" for _, name, *_ in self.terms)

    def smaller_sets(self, longest: int) -> list[str]:
        """What to say where no set has as many candidates as a term counts."""
        warnings = []
        for _, name, arguments, _ in self.terms:
            for option, number in arguments.items():
                if option in ("m", "k") and number > longest:
                    what = "all sets are worth --v-empty" if option == "k" else "all candidates of every set count"
                    warnings.append(f"{name}({number}): no set has as many candidates, {longest} at most, so {what}")
        return warnings


def utility(text: str, v_empty: float, **options: Any) -> Utility:
    """A utility from its name, a name with brackets, or a sum of them.

    Args:
        options: m, k and weights, None where not given; for a single name without brackets.

    Raises:
        CommandError: it cannot be read; a number is missing, or one too many.
    """
    parts = _split(text)
    given = {name: value for name, value in options.items() if value is not None}
    if given and len(parts) == 1 and parts[0][2] is None:
        ((weight, name, _),) = parts
        takes = UTILITIES[name][1].rstrip("?")
        _refuse_others("--utility", name, given, {other: (kind[1].rstrip("?"),) for other, kind in UTILITIES.items()})
        number = given[takes]
        parts = [(weight, name, ",".join(number) if takes == "weights" else str(number))]
    elif given:
        raise CommandError(f"--{next(iter(given))} does not go with --utility {text!r}; write it into the brackets")
    terms = tuple((weight, name, *_arguments(name, inside)) for weight, name, inside in parts)
    if not isfinite(v_empty):
        raise CommandError(f"--v-empty: expected a finite number, got {v_empty}")
    if v_empty and (len(terms) > 1 or terms[0][3] or terms[0][0] != 1 or terms[0][1] == "noisy-or"):
        raise CommandError(f"--v-empty goes with a single utility of rewards, from max to owa, not with {text!r}")
    return Utility(text, terms, v_empty)


def _split(text: str) -> list[tuple[float, str, str | None]]:
    """Weight, name, and what stands in the brackets, None without them."""
    parts: list[tuple[float, str, str | None]] = []
    position = 0
    while position < len(text) or not parts:
        term = _TERM.match(text, position)
        if not term or (parts and not term["sign"]):
            raise CommandError(f"--utility: expected one of {', '.join(UTILITIES)}, or {SUMS}, got {text!r}")
        sign = -1.0 if term["sign"] == "-" else 1.0
        parts.append((sign * float(term["weight"] or 1), term["name"], term["inside"]))
        position = term.end()
    return parts


def _arguments(name: str, inside: str | None) -> tuple[dict[str, Any], DataColumn | None]:
    """Arguments of the class, and the column of its data."""
    takes = UTILITIES[name][1]
    words = [word.strip() for word in inside.split(",")] if inside and inside.strip() else []
    if takes in COLUMNS:
        reads = takes == "labels" and words[1:] == ["rewards"]
        if len(words) - reads != 1 or not words[0]:
            also = ", or clusters(COLUMN, rewards) for the best reward of each" if takes == "labels" else ""
            raise CommandError(f"--utility {name} needs the column of its {takes}: {name}(COLUMN){also}")
        return {}, DataColumn(words[0], takes, rewards=reads)
    if takes in ("m", "k"):
        if not words:
            raise CommandError(f"--utility {name} needs --{takes}, or brackets: {name}(3)")
        if len(words) > 1 or not words[0].isdecimal() or int(words[0]) < 1:
            raise CommandError(f"--utility {name}: expected an integer >= 1 such as {name}(3), got {inside!r}")
        return {takes: int(words[0])}, None
    if takes.startswith("weights") and (words or takes == "weights"):
        return {"weights": _numbers(name, words, inside)}, None
    if words:
        raise CommandError(f"--utility {name} takes nothing in brackets, got {inside!r}")
    return {}, None


def _numbers(name: str, words: list[str], inside: str | None) -> list[float]:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = []
    if not numbers or not all(map(isfinite, numbers)):
        what = f"got {inside!r}" if inside else f"--utility {name} needs them"
        raise CommandError(f"--weights: expected finite numbers with commas between them such as 1,0.5,0.25, {what}")
    return numbers


def value(name: ValueName, **options: Any) -> Any:
    """How the worth is shared: a semivalue or a baseline.

    Args:
        options: p, alpha, beta, size and lam, None where not given.

    Raises:
        CommandError: one that is missing or that the value does not take, or out of its range.
    """
    import shapley_kernels as sk
    from shapley_kernels import rl

    kind, needs, _ = VALUES[name]
    given = {key: number for key, number in options.items() if number is not None}
    if missing := [f"--{key}" for key in needs if key not in given]:
        raise CommandError(f"--value {name} needs {' and '.join(missing)}")
    _refuse_others("--value", name, given, {other: needs + may for other, (_, needs, may) in VALUES.items()})
    try:
        return getattr(sk if hasattr(sk, kind) else rl, kind)(**given)
    except ValueError as error:
        raise CommandError(f"--value {name}: {error}") from None


def _refuse_others(option: str, name: str, given: Mapping[str, Any], takes: Mapping[str, tuple[str, ...]]) -> None:
    """Raise for a number that `name` does not take."""
    for key in given:
        if key not in takes[name]:
            users = ", ".join(other for other, keys in takes.items() if key in keys)
            raise CommandError(f"--{key} does not go with {option} {name}, only with {users}")
