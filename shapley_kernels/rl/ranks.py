"""Processes that hold parts of the same groups: they agree before they compute, and what one raises, all raise."""

import re
from contextlib import nullcontext
from typing import Any, NoReturn

KINDS = (TypeError, OverflowError, ValueError, RuntimeError)
"""What other ranks raise for an error of one: the first of these that it is, else the last."""

REMEDIES = {"candidates": "pad to the largest with masked candidates, on ranks without rollouts too"}
"""By name of an option; for all others it is to pass the same."""


class Ranks:
    """The ranks of a `torch.distributed` group, which compute one thing together.

    A collective in which one rank is missing makes all others wait for the timeout of the backend. So whatever can go
    wrong on one rank comes before a collective, and within `with ranks:`. The first of these is an `exchange`, by which
    each rank says what went wrong, or how it is called; all ranks then raise the same, or none.

    Args:
        owner: whose messages these are.
        process_group: of torch.distributed.

    Raises:
        TypeError: no process group; this rank cannot tell any other.
    """

    def __init__(self, owner: str, process_group: Any) -> None:
        import torch.distributed as dist

        if not dist.is_available() or not isinstance(process_group, dist.ProcessGroup):
            raise TypeError(
                f"{owner}: process_group must be one of torch.distributed, such as torch.distributed.group.WORLD, "
                f"or None for this rank alone, got {process_group!r}"
            )
        self.owner, self.process_group = owner, process_group
        self._options: dict[str, str] = {}
        self._agreed: Exception | None = None

    @property
    def number(self) -> int:
        """That of this rank in the group."""
        return int(self.process_group.rank())

    def __enter__(self) -> "Ranks":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if not isinstance(error, Exception) or error is self._agreed:
            return
        try:
            self.exchange(problem=error)
        except Exception as raised:
            # Another one says that the group is gone; and a class of its own says more than the number of its rank.
            if raised is self._agreed and type(error) in KINDS:
                raise

    def compare(self, **options: Any) -> None:
        """Options that have to be the same on all ranks, by name; the next `exchange` compares how they are written."""
        self._options |= {name: re.sub(" at 0x[0-9a-f]+", "", repr(option)) for name, option in options.items()}

    def exchange(self, part: Any = None, problem: Exception | None = None) -> list[Any]:
        """The parts of all ranks, by rank; one all_gather_object.

        Args:
            part: what this rank has to say, of types that every process can unpickle.
            problem: what went wrong on this rank.

        Raises:
            TypeError, OverflowError, ValueError, RuntimeError: on all ranks what went wrong on the first, with its
                number; ValueError for options that differ.
        """
        import torch.distributed as dist

        told: list[Any] = [None] * dist.get_world_size(self.process_group)
        said = None if problem is None else _said(problem)
        dist.all_gather_object(told, (said, self._options, part), group=self.process_group)
        for rank, (said, _, _) in enumerate(told):
            if said is not None:
                kind, text = said
                self._raise(KINDS[kind](f"{text} (rank {rank} of the process group)"), problem)
        self._refuse_differences([options for _, options, _ in told])
        return [part for _, _, part in told]

    def refuse(self, error: Exception) -> NoReturn:
        """Raises what every rank finds for itself, without telling the others."""
        self._raise(error, None)

    def sum(self, statistic: Any) -> None:
        """The statistic, a contiguous tensor or array, summed over the ranks in place."""
        self._reduce(statistic, "SUM")

    def lowest(self, statistic: Any) -> None:
        """As `sum`, the minimum."""
        self._reduce(statistic, "MIN")

    def check_device(self, where: str) -> None:
        """ValueError if the backend of the group does not reach credits on the device `where`."""
        import torch.distributed as dist

        backends = str(dist.get_backend_config(self.process_group))  # such as "cpu:gloo,cuda:nccl"
        devices = [pair.split(":")[0] for pair in backends.split(",") if ":" in pair]
        if devices and where.split(":")[0] not in devices:
            raise ValueError(
                f"{self.owner}: process_group must reach credits on {where}, got a group of {backends}; "
                "move the credits, or make a group with a backend for this device"
            )

    def _reduce(self, statistic: Any, how: str) -> None:
        import torch
        import torch.distributed as dist

        shared = statistic if isinstance(statistic, torch.Tensor) else torch.from_numpy(statistic)
        dist.all_reduce(shared, op=getattr(dist.ReduceOp, how), group=self.process_group)

    def _refuse_differences(self, options: list[dict[str, str]]) -> None:
        first = options[0]
        for rank, other in enumerate(options):
            for name in (first | other) if other != first else ():
                ours, theirs = (of_rank.get(name, "none") for of_rank in (first, other))
                if ours != theirs:
                    remedy = REMEDIES.get(name, "pass the same on all ranks")
                    self.refuse(
                        ValueError(
                            f"{self.owner}: {name} must be the same on all ranks, got {ours} at rank 0 and {theirs} at "
                            f"rank {rank}; {remedy}"
                        )
                    )

    def _raise(self, error: Exception, cause: Exception | None) -> NoReturn:
        self._agreed = error
        raise error from cause


def ranks_of(owner: str, process_group: Any) -> Ranks | None:
    """Those of a group; None is this process alone."""
    return None if process_group is None else Ranks(owner, process_group)


ALONE = nullcontext()
"""`with ranks or ALONE:` what is raised in here is raised on all ranks; None is this process alone."""


def _said(error: Exception) -> tuple[int, str]:
    """An error as every process can read it: which of `KINDS` it is, and its text."""
    for i, kind in enumerate(KINDS):
        if isinstance(error, kind):
            return i, str(error)
    return len(KINDS) - 1, f"{type(error).__name__}: {error}"
