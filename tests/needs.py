"""What tests need beside the package itself, and what a missing package means."""

import importlib
import importlib.util
import os
import sys
from typing import Any

import pytest


def required() -> frozenset[str]:
    """Names in SHAPLEY_REQUIRE ("numba,triton,torch,peers,..."): what is missing of these fails instead of being
    skipped."""
    return frozenset(filter(None, os.environ.get("SHAPLEY_REQUIRE", "").replace(" ", "").split(",")))


def unavailable(name: str) -> str | None:
    """Why a package cannot be used here, None if it can."""
    for package in ("torch", "triton") if name == "triton" else (name,):
        if sys.modules.get(package) is None and importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    if name == "triton" and os.environ.get("TRITON_INTERPRET") != "1" and not has_cuda():
        return "triton needs a CUDA device, or TRITON_INTERPRET=1 to be interpreted"
    return None


def has_cuda() -> bool:
    return unavailable("torch") is None and bool(importlib.import_module("torch").cuda.is_available())


def peer(name: str) -> Any:
    """Another people's package, which the extra [peers] installs."""
    return importlib.import_module(name) if "peers" in required() else pytest.importorskip(name)
