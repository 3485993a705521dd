"""What the tests of `shapley-bench` share. Nothing here asserts a time: times are made up, or not looked at."""

from pathlib import Path
from typing import Any

import pytest

for package in ("typer", "rich", "scipy", "matplotlib", "threadpoolctl", "msgspec"):
    pytest.importorskip(package)

import typer.testing  # noqa: E402

from shapley_kernels.bench.records import Record, Run, lines  # noqa: E402

MACHINE = {"cpu": "a", "cores": 2, "usable_cores": 2, "governor": None, "gpu": None, "system": "Linux"}


RUN = {
    "machine": MACHINE,
    "versions": {"python": "3.11.7", "numpy": "2.4.6"},
    "clock": "wall",
    "threads": 1,
    "commit": "0123456789ab",
    "command": "shapley-bench run",
    "date": "2026-11-25T19:00:00+00:00",
}


def record(seconds: Any = 1e-3, **changes: Any) -> Record:
    """A made-up record; `seconds` is one number or the blocks."""
    blocks = tuple(seconds) if isinstance(seconds, (list, tuple)) else (seconds,) * 20
    middle = sorted(blocks)[len(blocks) // 2]
    given = {
        "game": "Max",
        "method": "numba",
        "kind": "ours",
        "dtype": "float32",
        "shape": (4, 8),
        "device": "cpu",
        "median_s": middle,
        "q20_s": middle,
        "q80_s": middle,
        "samples": len(blocks),
        "blocks_s": blocks,
        "first_call_s": 1.0,
        "bytes": 256,
        "roof_s": 1e-6,
        "max_error": 0.0,
        "load": 0.5,
        "time": "2026-11-25T19:00:00+00:00",
    }
    run = Run(**{name: changes.pop(name, value) for name, value in RUN.items()})
    return Record(**{**given, **changes}, run=run)


def write(path: Path, *records: Record) -> Path:
    path.write_bytes(b"".join(lines(records)))
    return path


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command in this process, in a directory of its own; the exit status is checked."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: Any, status: int = 0) -> typer.testing.Result:
        from shapley_kernels.bench.command import app

        result = typer.testing.CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result

    return run
