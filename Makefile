# make demo    the main job on a real brain, pictures in demo_out/
# make test    lint, types, tests, doctests, notebooks
# make lint    the linter, the formatter and the type checker
# make lowest  tests and doctests with the lowest versions of the requirements, in .venv-lowest
# make docs    the documentation site in build/docs; docs/conf.py says how
# make bench   the tables of benchmarks/README.md
# make hippocampus DATA=folder [TEST=folder] [BUDGET=minutes]    plan, folds and ensemble on Task04 of the Decathlon
# make medmnist3d DATA=folder [BUDGET=minutes]                   plan and scores on MedMNIST's 3D sets
# All of them make their environment first, where it is missing or settings.ini has changed.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
READY := $(VENV)/.ready
LOWEST := .venv-lowest

# The workers and the processes that tests start would each compile this package, and pytest's plugins, anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test lint docs lowest bench hippocampus medmnist3d clean

demo: $(READY)
	$(PY) examples/demo.py demo_out

test: lint
	$(PY) -m pytest -q -n auto --dist worksteal

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy

# Offline. Warnings are errors; so are links that lead nowhere.
docs: $(READY)
	$(PY) -W ignore::FutureWarning -m sphinx -W --keep-going -q -j auto -c docs . build/docs
	$(PY) docs/_sphinx/check_links.py build/docs

# Warnings are no errors here: old versions meet newer ones of what they require themselves.
lowest: $(LOWEST)/.ready
	$(LOWEST)/bin/python -m pytest -q -n auto --dist worksteal -o filterwarnings=default --ignore tests/test_notebooks.py

bench: $(READY)
	$(PY) -m pip install -qq -e '.[bench]'
	$(PY) benchmarks/run.py

hippocampus: $(READY)
	$(PY) examples/hippocampus.py $(DATA) $(if $(TEST),--test $(TEST)) $(if $(BUDGET),--budget $(BUDGET))

medmnist3d: $(READY)
	$(PY) examples/medmnist3d.py $(DATA) $(if $(BUDGET),--budget $(BUDGET))

$(READY): settings.ini setup.py
	@echo "Making the environment in $(VENV): 2 to 5 minutes, about 7 GB, for PyTorch comes with its CUDA libraries."
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed")'
	$(PYTHON) -m venv $(VENV)
	$(PY) -m pip install -qq --upgrade pip
	$(PY) -m pip install -qq -e '.[dev,docs]'
	@touch $(READY)

$(LOWEST)/.ready: settings.ini setup.py
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install -qq --upgrade pip
	$(PYTHON) .ci/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install -qq -e '.[dev]' -c $(LOWEST)/constraints.txt
	@touch $(LOWEST)/.ready

clean:
	rm -rf $(VENV) $(LOWEST) demo_out build dist *.egg-info
