"""An environment without an optional package skips the tests of it, unless SHAPLEY_REQUIRE names it."""

import os
import subprocess
import sys

import pytest

from tests import GUARD

COLLECT = """
import sys
sys.modules["torch"] = None  # as if it were not installed
import pytest
sys.exit(pytest.main(["--collect-only", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def collected(*files: str, require: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"SHAPLEY_REQUIRE": require}
    command = [sys.executable, "-c", COLLECT, *files]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=GUARD, check=False)


def test_a_file_that_imports_a_missing_package_is_skipped():
    result = collected("tests/test_table.py", "tests/test_layers.py")
    assert result.returncode == 0, result.stdout
    assert "tests/test_table.py" not in result.stdout.partition("short test summary")[0]
    assert "SKIPPED [1] tests/conftest.py" in result.stdout
    assert "torch is not installed" in result.stdout


def test_unless_it_is_required():
    result = collected("tests/test_table.py", require="torch")
    assert result.returncode == pytest.ExitCode.INTERRUPTED
    assert "SHAPLEY_REQUIRE names torch: torch is not installed" in result.stdout
