"""What the tests of `shapley-allocate` share."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

for package in ("typer", "rich", "pyarrow", "matplotlib"):
    pytest.importorskip(package)

import typer.testing  # noqa: E402

COMMAND = [sys.executable, "-c", "from shapley_kernels.cli import main; main()"]


class Place:
    """A directory with the command in it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, rows: list[Any]) -> Path:
        """A file of JSON lines; bytes are taken as they are."""
        path = self.path / name
        path.write_bytes(b"".join(row if type(row) is bytes else json.dumps(row).encode() + b"\n" for row in rows))
        return path

    def rows(self, name: str) -> list[Any]:
        return [json.loads(line) for line in (self.path / name).read_bytes().splitlines()]

    def names(self) -> set[str]:
        return {path.name for path in self.path.iterdir()}

    def run(self, *arguments: Any, status: int = 0, stdin: bytes | None = None) -> typer.testing.Result:
        """Run in this process; the exit status is checked, and that a failure is no traceback."""
        from shapley_kernels.cli.command import app

        result = typer.testing.CliRunner().invoke(app, [str(a) for a in arguments], input=stdin)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == status, result.output
        return result


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return Place(tmp_path)
