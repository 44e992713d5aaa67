"""The endpoints of the server: each answer is that of the model alone."""

import base64
import json

import numpy as np
import pytest

from tests.serve.calls import bias_of, chat, complete, events
from tests.tasks.test_text_generation import PROMPTS


def test_models(client, models):
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == list(models)
    assert client.get("/v1/models/writer").json()["object"] == "model"
    missing = client.get("/v1/models/other")
    assert missing.status_code == 404 and missing.json()["error"]["code"] == "model_not_found"


def test_completions(client, models):
    writer = models["writer"]
    found = complete(client, prompt=PROMPTS, max_tokens=9).json()
    assert [choice["text"] for choice in found["choices"]] == writer.generate(PROMPTS, max_new_tokens=9)
    assert [choice["index"] for choice in found["choices"]] == [0, 1, 2, 3]
    ids = writer.texts_to_ids(PROMPTS)
    assert found["usage"]["prompt_tokens"] == sum(map(len, ids))
    assert complete(client, prompt=ids, max_tokens=9).json()["choices"] == found["choices"]
    assert complete(client, prompt=ids[0], max_tokens=9).json()["choices"] == found["choices"][:1]
    settings = {"temperature": 0.8, "top_p": 0.9, "seed": 5, "n": 2, "frequency_penalty": 0.5, "max_tokens": 8}
    wanted = writer.generate(
        ["the"], do_sample=True, temperature=0.8, top_p=0.9, seed=5, num_return_sequences=2, frequency_penalty=0.5,
        max_new_tokens=8,
    )  # fmt: skip
    assert [choice["text"] for choice in complete(client, **settings).json()["choices"]] == wanted[0]
    text = writer.generate(["the"], max_new_tokens=16)[0]
    stopped = complete(client, stop=[text[3:5]]).json()["choices"][0]
    assert stopped["text"] == text[: text.index(text[3:5])] and stopped["finish_reason"] == "stop"


def test_log_probabilities_and_echo(client, models):
    fields = {"max_tokens": 5, "logprobs": 2, "logit_bias": bias_of(models)}
    plain = complete(client, **fields).json()["choices"][0]
    score = models["writer"].score(["the" + plain["text"]])[0]
    assert plain["logprobs"]["token_logprobs"] == pytest.approx(score.log_probabilities[-5:], abs=1e-4)
    echoed = complete(client, **fields, echo=True).json()["choices"][0]
    assert echoed["text"] == "the" + plain["text"]
    assert echoed["logprobs"]["token_logprobs"][0] is None
    assert echoed["logprobs"]["token_logprobs"][1:] == pytest.approx(score.log_probabilities[1:], abs=1e-4)
    tops = zip(echoed["logprobs"]["top_logprobs"][1:], echoed["logprobs"]["tokens"][1:], strict=True)
    assert all(2 <= len(top) <= 3 and token in top for top, token in tops)
    for token, offset in zip(echoed["logprobs"]["tokens"], echoed["logprobs"]["text_offset"], strict=True):
        assert echoed["text"][offset:].startswith(token)
    only = complete(client, max_tokens=0, echo=True, logprobs=1).json()["choices"][0]
    assert only["text"] == "the" and len(only["logprobs"]["tokens"]) == len(models["writer"].texts_to_ids(["the"])[0])


def test_the_best_of_several(client):
    fields = {"temperature": 1.0, "seed": 3, "max_tokens": 6, "logprobs": 0}
    every = complete(client, **fields, n=5).json()["choices"]
    best = complete(client, **fields, n=2, best_of=5).json()["choices"]
    means = [np.mean(choice["logprobs"]["token_logprobs"]) for choice in every]
    order = np.argsort(-np.array(means), kind="stable")[:2]
    assert [choice["text"] for choice in best] == [every[i]["text"] for i in order]


def test_streams(client, models):
    fields = {"prompt": PROMPTS[:2], "max_tokens": 7, "logprobs": 1, "stream_options": {"include_usage": True}}
    whole = complete(client, prompt=PROMPTS[:2], max_tokens=7, logprobs=1).json()
    found = events(complete(client, **fields, stream=True))
    assert found[-1]["usage"] == whole["usage"] and found[-1]["choices"] == []
    for i in range(2):
        parts = [event["choices"][0] for event in found[:-1] if event["choices"][0]["index"] == i]
        assert "".join(part["text"] for part in parts) == whole["choices"][i]["text"]
        assert parts[-1]["finish_reason"] == whole["choices"][i]["finish_reason"]
        for name in ("tokens", "text_offset", "token_logprobs"):
            joined = [value for part in parts for value in part["logprobs"][name]]
            assert joined == whole["choices"][i]["logprobs"][name]


def test_chat(client, models):
    found = chat(client, max_completion_tokens=9).json()
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    text = models["writer"].chat(messages, max_new_tokens=9)
    message = found["choices"][0]["message"]
    assert message == {"role": "assistant", "content": text, "refusal": None}
    streamed = events(chat(client, max_tokens=9, stream=True, logprobs=True, top_logprobs=2))
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in streamed) == text
    content = [token for event in streamed for token in event["choices"][0]["logprobs"]["content"]]
    assert all(len(token["top_logprobs"]) == 2 for token in content)
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    json_text = chat(client, max_tokens=40, response_format=form).json()["choices"][0]["message"]["content"]
    assert set(json.loads(json_text)) == {"a"}


def test_an_encoder_decoder(client, models):
    texts = ["the house", "x"]
    found = complete(client, model="translator", prompt=texts, max_tokens=9).json()["choices"]
    assert [choice["text"] for choice in found] == models["translator"].generate(texts, max_new_tokens=9)


def test_embeddings(client, models):
    texts = ["a quiet film", "two dogs"]
    wanted = models["vectors"].embed(texts)
    found = client.post("/v1/embeddings", json={"model": "vectors", "input": texts}).json()
    np.testing.assert_allclose([row["embedding"] for row in found["data"]], wanted, atol=1e-6)
    body = {"model": "vectors", "input": texts[0], "encoding_format": "base64", "dimensions": 7}
    (row,) = client.post("/v1/embeddings", json=body).json()["data"]
    short = wanted[0][:7] / np.linalg.norm(wanted[0][:7])
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(row["embedding"]), "<f4"), short, atol=1e-6)
    ids = models["vectors"].tokenizer.encode(texts[1]).token_ids
    (row,) = client.post("/v1/embeddings", json={"model": "vectors", "input": ids}).json()["data"]
    np.testing.assert_allclose(row["embedding"], wanted[1], atol=1e-6)


def test_labels_tags_and_answers(client, models):
    text = "a quiet film in a town"
    (found,) = client.post("/v1/classifications", json={"model": "reviews", "input": text}).json()["data"]
    assert found["label"] == models["reviews"].predict_labels([text])[0]
    assert sum(found["scores"].values()) == pytest.approx(1, abs=1e-5)
    (spans,) = client.post("/v1/tags", json={"model": "tagger", "input": [text]}).json()["data"]
    assert [span["label"] for span in spans] == [span.label for span in models["tagger"].tag([text])[0]]
    body = {"model": "reader", "question": "what is it", "context": text}
    answer = models["reader"].answer("what is it", text)
    found = client.post("/v1/answers", json=body).json()
    assert found["text"] == answer.text and found["start"] == answer.start
