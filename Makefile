# make app        open the app                       make test-fast  lint and the tests that need no download
# make test       everything that .ci/run checks     make lint       style, types, import directions
# make bench      the benchmarks                     make studies    the case studies
#
# Each makes .venv first, if it is not there, with Python 3.11 to 3.13 (choose one: make app PYTHON=python3.12) and
# what pip is configured to use. To choose between the CPU and a CUDA build of torch, give pip its index once:
#   make app PIP_TORCH="--index-url https://download.pytorch.org/whl/cpu"      (or .../whl/cu128)

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
TORCH ?= torch==2.13.0
PIP_TORCH ?=
PYTEST_ARGS ?=
STUDIES_ARGS ?=
PARALLEL ?= -n auto --dist loadfile
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
QUANTISED := $(VENV)/quantised/.installed

.PHONY: app test test-fast lint bench studies install

app: install
	$(BIN)/workbench app

# One thread for each worker, as more wait for each other: numba's number becomes that of torch and scikit-learn as well.
test test-fast: export OMP_NUM_THREADS = 1
test test-fast: export NUMBA_NUM_THREADS = 1

test: lint $(QUANTISED)
	$(BIN)/python -m pytest $(PARALLEL) -m "not real and not browser" $(PYTEST_ARGS)
	$(BIN)/python -m pytest $(PARALLEL) -m "real or browser" $(PYTEST_ARGS)

test-fast: lint
	$(BIN)/python -m pytest $(PARALLEL) -m "not real and not browser and not slow" $(PYTEST_ARGS)

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: install
	$(BIN)/python -m tests.benchmarks

studies: install
	@$(BIN)/workbench study run --all $(STUDIES_ARGS)

install: $(STAMP)

$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "The workbench needs Python 3.11, 3.12 or 3.13; give one with PYTHON=..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install $(PIP_TORCH) $(TORCH)
	$(BIN)/python -m pip install -e ".[dev]"
	touch $(STAMP)

$(QUANTISED): $(STAMP)
	$(BIN)/python -m pip install --quiet --upgrade --no-deps --target $(VENV)/quantised torchao bitsandbytes
	mkdir -p $(@D) && touch $@
