import pytest

import keras_plm as plm
from keras_plm.checkpoints import known_checkpoints
from keras_plm.checkpoints.hugging_face import ARCHITECTURES
from keras_plm.checkpoints.recommendation import TASKS


def test_the_table_is_whole():
    rows = known_checkpoints()
    assert len({row.name for row in rows}) == len(rows) >= 20
    for row in rows:
        assert row.architecture in ARCHITECTURES and set(row.tasks) <= set(TASKS) and row.languages, row.name
        assert row.parameters > 1e6 and all(source for _, source in row.scores.values()), row.name
        assert 0 < row.latency_ms["dynamic_int8"] < row.latency_ms["float32"], row.name


def test_it_recommends_what_fits():
    assert plm.choose("similarity", max_megabytes=30).name == "hf:sentence-transformers/all-MiniLM-L6-v2"
    free = plm.choose("classification")
    assert "electra-base" in free.name and "MNLI-m accuracy" in free.reason and "https://" in free.reason
    small = plm.choose("classification", max_megabytes=12)
    assert small.checkpoint.megabytes() <= 12 < free.checkpoint.megabytes()
    fast = plm.choose("tagging", max_latency_ms=small.checkpoint.latency_ms["dynamic_int8"])
    assert fast.checkpoint.latency_ms["dynamic_int8"] <= small.checkpoint.latency_ms["dynamic_int8"]
    assert plm.choose("classification", languages=["zh"]).checkpoint.languages == ("zh",)
    several = plm.choose("classification", languages=["en", "de", "zh"])
    assert several.checkpoint.languages == ("multilingual",)
    better = [row.score(("MNLI-m accuracy",)) for row in (free.checkpoint, *free.others)]
    values = [score[1] for score in better if score]
    assert values == sorted(values, reverse=True)
    assert "plm.load('hf:" in str(free) and free.others[0].name in str(free).replace("\n", "")


def test_it_says_what_stands_in_the_way():
    with pytest.raises(ValueError, match=r"fits: the smallest, prajjwal1/bert-tiny, has 4.5 MB as dynamic_int8; the"):
        plm.choose("classification", max_megabytes=0)
    for arguments, message in (
        ({"task": "poetry"}, "task='poetry'; choose one of"),
        ({"languages": "en"}, "pass a list of codes"),
        ({"quantization": "int2"}, "quantization='int2'; choose one of float32, dynamic_int8"),
    ):
        with pytest.raises(ValueError, match=message):
            plm.choose(**arguments)
