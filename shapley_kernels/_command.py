"""The frame of `shapley-allocate` and `shapley-bench`: how they start and end, and what a person sees meanwhile."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn


class CommandError(ValueError):
    """Something about the input or the options that only the caller can put right; its text is the whole message."""

    status = 2  # of the command


def start(program: str, module: str, extras: Mapping[str, str]) -> None:
    """Run the typer application `app` of a module.

    Args:
        extras: package -> the extra that brings it; where one is missing, a line says how to get it.
    """
    try:
        import_module(module).app(prog_name=program)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in extras:
            raise
        sys.exit(f"{program}: {package} is not installed; pip install 'shapley_kernels[{extras[package]}]'")
    except KeyboardInterrupt:
        sys.exit(130)


@contextmanager
def ending(program: str) -> Iterator[None]:
    """Expected failures become one line on stderr and an exit status; anything else is a fault of ours."""

    def fail(message: str, status: int) -> NoReturn:
        print(f"{program}: {message}", file=sys.stderr)
        sys.exit(status)

    try:
        yield
    except CommandError as error:
        fail(str(error), error.status)
    except BrokenPipeError:  # whoever reads stdout has enough; what is left in its buffer would fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(141)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error), 1)
    except MemoryError as error:
        fail(f"not enough memory ({error}); groups of many long rollouts take most", 1)
    except KeyboardInterrupt as error:
        fail(f"interrupted; {error}" if str(error) else "interrupted", 130)


class GivenOnce:
    """A typer command that refuses an option given twice, of which only the last would count."""

    def parse_args(self: Any, ctx: Any, args: list[str]) -> list[str]:
        order = self.make_parser(ctx).parse_args(list(args))[2]
        given = [parameter for parameter in order if parameter.param_type_name == "option"]
        for option in given:
            harmless = option.multiple or (option.is_flag and not option.secondary_opts)
            if given.count(option) > 1 and not harmless:
                ctx.fail(f"{option.opts[0]} is given twice, of which only one would count; give it once.")
        return super().parse_args(ctx, args)  # type: ignore[misc]


def picture_kind(path: Path) -> str:
    """The format of a picture by its name.

    Raises:
        CommandError: matplotlib does not write it.
    """
    kind = path.suffix[1:].lower()
    if kind not in ("png", "pdf", "svg"):
        raise CommandError(f"{path}: expected a file name that ends in .png, .pdf or .svg")
    return kind


class Steps:
    """A progress bar for each step, on stderr, that vanishes when all is done; none when that is no terminal."""

    def __init__(self, visible: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description:<9}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        console = Console(stderr=True)
        self._progress = Progress(
            *columns, console=console, transient=True, disable=not (visible and console.is_terminal)
        )

    def __enter__(self) -> "Steps":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if not self._progress.disable:  # before rich 14.3, stopping it prints a line nevertheless
            self._progress.stop()

    def start(self, name: str, total: int) -> Callable[[int], None]:
        """A new bar of `total` units, and the function that moves it on."""
        task = self._progress.add_task(name, total=total)
        return lambda amount: self._progress.advance(task, amount)
