# make demo | test | test-slow | test-data | test-browser | test-cluster | coverage | lint | bench | docs | tables | figures | report | clean.
# Each installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
.DEFAULT_GOAL := help
PARALLEL := --numprocesses auto --dist worksteal
FAST := not slow and not data and not browser and not cluster
.PHONY: help install demo test test-slow test-data test-browser test-cluster coverage lint bench docs tables figures report clean

help:
	@echo "make demo       train five methods on embedded data, print the table (no network once installed)"
	@echo "make test       run the tests; those of one method: .venv/bin/python -m pytest --method lora"
	@echo "make test-slow     run those that take long and break rarely: wheels, races, kills, several processes"
	@echo "make test-data     run those that prepare datasets with TensorFlow, which it installs"
	@echo "make test-browser  run those of the page in Debian's chromium (apt-get install chromium)"
	@echo "make test-cluster  run those on a real Slurm and Ray, and kill -9 (apt-get install slurmctld slurmd slurm-client munge)"
	@echo "make coverage      run the tests, and list the lines of the package that none of them reaches"
	@echo "make lint       ruff and mypy"
	@echo "make bench      time and memory of training and scoring, as ratios (docs/performance.md)"
	@echo "make docs       the documentation site, in outputs/site (open index.html); fails on a dead link"
	@echo "make tables     tables from results/ (no torch)"
	@echo "make figures    figures from results/ (no torch)"
	@echo "make report     tables, figures, and one HTML page of results/ (no torch)"
	@echo "make clean      remove .venv and everything a run leaves outside results/"

install: $(BIN)/.installed

$(BIN)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14) and "aoft_bench needs Python 3.10 to 3.13, got " + sys.version.split()[0] + ": make PYTHON=python3.12 " + "demo")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	@touch $@

demo: install
	$(BIN)/python -m aoft_bench -cd sweeps -cn demo

test: install
	$(BIN)/python -m pytest $(PARALLEL) -m "$(FAST)"

test-slow: install
	$(BIN)/python -m pytest $(PARALLEL) -m "slow and not data and not browser and not cluster"

coverage: install
	$(BIN)/python -m pytest $(PARALLEL) -m "$(FAST)" --cov --cov-report=term-missing

# TensorFlow is needed to prepare the originals of VTAB-1k, never to train
test-data: $(BIN)/.tensorflow
	$(BIN)/python -m pytest $(PARALLEL) -m data

$(BIN)/.tensorflow: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,tensorflow]"
	@touch $@

test-browser: install
	$(BIN)/python -m pytest -m browser

test-cluster: $(BIN)/.cluster
	$(BIN)/python -m pytest -m cluster

$(BIN)/.cluster: $(BIN)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev,cluster]"
	@touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: install
	$(BIN)/python -m benchmarks --out outputs/benchmark

docs: install
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build # as a module: the hooks need this folder on the path
	@echo "outputs/site/index.html"

tables: install
	$(BIN)/aoft-bench tables

figures: install
	$(BIN)/aoft-bench figures

report: tables figures
	$(BIN)/aoft-bench report

clean:
	rm -rf $(VENV) outputs build dist .hypothesis .coverage .pytest_cache .ruff_cache .mypy_cache
