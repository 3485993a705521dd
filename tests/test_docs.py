"""What the docs and docstrings show is what happens."""

import ast
import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import shapley_kernels
from shapley_kernels.games import GAMES
from tests import test_methods
from tests.conftest import need

ROOT = Path(__file__).parent.parent
MODULES = [m.name for m in pkgutil.walk_packages(shapley_kernels.__path__, "shapley_kernels.")]
# what these import is not there; adapters and Ray: tests/frameworks
ELSEWHERE = ("._triton", ".__main__", ".adapters.", ".ray_engine")


@pytest.mark.parametrize("name", [m for m in MODULES if not any(part in m for part in ELSEWHERE)])
def test_docstring_examples(name):
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        need(error.name)
        raise
    result = doctest.testmod(module)
    assert result.failed == 0


PAGES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
# an expression, and in a comment beside or below it its value
VALUE = re.compile(r"^(?:\w+ = )?(.+?)(?:  |\n)# (\[\[?[-\d][^:\n]*\])$", re.MULTILINE)
TEXTS = [*PAGES, "README.md", "CHANGELOG.md", "CONTRIBUTING.md"]


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def without_code(page):
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def anchors(page):
    """Those of the headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.*)$", without_code(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [page for page in PAGES if ">>> " in text_of(page)])
def test_examples_of_pages(page):
    options = doctest.ELLIPSIS
    result = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8", optionflags=options)
    assert result.attempted > 2
    assert result.failed == 0


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/guides/judges.md", "docs/guides/rollouts.md"])
def test_code_of_pages(page):
    """It runs, and comments that are values are what comes out, in as many digits."""
    names, shown = {}, []
    for block in re.findall(r"^```python\n(?!# (?:TRL|verl|SkyRL))(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE):
        exec(block, names)
        shown += [(*line, dict(names)) for line in VALUE.findall(block)]
    assert shown or "judges" in page
    for expression, comment, then in shown:
        found = np.asarray(eval(expression, then), float)
        np.testing.assert_allclose(found, np.asarray(ast.literal_eval(comment), float), atol=6e-4, err_msg=expression)


@pytest.mark.parametrize("page", PAGES)
def test_code_that_needs_more_than_the_package_is_python_and_its_names_exist(page):
    known = {"sk": shapley_kernels, "rl": shapley_kernels.rl}
    for block in re.findall(r"^```python\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
                assert hasattr(known[node.value.id], node.attr), f"{node.value.id}.{node.attr}"


@pytest.mark.parametrize("page", TEXTS)
def test_links(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page)):
        if target.startswith(("http:", "https:")):
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / path if path else ROOT / page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked.resolve().relative_to(ROOT).as_posix()), target


def test_every_page_is_in_the_navigation_of_the_site():
    listed = re.findall(r"^ +- .*?([\w/-]+\.md)$", text_of("mkdocs.yml"), re.MULTILINE)
    assert sorted(f"docs/{page}" for page in listed) == PAGES


@pytest.mark.parametrize("module", ["shapley_kernels", "shapley_kernels.rl", "shapley_kernels.testing"])
def test_every_public_name_is_in_the_reference(module):
    entries = re.findall(r"^::: ([\w.]+)$", "\n".join(map(text_of, PAGES)), re.MULTILINE)
    listed = {entry.rpartition(".")[2] for entry in entries}
    assert len(entries) == len(set(entries))
    missing = {*importlib.import_module(module).__all__} - {"rl"} - listed
    assert not missing, f"add ::: {module}.NAME to a page of docs/reference"


def test_every_row_of_methods_has_its_test():
    page = (ROOT / "docs" / "guides" / "methods.md").read_text(encoding="utf-8")
    named = re.findall(r"\| `(test_\w+)` \|$", page, re.MULTILINE)
    assert sorted(named) == sorted(name for name in vars(test_methods) if name.startswith("test_"))


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    found = [t for t in finder.find(importlib.import_module("shapley_kernels.allocate")) if t.examples]
    assert found


def test_table_of_games_is_fresh():
    spec = importlib.util.spec_from_file_location("make_games", ROOT / "docs" / "make_games.py")
    make_games = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_games)
    page = (ROOT / "docs" / "reference" / "games.md").read_text(encoding="utf-8")
    assert page == make_games.page(), "run python docs/make_games.py"
    assert all(f"| `{game.__name__}(" in page for game in GAMES)


def test_every_target_of_make_that_is_called_is_there():
    callers = ["README.md", ".ci/run", ".github/workflows/test.yml", ".github/workflows/release.yml"]
    called = {name for page in callers for name in re.findall(r"^(?:.*run: |`)?make ([a-z-]+)", text_of(page), re.M)}
    assert {"quickstart", "test", "test-python", "test-frameworks", "test-gpu", "docs", "dist"} <= called
    assert called <= {*re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE)}
