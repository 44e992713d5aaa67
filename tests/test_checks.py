"""`make check` sees every folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_planted_errors_are_found(tmp_path):
    for name in ("keras_plm", "recipes", "export"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    planted = {
        "recipes/tag.py": 'import keras_plm.export\n_wrong: int = "tag"\n',
        "export/onnx.py": 'import keras_plm.recipes\nfrom keras_plm.models import Encoder\nEncoder(1)._wrong("onnx")\n',
        "keras_plm/layers/masks.py": 'import keras_plm.models\n_wrong: int = "masks"\n',
        "keras_plm/commands/quiet.py": "from keras_plm.models.no_such_module import thing\n",
    }
    for name, lines in planted.items():
        with (tmp_path / name).open("a") as file:
            file.write(lines)
    options = {"cwd": tmp_path, "capture_output": True, "text": True, "env": os.environ | {"PYTHONPATH": "."}}
    types = subprocess.run([sys.executable, "-m", "mypy"], **options).stdout
    for name in ("recipes/tag.py", "export/onnx.py", "layers/masks.py", "commands/quiet.py"):
        assert f"keras_plm/{name.removeprefix('keras_plm/')}" in types or name in types, types
    imports = subprocess.run([str(Path(sys.executable).parent / "lint-imports")], **options).stdout
    for module in ("keras_plm.recipes.tag", "keras_plm.export.onnx", "keras_plm.layers.masks"):
        assert module in imports, imports
