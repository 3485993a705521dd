# make quickstart   set up, then credits and advantages of examples/rollouts.jsonl: a table, credits.parquet, credits.png
# make test         set up, then all that CI runs
# make test-frameworks   the adapters, each against its framework in an environment of its own (.nox, some GB)
# Needs Python 3.10 or newer (PYTHON=python3.12 picks one) with its venv module.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
export PYTHONWARNINGS ?= default
export HYPOTHESIS_PROFILE ?= ci

.PHONY: quickstart test lint types tests interpreted compiled examples test-frameworks clean

quickstart: .venv/quickstart
	$(BIN)/shapley-allocate examples/rollouts.jsonl --head 5 --output credits.parquet --plot credits.png --force
	@echo 'Written: credits.parquet credits.png'

test: .venv/dev lint types tests interpreted compiled examples

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

tests:
	SHAPLEY_REQUIRE=numba,torch,peers,tokenizers $(BIN)/python -m pytest --ignore=tests/kernels --ignore=tests/frameworks

# the interpreter and the compiler exclude each other within a process
interpreted:
	SHAPLEY_REQUIRE=triton TRITON_INTERPRET=1 $(BIN)/python -m pytest tests/kernels/test_order_triton.py

compiled:
	SHAPLEY_REQUIRE=triton $(BIN)/python -m pytest tests/kernels/test_order_triton_compile.py

examples:
	$(BIN)/python examples/make_rollouts.py --check

test-frameworks: .venv/nox
	$(BIN)/nox

.venv/bin/pip:
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed, this is " + sys.version'
	$(PYTHON) -m venv .venv

.venv/quickstart: pyproject.toml constraints.txt | .venv/bin/pip
	$(PIP) --editable '.[cli]'
	touch $@

# torch first and by itself, so that nothing else picks a build of it
.venv/dev: pyproject.toml constraints.txt | .venv/bin/pip
	$(PIP) torch
	$(PIP) triton
	$(PIP) --editable '.[cli,testing,peers]' array-api-strict mypy ruff tokenizers
	touch $@

.venv/nox: | .venv/bin/pip
	$(PIP) nox
	touch $@

clean:
	rm -rf .venv .nox build dist *.egg-info
