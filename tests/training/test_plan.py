from dataclasses import replace

import pytest

import keras_plm as plm
from keras_plm.config import DECODER_SIZES, ENCODER_DECODER_SIZES, GPT3_SIZES, SIZES
from keras_plm.training import plan
from keras_plm.training.devices import DEVICES, this_machine
from keras_plm.training.plan import _activations

GPT3 = GPT3_SIZES["gpt3-175b"]


def test_gpt3_as_published():
    """Brown et al. 2020, table D.1: 174,600 M weights, 300 B tokens, 3.14e23 operations."""
    found = plan(GPT3, 300e9, max_length=2_048)
    assert found.flops == pytest.approx(3.14e23, rel=0.06)  # the table counts 6 operations a weight, and no attention
    assert found.parameters == pytest.approx(174.6e9, rel=0.01)


def test_gpt3_on_a_thousand_gpus_as_published():
    """Narayanan et al. 2021, §5.1: 34 days on 1,024 A100 at 140 teraFLOP/s each, with recomputed activations."""
    found = plan(
        GPT3, 300e9, "a100-80gb", devices=1_024, batch_size=1_536, max_length=2_048, rematerialize=True,
        utilization=140 / 312, price_per_hour=2.0,
    )  # fmt: skip
    assert found.seconds / 86_400 == pytest.approx(34, rel=0.06)
    assert found.price == pytest.approx(2 * 1_024 * found.seconds / 3_600)
    assert found.kilowatt_hours == pytest.approx(0.4 * 1_024 * found.seconds / 3_600)
    assert not found.fits and "but a100-80gb has 80 GB" in str(found) and "days" in str(found)


def test_bert_base_as_published():
    """Devlin et al. 2019, appendix A.2: 1 M steps of 256 rows, one in ten with 512 tokens, 4 days on 16 TPU chips."""
    short = plan(plm.BASE, 0.9e6 * 256 * 128, "tpu-v2", 16, 256, 128, utilization=1.0)
    long = plan(plm.BASE, 0.1e6 * 256 * 512, "tpu-v2", 16, 256, 512, utilization=1.0)
    utilization = (short.seconds + long.seconds) / (4 * 86_400)
    assert utilization == pytest.approx(0.1, abs=0.03)
    assert short.fits


def test_activations_as_published():
    """Korthikanti et al. 2022, table 2: s·b·h·(34 + 5·a·s/h) bytes for each block in 16 bits."""
    width, heads, length = GPT3.hidden_dim, GPT3.num_heads, 2_048
    wanted = GPT3.num_layers * width * (34 + 5 * heads * length / width)
    assert _activations(GPT3, length, True, False) == pytest.approx(wanted)
    assert _activations(GPT3, length, True, True) < 0.06 * wanted
    assert _activations(GPT3, length, False, False) > 1.8 * wanted


@pytest.mark.parametrize("name", ["tiny", "mini", "gpt-mini", "transformer-tiny"])
def test_weights_of_the_model(name):
    config = (SIZES | DECODER_SIZES | ENCODER_DECODER_SIZES)[name]
    kind = plm.TextGenerator if name == "gpt-mini" else plm.Pretrainer
    if name == "transformer-tiny":  # without biases and norms, but with sinusoids
        assert plan(config, 1).parameters == pytest.approx(plm.Seq2Seq(config).count_params(), rel=0.03)
    else:
        assert plan(config, 1).parameters == kind(config).count_params()


@pytest.mark.parametrize(
    "changes",
    [
        {"normalize_first": True}, {"embedding_dim": 32, "shared_layers": True}, {"has_pooler": False},
        {"positions": "sinusoidal", "num_segments": 0}, {"vocabulary_size": 997, "num_layers": 3},
    ],
)  # fmt: skip
def test_weights_of_variations_of_bert(changes):
    config = replace(plm.TINY, **changes)
    assert config.num_parameters == plm.Pretrainer(config).count_params()


def test_what_changes_the_cost():
    base = plan(plm.BASE, 1e9)
    assert plan(plm.BASE, 1e9, devices=4, batch_size=256).seconds == pytest.approx(base.seconds / 4)
    assert plan(plm.BASE, 1e9, bfloat16=False).seconds == pytest.approx(2 * base.seconds)
    again = plan(plm.BASE, 1e9, rematerialize=True)
    assert 1.2 < again.seconds / base.seconds < 1.34 and again.activation_bytes < 0.4 * base.activation_bytes
    # measured with BASE, 8 rows of 512 tokens, mixed bfloat16: 5.1 and 3.1 GB (XLA's own buffers are not in the plan)
    sizes = {"batch_size": 8, "max_length": 512}
    assert plan(plm.BASE, 1e9, **sizes).bytes_per_device == pytest.approx(5.08e9, rel=0.05)
    assert plan(plm.BASE, 1e9, rematerialize=True, **sizes).bytes_per_device == pytest.approx(3.14e9, rel=0.2)
    assert plan(replace(plm.BASE, num_layers=24), 1e9).seconds > 1.8 * base.seconds
    assert plan(plm.BASE, 1e9, mask_rate=0.3).flops > base.flops
    assert base.price is None and plan(plm.BASE, 1e9, "tpu-v5e").kilowatt_hours is None
    assert plan(plm.TRANSFORMER_BASE, 1e9).flops_per_token > 0


def test_this_machine():
    device = this_machine(0.2)
    assert device.memory > 1e9 and device.float32 > 1e9 and device.bfloat16 > 1e8
    assert str(plan(plm.TINY, 1e6, "here")).count("here") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"device": "a1000"}, "choose one of t4, v100"),
        ({"tokens": 0}, "tokens=0; it must be at least 1"),
        ({"devices": 0}, "devices=0"),
        ({"utilization": 0.0}, r"in \(0, 1\]"),
    ],
)
def test_numbers_out_of_range(changes, message):
    with pytest.raises(ValueError, match=message):
        plan(**{"config": plm.TINY, "tokens": 1e6} | changes)


def test_every_device_has_its_name():
    assert all(name == device.name and device.float32 <= device.bfloat16 for name, device in DEVICES.items())
