"""Hypothesis profiles, and what a missing package means."""

import os

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
    reason = reason or unavailable(name)
    if reason is None:
        return
    if name in required():
        pytest.fail(f"SHAPLEY_REQUIRE names {name}: {reason}", pytrace=False)
    pytest.skip(reason)
