# PYTHON: interpreter to make the environment with; empty lets scripts/setup.sh choose. VENV: where the environment is.
PYTHON ?=
VENV ?= .venv
PYTEST_ARGS ?=
# How many processes run tests at once; each takes a core and a GiB of memory.
JOBS ?= 2
# RAY=1 installs Ray too, without which the tests that start a cluster are skipped.
RAY ?=

setup_flags = $(if $(RAY),--ray) --venv "$(VENV)" $(if $(PYTHON),--python "$(PYTHON)")
python = "$(VENV)/bin/python"
shell_scripts = $(wildcard *.sh scripts/*.sh) .ci/run

.PHONY: help setup setup-dev demo test lint format bench clean

help:
	@echo "make demo    set up, generate a small split, benchmark a nano SAM 2 and two baselines on it, print the table"
	@echo "make test    set up if missing, run the tests (PYTEST_ARGS=... goes to pytest; JOBS=N processes; RAY=1 installs Ray, whose tests need it)"
	@echo "make setup   make $(VENV) and install what the benchmark needs"
	@echo "make lint    check style, types and shell scripts"
	@echo "make format  bring the Python code into its style"
	@echo "make bench   run the benchmarks of the benchmark's own parts, into benchmarks/RESULTS.md"
	@echo "make clean   remove caches and the demo's output"

setup:
	@scripts/setup.sh $(setup_flags)

setup-dev:
	@scripts/setup.sh --dev $(setup_flags)

demo:
	@scripts/demo.sh $(setup_flags)

# Compiled code is kept, for the tests start Python hundreds of times.
test: setup-dev
	PYTHONDONTWRITEBYTECODE= $(python) -m pytest --numprocesses $(JOBS) --dist worksteal $(PYTEST_ARGS)

lint: setup-dev
	$(python) -m ruff check .
	$(python) -m ruff format --check .
	$(python) -m mypy
	"$(VENV)/bin/shellcheck" $(shell_scripts)

format: setup-dev
	$(python) -m ruff check --fix .
	$(python) -m ruff format .

bench: setup-dev
	$(python) -m benchmarks.run_all

clean:
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks build dist demo_split results/demo
	find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +
