"""Every law of credit on every game, value, backend and dtype (shapley_kernels/testing/laws.py)."""

from collections.abc import Callable

import pytest

from shapley_kernels.testing import parametrize_with_checks
from shapley_kernels.testing.subjects import HOME, why_not
from tests.conftest import need


@parametrize_with_checks()
def test_laws(check: Callable[[], None]) -> None:
    check()


@pytest.mark.parametrize("backend", HOME)
def test_no_backend_that_is_required_is_skipped(backend: str) -> None:
    need(backend)
    assert why_not(backend) is None
