# make run    set up .venv and run the daemon: at once, and without a network, the demo
# make prove  kill the daemon twenty times and its database once, offline, then count every row
# make test   set up .venv with what tests need and run all of them; ARGS="-k spool" for some
# All need only python3 (3.11 to 3.13) with venv and pip; tests with MariaDB need Debian's mariadb-server-core, which
# root gets installed. What is set up is kept until pyproject.toml changes.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS ?=
# Tests wait for servers and processes more than they compute.
JOBS ?= 2

.PHONY: run prove test check audit planted bench clean
.DELETE_ON_ERROR:

# One command without shell syntax, so that make starts Python itself: Ctrl-C reaches the daemon, which stops
# in order and exits 0, and make has nothing to complain about.
run: .venv/run
	@$(BIN)/python main.py $(ARGS)

prove: .venv/prove
	@$(BIN)/python -m bench.prove $(ARGS)

test: .venv/test
	@$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

check: .venv/test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy

# Mistakes planted in our own code, one at a time: the tests must notice each (about five minutes).
planted: .venv/test
	@$(BIN)/python -m tests.planted $(ARGS)

# Known vulnerabilities of what is installed; skipped, and said so, where no advisories can be had.
audit: .venv/test
	@$(BIN)/python .ci/audit.py

bench: .venv/test
	@$(BIN)/python -m bench $(ARGS)

# STORE/, LOGS/ and AUTH/ are yours: nothing here touches them.
clean:
	rm -rf .venv build dist *.egg-info .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find api2db bench collectors tests -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

.venv/run: .venv/made pyproject.toml
	@echo "Installing api2db and what it needs into .venv (the first time, about a minute) ..."
	@$(PIP) --editable .
	@touch $@

.venv/prove: .venv/made pyproject.toml
	@echo "Installing api2db and a PostgreSQL for it into .venv (the first time, about a minute) ..."
	@$(PIP) --editable ".[prove]"
	@touch $@ .venv/run

.venv/test: .venv/made pyproject.toml
	@echo "Installing api2db and what its tests need into .venv (the first time, about two minutes) ..."
	@$(PIP) --editable ".[test]"
	@$(BIN)/python -m tests.bigquery
	@touch $@ .venv/run .venv/prove

# The stamp comes last: a venv that was interrupted half-way is made anew.
.venv/made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14) and "api2db needs Python 3.11, 3.12 or 3.13; this is " + sys.version.split()[0] + ". Choose one: make run PYTHON=python3.12")'
	@$(PYTHON) -m venv --clear .venv || { echo "python3 can make no venv. On Debian: apt-get install python3-venv"; exit 1; }
	@touch $@
