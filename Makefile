# make setup · make demo · make test. Needs Python 3.11 or newer, make and git; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
# faiss-cpu and faiss-gpu install the same package: exactly one, by whether an NVIDIA GPU is there.
FAISS := $(shell nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo cpu)

.PHONY: setup demo test lint types imports clean

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Candor needs Python 3.11 or newer; name one with: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[$(FAISS),dev]'
	touch $@

demo: setup
	$(BIN)/candor demo --out runs/demo --replace

# What runs a service takes every core, and measures: one at a time. The rest runs side by side, a file in one process.
test: lint types imports
	$(BIN)/python -m pytest -m "not gpu and not e2e" --numprocesses logical --maxprocesses 8 --dist loadfile
	$(BIN)/python -m pytest -m "e2e and not gpu"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports

clean:
	rm -rf .venv runs build *.egg-info
