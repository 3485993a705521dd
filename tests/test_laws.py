"""Every law of credit on every game, value, backend and dtype (shapley_kernels/testing/laws.py)."""

from collections.abc import Callable

from shapley_kernels.testing import parametrize_with_checks


@parametrize_with_checks()
def test_laws(check: Callable[[], None]) -> None:
    check()
