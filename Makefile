# Everything is made inside this folder: .venv and tests/programs/node_modules.
# A name that holds a checksum of what was installed makes the second run instant, and a changed pin reinstall.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# PYTHON=... chooses one; otherwise the first of these that is new enough.
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; \
	done || true)
PYTHON := $(PYTHON)
VERSION := $(shell "$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)

checksum = $(shell cat $(1) | cksum | tr ' ' -)
VENV := .venv/python-$(VERSION)
RUNTIME := .venv/runtime-$(call checksum,requirements.txt)
CHECKERS := .venv/checkers-$(call checksum,requirements.txt requirements-dev.txt)
AUDITOR := .venv/auditor-$(call checksum,requirements.txt requirements-dev.txt requirements-audit.txt)
PROGRAMS := tests/programs/node_modules/installed-$(call checksum,tests/programs/package-lock.json tests/programs/install.py)

# Every package is pinned, those that others need too: a missing pin is an error, not a surprise.
PIP_INSTALL := .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps
PIP_CHECK := .venv/bin/python -m pip --disable-pip-version-check check

.PHONY: help setup demo test chaos lint audit bench programs

help: ## say what there is to make
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile

setup: $(RUNTIME) ## install everything the program needs into .venv
	@echo 'Ready: .venv/bin/python aggregator.py --help'

demo: $(RUNTIME) ## a backfill and a bad night on an embedded Postgres and local stand-ins of the remote APIs
	@.venv/bin/python aggregator.py demo

# More workers than two cores have: a part of a worker's time goes by waiting for time-outs and stalls under test.
test: lint $(PROGRAMS) ## style, types, a scan for secrets and tests; PYTEST_ARGS='-k matomo' goes to pytest
	@TIMEFORMAT='pytest took %1R s'; time .venv/bin/python -m pytest -n 3 --dist loadgroup $(PYTEST_ARGS)

# CHAOS_SEED repeats a run that was printed; CHAOS_SECONDS and FUZZ_SECONDS bound its two parts.
CHAOS_SECONDS ?= 5400
FUZZ_SECONDS ?= 600
chaos: $(CHECKERS) $(PROGRAMS) ## 10,000 random sequences of faults, then random answers for every parser; CHAOS_SEED=... repeats one
	@.venv/bin/python -m tests.chaos --seconds $(CHAOS_SECONDS) --fuzz-seconds $(FUZZ_SECONDS) $(if $(CHAOS_SEED),--seed $(CHAOS_SEED))

lint: $(CHECKERS) ## style, types and a scan for secrets only
	@TIMEFORMAT='ruff check took %1R s'; time .venv/bin/python -m ruff check
	@TIMEFORMAT='ruff format --check took %1R s'; time .venv/bin/python -m ruff format --check
	@TIMEFORMAT='mypy took %1R s'; time .venv/bin/python -m mypy
	@TIMEFORMAT='secret scan took %1R s'; time .venv/bin/python -m checks.secrets

audit: $(AUDITOR) ## ask for known vulnerabilities of every pinned package
	@.venv/bin/python -m checks.audit

bench: $(CHECKERS) $(PROGRAMS) ## benchmarks, each beside its baseline
	@.venv/bin/python -m bench

programs: $(PROGRAMS) ## install the programs that the tests run: PostgREST, the Supabase CLI, older Postgres versions

$(VENV):
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed, and $(or $(PYTHON),python3) is $$("$(or $(PYTHON),python3)" --version 2>&1 || true)."; \
		echo 'Debian 12, Ubuntu 24.04 and newer have one: apt install python3 python3-venv'; \
		echo 'Another one is named like this:           make setup PYTHON=/path/to/python3.11'; \
		exit 1; } >&2
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo 'This Python cannot make virtual environments. What mends it: apt install python$(VERSION)-venv'; \
		exit 1; } >&2
	@echo 'Making .venv with Python $(VERSION)'
	@"$(PYTHON)" -m venv --clear .venv
	@touch $@

$(RUNTIME): | $(VENV)
	@echo 'Installing what the program needs'
	@$(PIP_INSTALL) -r requirements.txt
	@$(PIP_CHECK)
	@touch $@

$(CHECKERS): | $(RUNTIME)
	@echo 'Installing what checks the program'
	@$(PIP_INSTALL) -r requirements-dev.txt
	@$(PIP_CHECK)
	@touch $@

$(AUDITOR): | $(CHECKERS)
	@echo 'Installing what asks for vulnerabilities'
	@$(PIP_INSTALL) -r requirements-audit.txt
	@$(PIP_CHECK)
	@touch $@

$(PROGRAMS): | $(CHECKERS)
	@echo 'Installing the programs that the tests run'
	@.venv/bin/python tests/programs/install.py
	@touch $@
