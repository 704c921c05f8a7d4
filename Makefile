# make reproduce and make test need Python 3.11–3.13, make and a package index; they set everything else up.
PYTHON ?= python3
CORES ?= 2
SCALE ?= tiny
BIN := .venv/bin
QUICK := architecture artefacts_cells artefacts_claims artefacts_measurements artefacts_overlaps artefacts_tables cli config docs fingerprint \
	methods_ccs methods_d2 methods_herding methods_k_center methods_moderate methods_random plan policy ranks readme records \
	rl_reward scheduling seeds signals simulation stage_command

.PHONY: reproduce verify test test-units test-workflows test-systems check lint types imports quick architecture setup figures bench lock

reproduce: setup
	$(BIN)/snakemake --cores $(CORES) --config scale=$(SCALE)
	@echo "Open results/$(SCALE)/index.html"

verify: setup
	$(BIN)/selectbench verify --scale $(SCALE) --cores $(CORES)

test: setup lint
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory --jobs 2 test-units test-workflows test-systems

test-units: setup
	$(BIN)/python -m pytest tests/contract tests/unit

test-workflows: setup
	$(BIN)/python -m pytest tests/workflow

test-systems: setup
	$(BIN)/python -m pytest tests/browser tests/slurm

# Fast feedback while you work; make test runs everything.
check: setup
	OMP_NUM_THREADS=1 $(MAKE) --no-print-directory --jobs 2 lint quick

quick: setup
	$(BIN)/python -m pytest $(QUICK:%=tests/unit/test_%.py)

lint: types imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/codespell src docs config workflow README.md CHANGELOG.md CONTRIBUTING.md

types:
	$(BIN)/mypy

imports:
	$(BIN)/lint-imports

architecture: setup
	$(BIN)/python docs/draw_architecture.py

setup: .venv/installed

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"selectbench needs Python 3.11 to 3.13, and $(PYTHON) is {v[0]}.{v[1]}; try: make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes --compile-bytecode --requirements requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

figures: setup
	$(BIN)/selectbench report --scale $(SCALE)

bench: setup
	$(BIN)/python -m benchmarks.planning
	$(BIN)/python -m benchmarks.engine
	$(BIN)/python -m benchmarks.arithmetic
	$(BIN)/python -m benchmarks.tune_selector
	$(BIN)/python -m benchmarks.selectors $(SELECTORS)
	$(BIN)/python -m benchmarks.public
	$(BIN)/python -m benchmarks.language

lock: setup
	$(BIN)/uv pip compile pyproject.toml --extra benchmark --extra dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --custom-compile-command "make lock" --output-file requirements.lock
