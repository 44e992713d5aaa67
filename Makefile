# Every target sets up its own environment in .venv: a machine with Python 3.11 to 3.13 and pip is enough.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check test-all bench clean

# an environment whose Python has been removed or moved is made again
$(shell $(BIN)/python -c "" 2>/dev/null || rm -f .venv/installed .venv/developer)

demo: .venv/installed ; $(BIN)/python examples/demo.py
test: .venv/developer ; $(BIN)/python -m pytest -m "not slow"
check: .venv/developer ; $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && PYTHONPATH=. $(BIN)/lint-imports
test-all: .venv/developer ; $(BIN)/python -m pytest
bench: .venv/developer ; $(BIN)/python tests/bench/run.py

.venv/installed: setup.cfg
	$(PYTHON) -m venv --clear .venv && $(BIN)/python -m pip install -q -e ".[all]" && touch $@
.venv/developer: .venv/installed
	$(BIN)/python -m pip install -q -e ".[dev]" && touch $@
clean: ; rm -rf .venv .venv-peers build dist *.egg-info
