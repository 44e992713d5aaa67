"""The documentation site builds, and every warning of it is an error."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MKDOCS = ROOT / ".venv-docs" / "bin" / "mkdocs"


@pytest.mark.slow
@pytest.mark.skipif(not MKDOCS.exists(), reason="make docs sets it up")
def test_the_site_builds(tmp_path):
    command = [str(MKDOCS), "build", "-q", "--strict", "-d", str(tmp_path / "site")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "site" / "api" / "models" / "index.html").read_text("utf-8")
    assert "question answerer" in page.lower() and "(B, T)" in page
