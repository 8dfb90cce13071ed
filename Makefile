# Everything a person needs: make run, make up, make test, make prove.
# SOURCE=DIR names a folder of photos; MEDIAPIPE_HOME the folder of all state.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.run-installed
DEV_STAMP := $(VENV)/.dev-installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check

.PHONY: run up down status test check prove bench lock clean

run: $(RUN_STAMP)
	@$(BIN)/mediapipe-assets run $(if $(SOURCE),--source "$(SOURCE)",--sample)

up: $(RUN_STAMP)
	@$(BIN)/mediapipe-assets up $(if $(SOURCE),--source "$(SOURCE)")

down status: $(RUN_STAMP)
	@$(BIN)/mediapipe-assets $@

test: $(DEV_STAMP)
	$(BIN)/python -m pytest -m "not prove" --numprocesses 2 --dist loadfile

check: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/dg check defs
	$(BIN)/dagster definitions validate

prove: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.prove

bench: $(DEV_STAMP)
	$(BIN)/python -m benchmarks.chain

# Hashes of every package, no address of a registry. Needs uv.
lock:
	uv pip compile pyproject.toml $(LOCK_OPTIONS) -o requirements/run.txt
	uv pip compile pyproject.toml --group dev $(LOCK_OPTIONS) -c requirements/run.txt -o requirements/dev.txt

LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--no-header --no-strip-extras --quiet

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; say which: make PYTHON=python3.12 …" >&2; exit 1; }
	@echo "Making the virtual environment in $(VENV)." >&2
	@$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(BIN)/python requirements/run.txt pyproject.toml
	@echo "Installing the packages; this takes a minute or two the first time." >&2
	@$(INSTALL) --require-hashes -r requirements/run.txt
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV_STAMP): $(RUN_STAMP) requirements/dev.txt
	@$(INSTALL) --require-hashes -r requirements/dev.txt
	@touch $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build *.egg-info
