PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# Each worker has an embedded server of its own; one that is given cannot be shared.
WORKERS ?= $(if $(LANGGRAPH_PERSIST_TEST_URL),0,auto)

EXAMPLES := date_planner two_services chat_evaluation planning_agent

.PHONY: demo examples test lint bench clean

demo: $(VENV)/.base
	$(RUN) examples/quickstart.py

examples: $(VENV)/.dev
	set -e; for example in $(EXAMPLES); do $(RUN) examples/$$example.py; done

test: $(VENV)/.dev
	$(RUN) -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile

lint: $(VENV)/.dev
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/lint-imports

bench: $(VENV)/.dev
	$(RUN) -m tests.benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.base: pyproject.toml | $(VENV)/pyvenv.cfg
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/pyvenv.cfg
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
