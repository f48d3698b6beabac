# make demo: set-up, then the quickstart.  make test: set-up, then the tests.
PYTHON ?= python3
VENV   ?= .venv
READY   = $(VENV)/.ready
BIN     = $(VENV)/bin
# A test computes on one core, and a file's tests run on one process: they share what they train.
PYTEST  = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist loadfile --no-loadscope-reorder

.PHONY: setup demo test test-fast check format clean
setup: $(READY)

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "Installing pets and its libraries into $(VENV) (torch is large: a few minutes the first time)"
	$(BIN)/python -m pip install --progress-bar off --quiet -e ".[weights,verify,openvino,export,slurm,optuna,dev]"
	touch $@

demo: $(READY)
	$(BIN)/pets train experiment=quickstart

test: $(READY)
	$(PYTEST) $(PYTEST_ARGS)

test-fast: $(READY)
	$(PYTEST) -m "not integration and not heavy" $(PYTEST_ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV)
