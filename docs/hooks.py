"""A hook of mkdocs: the help of the commands, from the commands."""

import os
import re
import subprocess
import sys
from importlib import import_module
from typing import Any

MARKER = re.compile(r"<!-- help: ([\w-]+) ([\w.]+) -->")
PLAIN = {"NO_COLOR": "1", "TERM": "dumb", "TERMINAL_WIDTH": "100", "COLUMNS": "100"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called for every page."""
    return MARKER.sub(lambda match: help_of(*match.groups()), markdown)


def help_of(command: str, module: str) -> str:
    """A section for the command, and one for each of the commands within it."""
    parts = import_module(f"{module}.command").app.registered_commands
    names = [part.name or part.callback.__name__.rstrip("_").replace("_", "-") for part in parts]
    sections = [[], *([name] for name in names)] if len(names) > 1 else [[]]
    return "\n\n".join(f"## {' '.join([command, *name])}\n\n```text\n{run(module, name)}\n```" for name in sections)


def run(module: str, name: list[str]) -> str:
    code = f"import sys; sys.argv[0] = ''; from {module} import main; main()"
    command = [sys.executable, "-c", code, *name, "--help"]
    done = subprocess.run(command, env=os.environ | PLAIN, capture_output=True, text=True, check=True)
    return "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
