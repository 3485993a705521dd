"""What the docs and docstrings show is what happens."""

import doctest
import importlib
import importlib.util
import pkgutil
import re
from pathlib import Path

import pytest

import shapley_kernels
from shapley_kernels.games import GAMES
from tests import test_methods

ROOT = Path(__file__).parent.parent
MODULES = [m.name for m in pkgutil.walk_packages(shapley_kernels.__path__, "shapley_kernels.")]
# what these import is not there; adapters and Ray: tests/frameworks
ELSEWHERE = ("._triton", ".__main__", ".adapters.", ".ray_engine")


@pytest.mark.parametrize("name", [m for m in MODULES if not any(part in m for part in ELSEWHERE)])
def test_docstring_examples(name):
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


@pytest.mark.parametrize("page", ["guides/methods.md", "guides/values.md"])
def test_examples_of_pages(page):
    result = doctest.testfile(str(ROOT / "docs" / page), module_relative=False, encoding="utf-8")
    assert result.attempted > 2
    assert result.failed == 0


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
