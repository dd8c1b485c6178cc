# make demo, make test: both set up .venv themselves. PYTHON=... chooses another interpreter.
SHELL := /bin/bash
VENV ?= .venv
RUN := $(VENV)/bin/python
# Much of a test's time is the tracing of graphs, which uses one core.
PARALLEL := --numprocesses=2 --dist=loadfile

.PHONY: help setup setup-dev demo report report-quick test test-quick lint format clean

help:
	@echo "make demo        pre-trains a small backbone on embedded images, under ten minutes on two cores"
	@echo "make report      pre-trains and measures every method on embedded images, and writes docs/report; four to five hours on two cores, in pieces"
	@echo "make report-quick  the same in a quarter of an hour, too short to learn much; writes runs/report-quick/page"
	@echo "make test        lint, types and all tests, with coverage"
	@echo "make test-quick  the tests without the slow ones"
	@echo "make format      formats the code"
	@echo "make clean       removes $(VENV), the environments of tests and what tools left behind; runs/ and data/ stay"

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

$(VENV)/.ready: requirements.txt scripts/find_python
	@python=$$(scripts/find_python "$(PYTHON)") && echo "Setting up $(VENV) with $$($$python --version); this takes some minutes ..." && \
	"$$python" -m venv --clear $(VENV) && \
	$(RUN) -m pip install --quiet --disable-pip-version-check --upgrade pip && \
	$(RUN) -m pip install --quiet -r requirements.txt && touch $@

$(VENV)/.ready-dev: requirements-dev.txt $(VENV)/.ready
	@echo "Adding what the tests need; PyTorch among it, to compare with ..." && \
	$(RUN) -m pip install --quiet -r requirements-dev.txt && touch $@

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
	$(RUN) -m pytest $(PARALLEL) --cov --cov-report=term-missing:skip-covered

test-quick: setup-dev
	$(RUN) -m pytest $(PARALLEL) -m "not slow"

format: setup-dev
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

clean:
	rm -rf $(VENV) .venv-keras3 .venv-model_garden .venv-od_api .coverage .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
