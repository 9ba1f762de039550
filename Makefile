# One command each: everything is set up by the first that needs it.
# The first Python that is new enough; PYTHON=... for another one.
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
PYTHON ?= $(shell for python in $(PYTHONS); do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# What decides who is who and what a byte means has every branch tested. Asked of a full run only.
COVERAGE := --cov=auth --cov=sync/protocol --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered

# All cores; tests are handed out a few at a time, in order. A choice of tests runs in one process, at once.
WORKERS := --numprocesses=auto --dist=load --maxschedchunk=4

.DEFAULT_GOAL := help
.PHONY: help install serve test lint format bench clean

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(READY) ## make .venv with the server, its commands and the test tools

# `--without-pip` and the outer pip: works where Debian keeps ensurepip in a package of its own.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "less-sync needs Python 3.11 or newer; name one with PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)
	$(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check \
		--root-user-action=ignore --constraint constraints.txt --editable '.[dev]'
	touch $@

serve: $(READY) ## start the server (ARGS='--listen 127.0.0.1:6000' for options)
	@$(BIN)/less-sync serve $(ARGS)

test: $(READY) ## run every test against a real Postgres (ARGS='-k push' to choose)
	@$(BIN)/python -m pytest $(if $(ARGS),$(ARGS),$(WORKERS) $(COVERAGE))

lint: $(READY) ## format check, lint, strict types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## reformat and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## measure against bare Postgres and bare sockets, print one table
	@$(BIN)/python -m tests.bench $(ARGS)

clean: ## remove .venv and caches (not the data directory)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build *.egg-info
