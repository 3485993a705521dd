"""Which backend runs, what is imported when, and what a missing package says."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import shapley_kernels as sk
from shapley_kernels.backends import allowed, choose, triton_missing
from tests import GUARD

R = np.array([[0.9, 0.5, 0.1]])


def in_fresh_process(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=GUARD)


def test_import_is_light():
    done = in_fresh_process(
        "import sys, numpy\n"
        "before = set(sys.modules)\n"
        "import shapley_kernels, shapley_kernels.rl\n"
        "others = 'torch', 'triton', 'numba', 'hypothesis', 'pyarrow', 'matplotlib', 'tokenizers', 'transformers'\n"
        "others += 'asyncio', 'concurrent.futures', 'numpy.ma'\n"
        "print([m for m in others if m in sys.modules and m not in before])"
    )
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize(
    ("package", "backend", "remedy"),
    [("numba", "numba", "pip install numba"), ("torch", "torch", "pip install 'shapley_kernels[torch]'")],
)
def test_missing_package_names_the_install_line(package, backend, remedy):
    done = in_fresh_process(
        f"import sys; sys.modules[{package!r}] = None\n"
        "import shapley_kernels as sk\n"
        f"try:\n    sk.shapley(sk.Max([1.0, 2.0]), backend={backend!r})\n"
        "except sk.BackendUnavailable as error:\n    print(error)"
    )
    assert remedy in done.stdout, done.stderr


def test_auto_choices():
    tensor = torch.from_numpy(R)
    assert choose("auto", "order", 3, R) == "numba"
    assert choose("auto", "order", 3, tensor) == "numba"
    assert choose("auto", "order", 3, tensor.clone().requires_grad_()) == "numba"
    assert choose("auto", "table", 3, tensor.clone().requires_grad_()) == "torch"  # whose kernels have no gradient
    with torch.no_grad():
        assert choose("auto", "table", 3, tensor.clone().requires_grad_()) == "numba"


def test_without_triton_or_with_an_old_one_auto_takes_torch(monkeypatch):
    assert allowed("auto", "order", 5, "cuda:0") == "triton"
    for version, expected in (
        ("3.4.0", "found 3.4.0: upgrade torch"),
        (None, r"pip install 'shapley_kernels\[triton\]'"),
    ):
        monkeypatch.setitem(sys.modules, "triton", version and SimpleNamespace(__version__=version))
        triton_missing.cache_clear()
        assert allowed("auto", "order", 5, "cuda:0") == "torch"
        with pytest.raises(sk.BackendUnavailable, match=expected):
            allowed("triton", "order", 5, "cuda:0")
    monkeypatch.undo()
    triton_missing.cache_clear()


def test_explicit_backends_are_used_or_refused():
    with pytest.raises(ValueError, match="backend must be one of 'auto', 'numba', 'triton', 'torch', got 'cuda'"):
        sk.shapley(sk.Max(R), backend="cuda")
    with pytest.raises(TypeError, match="use backend='torch'"):
        sk.shapley(sk.NoisyOr(torch.from_numpy(R).requires_grad_()), backend="numba")
    with pytest.raises(sk.BackendUnavailable, match="runs on the CPU"):
        allowed("numba", "order", 3, "cuda:0")
    with pytest.raises(sk.BackendUnavailable, match=r"GPU|not installed"):
        sk.shapley(sk.Max(R), backend="triton")
