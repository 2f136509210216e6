# Two commands on a fresh machine: `make run` shows moving prices, `make test` passes the tests.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup run test unit check fmt bench clean
help:            ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 12

setup: $(STAMP)  ## make .venv with the pinned dependencies
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fast,embedded,pandas,dev,bench]'
	touch $@

run: setup       ## stream prices: live Coinbase, or the simulator where it cannot be reached
	@$(BIN)/start-stream --exchange auto

test: unit       ## all tests: then those of real processes two at a time, then those that need the machine
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not timed" tests/integration tests/test_docs.py
	$(BIN)/python -m pytest -m timed tests/integration tests/faults tests/browser

unit: setup      ## only the fast, pure tests
	$(BIN)/python -m pytest -n auto tests/unit tests/property tests/test_architecture.py

check: setup     ## lint, format and types, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: setup       ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup     ## the figures of the README, on this machine
	$(BIN)/python scripts/bench/ingest.py

clean:           ## remove what setup made
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
