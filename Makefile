PYTHON := .venv/bin/python

.PHONY: install test lint

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	python3 -m venv .venv
	.venv/bin/pip install --quiet --constraint constraints.txt uv
	.venv/bin/uv pip install --quiet --python $(PYTHON) --constraint constraints.txt --editable ".[dev]"
	touch $@

test: install
	$(PYTHON) -m pytest

lint: install
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
