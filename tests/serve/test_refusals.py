"""Each bad request is refused, and so are too many, too large and too slow ones."""

import asyncio
import json
import random
import threading
import time

import pytest
from fastapi.testclient import TestClient

import keras_plm as plm
from keras_plm.generation import GenerationSettings
from keras_plm.serve import Limits, create_app, run_server
from keras_plm.serve.requests import AnswerBody, ChatBody, ClassificationBody, CompletionBody, EmbeddingBody
from tests.serve.calls import JSON, bias_of, complete
from tests.tasks.test_text_generation import allowed


def test_more_texts_than_rows(client):
    found = complete(client, prompt=["the"] * 100, max_tokens=2).json()["choices"]
    assert len(found) == 100 and len({choice["text"] for choice in found}) == 1


@pytest.mark.parametrize(
    "path,fields,param,message",
    [
        ("completions", {"temprature": 1}, "temprature", "not supported"),
        ("completions", {"suffix": "x"}, "suffix", "not supported"),
        ("completions", {"n": 2}, "n", "temperature 0"),
        ("completions", {"n": 3, "best_of": 2, "temperature": 1}, "best_of", "below"),
        ("completions", {"best_of": 2, "stream": True, "temperature": 1}, "best_of", "streamed"),
        ("completions", {"temperature": 3}, "temperature", "less than or equal"),
        ("completions", {"temperature": "hot"}, "temperature", "valid number"),
        ("completions", {"prompt": [[99_999]]}, "prompt", "outside"),
        ("completions", {"prompt": []}, "prompt", "no text"),
        ("completions", {"max_tokens": 0}, "max_tokens", "needs echo"),
        ("completions", {"prompt": "x" * 500}, None, "500 tokens"),
        ("completions", {"prompt": ["x"] * 200}, "n", "at most 128"),
        ("completions", {"logit_bias": {"99999": 5}}, None, "logit_bias"),
        ("completions", {"logit_bias": {"the": 5}}, "logit_bias", "token ids"),
        ("completions", {"logit_bias": {"²": 5}}, "logit_bias", "token ids"),
        ("completions", {"max_tokens": 0, "echo": True, "stream": True}, "max_tokens", "no stream"),
        ("completions", {"max_tokens": 0, "echo": True, "logprobs": 1, "prompt": [1] * 900}, "prompt", "reads at most"),
        ("completions", {"model": "reviews"}, "model", "does not generate"),
        ("chat/completions", {"prompt": None, "messages": []}, None, ""),
        ("chat/completions", {"messages": [{"role": "user", "content": "a"}], "tools": []}, "tools", "not supported"),
        ("chat/completions", {"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role", "Input should be"),
        (
            "chat/completions",
            {"messages": [{"role": "user", "content": "a"}], "top_logprobs": 2},
            "top_logprobs",
            "needs",
        ),
        ("embeddings", {"input": "a"}, "model", "cannot do this"),
        ("embeddings", {"model": "vectors", "input": []}, "input", "no text"),
        ("embeddings", {"model": "vectors", "input": "a", "dimensions": 99}, "dimensions", "33 numbers"),
    ],
)
def test_refused(client, path, fields, param, message):
    body = {"model": "writer"} | ({"prompt": "the", "temperature": 0} if path == "completions" else {}) | fields
    response = client.post(f"/v1/{path}", json=body)
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert error["type"] == "invalid_request_error" and message in error["message"]
    if param is not None:
        assert error["param"] is not None and error["param"].startswith(param)


def test_bodies_that_are_no_json(client):
    for content in (b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000, b'{"model": "writer", "prompt": "\\ud800"}'):
        response = client.post("/v1/completions", content=content, headers=JSON)
        assert response.status_code == 400 and response.json()["error"]["message"], content[:20]


MANY = [
    None, -1, 0, 1, 2**70, 0.5, 1e308, "", "the", "\u0000", "\ud83d", "a" * 3_000, True, [], {}, [[]], [None], [0, 1],
    ["a", 1], {"1": 1}, {"x": -100}, [[0]] * 200, "../../etc/passwd", {"type": "json_object"},
]  # fmt: skip


def fuzzed(random):
    """A request with some fields that are wrong, some that are right, and some that do not exist."""
    path = random.choice(
        ["completions", "chat/completions", "embeddings", "classifications", "tags", "answers", "models"]
    )
    kinds = {
        "completions": CompletionBody,
        "chat/completions": ChatBody,
        "embeddings": EmbeddingBody,
        "answers": AnswerBody,
    }
    names = [*kinds.get(path, ClassificationBody).model_fields, "no_such_field"]
    body = {"model": random.choice(["writer", "reviews", "vectors", "tagger", "reader", "translator", "none"])}
    body |= {
        "completions": {"prompt": "the", "max_tokens": 1},
        "chat/completions": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 1},
        "answers": {"question": "what is it", "context": "a quiet film"},
    }.get(path, {"input": "a quiet film"})
    for name in random.sample(names, random.randint(0, 3)):
        body[name] = random.choice(MANY)
    content = json.dumps(body).encode()
    if random.random() < 0.2:  # bytes that are lost or changed
        at = random.randrange(len(content))
        content = content[:at] + random.choice([b"", b"\xff", b"{", content[at + 1 :]])
    return f"/v1/{path}", content


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=pytest.mark.slow)])
def test_fuzzed_requests(client, count):
    """Refused or answered: no failure of the server, and no refusal takes long."""
    generator, statuses = random.Random(count), set()
    for _ in range(count):
        path, content = fuzzed(generator)
        start = time.process_time()  # of all threads; other processes do not count
        response = client.post(path, content=content, headers=JSON)
        seconds = time.process_time() - start
        statuses.add(response.status_code)
        assert response.status_code in (200, 400, 404, 405), (path, content, response.text)
        if response.status_code != 200:
            assert response.json()["error"]["message"] and seconds < 0.5, (path, content, seconds)
    assert {200, 400, 404} <= statuses


def test_what_has_no_session_is_refused_at_the_start(models, monkeypatch):
    """As a SavedModel, see tests/export/test_text_generators.py."""

    def refuse(self, *arguments):
        raise TypeError("it has no functions for generation")

    for kind in (plm.TextGenerator, plm.Seq2Seq):
        monkeypatch.setattr(kind, "open_joining_session", refuse)
    for name in ("writer", "translator"):
        with pytest.raises(TypeError, match="no functions for generation"):
            create_app({name: models[name]})


def test_keys_and_sizes(models):
    app = create_app({"writer": models["writer"]}, Limits(max_bytes=2_000), ["one", "two"])
    with TestClient(app) as client:
        for key, status in (("", 401), ("two", 401), ("Bearer three", 401), ("Bearer on", 401), ("Bearer two", 200)):
            assert client.get("/v1/models", headers={"Authorization": key}).status_code == status
        assert client.get("/healthz").status_code == 200
        headers = {"Authorization": "Bearer one"}
        large = {"model": "writer", "prompt": "x" * 3_000}
        assert client.post("/v1/completions", json=large, headers=headers).status_code == 413
        parts = iter([b'{"model": "writer", "prompt": "', b"x" * 3_000, b'"}'])
        assert client.post("/v1/completions", content=parts, headers=headers | JSON).status_code == 413
    for keys in ("secret", [""], ["a", " "]):
        with pytest.raises(ValueError, match="api_keys"):
            create_app({"writer": models["writer"]}, api_keys=keys)
    with TestClient(create_app({"writer": models["writer"]}, hosts=["localhost"])) as client:
        assert client.get("/v1/models").status_code == 403
        assert client.get("/v1/models", headers={"Host": "localhost:8000"}).status_code == 200
    with pytest.raises(ValueError, match="other machines"):
        run_server(models, "0.0.0.0", 8_000)


def test_too_many_requests(models):
    app = create_app({"writer": models["writer"]}, Limits(max_rows=1, max_waiting=1))
    found = []

    def ask():
        found.append(complete(client, max_tokens=60, logit_bias=bias_of(models)))

    with TestClient(app) as client:
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    settings = GenerationSettings(max_new_tokens=60, logit_bias=dict.fromkeys(allowed(models["writer"]), -100.0))
    wanted = models["writer"].generate(["the"], settings)[0]
    statuses = [response.status_code for response in found]
    assert set(statuses) == {200, 429}
    for response in found:
        if response.status_code == 200:
            assert response.json()["choices"][0]["text"] == wanted
        else:
            assert response.headers["Retry-After"] == "1" and response.json()["error"]["type"] == "rate_limit_error"


def test_a_client_that_is_slow(models, monkeypatch):
    """A body that does not arrive is given up."""
    monkeypatch.setattr("keras_plm.serve.requests._SECONDS", 0.5)
    app, sent = create_app(models), []
    headers = [(b"host", b"testserver"), (b"content-type", b"application/json"), (b"content-length", b"99")]
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "raw_path": b"/v1/completions",
             "query_string": b"", "headers": headers, "http_version": "1.1", "scheme": "http", "client": ("a", 1),
             "server": ("testserver", 80), "root_path": "", "asgi": {"version": "3.0"}}  # fmt: skip
    parts = iter([{"type": "http.request", "body": b"{", "more_body": True}])

    async def receive():
        part = next(parts, None)
        return part if part is not None else await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    begun = time.monotonic()
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 408 and time.monotonic() - begun < 20
    error = json.loads(b"".join(message.get("body", b"") for message in sent[1:]))["error"]
    assert "did not arrive within 0.5 seconds" in error["message"]
