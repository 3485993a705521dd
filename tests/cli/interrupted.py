"""Run the command many times over, send it a signal at another line of its code each time, and print what became of it.

    python interrupted.py SIGNAL RANDOM_POINTS ARGUMENT...

The points are all lines of `Staged.commit`, and as many of the others, drawn by a seeded generator.
"""

import json
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import shapley_kernels.cli

HOME = Path(shapley_kernels.__file__).parent
OURS = {str(path) for path in (HOME / "_files.py", HOME / "_command.py", *(HOME / "cli").iterdir())}


UNGUARDED = {
    "main",
    "start",
    "ending",
    "fail",
    "allocate",
    "open",
    "draft",
    "_taken",
    "_identity",
    "end",
    "is_at",
    "__init__",
}
"""Before a draft is known to be ours, after all is done, and while it is removed: a few lines, where a signal may leave
an empty file, or end the command without a word."""

Line = tuple[str, int]


def where(frame: FrameType) -> Line:
    """The function, and the number of the line in its file."""
    return frame.f_code.co_name, frame.f_lineno


def traced(arguments: list[str], see: Callable[[FrameType], None]) -> Any:
    """The exit status of the command in this process; `see` is called before each line of it that is run."""

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in OURS:
            return None
        if event == "line":
            see(frame)
        return trace

    sys.argv = ["shapley-allocate", *arguments]
    sys.settrace(trace)
    try:
        shapley_kernels.cli.main()
    except SystemExit as error:
        return error.code
    finally:
        sys.settrace(None)


def ended(arguments: list[str], line: Line, times: int, number: int) -> tuple[int, str]:
    """Exit status, minus the signal where that ended it, and stderr of the command in a child, which gets the signal
    when it comes to that line for the given time."""
    pid = os.fork()
    if not pid:
        os.dup2(os.open("stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        left = times

        def see(frame: FrameType) -> None:
            nonlocal left
            left -= where(frame) == line
            if not left:
                sys.settrace(None)
                os.kill(os.getpid(), number)

        status = traced(arguments, see)
        sys.stderr.flush()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), Path("stderr").read_text()


def main() -> None:
    number, points, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    outputs = [Path(arguments[i + 1]) for i, word in enumerate(arguments) if word in ("-o", "--bad-rows")]
    old = [path.read_bytes() for path in outputs]
    lines: list[Line] = []
    for _ in range(2):  # the first time lines of modules count, and kernels are loaded
        lines.clear()
        status = traced(arguments, lambda frame: lines.append(where(frame)))
        assert status == 0, status
    new = [path.read_bytes() for path in outputs]
    chosen = [i for i, line in enumerate(lines, 1) if line[0] == "commit" and line not in lines[i:]]
    others = [i for i, line in enumerate(lines, 1) if line[0] not in UNGUARDED]
    chosen += random.Random(0).sample(others, points)
    for point in chosen:
        for path, content in zip(outputs, old, strict=True):
            path.write_bytes(content)
        line = lines[point - 1]
        status, said = ended(arguments, line, lines[:point].count(line), number)
        states = {}
        for path, before, after in zip(outputs, old, new, strict=True):
            states[path.name] = {before: "old", after: "new"}.get(path.read_bytes(), "broken")
        print(json.dumps({"line": line, "status": status, "said": said, "states": states}))


if __name__ == "__main__":
    main()
