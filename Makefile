# Each target sets up what it needs, in .venv, from nothing but a Python >= 3.11.
#   make demo        the whole path on a torus: learn, sample, check, report in demo-output/
#   make test        the test suite (without the tests marked slow)
#   make lint types docs
#   make clean       removes what make made
# PIP_ARGS goes to pip, for example to name PyTorch's CPU wheel index (see README.md, "Install").
.DEFAULT_GOAL := test
.PHONY: demo test lint types docs clean

VENV := .venv
BIN := $(VENV)/bin
PIP_ARGS ?=
DEMO ?= torus

$(VENV)/bin/python:
	@python=""; \
	for candidate in $(PYTHON) python3.11 python3.12 python3.13 python3 python; do \
	  if command -v $$candidate >/dev/null 2>&1 && \
	     $$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    python=$$candidate; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "topogen needs Python 3.11 or newer, and none was found on PATH; install one, or run make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	fi; \
	echo "creating $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV)

$(VENV)/.core: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[dev]"
	@touch $@

$(VENV)/.docs: $(VENV)/.core
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e ".[docs]"
	@touch $@

demo: $(VENV)/.core
	$(BIN)/topogen demo $(DEMO)

test: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup $(TESTS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/basedpyright --level error

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -b html docs docs/_build/html

clean:
	rm -rf $(VENV) docs/_build docs/gallery docs/sg_execution_times.rst demo-output dist build .pytest_cache .ruff_cache .import_linter_cache
