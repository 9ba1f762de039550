# One command each: everything is set up by the first that needs it.
# The first Python that is new enough; PYTHON=... for another one.
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
PYTHON ?= $(shell for python in $(PYTHONS); do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Two stamps: a server alone needs none of the tools of the tests.
SERVER_READY := $(VENV)/.server
DEV_READY := $(VENV)/.dev
# What the JavaScript client is tested with; the client itself needs nothing.
JS_READY := clients/js/node_modules/.ready
INSTALL = $(PYTHON) -m pip --python $(BIN)/python install --quiet --disable-pip-version-check --no-compile \
	--root-user-action=ignore --constraint constraints.txt --editable
# pip would compile one module after another, which is a third of its time. What does not compile, nobody imports.
COMPILE := @$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

# Compiled files are kept whatever the surroundings say: tests start many interpreters.
PYTEST := @env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest

# What decides who is who and what a byte means has every branch tested, by the tests of these rooms: measuring
# makes a test two to three times as slow, so tests of large amounts are marked `no_cover`: others reach the same.
COVERED := tests/auth tests/sync/protocol tests/test_rooms.py
COVERAGE := --cov=auth --cov=sync/protocol --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered

# All cores; tests are handed out a few at a time, in order. A choice of tests runs in one process, at once.
SPREAD := --numprocesses=auto --dist=load --maxschedchunk=4

# What takes long for what it finds between two edits: whole pages, thousands of histories, other servers,
# faults between ours, former schemas, recorded frames, whole commands, also those that are killed again and again.
LONG := tests/simulation tests/bench tests/storage/test_model.py tests/storage/test_blobs_s3.py \
	tests/storage/test_pulls_long.py tests/integration/test_kill.py tests/integration/test_oidc.py tests/test_examples.py tests/test_typed.py \
	tests/integration/test_file_processes.py tests/migrations/test_down.py tests/migrations/test_adoption.py \
	tests/wire/test_replay.py $(addprefix tests/storage/test_,$(addsuffix .py,pulls deks_listing pull_places blobs)) \
	tests/sync/http/test_openapi.py tests/sync/live/test_nodes_property.py tests/test_transcripts.py tests/federation/long \
	tests/bins/admin/test_stops.py tests/js/long tests/deploy tests/bins/backup/long tests/volume/long \
	$(addprefix tests/bins/test_,$(addsuffix .py,admin embedded embedded_faults federation_keygen loaded output packages server)) \
	$(addprefix tests/bins/restore/test_,$(addsuffix .py,killed upgrade_data restore restore_faults restore_s3)) \
	$(addprefix tests/client/folder/test_,$(addsuffix .py,looking replica processes large_processes large_resumed large_refused large_shared)) \
	$(addprefix tests/client/sharing/test_,$(addsuffix .py,life entering spaces rotation rotation_files rotation_attacks))

# What clients tell each other, in two more shapes: two nodes in one process, two workers of one command.
SHAPED := $(addprefix tests/sync/test_,$(addsuffix .py,membership sharing invitations epochs_deks)) \
	tests/sync/live/test_presence_live.py $(addprefix tests/integration/test_,$(addsuffix .py,races purged_space)) \
	$(addprefix tests/client/sharing/test_,$(addsuffix .py,rotation rotation_attacks rotation_files))

# What needs a Chromium, which comes from the system's packages.
BROWSER := tests/browser

# What starts several servers on one database and a NATS between them, and kills them.
CLUSTER := tests/cluster

# What judges servers, backups and databases that are hurt one way at a time.
JUDGED := tests/validation/long

# What starts planes, agents and receivers, waits for them and kills them.
FLEET := tests/fleet/long

.DEFAULT_GOAL := help
.PHONY: help install links serve test long test-cluster test-browser test-validation test-fleet validate release lint format types protos transcripts simulate bench capacity clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 13

install: $(DEV_READY) $(JS_READY) ## make .venv with the server, its commands and the test tools

$(SERVER_READY): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[server,cluster]'
	$(COMPILE)
	touch $@

$(DEV_READY): pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) '.[dev]'
	$(COMPILE)
	touch $(SERVER_READY) $@

# Node comes from a wheel. Install scripts are not run: none of the packages needs one here.
$(JS_READY): clients/js/package.json clients/js/package-lock.json | $(DEV_READY)
	$(BIN)/python -m tests.node ci --ignore-scripts --no-audit --no-fund --loglevel=error
	touch $@

# `--without-pip` and the outer pip: works where Debian keeps ensurepip in a package of its own.
$(BIN)/python: | links
	@test -n "$(PYTHON)" || { echo "less-sync needs Python 3.11 or newer; name one with PYTHON=" >&2; exit 1; }
	$(PYTHON) -m venv --without-pip $(VENV)

# git writes text files instead of links where it is told that there are none (core.symlinks=false).
links:
	@test -d less_sync/auth || { echo "less_sync/auth is a text file where a symbolic link belongs:" \
		"git config core.symlinks true && rm -r less_sync && git checkout less_sync" >&2; exit 1; }

serve: $(SERVER_READY) ## start the server (ARGS='--listen 127.0.0.1:6000' for options)
	@$(BIN)/less-sync serve $(ARGS)

test: $(DEV_READY) $(JS_READY) ## run all tests but the long ones against a real Postgres (ARGS='-k push' to choose of all)
	$(if $(ARGS),,$(PYTEST) $(SPREAD) $(COVERAGE) $(COVERED))
	$(PYTEST) $(if $(ARGS),$(ARGS),$(SPREAD) $(addprefix --ignore=,$(COVERED) $(LONG) $(BROWSER) $(CLUSTER) $(JUDGED) $(FLEET)))

long: $(DEV_READY) $(JS_READY) ## run the long tests: histories, pages, the bench in small, other servers, the HTTP description
	$(PYTEST) $(SPREAD) $(LONG)

test-cluster: $(DEV_READY) $(JS_READY) ## run the tests of several workers and nodes, and of the NATS between them (ARGS='-k reconnect')
	$(PYTEST) $(if $(ARGS),,$(SPREAD)) --shapes nodes,workers $(CLUSTER) $(SHAPED) $(ARGS)

test-browser: $(DEV_READY) $(JS_READY) ## run the tests in a real Chromium, which Debian's root gets installed (ARGS='-k console')
	@$(BIN)/python -m tests.browser.chromium
	$(PYTEST) $(if $(ARGS),$(BROWSER) $(ARGS),--numprocesses=2 $(BROWSER))

test-validation: $(DEV_READY) ## run the tests of the checks of `less-sync validate`, a fault at a time (ARGS='-k backup')
	$(PYTEST) $(if $(ARGS),$(JUDGED) $(ARGS),$(SPREAD) $(JUDGED))

test-fleet: $(DEV_READY) ## run the tests that start and kill fleet planes (ARGS='-k embedded')
	$(PYTEST) $(if $(ARGS),$(FLEET) $(ARGS),$(SPREAD) $(FLEET))

validate: $(DEV_READY) ## judge this checkout by `less-sync validate`, as an upgrade of a server that is started for it
	@$(BIN)/python -m tests.validation.own_gate $(ARGS)

# What a release is made of. Refused without a committed report of `make validate ARGS=--commit` that is a GO for HEAD.
release: $(DEV_READY) ## build the packages into dist/, with a GO for HEAD
	@$(BIN)/python -m tests.validation.own_gate --release
	rm -rf build dist
	$(PYTHON) -m pip --python $(BIN)/python wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

lint: $(DEV_READY) $(JS_READY) ## format check, lint, strict types of Python and JavaScript
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m tests.node exec -- tsc --noEmit -p .
	$(BIN)/python -m tests.node exec -- tsc -p tsconfig.pages.json

format: $(DEV_READY) ## reformat and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# From the JSDoc of the modules. Removed first: the declarations of a module that is gone go with it.
types: $(DEV_READY) $(JS_READY) ## write clients/js/types anew from clients/js/src
	rm -rf clients/js/types
	$(BIN)/python -m tests.node exec -- tsc -p .

# The folder that imports are spelled from: the modules import each other by the names that all use.
protos: $(DEV_READY) ## write the modules of the gRPC messages anew from volume/grpc/protos/*.proto
	$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. less_sync/volume/grpc/protos/*.proto

transcripts: $(DEV_READY) ## play the pages' transcripts and compare (ARGS=--write puts what is printed into the pages)
	@$(BIN)/python -m tests.transcripts $(ARGS)

# Each seed is one history of many clients, their network and the database (CONTRIBUTING.md). One in twelve is
# played with two servers as well: those take a fifth of the time.
SEEDS ?= 2000
simulate: $(DEV_READY) ## play SEEDS=100000 simulated worlds on all cores; SEED=7 replays one
	@$(BIN)/python -m tests.simulation \
		$(if $(SEED),--seed $(SEED),--seeds $(if $(ARGS),$(SEEDS),$$(($(SEEDS) * 5 / 6)))) $(ARGS)
	$(if $(SEED)$(ARGS),,@$(BIN)/python -m tests.simulation --federation --seeds $$(($(SEEDS) / 12)))
	$(if $(SEED)$(ARGS),,@$(BIN)/python -m tests.simulation --cluster --seeds $$(($(SEEDS) / 12)))

bench: $(DEV_READY) ## measure against bare Postgres and bare sockets, print one table
	@$(BIN)/python -m tests.bench $(ARGS)

capacity: $(DEV_READY) ## count a cluster of 1,000 nodes, run one of its nodes, hold both against docs/scaling.md 6
	@$(BIN)/python -m tests.bench.capacity $(ARGS)

clean: ## remove .venv and caches (not the data directory)
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build artefacts *.egg-info clients/js/node_modules
