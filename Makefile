# Every target sets up .venv by itself, and again only when pyproject.toml has changed.
# Another interpreter: make demo PYTHON=python3.12. Fewer solvers in the tests: make test TEST_EXTRAS=test.
# Benchmark cases: make bench DATA=DIR runs all within an hour, BENCH_ARGS="one_neuron --seeds 3" chooses.

PYTHON ?= python3
TEST_EXTRAS ?= test,scip,gurobi
WORKERS ?= 2
DATA ?=
BENCH_ARGS ?= all

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --editable
OUT := demo-output

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench clean

help:
	@echo "make demo    train a score on scikit-learn's breast-cancer data, prove it optimal, predict, verify"
	@echo "make test    tests, doctests, and every command and example of README and docs"
	@echo "make check   ruff, mypy and the import contracts"
	@echo "make docs    the documentation in docs/_build/html; warnings are errors"
	@echo "make bench   speed of the search kernels, half a minute; with DATA=DIR all benchmark cases, within an hour"
	@echo "make clean   remove .venv and everything that was built"

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/runtime.stamp: pyproject.toml | $(BIN)/python
	$(PIP) .
	@touch $@

# The first training on a machine compiles the kernels of engine and search; the cache lasts until they change.
.venv/kernels.stamp: $(wildcard src/provenn/bounds/*.py src/provenn/losses/*.py src/provenn/search/*.py) | .venv/runtime.stamp
	@echo "compiling the kernels, once"
	@printf 'x,y\n0,0\n1,1\n' | $(BIN)/provenn train - --target y --time-limit 900 --quiet > /dev/null
	@printf 'x,y\n0,0\n1,1\n' | $(BIN)/provenn train - --target y --hidden 1 --solver search --node-limit 1 --quiet > /dev/null
	@touch $@

.venv/test.stamp: pyproject.toml | $(BIN)/python
	$(PIP) ".[$(TEST_EXTRAS)]"
	@touch $@ .venv/runtime.stamp

.venv/check.stamp: pyproject.toml | $(BIN)/python
	$(PIP) ".[check]"
	@touch $@ .venv/runtime.stamp

.venv/docs.stamp: pyproject.toml | $(BIN)/python
	$(PIP) ".[docs]"
	@touch $@ .venv/runtime.stamp

.venv/bench.stamp: pyproject.toml | $(BIN)/python
	$(PIP) ".[bench]"
	@touch $@ .venv/runtime.stamp

demo: .venv/runtime.stamp .venv/kernels.stamp
	@mkdir -p $(OUT)
	$(BIN)/provenn train sklearn:breast_cancer --quantize thermometer --bits 1 --weight-bound 3 --max-nonzeros 5 --temperature 1 -o $(OUT)/model.json
	$(BIN)/provenn predict $(OUT)/model.json sklearn:breast_cancer -o $(OUT)/predictions.csv
	@head -n 6 $(OUT)/predictions.csv
	$(BIN)/provenn verify $(OUT)/model.json sklearn:breast_cancer

test: .venv/test.stamp
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: .venv/check.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/docs.stamp
	$(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

bench: .venv/bench.stamp .venv/kernels.stamp
ifdef DATA
	$(BIN)/provenn bench $(BENCH_ARGS) --data $(DATA)
else
	$(BIN)/provenn bench
	$(BIN)/python bench/kernels.py
endif

clean:
	rm -rf .venv $(OUT) docs/_build build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
