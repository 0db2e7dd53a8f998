# Every target installs what it needs by itself: `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints/airflow-3.3.txt
TESTS := not chaos and not browser and not celery

.PHONY: help install demo test test-oldest matrix test-browser browser test-celery chaos bench lint format docs clean

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1|/' | column -t -s '|'

install: $(VENV)/.installed ## Create .venv with everything for development

# A half-made .venv has no stamp, so an interrupted installation starts again.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	@echo "Installing into $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev]'
	@touch $@

demo: install ## Run the example DAGs: against the emulator, or the real API with MODEL_ACCESS_KEY set
	@$(BIN)/python -m dags_examples.demo

test: install ## Run all tests
	$(BIN)/python -m pytest -m "$(TESTS) and not serial" -n 4 --dist loadfile --no-loadscope-reorder --cov --cov-report=
	$(BIN)/python -m pytest -m "$(TESTS) and serial" --cov --cov-append

test-oldest: ## Run what touches Airflow with the oldest Airflow and Python (minutes)
	@.ci/matrix --quick

matrix: ## Run all tests with each supported Airflow and Python (hours), or with CELLS="3.1:3.10 3.2:3.12"
	@.ci/matrix $(CELLS)

browser: install ## Install what the browser tests need: chromium from Debian, and playwright to drive it
	@.ci/browser $(BIN)/python

test-browser: browser ## Use Airflow's pages as a user does, in a real browser
	$(BIN)/python -m pytest -m browser tests/browser

test-celery: $(VENV)/.installed-e2e ## Run a cluster on Celery: two workers, two triggerers (some 6 minutes, PostgreSQL, Redis)
	$(BIN)/python -m pytest -m celery tests/airflow/test_celery.py

$(VENV)/.installed-e2e: $(VENV)/.installed
	@echo "Installing Celery, a client for Redis, and playwright ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev,e2e]'
	@touch $@

chaos: install ## Break a deployment on PostgreSQL, and a simulated one at each operation, and count what was paid (an hour)
	$(BIN)/python -m pytest -m chaos tests/airflow tests/simulation

$(VENV)/.installed-bench: $(VENV)/.installed
	@echo "Installing what the benchmarks compare with ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check -c $(CONSTRAINTS) -e '.[dev,bench]'
	@touch $@

bench: $(VENV)/.installed-bench ## Measure us beside our peers and write docs/benchmarks.md (some 60 minutes, PostgreSQL)
	$(BIN)/python -m benchmarks

lint: install ## Check style, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: install ## Mend style and formatting
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: install ## Build the documentation into site/, for a browser
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "file://$(CURDIR)/site/index.html"

clean: ## Remove what the other targets made
	rm -rf $(VENV) .venv-airflow* matrix-logs .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis demo-output site
