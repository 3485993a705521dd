"""What imports what: no circle between modules, and no arrow against the layers, deferred imports and those for type
checkers included."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

import shapley_kernels
from benchmarks.calls import calls, entered

ROOT = Path(shapley_kernels.__file__).parent

LAYERS = (
    {"arrays", "_async"},
    {"backends", "values"},
    {"kernels"},
    {"games"},
    {"launch"},
    {"allocate"},
    {"interactions", "estimate"},
    {"rl"},
    {""},
    {"testing", "adapters", "_command"},
    {"_files"},
    {"bench", "cli"},
)
"""From below: a module may import those of its own part, and of lower layers; "" is the package's front door."""

BESIDE = {("games", "kernels"), ("games", "backends"), ("kernels", "values")}
"""Parts that know nothing of each other, whichever is lower: a game knows no backend, and a kernel no game."""


def modules(root: Path) -> dict[str, Path]:
    """Dotted names below the package, "" for itself."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path: Path, known: dict[str, Path], package: str) -> Iterator[str]:
    """Modules of the package that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name.removeprefix(f"{package}.") in known else str(node.module) for name in inside]
        else:
            continue
        for name in names:
            if name == package or name.startswith(f"{package}."):
                yield name.removeprefix(package).removeprefix(".")


def arrows(root: Path) -> dict[str, set[str]]:
    """Module -> what it imports of the package."""
    known = modules(root)
    return {name: set(imported(path, known, root.name)) - {name} for name, path in known.items()}


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules of which each imports the next, and the last the first; [] if there are none."""
    done: set[str] = set()

    def walk(name: str, path: list[str]) -> list[str]:
        if name in path:
            return path[path.index(name) :]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := walk(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := walk(name, []))), [])


def against_layers(graph: dict[str, set[str]]) -> list[str]:
    """Arrows that point upwards, or to a part that should not be known."""
    layer = {part: i for i, parts in enumerate(LAYERS) for part in parts}
    found = []
    for name, others in graph.items():
        for other in others:
            a, b = name.partition(".")[0], other.partition(".")[0]
            if a != b and (layer[b] >= layer[a] or (a, b) in BESIDE):
                found.append(f"{name} -> {other}")
    return sorted(found)


def test_no_circles():
    assert circle(arrows(ROOT)) == []


def test_layers():
    graph = arrows(ROOT)
    assert {name.partition(".")[0] for name in graph} == {part for parts in LAYERS for part in parts}
    assert against_layers(graph) == []


@pytest.mark.parametrize(
    ("file", "line", "what"),
    [
        ("games/base.py", "    from shapley_kernels.launch import Launcher", "games.base -> launch"),
        ("kernels/a.py", "from shapley_kernels.games import base", "kernels.a -> games.base"),
        ("arrays/a.py", "import shapley_kernels.values", "arrays.a -> values"),
        ("games/base.py", "    from shapley_kernels.games.tables import kept", "circle"),
    ],
)
def test_a_planted_arrow_is_found(tmp_path, file, line, what):
    root = tmp_path / "shapley_kernels"
    for name, text in {
        "__init__.py": "",
        "launch.py": "from shapley_kernels.games.base import Game",
        "values.py": "",
        "arrays/a.py": "",
        "kernels/a.py": "",
        "games/base.py": "",
        "games/tables.py": "from shapley_kernels.games.base import Game",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert circle(arrows(root)) == []
    assert against_layers(arrows(root)) == []
    (root / file).write_text(f"def f():\n    pass\n{line}" if not line.startswith(" ") else f"def f():\n{line}\n")
    found = circle(arrows(root)) if what == "circle" else against_layers(arrows(root))
    assert found == (["games.base", "games.tables"] if what == "circle" else [what])


@pytest.mark.parametrize(
    ("name", "functions", "switches"),
    [("sk.shapley(sk.Max(x))", 12, 9), ("0.7 * TopM + 0.3 * Max", 40, 17), ("RewardAllocator().advantages", 30, 20)],
)
def test_how_much_python_a_call_goes_through(name, functions, switches):
    """At most so many functions of the package, and switches between its files."""
    files = [file for file, _ in entered(calls()[name])]
    assert len(files) <= functions
    assert sum(a != b for a, b in pairwise(files)) <= switches
