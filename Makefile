# `make help` lists the targets. They use .venv where `make setup` made one, else the Python on the path.
BIN := $(if $(wildcard .venv/bin/python3),.venv/bin/)
PYTHON ?= $(BIN)python3
JOBS ?= 2
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: help setup check test slow coverage docs build

help:  ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## Make .venv with the package (editable), its tests, the manual and the hooks
	python3 -m venv .venv
	.venv/bin/python -m pip install -c .ci/constraints.txt -e ".[test,docs]" build pre-commit
	.venv/bin/pre-commit install

check:  ## Lint, format, types and import directions (under a minute)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(BIN)lint-imports

test:  ## The default tests (7 minutes on 2 cores; JOBS=4 for more)
	$(PYTHON) -m pytest -n $(JOBS) --dist loadfile

slow:  ## The slow tests, and the web page in Chromium
	$(PYTHON) -m pytest -m browser
	$(PYTHON) -m pytest -n $(JOBS) --dist loadfile -m slow

coverage:  ## The default tests, with the lines that no test runs
	$(PYTHON) -m pytest -n $(JOBS) --dist loadfile --cov=tf_gradcam

docs:  ## Build the manual into site/; a broken link is an error
	$(PYTHON) -m mkdocs build --strict

build:  ## Build the source archive and the wheel into dist/
	$(PYTHON) -m build
