# Every target works from a fresh clone; `make` lists them.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CONSTRAINTS ?= constraints.txt
EXTRA ?= dev
WORKERS ?= 6
TESTS ?= tests
LOCALE := dify_job/messages/locale
# With PYTHONDONTWRITEBYTECODE every worker would compile every test.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q
FAST := not slow and not host and not packaging

.DEFAULT_GOAL := help
.PHONY: help demo test test-all test-slow test-host test-matrix test-newest test-newest-libraries test-oldest \
	coverage lint format constraints contract messages bench package deb clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-22s %s\n", $$1, $$2}'

demo: $(INSTALLED) ## Run a workflow on the built-in demo server: needs no Dify and no key
	$(BIN)/dify-job demo

test: $(INSTALLED) ## Run the fast tests, which need no root and no other programs
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "$(FAST)" $(TESTS)

test-all: test test-slow test-host ## Run all tests, including campaigns, packages and booted hosts (root)

test-slow: $(INSTALLED) ## Run complete campaigns, and the tests of packages and manual
	@tests/needs
	$(PYTEST) -rs -n $(WORKERS) -m "(slow or packaging) and not host" $(TESTS)

test-host: $(INSTALLED) ## Run the tests on a booted host (root; systemd-container, cron)
	@tests/needs
	$(PYTEST) -rs -n 2 --dist loadfile -m host $(TESTS)

test-matrix: $(INSTALLED) ## Run the tests on booted hosts with systemd 247, 257 and 262 (root; debootstrap)
	@tests/matrix

test-newest: ## Run `make test` on the newest Python found
	@python=$$(tests/newest-python) && $(MAKE) test VENV=.venv-newest PYTHON="$$python"

test-newest-libraries: ## Run `make test` with the newest release of every library and tool
	rm -rf .venv-newest-libraries
	$(MAKE) test VENV=.venv-newest-libraries CONSTRAINTS=/dev/null

test-oldest: ## Run `make test` with the oldest libraries that setup.cfg allows
	$(PYTHON) packaging/constraints.py oldest >.constraints-oldest.txt
	$(MAKE) test VENV=.venv-oldest CONSTRAINTS=.constraints-oldest.txt EXTRA=test  # the tools need a newer click

coverage: $(INSTALLED) ## Measure line and branch coverage of the package; fails below 95 %
	$(BIN)/python -m coverage erase
	$(PYTEST) -n $(WORKERS) --dist worksteal -m "$(FAST)" --cov --cov-report= $(TESTS)
	$(BIN)/python -m coverage report

lint: $(INSTALLED) ## Run ruff, mypy --strict and import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: $(INSTALLED) ## Format and fix the code with ruff
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

contract: $(INSTALLED) ## Renew interface snapshot and manual; read the diff before you commit it
	$(BIN)/python -m pytest -q -p no:cacheprovider tests/contract --renew-contract

constraints: ## Renew constraints.txt with the newest tools and libraries
	$(PYTHON) packaging/constraints.py renew

messages: $(INSTALLED) ## Update and compile the Chinese catalogue
	@mkdir -p build
	PYTHONPATH=packaging $(BIN)/pybabel -q extract -F packaging/babel.cfg -k msg -k value_error -k ExitCode:3 --omit-header --no-location \
		-o build/dify-job.pot dify_job
	$(BIN)/pybabel -q update -i build/dify-job.pot -d $(LOCALE) -D dify-job -l zh --no-fuzzy-matching --ignore-obsolete \
		--ignore-pot-creation-date -w 110
	$(BIN)/pybabel -q compile -d $(LOCALE) -D dify-job --statistics
	$(BIN)/pybabel -q compile -d $(LOCALE) -D click

bench: $(INSTALLED) ## Measure dify-job and other clients; write bench/RESULTS.md
	$(BIN)/python bench/run.py

package: $(INSTALLED) ## Build wheel and sdist reproducibly into dist/
	$(BIN)/python packaging/build.py

deb: $(INSTALLED) ## Build a .deb for Debian 12 and newer into dist/
	$(BIN)/python packaging/deb.py

clean: ## Remove the files of all targets
	rm -rf .venv .venv-* .constraints-oldest.txt .coverage* build dist *.egg-info .*_cache .hypothesis

$(INSTALLED): setup.cfg pyproject.toml $(filter-out /dev/null,$(CONSTRAINTS))
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "dify-job needs Python 3.11 or newer; select one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip; ensurepip.version()' 2>/dev/null || $(PYTHON) -m pip --version >/dev/null 2>&1 || \
		{ tests/needs >&2; echo "python3-venv is needed to create an environment" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) >/dev/null || { $(PYTHON) -m venv --clear --without-pip $(VENV) && \
		$(PYTHON) -m pip --python $(BIN)/python install -q pip; }
	$(BIN)/python -m pip install -q --disable-pip-version-check -c $(CONSTRAINTS) -e '.[$(EXTRA)]'
	$(BIN)/python -m compileall -q dify_job  # with PYTHONDONTWRITEBYTECODE each start would compile
	-$(PYTEST) --collect-only tests >/dev/null 2>&1  # compiles the tests once, and not in each worker
	@touch $@
