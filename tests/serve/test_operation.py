"""What runs around the requests: artifacts, adapters, warm-up, metrics, clients that hang up."""

import json
import threading
import time

import keras
import pytest
from fastapi.testclient import TestClient

import keras_plm as plm
from keras_plm import export
from keras_plm.__main__ import main
from keras_plm.checkpoints import save_lora
from keras_plm.models import remake, weight_arrays
from keras_plm.serve import Limits, create_app
from tests.serve.calls import complete
from tests.tasks.test_text_generation import PROMPTS, make


def test_an_answer_that_takes_too_long_and_a_client_that_hangs_up(models):
    app = create_app({"writer": models["writer"]}, Limits(timeout=0.05))
    with TestClient(app) as client:
        response = complete(client, max_tokens=80, n=8, temperature=1, seed=1)
        assert response.status_code == 504 and "more than 0.05 seconds" in response.json()["error"]["message"]
        assert client.get("/healthz").json() == {"status": "ok"}


def test_an_artifact_is_served(models, tmp_path):
    artifact = export.load_artifact(export.to_tflite(models["writer"], tmp_path / "phone", max_length=64))
    with TestClient(create_app({"writer": artifact})) as client:
        found = complete(client, prompt=PROMPTS, max_tokens=9).json()["choices"]
        echoed = complete(client, max_tokens=0, echo=True, logprobs=1).json()["choices"][0]["logprobs"]
    assert [choice["text"] for choice in found] == models["writer"].generate(PROMPTS, max_new_tokens=9)
    score = models["writer"].score(["the"])[0]
    assert echoed["token_logprobs"][1:] == pytest.approx(score.log_probabilities[1:], abs=1e-4)


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
