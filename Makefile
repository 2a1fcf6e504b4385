# Two commands set everything up: `make demo` and `make test`. Both may be repeated; neither asks anything.
.DEFAULT_GOAL := help
.SUFFIXES:
SHELL := /bin/bash

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
LOGS ?=
LIMIT ?=
SMALL ?=
# Tests that run side by side.
JOBS ?= 2

.PHONY: help demo test check lock bench crash-points soak soak-files faults records small-model conformance pipelines chaos fuzz clean

help:  ## Show what there is to make
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# What the embedded model's engine links against and Debian's slim images leave out.
$(VENV)/.system:
	@$(PYTHON) -c 'import sys; sys.exit("enricher needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) 2>/dev/null && test -x $(BIN)/pip \
		|| { echo "installing python3-venv"; apt-get update -qq && apt-get install -qq -y python3-venv >/dev/null; $(PYTHON) -m venv $(VENV); }
	@touch $@

# Everything is installed at the versions and with the hashes of .ci/requirements/; nothing else is fetched.
LOCKS := .ci/requirements
INSTALL := $(BIN)/pip install -qq --disable-pip-version-check
LOCKED := $(INSTALL) --no-deps --require-hashes -r $(LOCKS)
# The same into an environment of its own, below this one.
LOCKED_IN = $(subst /pip ,/pip --python $(VENV)/$(1) ,$(LOCKED))

$(VENV)/.editable: pyproject.toml $(LOCKS)/build.txt | $(VENV)/.system
	@$(LOCKED)/build.txt
	@$(INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.demo: $(LOCKS)/demo.txt $(VENV)/.editable
	@echo "installing what the demo needs into $(VENV), with the engine of the embedded model"
	@$(LOCKED)/demo.txt
	@ldconfig -p | grep -q libgomp.so.1 \
		|| { echo "installing libgomp1"; apt-get update -qq && apt-get install -qq -y libgomp1 >/dev/null; }
	@touch $@

$(VENV)/.dev: $(LOCKS)/test.txt $(VENV)/.editable
	@echo "installing what the tests need into $(VENV)"
	@$(LOCKED)/test.txt
	@touch $@

$(VENV)/.bench: $(LOCKS)/bench.txt $(VENV)/.dev
	@$(LOCKED)/bench.txt
	@touch $@

$(VENV)/.fuzz: $(LOCKS)/fuzz.txt $(VENV)/.dev
	@$(LOCKED)/fuzz.txt
	@touch $@

# Programs of others that tests/conformance runs against ours, each away from our packages; Prism where there is npm.
$(VENV)/.peers: $(LOCKS)/peers.txt tests/conformance/package-lock.json $(VENV)/.dev
	@echo "installing the programs of others that conformance is tested with into $(VENV)"
	@$(PYTHON) -m venv --clear --without-pip $(VENV)/peers
	@$(call LOCKED_IN,peers)/peers.txt
	@mkdir -p $(VENV)/prism && cp tests/conformance/package.json tests/conformance/package-lock.json $(VENV)/prism
	@if command -v npm >/dev/null; then npm ci --prefix $(VENV)/prism --ignore-scripts --no-audit --no-fund --loglevel error >/dev/null; \
		else echo "npm is missing: the tests with Prism will be skipped"; fi
	@touch $@

# Schedulers that the examples of tests/pipelines run in, each in an environment of its own with what enricher needs.
$(VENV)/.pipelines-%: $(LOCKS)/%.txt | $(VENV)/.system
	@echo "installing $* into $(VENV)/pipelines/$*"
	@$(PYTHON) -m venv --clear --without-pip $(VENV)/pipelines/$*
	@$(call LOCKED_IN,pipelines/$*)/$*.txt
	@touch $@

# One of them needs Python 3.12. Where they do not install, `make bench` says so and goes on.
RIVALS_PYTHON ?= $(shell for python in python3.12 python3.13; do $$python -c '' 2>/dev/null && break; python=$(PYTHON); done; echo $$python)
$(VENV)/.rivals: $(LOCKS)/rivals.txt | $(VENV)/.system
	@echo "installing into $(VENV)/rivals what batch files are built with elsewhere"
	@$(RIVALS_PYTHON) -m venv --clear --without-pip $(VENV)/rivals
	@$(call LOCKED_IN,rivals)/rivals.txt \
		|| { echo "they do not install here: not compared"; rm -rf $(VENV)/rivals; }
	@touch $@

# Each file keeps the versions of those that share its environment; what has one of its own, those that its packages want.
COMPILE = $(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)
lock: | $(VENV)/.system  ## Pin what pyproject.toml asks for, with hashes; UPGRADE=1 takes the newest releases
	@$(INSTALL) uv
	@$(COMPILE) --group build -o $(LOCKS)/build.txt
	@$(COMPILE) pyproject.toml --extra local -o $(LOCKS)/demo.txt
	@$(COMPILE) pyproject.toml --group dev -c $(LOCKS)/demo.txt -c $(LOCKS)/build.txt -o $(LOCKS)/test.txt
	@$(COMPILE) --group bench -c $(LOCKS)/test.txt -o $(LOCKS)/bench.txt
	@$(COMPILE) --group fuzz -c $(LOCKS)/test.txt -o $(LOCKS)/fuzz.txt
	@$(COMPILE) --group peers -o $(LOCKS)/peers.txt
	@$(COMPILE) --group rivals -o $(LOCKS)/rivals.txt
	@$(COMPILE) pyproject.toml --group airflow -o $(LOCKS)/airflow.txt
	@$(COMPILE) pyproject.toml --group dagster -o $(LOCKS)/dagster.txt

demo: $(VENV)/.demo  ## Enrich this machine's logs (or LOGS=DIR) with the embedded model; SMALL=1 takes the smaller one
	@$(BIN)/enricher model pull $(if $(SMALL),--small)
	@$(BIN)/enricher demo $(if $(SMALL),--small) $(if $(LIMIT),--limit $(LIMIT)) $(LOGS)

test: $(VENV)/.peers check  ## Run every check and the whole test suite
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist loadfile

check: $(VENV)/.dev  ## Run the static checks only
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q . && echo "ruff: clean"
	@$(BIN)/lint-imports --no-logo 2>&1 | tail -1
	@$(BIN)/mypy

bench: $(VENV)/.bench $(VENV)/.rivals  ## Measure: ratios within one run
	@$(BIN)/python -m tests.benchmarks

crash-points: $(VENV)/.dev  ## Kill a run at every point at which anything becomes durable or is sent
	@ENRICHER_EVERY_CRASH_POINT=1 $(BIN)/python -m pytest -q -s tests/system/test_crash_points.py tests/system/test_record_crash_points.py

soak: $(VENV)/.dev  ## Keep the real daemon under a steady load for MINUTES (30), and measure how its memory grows
	@$(BIN)/python -m tests.system.soak --minutes $(or $(MINUTES),30)

soak-files: $(VENV)/.dev  ## Measure many files on the real daemon: idle, fairness, 10,000 hot beside 200,000 cold ones
	@$(BIN)/python -m tests.benchmarks.many_files

faults: $(VENV)/.dev  ## Run everything that may go wrong with a batch, and print the table of what it cost
	@$(BIN)/python -m pytest -q -s tests/system/test_fault_matrix.py

records: $(VENV)/.dev  ## Label ROWS (100000) through the command, killed three times while the provider fails
	@ENRICHER_RECORDS_ROWS=$(or $(ROWS),100000) $(BIN)/python -m pytest -q -s tests/system/test_records_scale.py

small-model: $(VENV)/.demo $(VENV)/.dev  ## Run the shipped tasks over their samples with the real small model
	@$(BIN)/enricher model pull --small
	@ENRICHER_REAL_MODEL=1 $(BIN)/python -m pytest -q -s -k small_model tests/records/test_shipped_tasks.py

conformance: $(VENV)/.peers  ## Check client and batch server against the API's description, and against servers of others
	@ENRICHER_CONFORMANCE_EXAMPLES=$(or $(EXAMPLES),200) $(BIN)/python -m pytest -q -s tests/conformance

pipelines: $(VENV)/.dev $(VENV)/.pipelines-airflow $(VENV)/.pipelines-dagster  ## Run the examples for Airflow and Dagster in the real ones
	@ENRICHER_PIPELINES=1 $(BIN)/python -m pytest -q -s tests/pipelines

chaos: $(VENV)/.dev  ## Let everything go wrong for MINUTES (60), drawn from SEED, and count what came out
	@$(BIN)/python -m tests.system.chaos --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.fuzz  ## Fuzz each target of tests/fuzz (or TARGET=NAME) for SECONDS (60), and print what it broke on
	@$(BIN)/python -m tests.fuzz $(TARGET) --seconds $(or $(SECONDS),60)

clean:  ## Remove the virtual environment and what the tools left
	@rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis .import_linter_cache dist
