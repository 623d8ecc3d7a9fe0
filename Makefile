# `make` lists what there is to do. Settings: EXPERIMENT, ARGS, SWEEP, RUN, PYTHON.
EXPERIMENT ?= quickstart
SWEEP ?= loss
RUN ?=
ARGS ?=
VENV ?= .venv
SUPPORTED = 3.11, 3.12 or 3.13

# The first interpreter that is supported and can make virtual environments.
usable = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell $(name) -c '$(usable)' 2>/dev/null && echo $(name))))

# Where there is an NVIDIA driver, TensorFlow comes with its CUDA libraries.
comma := ,
EXTRAS := bundled$(if $(shell command -v nvidia-smi 2>/dev/null),$(comma)gpu)
PIP = $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
INSTALLED = $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))

# A flagfile with a grid is a sweep.
sweeps = $(basename $(notdir $(shell grep -l '^--grid=' experiments/*.flags)))

.PHONY: help install train sweep report test test-slow test-fuzz docs results lint clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@echo "make TARGET"
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14
	@echo "experiments: $(filter-out $(sweeps),$(basename $(notdir $(wildcard experiments/*.flags))))"
	@echo "sweeps: $(sweeps)"

install: $(INSTALLED)  ## make .venv and install kgan in it

train: $(INSTALLED)  ## train experiments/$EXPERIMENT.flags (quickstart); ARGS="--seed=3" overrides
	$(VENV)/bin/kgan train --flagfile=experiments/$(EXPERIMENT).flags $(ARGS)

sweep: $(INSTALLED)  ## train each cell of experiments/$SWEEP.flags (loss); ARGS="--jobs=2"
	$(VENV)/bin/kgan sweep --flagfile=experiments/$(SWEEP).flags $(ARGS)

report: $(INSTALLED)  ## write the page of a run, or of several: RUN="runs/x runs/y"
	$(VENV)/bin/kgan report $(RUN) $(ARGS)

# One thread of linear algebra a worker: those that wait for a product spin, and hold up the other workers.
test: $(VENV)/.tested lint  ## run the tests, ruff, import-linter and mypy
	OPENBLAS_NUM_THREADS=1 $(VENV)/bin/python -m pytest -n auto --maxprocesses=4 --dist=worksteal $(ARGS)

test-slow: $(VENV)/.tested  ## run the tests that take minutes each
	$(VENV)/bin/python -m pytest -m slow $(ARGS)

test-fuzz: $(VENV)/.tested  ## run the readers of files against 10,000 hostile inputs each; KGAN_FUZZ_EXAMPLES=N for another number
	KGAN_FUZZ_EXAMPLES=$${KGAN_FUZZ_EXAMPLES:-10000} $(VENV)/bin/python -m pytest -m fuzz $(ARGS)

docs: $(INSTALLED)  ## write docs/flags.md anew
	$(VENV)/bin/python docs/flags.py

results: $(INSTALLED)  ## write README's table of results anew, from experiments/results
	$(VENV)/bin/python experiments/results/results.py

lint: $(VENV)/.tested  ## run ruff, import-linter and mypy
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

clean:  ## remove the virtual environment and caches; never runs/
	rm -rf $(VENV) *.egg-info build .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "kgan: error: no Python $(SUPPORTED) with its venv module found: install one, or name it with make PYTHON=..." >&2; exit 2; }
	@$(PYTHON) -c '$(usable)' 2>/dev/null || { echo "kgan: error: $(PYTHON) will not do: kgan needs Python $(SUPPORTED) with its venv module" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): $(VENV)/bin/python setup.cfg constraints.txt
	$(PIP) --editable '.[$(EXTRAS)]'
	@touch $@

$(VENV)/.tested: $(INSTALLED) setup.cfg constraints.txt
	$(PIP) --editable '.[$(EXTRAS),test]'
	@touch $@
