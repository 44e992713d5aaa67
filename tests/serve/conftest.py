"""Models and a client for the tests of the server."""

import pytest
from fastapi.testclient import TestClient

import keras_plm as plm
from keras_plm.serve import create_app
from tests.export.test_encoder_decoders import make as make_translator
from tests.tasks.test_text_generation import make

TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"


@pytest.fixture(scope="module")
def models(config, tokenizer, classifier):
    writer = make("llama")
    writer.chat_template = TEMPLATE
    return {
        "writer": writer,
        "translator": make_translator(),
        "reviews": classifier,
        "vectors": plm.Embedder(config, tokenizer),
        "tagger": plm.Tagger(config, ["O", "B-X", "I-X"], tokenizer),
        "reader": plm.QuestionAnswerer(config, tokenizer),
    }


@pytest.fixture(scope="module")
def client(models):
    with TestClient(create_app(models), raise_server_exceptions=False) as client:
        yield client
