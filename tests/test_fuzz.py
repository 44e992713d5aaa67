"""A sample of `tests/fuzzing.py`; `make test-all` runs a hundred thousand."""

import subprocess
import sys
from pathlib import Path

import pytest
from fuzzing import run


def test_a_sample_of_damaged_inputs():
    assert run(1_500, seed=11, slow_share=0.05) == []


@pytest.mark.slow
def test_a_hundred_thousand_damaged_inputs():
    script = str(Path(__file__).parent / "fuzzing.py")
    done = subprocess.run([sys.executable, script, "100000", "0"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]
    assert float(done.stdout.split(" kinds of faults, ")[1].split(" GB")[0]) < 2
