"""The endpoints of the server: each answer is that of the model alone, and each bad request is refused."""

import asyncio
import base64
import json
import random
import threading
import time

import keras
import numpy as np
import pytest
from fastapi.testclient import TestClient

import keras_plm as plm
from keras_plm import export
from keras_plm.__main__ import main
from keras_plm.checkpoints import save_lora
from keras_plm.generation import GenerationSettings
from keras_plm.models import remake, weight_arrays
from keras_plm.serve import Limits, create_app, run_server
from keras_plm.serve.requests import AnswerBody, ChatBody, ClassificationBody, CompletionBody, EmbeddingBody
from tests.export.test_encoder_decoders import make as make_translator
from tests.tasks.test_text_generation import PROMPTS, allowed, make

JSON = {"Content-Type": "application/json"}
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


def complete(client, **fields):
    return client.post("/v1/completions", json={"model": "writer", "prompt": "the", "temperature": 0} | fields)


def bias_of(models):
    return {str(token): -100 for token in allowed(models["writer"])}


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


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


def chat(client, **fields):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    return client.post(
        "/v1/chat/completions", json={"model": "writer", "messages": messages, "temperature": 0} | fields
    )


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


def test_an_answer_that_takes_too_long_and_a_client_that_hangs_up(models):
    app = create_app({"writer": models["writer"]}, Limits(timeout=0.05))
    with TestClient(app) as client:
        response = complete(client, max_tokens=80, n=8, temperature=1, seed=1)
        assert response.status_code == 504 and "more than 0.05 seconds" in response.json()["error"]["message"]
        assert client.get("/healthz").json() == {"status": "ok"}


def test_more_texts_than_rows(client):
    found = complete(client, prompt=["the"] * 100, max_tokens=2).json()["choices"]
    assert len(found) == 100 and len({choice["text"] for choice in found}) == 1


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


def test_an_artifact_is_served(models, tmp_path):
    artifact = export.load_artifact(export.to_tflite(models["writer"], tmp_path / "phone", max_length=64))
    with TestClient(create_app({"writer": artifact})) as client:
        found = complete(client, prompt=PROMPTS, max_tokens=9).json()["choices"]
        echoed = complete(client, max_tokens=0, echo=True, logprobs=1).json()["choices"][0]["logprobs"]
    assert [choice["text"] for choice in found] == models["writer"].generate(PROMPTS, max_new_tokens=9)
    score = models["writer"].score(["the"])[0]
    assert echoed["token_logprobs"][1:] == pytest.approx(score.log_probabilities[1:], abs=1e-4)


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


def test_adapters_are_served_by_name(tmp_path, monkeypatch, capsys):
    keras.utils.set_random_seed(7)
    base = make("llama")
    changed = remake(base, weight_arrays(base).get, adaptation=plm.Adaptation(lora_rank=2))
    for weight in changed.weights:
        if "/lora_" in weight.path:
            weight.assign(keras.random.normal(weight.shape) * 3)
    plm.save(base, tmp_path / "base")
    save_lora(changed, tmp_path / "style")
    served = {}
    monkeypatch.setattr("keras_plm.serve.run_server", lambda models, *_: served.update(models))
    main(["serve", str(tmp_path / "base"), "--adapters", str(tmp_path / "style"), f"again={tmp_path / 'style'}"])
    assert list(served) == ["base", "style", "again"] and "serving base, style, again at" in capsys.readouterr().out
    wanted = changed.generate(["the"], max_new_tokens=9)
    assert wanted != base.generate(["the"], max_new_tokens=9)
    with TestClient(create_app(served)) as client:
        for name in ("style", "again"):
            assert complete(client, model=name, max_tokens=9).json()["choices"][0]["text"] == wanted[0]
    for flags, message in (
        ([str(tmp_path / "base")], "two models have the same name"),
        ([str(tmp_path / "style")], "but there are 2 models"),
    ):
        with pytest.raises(SystemExit):
            other = [] if message.startswith("two") else [f"b={tmp_path / 'base'}"]
            main(["serve", str(tmp_path / "base"), *other, "--adapters", *flags])
        assert message in capsys.readouterr().err


def test_it_is_ready_when_its_models_are_compiled(models, monkeypatch, caplog):
    two = {name: models[name] for name in ("writer", "translator", "reviews")}
    release = threading.Event()
    real = plm.Seq2Seq.open_joining_session

    def wait(self):
        release.wait(60)
        return real(self)

    monkeypatch.setattr(plm.Seq2Seq, "open_joining_session", wait)
    release.set()
    app = create_app(two, warm_up=True)
    release.clear()
    with TestClient(app) as client:
        waiting = client.get("/readyz")
        assert waiting.status_code == 503 and "being compiled" in waiting.json()["error"]["message"]
        assert client.get("/healthz").json() == {"status": "ok"}
        assert complete(client, max_tokens=3).status_code == 200
        release.set()
        for _ in range(600):
            if client.get("/readyz").status_code == 200:
                break
            time.sleep(0.1)
        assert client.get("/readyz").json() == {"status": "ok"} and "warm-up" not in caplog.text
    monkeypatch.setattr("keras_plm.serve.served_models.ServedModel.warm_up", lambda self: 1 / 0)
    with TestClient(create_app({"writer": models["writer"]}, warm_up=True)) as client:
        for _ in range(600):
            if client.get("/readyz").status_code == 200:
                break
            time.sleep(0.1)
        assert complete(client, max_tokens=3).status_code == 200
    assert "the warm-up of writer failed" in caplog.text


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


def test_metrics_and_pages(client, caplog):
    with caplog.at_level("INFO", "keras_plm.serve"):
        complete(client, prompt="a secret text", max_tokens=1)
    lines = [json.loads(record.message) for record in caplog.records if record.name == "keras_plm.serve"]
    assert lines[-1]["path"] == "/v1/completions" and lines[-1]["status"] == 200 and "secret" not in caplog.text
    client.get("/no/such/path")
    text = client.get("/metrics").text
    assert 'keras_plm_requests_total{path="/v1/completions",status="200"}' in text and "no/such" not in text
    assert "keras_plm_texts_running" in text
    page = client.get("/openapi.json").json()
    for schema in page["components"]["schemas"].values():
        for reference in json.dumps(schema).split('"$ref": "')[1:]:
            assert reference.split('"')[0].rsplit("/", 1)[1] in page["components"]["schemas"]
    assert "<h1>Chat</h1>" in client.get("/chat").text and client.get("/docs").status_code == 200


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
