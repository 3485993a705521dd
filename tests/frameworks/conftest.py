"""The real frameworks, where they are installed: `make test-frameworks`."""

import pytest

from tests.conftest import need


@pytest.fixture(scope="session")
def trl_run():
    need("trl")
    from tests.frameworks import trl_run

    return trl_run


@pytest.fixture(scope="session")
def verl_run():
    need("verl")
    from tests.frameworks import verl_run

    return verl_run


@pytest.fixture(scope="session")
def skyrl_run():
    need("skyrl")
    from tests.frameworks import skyrl_run

    return skyrl_run
