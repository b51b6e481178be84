# Muniment. `make help` lists the targets. Needs git, make and Python 3.11 or newer; everything else it fetches.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DATA ?= .muniment
PEERS := .cache/peers/venv

.DEFAULT_GOAL := help
.PHONY: help setup demo up test faults chaos soak reliability overload bench bench-peers figures check fmt lint types schemas lock clean

help: ## this list
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make .venv with the muniment command in it

$(STAMP): requirements/dev.lock requirements/bootstrap.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "muniment needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing the locked dependencies into $(VENV)" >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q services shared
	@touch $@

demo: setup ## run the main job from beginning to end on real parts
	@$(BIN)/muniment demo

up: setup ## keep a stack running (Ctrl-C stops it); DATA=folder keeps its data
	@$(BIN)/muniment up --data-dir $(DATA)

test: setup ## set up what is missing and run the whole suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: setup ## measure this machine (JSON lines, kept in .bench); ONLY=name runs one benchmark, SECONDS= and COUNT= set its length
	@mkdir -p .bench
	@$(BIN)/python -m tests.bench $(if $(ONLY),--only $(ONLY)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(COUNT),--count $(COUNT)) --out .bench/muniment.jsonl

bench-peers: setup $(PEERS)/.installed ## measure MLflow and Muniment in one run; SECONDS=60 COUNT=500 GIB=1 ALL=1 lengthen it
	@mkdir -p .bench
	@$(BIN)/python -m tests.bench.peers $(if $(SECONDS),--seconds $(SECONDS)) $(if $(COUNT),--count $(COUNT)) $(if $(GIB),--gib $(GIB)) \
	  $(if $(ALL),--all) --out .bench/peers.jsonl

$(PEERS)/.installed: requirements/peers.lock | setup
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@echo "installing MLflow into $(PEERS)" >&2
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(PEERS)/bin/python --require-hashes -r requirements/peers.lock
	@touch $@

figures: setup ## write the measured tables of docs/performance.md from what the last runs kept
	@$(BIN)/python -m tests.bench.tables docs/performance.md $(wildcard .bench/*.jsonl)

overload: setup ## ten times what the stack can take; SECONDS=120 SEED=1
	@$(BIN)/python -m tests.faults.overload --seconds $(or $(SECONDS),120) --seed $(or $(SEED),1)

faults: setup ## services killed, paused and stopped under load; SEED=n replays a run
	@MUNIMENT_FAULTS=all MUNIMENT_FAULT_SEED=$(SEED) $(BIN)/python -m pytest tests/faults

chaos: setup ## faults at random over two replicas of each service; SEED=1 MINUTES=5 replays a plan
	@$(BIN)/python -m tests.faults.chaos --seed $(or $(SEED),1) --minutes $(or $(MINUTES),5) $(if $(JSON),--json)

soak: setup ## notifications to every channel, receivers that fail at random, the notifier killed midway; MINUTES=10 SEED=1
	@$(BIN)/python -m tests.faults.soak --seed $(or $(SEED),1) --minutes $(or $(MINUTES),10)

reliability: setup ## measure how soon each fault is caught up (kept in .bench) and write docs/reliability.md; REPEAT=n ONLY=pattern
	@mkdir -p .bench
	@$(BIN)/python -m tests.faults.reliability --seed $(or $(SEED),1) --repeat $(or $(REPEAT),1) $(if $(ONLY),--only "$(ONLY)") --out .bench/reliability.jsonl; \
	  code=$$?; $(BIN)/python -m tests.faults.reliability --out .bench/reliability.jsonl --write docs/reliability.md && exit $$code

check: lint types test ## everything that CI runs

fmt: setup ## format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

lint: setup ## style and mistakes
	@$(BIN)/ruff format --check . && $(BIN)/ruff check .

types: setup ## strict types
	@$(BIN)/mypy services shared

schemas: setup ## write the JSON Schemas, AsyncAPI and the README's table from the declarations
	@$(BIN)/python -m muniment.runtime.schema_files README.md

lock: setup ## resolve the dependencies anew, with hashes and without host names
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 --extra server --group build pyproject.toml --output-file requirements/server.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 --all-extras --group dev pyproject.toml --output-file requirements/dev.lock
	@echo uv | $(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 - --output-file requirements/bootstrap.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --python-version 3.11 requirements/peers.in --output-file requirements/peers.lock

clean: ## remove what was installed and built (data folders stay)
	@rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache
