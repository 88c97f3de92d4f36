# From a fresh clone: `make run` starts the daemon, `make test` runs the whole suite. Each makes .venv first.
# For GNU make 3.81 (macOS) and newer.

PYTHON ?= python3
UV ?= uv
PORT ?=
ARGS ?=
# Tests side by side; 0 runs them in one process, as a debugger wants it.
JOBS ?= auto
# Not benchmarks themselves: what makes their model, and what starts their workers.
PARTS := random_gguf worker
BENCHMARKS ?= $(filter-out $(PARTS),$(basename $(notdir $(wildcard benchmarks/[a-z]*.py))))

BIN := .venv/bin
# A Python that was named by hand replaces the one that made .venv; the default one does not.
NAMED := $(if $(filter file default undefined,$(origin PYTHON)),,--python-given)
SETUP := $(PYTHON) tools/setup.py $(NAMED)
COMPILE := $(UV) pip compile --quiet --universal --fork-strategy fewest --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

.DEFAULT_GOAL := help
.PHONY: help python setup run test lint check bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-6s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make run PORT=8080        another port          make run ARGS=--help      the daemon's own options"
	@echo "  make test ARGS='-k plan'  some tests            make run PYTHON=python3.12  another Python"
	@echo "  make bench BENCHMARKS=batching   one of them"

python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "setup: $(PYTHON) is not on PATH. fix: install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3" >&2; \
		exit 1; }

setup: python ## make .venv with everything for running, testing and checking
	@$(SETUP) --dev

run: python ## start the daemon on models.d/ and policies/ of this folder
	@$(SETUP)
	@exec $(BIN)/orchestrator run --config . $(if $(PORT),--port $(PORT)) $(ARGS)

test: setup ## run the whole test suite
	@ORCHESTRATOR_WORKER_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

lint: setup ## check style, types, layers and the repository's own YAML
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/orchestrator check .

check: python ## validate models.d/ and policies/
	@$(SETUP)
	@$(BIN)/orchestrator check .

bench: setup ## run every benchmark and print its figures
	@for name in $(BENCHMARKS); do \
		echo "== benchmarks/$$name.py"; \
		$(BIN)/python -m benchmarks.$$name $(ARGS) || exit 1; \
	done

lock: ## pin the newest versions that pyproject.toml allows (needs uv)
	@command -v $(UV) >/dev/null 2>&1 || { \
		echo "lock: uv is not on PATH. fix: pipx install uv, or name it: make lock UV=/path/to/uv" >&2; exit 1; }
	$(COMPILE) --upgrade pyproject.toml --group dev --output-file requirements-dev.lock
	$(COMPILE) --upgrade pyproject.toml --group build --constraint requirements-dev.lock --output-file requirements.lock

clean: ## remove .venv and everything made here; built wheels stay in the user's cache
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
