# make quickstart   set up, then credits and advantages of examples/rollouts.jsonl: a table, credits.parquet, credits.png
# make test         set up, then all that CI runs, but for the frameworks
# make test-frameworks   the adapters, each against its framework in an environment of its own (.nox, some GB); SESSIONS="verl
#                   ray" picks, CI runs those of TRL and verl
# make test-python  the tests with each Python that is found, 3.10 to 3.13, and the newest of all packages; with the oldest of
#                   those that count; SESSIONS="newest-3.12" picks
# make test-gpu     the Triton kernels, and what users do on a GPU, on a CUDA device
# make fuzz         random calls of every public function, valid and hostile: CASES=1000000 of them, by PROCESSES=2
# make bench        set up, measure this machine into benchmarks/results, and make the tables of docs/ from that
#                   (CLOCK=cpu on a machine that others use, too; PASSES=1 takes a third of the time)
# make docs         set up .venv with what the site needs, and build the site into site/, strictly
# make dist         wheel and source distribution into dist/, byte for byte the same each time, checked
# make learning    train small policies and transformers with each credit, and make docs/results/learning.md; stop it, and
#                   it goes on where it was
#                   (WORKERS=2: that many processes)
# Needs Python 3.10 or newer (PYTHON=python3.12 picks one) with its venv module.

PYTHON ?= python3
BIN := .venv/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt
# a process per core, each of one thread
PYTEST := OMP_NUM_THREADS=1 PYTHONWARNINGS=default $(BIN)/python -m pytest --numprocesses auto --dist worksteal
CLOCK ?= wall
PASSES ?= 3
WORKERS ?= 1
CASES ?= 100000
PROCESSES ?= 1
COMPILED := tests/kernels/test_triton_compile.py tests/kernels/test_host.py
TRITON := $(filter-out $(COMPILED),$(wildcard tests/kernels/test_*.py))
# of the table in README.md: a training step and a file, of the game that wins and of those that are five lines by hand
README := -m numba -m numpy-five-liner -m torch-five-liner --shape 32,8,5 --shape 16384,8 \
    -g Max -g Mean -g Clusters -g Pairwise -g Table
export HYPOTHESIS_PROFILE ?= ci

.PHONY: docs dist quickstart test lint types tests interpreted compiled examples test-python test-frameworks test-gpu fuzz bench tables learning clean

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
	SHAPLEY_REQUIRE=numba,torch,peers,tokenizers,scipy,msgspec $(PYTEST) --ignore=tests/frameworks \
	    $(COMPILED:%=--ignore=%)

# the interpreter and the compiler exclude each other within a process
interpreted:
	SHAPLEY_REQUIRE=triton TRITON_INTERPRET=1 $(PYTEST) $(TRITON)

compiled:
	SHAPLEY_REQUIRE=triton $(PYTEST) $(COMPILED)

# with the torch and triton of that machine: PYTHON=python3, and no environment
test-gpu:
	SHAPLEY_REQUIRE=triton $(PYTHON) -m pytest -W default tests/test_gpu.py $(TRITON)

fuzz: .venv/dev
	OMP_NUM_THREADS=1 HYPOTHESIS_PROFILE=nightly FUZZ_CASES=$(CASES) $(BIN)/python -m pytest --numprocesses $(PROCESSES) \
	    --dist worksteal tests/fuzz

examples:
	$(BIN)/python examples/make_rollouts.py --check

test-python: .venv/nox
	OMP_NUM_THREADS=1 $(BIN)/nox --session $(or $(SESSIONS),newest oldest)

test-frameworks: .venv/nox
	$(BIN)/nox $(if $(SESSIONS),--session $(SESSIONS))

bench: .venv/dev
	$(BIN)/shapley-bench run --clock $(CLOCK) --passes $(PASSES) --seconds 0.1 -f -o benchmarks/results/cpu.jsonl
	$(BIN)/shapley-bench run --clock $(CLOCK) --game Max --compile -f -o benchmarks/results/compiled.jsonl
	$(BIN)/shapley-bench peers --clock $(CLOCK) -f -o benchmarks/results/peers.jsonl
	$(BIN)/shapley-bench roofs --clock $(CLOCK) -f -o benchmarks/roofs.jsonl
	$(BIN)/shapley-bench run --clock $(CLOCK) $(README) -f -o benchmarks/readme.jsonl
	$(BIN)/shapley-bench scaling --clock $(CLOCK) -f -o benchmarks/scaling.jsonl
	$(BIN)/shapley-bench plot -f -o docs/results/benchmarks.png benchmarks/results/cpu.jsonl benchmarks/scaling.jsonl
	$(MAKE) tables

tables:
	$(BIN)/shapley-bench table --write docs/results/benchmarks.md
	$(BIN)/shapley-bench table --write docs/explanation/cpu.md benchmarks/roofs.jsonl
	$(BIN)/shapley-bench table --write README.md benchmarks/readme.jsonl

learning: .venv/nox
	OMP_NUM_THREADS=1 $(BIN)/nox --session learning -- --workers $(WORKERS)

docs: .venv/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# dated as the last commit
dist: .venv/dist
	rm -rf build dist
	umask 022 && SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

.venv/bin/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv

.venv/quickstart: pyproject.toml constraints.txt | .venv/bin/pip
	$(PIP) --editable '.[cli,testing]'
	touch $@

# torch first and by itself, so that nothing else picks a build of it
.venv/dev: pyproject.toml constraints.txt | .venv/bin/pip
	$(PIP) torch
	$(PIP) triton
	$(PIP) --editable '.[bench,cli,testing,peers]' array-api-strict mypy pytest-xdist ruff tokenizers
	touch $@

.venv/docs: pyproject.toml constraints.txt | .venv/bin/pip
	$(PIP) --editable '.[bench,cli,docs]'
	touch $@

.venv/dist: | .venv/bin/pip
	$(PIP) build twine
	touch $@

.venv/nox: | .venv/bin/pip
	$(PIP) nox
	touch $@

clean:
	rm -rf .venv .nox build dist site *.egg-info
