"""Hypothesis profiles, and what a missing package means."""

import os
import traceback
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.needs import required, unavailable

settings.register_profile(
    "ci", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "nightly",
    settings.get_profile("ci"),
    derandomize=False,
    max_examples=2000,
    database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def need(name: str, reason: str | None = None) -> None:
    """Skip the test if a package or device is missing, fail it if SHAPLEY_REQUIRE names it."""
    name = name.partition(".")[0]
    reason = reason or unavailable(name)
    if reason is None:
        return
    if name in required():
        pytest.fail(f"SHAPLEY_REQUIRE names {name}: {reason}", pytrace=False)
    pytest.skip(reason)


OURS = Path(__file__).parent.parent
WITH_IMPORTS_OF_THEIR_OWN = (OURS / "tests", OURS / "benchmarks")


class Module(pytest.Module):
    """A file of tests needs the packages that it, or a script it tests, imports.

    What the package itself imports is another thing: without an optional one it has to import all the same.
    """

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        try:
            return super().collect()
        except self.CollectError as error:
            missing = error.__cause__
            if isinstance(missing, ModuleNotFoundError) and missing.name is not None:
                importer = Path(traceback.extract_tb(missing.__traceback__)[-1].filename)
                if any(folder in importer.parents for folder in WITH_IMPORTS_OF_THEIR_OWN):
                    need(missing.name)
            raise


def pytest_pycollect_makemodule(module_path: Path, parent: pytest.Collector) -> pytest.Module:
    return Module.from_parent(parent, path=module_path)
