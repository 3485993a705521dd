import importlib
import os
from typing import Any

import pytest

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


def need(package: str, module: str | None = None) -> Any:
    """Import `module` (default: the package), or skip the test file where the package is missing.

    SHAPLEY_REQUIRE=triton makes that a failure. A missing file of ours always is one.
    """
    if "triton" not in os.environ.get("SHAPLEY_REQUIRE", "").split(","):
        pytest.importorskip(package)
    return importlib.import_module(module or package)
