# The tasks of this project. Each sets up .venv when it must; only `make`, bash and Python 3.11 to 3.13 are needed.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2
# Which Python makes .venv: `make PYTHON=/path/to/python3.12 test`. Default: the first that is 3.11 to 3.13.
PYTHON ?=
CANDIDATES := $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11 python)
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# One thread a process: the processes share the cores. Compiled modules are kept: a test may start many processes.
RUN := env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 $(BIN)/python
# What `make test` may cost: minutes of CPU, user and system, of all its processes together. Above it fails.
CPU_MINUTES := 24

.PHONY: help demo test test-long lint format types wheel-check bench bench-kernels bench-gpu pages constraints clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(firstword $(MAKEFILE_LIST)) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(STAMP): pyproject.toml constraints.txt
	@python=""; for candidate in $(CANDIDATES); do \
	  if "$$candidate" -c '$(IN_RANGE)' >/dev/null 2>&1; then python="$$candidate"; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "error: no Python 3.11 to 3.13 among: $(CANDIDATES). Install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; fi; \
	if [ -x $(BIN)/python ] && $(BIN)/python -c '$(IN_RANGE)' >/dev/null 2>&1 && \
	   $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  echo "Installing into $(VENV) ($$($(BIN)/python --version)) ..."; \
	else \
	  echo "Making $(VENV) with $$python ($$("$$python" --version)); the first time this takes minutes ..."; \
	  rm -rf $(VENV); \
	  if ! "$$python" -m venv $(VENV) >/dev/null 2>&1 || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	    rm -rf $(VENV); \
	    echo "error: $$python cannot make a virtual environment: install its venv module (Debian: python3-venv), or name" \
	      "another Python: make PYTHON=/path/to/python3.12" >&2; \
	    exit 1; fi; \
	fi
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
	@echo "Installed: $$($(BIN)/python -c 'import supernet; print("supernet", supernet.__version__)') in $(VENV)."

demo: $(STAMP)  ## search, retrain and export on embedded data, with random cells of equal size as the control
	@$(BIN)/supernet demo

test: $(STAMP)  ## the tests, in minutes; tells what they cost, and fails above a limit
	@$(RUN) .ci/cpu_minutes.py $(CPU_MINUTES) $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal --durations=5

test-long: $(STAMP)  ## the heavier repetitions
	@$(RUN) -m pytest -n $(WORKERS) -m long --timeout 1800 --durations=5

lint: $(STAMP)  ## style and format; `make format` repairs what can be repaired
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP)  ## repairs style and format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(STAMP)  ## mypy on the unpacked wheel
	@bash .ci/types.sh $(BIN)/python

wheel-check: $(STAMP)  ## the wheel, alone in an empty environment
	@bash .ci/check_wheel.sh $(BIN)/python

bench: $(STAMP)  ## seconds of one search step, for each executor and for the original formulation
	@$(BIN)/python benchmarks/steps/step.py

bench-kernels: $(STAMP)  ## each fused operator by itself: time, bytes, registers
	@$(BIN)/python benchmarks/kernels/kernels.py

bench-gpu: $(STAMP)  ## on a GPU: every kernel checked, everything timed, under 8 minutes, into build/gpu
	@$(BIN)/python benchmarks/gpu_suite.py --out build/gpu

pages: $(STAMP)  ## docs/settings.md and README's table of methods anew, from where they are defined
	@$(BIN)/python docs/make_settings.py
	@$(BIN)/python docs/make_methods.py

constraints:  ## constraints.txt anew, with the newest versions
	@rm -rf build/fresh && python3 -m venv build/fresh
	@build/fresh/bin/python -m pip install -qq --disable-pip-version-check '.[dev]' setuptools
	@{ grep '^#' constraints.txt; build/fresh/bin/python -m pip freeze --all --exclude pip --exclude supernet; } > build/new.txt
	@mv build/new.txt constraints.txt && rm -rf build/fresh
	@echo "constraints.txt is new. Next: make test"

clean:  ## removes what was built, .venv too; runs stay
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
