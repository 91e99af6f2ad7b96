# The two commands of a newcomer are `git clone` and `make up`.  Everything else is for who changes Boxwork.
#
#   make up            install what is pinned into .venv (once), then serve; PHOTOS='~/My Pictures:/mnt/photos' PORT=9000
#   make test          the tests that need no root, no real server and no network
#   make test-servers  the tests that start real servers and browsers
#   make check         lint, types, import contracts and manners
#   make fix           mend what lint and format can mend, renew generated tables
#   make bench         measure beside peers; NAMES='memo tree', RECORD=1 keeps the figures in bench/history.jsonl
#   make docs          build the documentation into site/ (`make docs-serve` shows it while you write)
#   make lock          resolve the pinned packages anew; UPGRADE=1 takes newer ones
#   make clean         remove everything that was built

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help up run-layer test-layers test test-servers check fix bench docs docs-serve docs-tables lock clean

PYTHON ?= python3
INSTALL = @$(PYTHON) requirements/install.py
BIN := .venv/bin

# Arguments are handed on through the environment, so that spaces, quotes and dollar signs in them survive.
export UP_PHOTOS := $(value PHOTOS)
export UP_PORT := $(value PORT)

# Workers of the test run.  Tests wait for processes more than they compute, so as many as there are processors.
WORKERS ?= $(shell nproc 2>/dev/null || echo 2)

help:
	@sed -n '3,/^$$/s/^# \{0,1\}//p' Makefile

run-layer:
	$(INSTALL) run

test-layers:
	$(INSTALL) run test

# PHOTOS is one directory, or several with colons between them as in PATH; ~ is the home directory.  Addresses
# (s3://…, mongodb://…) have spaces between them.
up: run-layer
	@directories=(); \
	if [[ "$$UP_PHOTOS" == *://* ]]; then read -r -a directories <<<"$$UP_PHOTOS"; \
	elif [ -d "$$UP_PHOTOS" ]; then directories=("$$UP_PHOTOS"); \
	else IFS=: read -r -a directories <<<"$$UP_PHOTOS"; fi; \
	exec $(BIN)/boxwork up "$${directories[@]/#\~\//$$HOME/}" $${UP_PORT:+--port "$$UP_PORT"}

test: test-layers
	@$(BIN)/python -m pytest -m "not servers" --ignore=tests/tidy -n $(WORKERS) --dist loadgroup --durations=15 $(value ARGS)

# What builds, boots and walks goes file by file on all processors; the rest takes turns, because some of it measures
# how long things take.  With ARGS only what they name is run.
BUILDS := tests/packs/images tests/content tests/examples tests/serve/test_openapi.py
test-servers:
	$(INSTALL) run test servers docs
	@$(BIN)/python tools/gltf-validator/install.py
ifdef ARGS
	@$(BIN)/python -m pytest -m servers -n 1 --durations=15 $(value ARGS)
else
	@status=0; \
	$(BIN)/python -m pytest -m servers $(BUILDS) -n $(WORKERS) --dist loadfile --durations=15 || status=1; \
	$(BIN)/python -m pytest -m servers $(BUILDS:%=--ignore=%) -n 1 --durations=15 || status=1; \
	exit $$status
endif

check:
	$(INSTALL) run test docs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest tests/tidy -n $(WORKERS) --dist loadscope

fix: test-layers docs-tables
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench:
	$(INSTALL) run test servers bench
	@$(BIN)/python -m bench $(if $(RECORD),--record) $(value NAMES)

docs-tables: run-layer
	@$(BIN)/python docs/_generate.py

docs: docs-tables
	$(INSTALL) run docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "site/index.html"

docs-serve: docs-tables
	$(INSTALL) run docs
	@$(BIN)/mkdocs serve

lock:
	$(INSTALL) run uv
	@requirements/lock.sh $(if $(UPGRADE),--upgrade)

clean:
	@rm -rf .venv build dist site *.egg-info .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
