# Targets such as demo and test create .venv first. PYTHON=... selects another interpreter.
SHELL := /bin/bash
VENV ?= .venv
RUN := $(VENV)/bin/python
# Tests spend much of their time tracing graphs, which uses one core. tests/conftest.py orders the files.
PARALLEL := --numprocesses=2 --dist=loadfile --no-loadscope-reorder

# Part of the tests marked thorough, of eight; eight consecutive commits run all. A tree without a git history uses the day of the year.
PART ?= $(shell echo $$(($$(git rev-list --count HEAD 2>/dev/null || date +%-j) % 8 + 1)))

# What the demo compares at its end, on maps of twice the resolution; no labels were used before.
BEFORE_AND_AFTER := --from=runs/demo --from=random --dataset=scenes/128_plain --split=test --data_dir=data --output_stride=8 --seeds=1

.PHONY: help setup setup-dev demo docs notebook report report-quick test test-quick test-all test-part faults lint format clean

help:
	@echo "make demo        pre-trains a small backbone on embedded images and shows what it has learnt; five minutes on two cores"
	@echo "make docs        builds the documentation into site; make notebook executes examples/pretrain.ipynb and stores its outputs"
	@echo "make report      carries out the plans in configs/report, and writes docs/report; about a day on two cores, resumable"
	@echo "make report-quick  a shorter report, in 15 minutes, too short to learn much; writes runs/report-quick/page"
	@echo "make test        checks format, lint and types, and runs all tests except the thorough ones"
	@echo "make test-quick  runs all tests except the slow and the thorough ones"
	@echo "make test-all    runs all tests, with coverage: every backbone, every ablation, and consumers of exports in their own environments"
	@echo "make test-part   runs an eighth of the thorough tests, a different one for each commit; PART=3 selects one"
	@echo "make faults      plants deliberate faults one at a time, which make test must catch; several hours on two cores"
	@echo "make format      formats the code"
	@echo "make clean       removes $(VENV), the environments of tests and files of tools; keeps runs/ and data/"

setup: $(VENV)/.ready
setup-dev: $(VENV)/.ready-dev

$(VENV)/.ready: requirements.txt pyproject.toml scripts/find_python
	@python=$$(scripts/find_python "$(PYTHON)") && echo "Setting up $(VENV) with $$($$python --version); this takes a few minutes ..." && \
	"$$python" -m venv --clear $(VENV) && \
	$(RUN) -m pip install --quiet --disable-pip-version-check --upgrade pip && \
	$(RUN) -m pip install --quiet -e . && touch $@

$(VENV)/.ready-dev: pyproject.toml $(VENV)/.ready
	@echo "Adding the dependencies of the tests, including PyTorch for comparisons ..." && \
	$(RUN) -m pip install --quiet --disable-pip-version-check -e ".[dev]" && touch $@

demo: setup
	@$(RUN) train.py --flagfile=configs/demo.flags
	@echo && echo "Before and after, on scenes that the run has not seen:"
	@$(RUN) -m pixpro_tf.evaluation.compare $(BEFORE_AND_AFTER) --task=matching --image_size=128
	@$(RUN) -m pixpro_tf.evaluation.compare $(BEFORE_AND_AFTER) --task=segmentation --epochs=5 --output=evaluated/before_and_after --overwrite

docs: setup-dev
	$(RUN) -m mkdocs build --strict

notebook: setup-dev
	$(RUN) scripts/run_notebook.py examples/pretrain.ipynb

report: setup-dev
	@[ -d data/photographs ] || $(RUN) -m benchmarks.photographs
	@for plan in methods matched long composites labels; do \
		$(RUN) -m benchmarks.report --plan=configs/report/$$plan.json --work_dir=runs/$$plan \
			--measurements=docs/report/measurements/$$plan --output=docs/report/$$plan || exit; \
	done

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

test-part: setup-dev
	@echo "== part $(PART) of 8 of the thorough tests"
	$(RUN) -m pytest $(PARALLEL) -m thorough --part=$(PART)/8

faults: setup-dev
	$(RUN) -m tests.faults --map
	$(RUN) -m tests.faults

format: setup-dev
	$(RUN) -m ruff format .
	$(RUN) -m ruff check --fix .

clean:
	rm -rf $(VENV) .cache site .faults .venv-beam .venv-keras3 .venv-model_garden .venv-od_api .coverage build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
