"""What tests need beside the package itself, and what to do when it is missing."""

import importlib.util
import os
import sys

INSTALL = {
    "numba": "pip install numba",
    "torch": "pip install 'shapley_kernels[torch]'",
    "triton": "pip install 'shapley_kernels[triton]'",
    "tokenizers": "pip install tokenizers",
    "ray": "pip install 'shapley_kernels[ray]'",
    "skyrl": "pip install 'skyrl>=0.3,<0.4'",
    "trl": "pip install 'trl>=1.0,<2'",
    "tunix": "pip install google-tunix==0.1.7",
    "verl": "pip install 'verl>=0.9,<0.10'",
}


def required() -> frozenset[str]:
    """Names in SHAPLEY_REQUIRE ("numba,triton,torch,peers,..."): what is missing of these fails instead of being
    skipped."""
    return frozenset(filter(None, os.environ.get("SHAPLEY_REQUIRE", "").replace(" ", "").split(",")))


def unavailable(backend: str, cuda: bool = False) -> str | None:
    """Why a backend cannot be checked here, None if it can. Only a package or a device may be missing, not a kernel."""
    package = next(
        (p for p in {"torch": ["torch"], "triton": ["torch", "triton"]}.get(backend, [backend]) if not _found(p)), None
    )
    if package:
        return f"{package} is not installed: {INSTALL[package]}"
    if backend == "triton" and not cuda and os.environ.get("TRITON_INTERPRET") != "1" and not has_cuda():
        return "triton needs a CUDA device, or TRITON_INTERPRET=1 to be interpreted"
    return "no CUDA device" if cuda and not has_cuda() else None


def has_cuda() -> bool:
    if not _found("torch"):
        return False
    import torch

    return torch.cuda.is_available()


def _found(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None
