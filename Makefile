# Every target sets itself up: a private environment in .venv, from the pinned lock, without root.
.DEFAULT_GOAL := help
SHELL := /bin/sh
.SUFFIXES:

LOCK := requirements/dev.lock
BIN := .venv/bin
# A changed lock or project file changes the stamp's name, and so installs again.
STAMP := .venv/.installed-$(shell cat $(LOCK) pyproject.toml | cksum | cut -d' ' -f1)
UV_VERSION := 0.13.9
ARGS ?=

.PHONY: help demo test check bench bench-frameworks bench-peers sweep witness restarts fuzz fmt lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## run the studio: real slow work, a killed worker, nothing lost (LEDGER=postgres BROKER=redis)
	@$(BIN)/python examples/studio/demo.py $(if $(LEDGER),--ledger $(LEDGER)) $(if $(BROKER),--broker $(BROKER)) $(ARGS)

test: $(STAMP) ## run the tests, a file at a time on each core (ARGS="-k lease" is passed to pytest)
	@$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile $(ARGS)

check: $(STAMP) ## lint, format, types, rooms and tidy laws; changes nothing
	@echo "ruff check" && $(BIN)/ruff check --quiet .
	@echo "ruff format" && $(BIN)/ruff format --check --quiet .
	@echo "mypy" && $(BIN)/mypy --no-error-summary src
	@echo "import-linter" && $(BIN)/lint-imports --no-logo
	@echo "tidy" && $(BIN)/python -m pytest --quiet tests/test_tidy.py

bench: $(STAMP) ## measure, each figure beside its floor from the same run
	@$(BIN)/python -m bench $(ARGS)

bench-frameworks: $(STAMP) ## measure the submit route under other web frameworks and servers
	@$(BIN)/python -m pip install --quiet --no-input fastapi==0.* litestar==2.* granian==2.*
	@$(BIN)/python -m bench.frameworks $(ARGS)

bench-peers: $(STAMP) ## measure other queues in the same run (ARGS="celery saq --scale 0.1")
	@$(BIN)/python -m bench.peers $(ARGS)

sweep: $(STAMP) ## crash a job's life at each write and sync, and judge each recovery (a few minutes)
	@$(BIN)/python tests/reliability/sweep.py $(ARGS)

witness: $(STAMP) ## 10,000 jobs over 50 keys, 4 processes, kills, a limit lowered live: none too many
	@OUTLAST_WITNESS_JOBS=10000 $(BIN)/python -m pytest -q tests/reliability/test_limits.py $(ARGS)

restarts: $(STAMP) ## restart PostgreSQL every 5 to 20 s for 5 minutes under a fleet: none lost, none twice
	@OUTLAST_RESTARTS=300 $(BIN)/python -m pytest -q -s -o faulthandler_timeout=600 tests/reliability/test_restarts.py -k without_a_hand $(ARGS)

fuzz: $(STAMP) ## send the API 100,000 requests that it allows or forbids (ARGS="--requests 1000")
	@$(BIN)/python -m tests.api.fuzz $(ARGS)

fmt: $(STAMP) ## format, and fix what the linter can fix
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

lock: $(STAMP) ## pin every dependency again, with hashes
	@$(BIN)/python -m pip install --quiet --no-input uv==$(UV_VERSION)
	@{ echo '# Made by "make lock" from pyproject.toml; do not edit.'; \
	   $(BIN)/uv pip compile --quiet --no-config --universal --upgrade --python-version 3.11 \
	     --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	     --extra dev pyproject.toml; } > $(LOCK).new
	@! grep -E '://|^--' $(LOCK).new || { echo "lock: a host or an option slipped in" >&2; exit 1; }
	@mv $(LOCK).new $(LOCK)
	@echo "lock: $$(grep -c == $(LOCK)) pins in $(LOCK)"

clean: ## remove the environment, caches and build artefacts
	rm -rf .venv .bench-peers build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests bench examples -type d -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(STAMP): $(LOCK) pyproject.toml
	@scripts/environment $(LOCK) $@
