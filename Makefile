# Every target works from a fresh clone; `make` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CONSTRAINTS ?= constraints.txt
WORKERS ?= 6
TESTS ?= tests
LOCALE := dify_job/messages/locale
# Where PYTHONDONTWRITEBYTECODE is set each worker would compile every test.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q
FAST := not slow and not host and not packaging

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-slow test-host test-matrix test-newest test-newest-libraries test-oldest \
	coverage lint format constraints contract golden messages bench package deb clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-22s %s\n", $$1, $$2}'

demo: $(INSTALLED) ## Run a workflow against the built-in stand-in Dify: no server, no key
	$(BIN)/dify-job demo

test: $(INSTALLED) ## Run the tests that need no root, no other programs and no minutes
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "$(FAST)" $(TESTS)

test-all: test test-slow test-host ## Run every test: also whole campaigns, packages and booted hosts (root)

test-slow: $(INSTALLED) ## Run whole campaigns, and the tests of the packages and the manual
	@tests/needs
	$(PYTEST) -rs -n $(WORKERS) -m "(slow or packaging) and not host" $(TESTS)

test-host: $(INSTALLED) ## Run the tests of a booted host (root; systemd-container, cron)
	@tests/needs
	$(PYTEST) -rs -n 2 --dist loadfile -m host $(TESTS)

test-matrix: $(INSTALLED) ## Run the tests of booted hosts on systemd 247, 257 and 262 (root; debootstrap)
	@tests/matrix

test-newest: ## Run `make test` on the newest Python found
	@python=$$(tests/newest-python) && $(MAKE) test VENV=.venv-newest PYTHON="$$python"

test-newest-libraries: ## Run `make test` with the newest release of every library and tool
	rm -rf .venv-newest-libraries
	$(MAKE) test VENV=.venv-newest-libraries CONSTRAINTS=/dev/null

test-oldest: ## Run `make test` with the oldest libraries that setup.cfg allows
	$(PYTHON) packaging/constraints.py oldest >.constraints-oldest.txt
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=.constraints-oldest.txt

coverage: $(INSTALLED) ## Measure branch coverage of the package; fails below 95 %
	$(BIN)/python -m coverage erase
	$(PYTEST) -n $(WORKERS) -m "not host and not packaging" --cov --cov-report= $(TESTS)
	$(BIN)/python -m coverage report

lint: $(INSTALLED) ## ruff, mypy --strict and the layers of the package
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(INSTALLED) ## Let ruff format and fix what it can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

contract: $(INSTALLED) ## Renew the snapshot of the interface and the manual; read the diff before you commit it
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/contract --renew-contract

golden: contract

constraints: ## Renew constraints.txt: the newest of all tools and libraries of the tests
	$(PYTHON) packaging/constraints.py renew

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

deb: $(INSTALLED) ## Build a .deb into dist/ that serves Debian 12 and newer
	$(BIN)/python packaging/deb.py

clean: ## Remove what the other targets made
	rm -rf .venv .venv-* .constraints-oldest.txt .coverage* build dist *.egg-info .*_cache .hypothesis

$(INSTALLED): setup.cfg pyproject.toml $(filter-out /dev/null,$(CONSTRAINTS))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dify-job needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip; ensurepip.version()' 2>/dev/null || $(PYTHON) -m pip --version >/dev/null 2>&1 || \
		{ tests/needs >&2; echo "without python3-venv there is no environment to run in" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install -q pip; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	$(BIN)/python -m compileall -q dify_job  # where PYTHONDONTWRITEBYTECODE is set each start would compile
	@touch $@
