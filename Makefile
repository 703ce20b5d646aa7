# Thin over the commands that README.md gives for pip and python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Which tests: empty for all.
MARKS ?= not slow
SOURCES := $(shell git ls-files '*.py' '*.yaml' pyproject.toml 2>/dev/null)

.PHONY: demo test test-slow core check lock clean

demo: $(VENV)/.run
	$(BIN)/pointsman run examples/support_desk/desk.py:flow --batch examples/support_desk/messages.csv

# With bytecode written, pytest keeps the tests as it rewrites them, which takes it ten seconds a process. Tests wait for
# processes and disks, so three workers keep two cores busy.
test: $(VENV)/.test
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist worksteal -m "$(MARKS)" $(if $(findstring not,$(MARKS)),--hypothesis-profile=quick)

# The others, which take half a second or more: kill -9 again and again, programs in terminals, long sessions,
# training, whole runs from the command line, the documents' own commands.
test-slow: $(VENV)/.test
	$(MAKE) test MARKS=slow

# A quick part of the tests that reaches every layer and every vendor's client: what other versions are tried with.
core: $(VENV)/.test
	$(BIN)/python -m pytest -n 2 --dist worksteal @.ci/core

# Everything the continuous integration holds, besides the tests.
check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy -p pointsman
	$(BIN)/mypy tests/typing
	$(BIN)/pyright --pythonpath $(BIN)/python tests/typing

lock:
	uv pip compile pyproject.toml --extra build --upgrade --universal --python-version 3.11 --no-strip-extras --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements.lock
	uv pip compile pyproject.toml --extra build --group pyproject.toml:test --group pyproject.toml:check --upgrade --constraints requirements.lock --universal --python-version 3.11 --no-strip-extras --generate-hashes --no-emit-index-url --no-annotate --no-header --output-file requirements-test.lock

clean:
	rm -rf $(VENV) build dist *.egg-info

$(VENV)/.deps: requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements.lock
	touch $@

# Setuptools installs what an earlier build left there too, modules that have moved since among them.
$(VENV)/.run: $(VENV)/.deps $(SOURCES)
	rm -rf build/lib
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --force-reinstall .
	touch $@

$(VENV)/.test-deps: $(VENV)/.deps requirements-test.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements-test.lock
	touch $@

$(VENV)/.test: $(VENV)/.test-deps $(VENV)/.run
	touch $@
