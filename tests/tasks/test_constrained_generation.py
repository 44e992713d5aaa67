"""Texts of a model with random weights fit a schema or an expression."""

import json
import re

import pytest

from keras_plm.generation import GenerationSettings
from tests.tasks.test_text_generation import PROMPTS, make

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "age": {"type": "integer", "minimum": 0, "maximum": 150},
                   "kind": {"enum": ["cat", "heron"]}},
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return make("gpt2")


@pytest.mark.parametrize("options", [{}, {"do_sample": True, "seed": 1, "temperature": 3.0}, {"num_beams": 3},
                                     {"prompt_lookup_num_tokens": 3}])  # fmt: skip
def test_texts_fit_a_json_schema(model, options):
    for text in model.generate(PROMPTS, json_schema=json.dumps(SCHEMA), max_new_tokens=80, **options):
        found = json.loads(text)
        assert set(found) == {"name", "age", "kind"} and found["kind"] in ("cat", "heron")
        assert isinstance(found["age"], int) and 0 <= found["age"] <= 150 and len(found["name"]) <= 5


def test_texts_match_an_expression(model):
    expression = r"(the|a) (cat|dog)s? sees [0-9]{2,4} (中国|naïve) birds\."
    settings = GenerationSettings(regex=expression, do_sample=True, temperature=5.0, max_new_tokens=80)
    texts = [text for _ in range(3) for text in model.generate(PROMPTS, settings)]
    assert all(re.fullmatch(expression, text) for text in texts) and len(set(texts)) > 6
    parts = list(model.stream(PROMPTS[0], settings))
    assert re.fullmatch(expression, "".join(parts))


def test_other_settings_still_count(model):
    text = model.generate(PROMPTS[:1], regex="(cat|dog)", bad_words=("cat", "c"))[0]
    assert text == "dog"
    with pytest.raises(ValueError, match="the settings forbid every token"):
        model.generate(PROMPTS[:1], regex="cat", bad_words=("c",))


def test_constraints_that_are_none():
    with pytest.raises(ValueError, match="json_schema='{' is not JSON"):
        GenerationSettings(json_schema="{")
    with pytest.raises(ValueError, match="json_schema and regex exclude each other"):
        GenerationSettings(json_schema="{}", regex="a")


@pytest.mark.parametrize("bad", [{"regex": "(a"}, {"json_schema": '{"type": "poem"}'}])
def test_what_cannot_be_followed_is_named(model, bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        model.generate(PROMPTS[:1], **bad)
