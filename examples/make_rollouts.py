"""Score candidate programs against unit tests and write examples/rollouts.jsonl.

    python examples/make_rollouts.py            # write the file
    python examples/make_rollouts.py --check    # exit 1 if the file is not what this script writes

Each file of examples/problems/ is one prompt: the prompt text (its docstring), unit tests, and a pool of candidate
solutions, right and wrong. Every candidate is executed against the tests; its reward is the share it passes. A rollout
is a set of 2 to 8 candidates of one pool, drawn with a seeded generator, and each prompt gets 8 rollouts.

The bytes written are the same on every machine: limits are in CPU time and far above what a right candidate needs, the
generator's only call is random(), which Python keeps stable, and no candidate depends on hash order, time or chance.

Candidates run in a separate, resource-limited process. That contains mistakes; it is no jail for hostile code, which
could still read files or use the network. Read a candidate before you add it.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import json
import math
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
PROBLEMS = HERE / "problems"
OUTPUT = HERE / "rollouts.jsonl"

SEED = "rollouts-1"
ROLLOUTS = 8
MIN_SET, MAX_SET = 2, 8

# CPU time per unit test. Right candidates need microseconds, so a slow or busy machine changes nothing.
CPU_SECONDS = 0.5
WALL_SECONDS = 600.0  # per unit test, for a candidate that waits without using CPU time; none here does
MEMORY_BYTES = 1 << 30
MAX_REPLY = 20_000  # characters of one answer

# What the child process runs. It is told the arguments of the tests but never the expected results: a candidate that
# prints, exits or tampers with the replies cannot pass a test without giving the right answer.
CHILD = r'''
import ast, faulthandler, os, signal, sys

job = ast.literal_eval(sys.stdin.buffer.read().decode("ascii"))
reply_fd = os.dup(1)
quiet = os.open(os.devnull, os.O_RDWR)
for fd in (0, 1, 2):  # what the candidate prints is not an answer
    os.dup2(quiet, fd)
try:
    import resource
    for kind, limit in ((resource.RLIMIT_AS, job["memory"]), (resource.RLIMIT_CPU, job["total_cpu"])):
        try:
            resource.setrlimit(kind, (limit, limit))
        except (ValueError, OSError):
            pass  # some systems refuse; the timers still hold
except ImportError:
    pass  # not a POSIX system

def start_clock(seconds):
    """End this process, whatever it is doing, when the limit passes; no handler that a bare except could swallow."""
    faulthandler.dump_traceback_later(job["wall"], exit=True)
    if hasattr(signal, "setitimer"):
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, seconds)

def plain(value):
    """The value in built-in types: a Counter equals a dict in a unit test, so it has to here."""
    if isinstance(value, dict):
        return {plain(key): plain(item) for key, item in value.items()}
    for kind in (list, tuple, set):
        if isinstance(value, kind):
            return kind(plain(item) for item in value)
    return value

def answer(function, index, arguments):
    try:
        result = function(*arguments)
        text = ascii((index, plain(result), plain(arguments)))
    except BaseException:  # SystemExit too
        return ascii((index,))
    return text if len(text) <= job["max_reply"] else ascii((index,))

namespace = {"__name__": "candidate"}
start_clock(5 * job["cpu"])
try:
    exec(compile(job["source"], "candidate", "exec"), namespace)
except BaseException:
    os._exit(1)
os.write(reply_fd, b"'loaded'\n")
for index, arguments in enumerate(job["calls"]):
    start_clock(job["cpu"])
    os.write(reply_fd, answer(namespace.get(job["function"]), index, arguments).encode("ascii") + b"\n")
os._exit(0)
'''


@dataclass(frozen=True)
class Problem:
    """One prompt with its unit tests [(arguments, expected), ...] and its candidates {label: source}."""

    name: str
    prompt: str
    tests: list
    right: dict[str, str]
    wrong: dict[str, str]
    keep_inputs: bool  # a test also fails if the candidate changed its arguments

    @property
    def pool(self) -> dict[str, str]:
        return {**self.right, **self.wrong}


def load_problem(path: Path) -> Problem:
    """Read one file of problems/; the file's name is the prompt's id and the name of the function asked for."""
    values = runpy.run_path(str(path))
    right, wrong = ({label: text.strip("\n") + "\n" for label, text in values[k].items()} for k in ("RIGHT", "WRONG"))
    sources = [*right.values(), *wrong.values()]
    if len({**right, **wrong}) < len(sources) or len(set(sources)) < len(sources):
        raise SystemExit(f"{path}: expected distinct labels and sources; two candidates are the same. Remove one.")
    return Problem(
        path.stem, inspect.cleandoc(values["__doc__"]), values["TESTS"], right, wrong, values.get("KEEP_INPUTS", False)
    )


def load_problems() -> list[Problem]:
    return [load_problem(path) for path in sorted(PROBLEMS.glob("*.py"))]


def stop(child: subprocess.Popen) -> None:
    """Kill the child and whatever it started."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):  # already gone
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()


def run_child(source: str, function: str, calls: list) -> list[str]:
    """Run one child process over the calls; return the lines it replied before it finished or was ended."""
    total_cpu = math.ceil(CPU_SECONDS * (len(calls) + 5)) + 5
    job = {"source": source, "function": function, "calls": calls, "cpu": CPU_SECONDS, "wall": WALL_SECONDS}
    job |= {"memory": MEMORY_BYTES, "total_cpu": total_cpu, "max_reply": MAX_REPLY}
    # The child sees none of the caller's environment but what an interpreter may need to start.
    environment = {key: os.environ[key] for key in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if key in os.environ}
    with tempfile.TemporaryDirectory() as folder:
        child = subprocess.Popen(
            [sys.executable, "-I", "-c", CHILD],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            cwd=folder, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = child.communicate(ascii(job).encode("ascii"), timeout=WALL_SECONDS * (len(calls) + 2))
        except subprocess.TimeoutExpired:  # the child outlived its own timers, or left a process that holds the pipe
            stop(child)
            output, _ = child.communicate()
        finally:
            stop(child)
    return output.decode("ascii", "replace").split("\n")


def read_literal(line: str):
    """The Python value written in a reply line, or None for anything else."""
    if len(line) > MAX_REPLY:
        return None
    try:
        return ast.literal_eval(line)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def run_tests(source: str, function: str, calls: list) -> list:
    """What the candidate made of each call: (index, result, arguments afterwards), or None where it gave no result.

    A test on which the candidate hangs or kills its process costs only that test: a new child goes on with the next.
    """
    answers: list = [None] * len(calls)
    start = 0
    while start < len(calls):
        replies = [read_literal(line) for line in run_child(source, function, calls[start:])]
        if "loaded" not in replies:  # a syntax error, say: no test can be run
            break
        done = 0
        for reply in replies:
            if isinstance(reply, tuple) and reply and reply[0] == done and start + done < len(calls):
                answers[start + done] = reply if len(reply) == 3 else None
                done += 1
        start += done + 1
    return answers


def same(expected, result) -> bool:
    """Equality as a unit test has it, floats to 9 digits (Python versions differ in how sum() rounds)."""
    if isinstance(expected, float):
        with contextlib.suppress(OverflowError):  # an int too large for a float
            return isinstance(result, (int, float)) and math.isclose(expected, result, rel_tol=1e-9, abs_tol=1e-9)
        return False
    if isinstance(expected, (list, tuple)) and type(result) is type(expected) and len(result) == len(expected):
        return all(map(same, expected, result))
    return expected == result


def passed(problem: Problem, source: str) -> list[bool]:
    """Which of the problem's unit tests the candidate passes."""
    answers = run_tests(source, problem.name, [arguments for arguments, _ in problem.tests])
    return [
        answer is not None and same(expected, answer[1]) and (not problem.keep_inputs or answer[2] == arguments)
        for (arguments, expected), answer in zip(problem.tests, answers, strict=True)
    ]


def score(problem: Problem, source: str) -> float:
    """The candidate's reward: the share of the problem's unit tests it passes."""
    return sum(passed(problem, source)) / len(problem.tests)


def check_rewards(problem: Problem, rewards: dict[str, float]) -> None:
    """Fail if a candidate is not what its problem file calls it."""
    wrong = [label for label, reward in rewards.items() if (reward == 1) != (label in problem.right)]
    if wrong:
        raise SystemExit(
            f"problems/{problem.name}.py: expected RIGHT to pass all tests, WRONG to fail one; not {wrong}"
        )


def draw_set(rng: random.Random, problem: Problem, strength: float) -> list[str]:
    """Labels of one rollout's candidates; each draw is right with probability `strength`."""
    size = MIN_SET + int(rng.random() * (MAX_SET - MIN_SET + 1))
    chosen: list[str] = []
    for _ in range(size):
        for _ in range(4):  # mostly distinct, but a model does repeat itself
            kind = list(problem.right if rng.random() < strength else problem.wrong)
            label = kind[int(rng.random() * len(kind))]
            if label not in chosen:
                break
        chosen.append(label)
    return chosen


def make_rows(problem: Problem, rewards: dict[str, float]) -> list[dict]:
    """The problem's rows. Some prompts are harder than others, and a prompt's rollouts go from weak to strong."""
    rng = random.Random(f"{SEED} {problem.name}")
    ease = rng.random()
    rows = []
    for rollout in range(ROLLOUTS):
        strength = min(0.98, max(0.02, ease + 0.6 * (rng.random() - 0.5)))
        labels = draw_set(rng, problem, strength)
        row = {"prompt_id": problem.name, "rollout": rollout, "prompt": problem.prompt}
        row |= {
            "candidates": [problem.pool[label] for label in labels],
            "rewards": [rewards[label] for label in labels],
        }
        rows.append(row)
    return rows


def score_all(problems: list[Problem]) -> dict[str, dict[str, float]]:
    """{problem name: {candidate label: reward}}, every candidate run once, as many at a time as there are cores."""
    jobs = [(problem, label) for problem in problems for label in problem.pool]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    rewards: dict[str, dict[str, float]] = {problem.name: {} for problem in problems}
    with ThreadPoolExecutor(cores) as pool:
        results = pool.map(lambda job: score(job[0], job[0].pool[job[1]]), jobs)
        for (problem, label), reward in zip(jobs, results, strict=True):
            rewards[problem.name][label] = reward
    return rewards


def make_text(problems: list[Problem]) -> str:
    """The whole file: one JSON object per line, a prompt's rows together."""
    rewards = score_all(problems)
    lines = []
    for problem in problems:
        check_rewards(problem, rewards[problem.name])
        lines += [json.dumps(row, ensure_ascii=False) + "\n" for row in make_rows(problem, rewards[problem.name])]
    return "".join(lines)


def main() -> None:
    problems = load_problems()
    text = make_text(problems).encode("utf-8")
    pooled = sum(len(problem.pool) for problem in problems)
    summary = f"{len(problems)} prompts, {ROLLOUTS * len(problems)} rollouts, {pooled} candidate programs"
    if "--check" not in sys.argv:
        OUTPUT.write_bytes(text)
    elif OUTPUT.read_bytes() != text:
        raise SystemExit(f"{OUTPUT.name} is stale: run `python examples/make_rollouts.py` and look at the change")
    print(f"{OUTPUT.name}: {summary}")


if __name__ == "__main__":
    main()
