# Every target works from a fresh clone; `make` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TESTS ?= tests
LOCALE := dify_job/messages/locale

.DEFAULT_GOAL := help
.PHONY: help demo test test-matrix test-newest lint format contract golden messages bench package deb clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

demo: $(INSTALLED) ## Run a workflow against the built-in stand-in Dify: no server, no key
	$(BIN)/dify-job demo

test: $(INSTALLED) ## Run every test that this machine can run
	@tests/needs
	$(BIN)/python -m pytest -q -rs $(TESTS)

test-matrix: $(INSTALLED) ## Run the tests of booted hosts on systemd 247, 257 and 262 (root; debootstrap)
	@tests/matrix

test-newest: ## Run the unit and integration tests on the newest Python found
	@tests/newest-python

lint: $(INSTALLED) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED) ## Let ruff format and mend what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

contract: $(INSTALLED) ## Renew the snapshot of the interface and the manual; read the diff before you commit it
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/contract --renew-contract

golden: contract

messages: $(INSTALLED) ## Take new messages into the Chinese catalogue, and compile it
	@mkdir -p build
	PYTHONPATH=packaging $(BIN)/pybabel -q extract -F packaging/babel.cfg -k msg -k ExitCode:3 --omit-header --no-location \
		-o build/dify-job.pot dify_job
	$(BIN)/pybabel -q update -i build/dify-job.pot -d $(LOCALE) -D dify-job -l zh --no-fuzzy-matching --ignore-obsolete -w 110
	$(BIN)/pybabel -q compile -d $(LOCALE) -D dify-job --statistics
	$(BIN)/pybabel -q compile -d $(LOCALE) -D click

bench: $(INSTALLED) ## Measure against the peers, into bench/RESULTS.md
	$(BIN)/python bench/run.py

package: $(INSTALLED) ## Build wheel and sdist into dist/, the same bytes from the same commit
	$(BIN)/python packaging/build.py

deb: package ## Build a .deb into dist/ that serves Debian 12 and newer
	$(BIN)/python packaging/deb.py

clean: ## Remove what the other targets made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(INSTALLED): setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dify-job needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip; ensurepip.version()' 2>/dev/null || $(PYTHON) -m pip --version >/dev/null 2>&1 || \
		{ tests/needs >&2; echo "without python3-venv there is no environment to run in" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install -q pip; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	$(BIN)/python -m compileall -q dify_job  # where PYTHONDONTWRITEBYTECODE is set each start would compile
	@touch $@
