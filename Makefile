# make demo   the main job on real data, pictures in demo_out/
# make test   lint, tests, doctests, notebooks
# make bench  the tables of benchmarks/README.md
# All of them make the environment in .venv first, where it is missing or settings.ini has changed.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready

.PHONY: demo test lint bench clean

demo: $(READY)
	$(PY) examples/demo.py demo_out

test: lint
	$(PY) -m pytest -q -n auto --dist worksteal

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

bench: $(READY)
	$(PY) -m pip install -qq -e '.[bench]'
	$(PY) benchmarks/run.py

$(READY): settings.ini setup.py
	@echo "Making the environment in $(VENV): 2 to 5 minutes, about 7 GB, for PyTorch comes with its CUDA libraries."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -qq --upgrade pip
	$(PY) -m pip install -qq -e '.[dev]'
	@touch $(READY)

clean:
	rm -rf $(VENV) demo_out build dist *.egg-info
