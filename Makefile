# make demo, make test: both set up .venv themselves. PYTHON=... chooses another interpreter.
SHELL := /bin/bash
VENV ?= .venv
RUN := $(VENV)/bin/python
# Much of a test's time is the tracing of graphs, which uses one core. tests/conftest.py orders the files.
PARALLEL := --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# Of the tests marked thorough: four commits in a row have every one. A tree without a history goes by the day of the year.
QUARTER ?= $(shell echo $$(($$(git rev-list --count HEAD 2>/dev/null || date +%-j) % 4 + 1)))

.PHONY: help setup setup-dev demo report report-quick test test-quick test-all test-quarter faults lint format clean

help:
	@echo "make demo        pre-trains a small backbone on embedded images, under ten minutes on two cores"
	@echo "make report      pre-trains and measures every method on embedded images, and writes docs/report; four to five hours on two cores, in pieces"
	@echo "make report-quick  the same in a quarter of an hour, too short to learn much; writes runs/report-quick/page"
	@echo "make test        lint, types and every test that a change can break"
	@echo "make test-quick  the tests without the slow ones"
	@echo "make test-all    all tests, with coverage: every backbone, every ablation, the consumers of exports in environments of their own"
	@echo "make test-quarter  a quarter of what only test-all runs, another one for each commit; QUARTER=3 chooses"
	@echo "make faults      plants deliberate faults one at a time, each of which make test has to catch; some hours on two cores"
	@echo "make format      formats the code"
	@echo "make clean       removes $(VENV), the environments of tests and what tools left behind; runs/ and data/ stay"

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

$(VENV)/.ready: requirements.txt pyproject.toml scripts/find_python
	@python=$$(scripts/find_python "$(PYTHON)") && echo "Setting up $(VENV) with $$($$python --version); this takes some minutes ..." && \
	"$$python" -m venv --clear $(VENV) && \
	$(RUN) -m pip install --quiet --disable-pip-version-check --upgrade pip && \
	$(RUN) -m pip install --quiet -e . && touch $@

$(VENV)/.ready-dev: pyproject.toml $(VENV)/.ready
	@echo "Adding what the tests need; PyTorch among it, to compare with ..." && \
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[dev]" && touch $@

demo: setup
	@$(RUN) train.py --flagfile=configs/demo.flags

report: setup-dev
	@$(RUN) -m benchmarks.report --plan=configs/report/full.json --work_dir=runs/report --output=docs/report

report-quick: setup-dev
	@$(RUN) -m benchmarks.report --plan=configs/report/quick.json --work_dir=runs/report-quick --output=runs/report-quick/page

lint: setup-dev
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy

test: lint
	$(RUN) -m pytest $(PARALLEL) -m "not thorough"

test-quick: setup-dev
	$(RUN) -m pytest $(PARALLEL) -m "not slow and not thorough"

test-all: lint
	$(RUN) -m pytest $(PARALLEL) --cov --cov-report=term-missing:skip-covered

test-quarter: setup-dev
	@echo "== quarter $(QUARTER) of 4 of the thorough tests"
	$(RUN) -m pytest $(PARALLEL) -m thorough --part=$(QUARTER)/4

faults: setup-dev
	$(RUN) -m tests.faults --map
	$(RUN) -m tests.faults

format: setup-dev
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

clean:
	rm -rf $(VENV) .faults .venv-keras3 .venv-model_garden .venv-od_api .coverage build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
