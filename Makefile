# wervane: everything starts here. `make demo` and `make check` make their own environment from a bare clone;
# they need Python 3.11 or later and make, and a package index for pip.
SHELL := /bin/sh
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-from-constraints

.PHONY: help venv demo check slow bench docs format clean

help:
	@echo "make demo    watch a generated incident until it pages (about two minutes the first time)"
	@echo "make check   lint, types, layers, tests, documents in step"
	@echo "make slow    the tests that take minutes: kills, long property tests, simulations"
	@echo "make bench   measure the figures of the README, as ratios in one run"
	@echo "make docs    write the generated documents again"
	@echo "make venv    only make $(BIN)/wervane"

venv: $(STAMP)

# Made anew when what is to be installed changes; otherwise nothing is done. The constraints hold for the build, too.
# Byte-compiling everything at once costs a third of the time; Python does it anyway for what is imported.
$(STAMP): pyproject.toml deploy/constraints.txt
	@"$(PYTHON)" -c 'import sys; sys.exit("wervane needs Python 3.11 or later: make PYTHON=/path/to/python3.11" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	PIP_CONSTRAINT=deploy/constraints.txt PIP_BUILD_CONSTRAINT=deploy/constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
		$(BIN)/python -m pip install --quiet --no-compile --editable '.[dev]'
	@touch $@

demo: venv
	$(BIN)/wervane demo --exit

# Two at once, a file's tests together: half of them wait for processes and servers.
check: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -m "not slow and not bench" -n 2 --dist loadfile --durations=10

slow: venv
	$(BIN)/python -m pytest -q -m "slow and not bench"

bench: venv
	$(BIN)/python -m pytest -q -s -m bench
	@for script in $$(grep -l '^def main' tests/bench/bench_*.py); do \
		echo "== $$script"; PYTHONPATH=. $(BIN)/python "$$script" || exit 1; done

docs: venv
	$(BIN)/python -m monitor.settings_table > docs/configuration.md
	$(BIN)/python -m monitor.catalog > docs/metrics.md
	$(BIN)/wervane dashboards deploy/grafana/dashboards
	$(BIN)/wervane rules > deploy/prometheus/wervane.rules.yml
	$(BIN)/wervane rules --format operator > deploy/prometheus/wervane.prometheusrule.yaml
	$(BIN)/wervane rules --format runbooks > docs/runbooks/README.md

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist wervane.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
