PYTHON := .venv/bin/python
OAMFACE := .venv/bin/oamface
UV := .venv/bin/uv pip install --quiet --python $(PYTHON) --constraint constraints.txt --editable
DATA ?= ../shared/datasets
OPEN := stores/fairface stores/masks
ALL := stores/utkface stores/aaf $(OPEN)
WEIGHTS := src/oamface/weights
LOGS := docs/results/training
NAMES := oam oam-int8 oam-open oam-small
MINUTES ?= 4

# Some containers forbid Python to keep what it compiled; torch alone takes half a minute to compile, in every process.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: demo install test test-release test-fast docs lint format bench audit dist sbom weights card report sensitivity figures study

# The light half alone: enough to analyze images.
.venv/light: pyproject.toml constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt uv
	$(UV) ".[demo]"
	touch $@

.venv/installed: .venv/light
	$(UV) ".[dev]"
	touch $@

demo: .venv/light
	$(PYTHON) examples/portrait.py out/astronaut.png
	$(OAMFACE) analyze out/astronaut.png --annotate out/annotated

install: .venv/installed

# Two processes with a thread each are quicker than one with two. None is replaced after a crash: pytest-xdist 3.8 would
# then wait for ever (a new process gets files that are done).
IN_TWO := -n 2 --dist loadfile --max-worker-restart 0
test: install
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest $(IN_TWO) --no-loadscope-reorder --durations 15 -m "not release"

# The wheel in empty environments, and the notebooks.
test-release: install
	$(PYTHON) -m pytest --durations 5 -m release

# What takes seconds, on one's own machine between two edits.
test-fast: install
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest $(IN_TWO) -q -m "not (slow or browser or gpu or network)"

docs: export NO_MKDOCS_2_WARNING := 1
docs: install
	$(PYTHON) -m mkdocs build --site-dir out/site

lint: install
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

format: install
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: install
	$(OAMFACE) models benchmark

# Known vulnerabilities of the pinned packages; strict: a package that could not be looked up is an error.
audit: .venv/light
	.venv/bin/uv tool run pip-audit --requirement constraints.txt --no-deps --disable-pip --strict

# Wheel and source distribution, and what a user of the wheel installs, as an SBOM (CycloneDX).
dist: .venv/light
	rm -rf dist
	.venv/bin/uv build --quiet --out-dir dist

sbom: dist
	.venv/bin/uv venv --quiet --clear out/sbom
	.venv/bin/uv pip install --quiet --python out/sbom/bin/python --constraint constraints.txt dist/*.whl
	.venv/bin/uv tool run --from cyclonedx-bom cyclonedx-py environment out/sbom/bin/python --pyproject pyproject.toml \
		--output-reproducible --output-file out/oamface.cdx.json

# The shipped weights, from the data sets' archives in $(DATA); docs/weights.md says what it takes.
.venv/dlib: | install
	$(UV) ".[dlib]"
	touch $@

stores/%: | install
	$(OAMFACE) data prepare $* $(DATA)/$*.tar --output $@

# A run ends after MINUTES of the clock, which are for a GPU; but oam-small's after its epochs. On a CPU: make weights
# MINUTES=1440
LIMIT = --minutes $(MINUTES)
runs/oam-small/%: private LIMIT :=
STORES := $(ALL)
runs/oam-open% runs/oam-small/%: STORES := $(OPEN)

runs/%/checkpoint.safetensors: recipes/%.toml | $(ALL)
	$(OAMFACE) train $< $(STORES:%=--store %) --output runs/$* --workers 4 $(LIMIT)

TEACHERS := runs/oam-open-close/checkpoint.safetensors runs/oam-open-wide/checkpoint.safetensors
$(TEACHERS) runs/oam-close/checkpoint.safetensors runs/oam-wide/checkpoint.safetensors: | .venv/dlib
runs/oam-open/checkpoint.safetensors: $(TEACHERS)
runs/oam/checkpoint.safetensors: $(TEACHERS) runs/oam-close/checkpoint.safetensors runs/oam-wide/checkpoint.safetensors

$(WEIGHTS)/oam.onnx: runs/oam/checkpoint.safetensors
	$(OAMFACE) export $< $(ALL:%=--store %) --output $@
	for run in oam-close oam; do cp runs/$$run/log.jsonl $(LOGS)/$$run.jsonl || exit 1; done

$(WEIGHTS)/oam-int8.onnx: $(WEIGHTS)/oam.onnx
	$(OAMFACE) export $< --precision int8 $(ALL:%=--store %) --output $@

runs/oam-small/checkpoint.safetensors: | $(WEIGHTS)/oam-open.onnx

$(WEIGHTS)/oam-small.onnx: private PRECISION := --precision int8
$(WEIGHTS)/oam-open.onnx $(WEIGHTS)/oam-small.onnx: $(WEIGHTS)/%.onnx: runs/%/checkpoint.safetensors
	$(OAMFACE) export $< $(PRECISION) $(OPEN:%=--store %) --test-store stores/utkface --test-store stores/aaf --output $@

$(WEIGHTS)/face_scanner.onnx: | .venv/installed
	$(OAMFACE) train-scanner $(DATA)/fairface.tar $(DATA)/masks.tar --output $@

weights: $(WEIGHTS)/face_scanner.onnx $(NAMES:%=$(WEIGHTS)/%.onnx) card

# What was measured with the shipped weights: docs/results, docs/report and the tables of README and docs. Resumes where
# it stopped. The cards and the table of README show what export measured and keeps in the model files.
report: install
	$(OAMFACE) paper benchmark $(ALL:%=--store %) --weights oam --weights oam-small --output runs/results
	$(OAMFACE) paper report runs/results --main oam --study docs/results/study.json --compact docs/results \
		--log $(LOGS)/oam-close.jsonl --log $(LOGS)/oam.jsonl --output docs/report
	$(PYTHON) benchmarks/undetected.py $(DATA) docs/results/undetected.json
	$(PYTHON) benchmarks/age_thresholds.py stores/utkface stores/aaf
	$(MAKE) card figures

sensitivity: install
	$(OAMFACE) paper sensitivity --weights oam --json --output docs/results/sensitivity.json > /dev/null
	$(MAKE) figures

figures: install
	$(PYTHON) benchmarks/tables.py

# The small networks of the ablation and of the backbones do not depend on the shipped weights: docs/results/study.json
# keeps what they reached. This trains and measures them again, and takes a day on two cores.
runs/%/.done: recipes/paper/%.toml | $(ALL)
	$(OAMFACE) paper study $< $(ALL:%=--store %) --output runs/$*
	touch $@

runs/backbones/.done: | .venv/dlib

study: runs/ablation/.done runs/backbones/.done
	$(OAMFACE) paper benchmark $(ALL:%=--store %) --core --weights oam --study runs/ablation --output runs/study-results
	$(OAMFACE) paper benchmark $(ALL:%=--store %) --core --study runs/backbones --output runs/study-results
	$(OAMFACE) paper report runs/study-results --main oam --compact runs/study --output runs/study-report
	cp runs/study/study.json docs/results/study.json

card: install
	for name in $(NAMES); do $(OAMFACE) models card $$name > $(WEIGHTS)/$$name.md || exit 1; done
