"""A server that is killed, and one that is asked to stop, while clients wait for texts."""

import json
import signal
import threading
import time

import httpx2 as httpx
import pytest

import keras_plm as plm
from tests.tasks.test_text_generation import allowed, make

from .server_process import free_port, start

BODY = {"model": "writer", "prompt": "the", "temperature": 0, "max_tokens": 60}


class Reader(threading.Thread):
    """A client that reads a stream. `text` is what it got, `ended` says whether the end was announced."""

    def __init__(self, url, body):
        super().__init__()
        self.url, self.body = url, body
        self.text, self.ended, self.error, self.first = "", False, None, threading.Event()

    def run(self):
        rest = ""
        try:
            with httpx.stream(
                "POST", f"{self.url}/completions", json=self.body | {"stream": True}, timeout=60
            ) as found:
                for part in found.iter_text():
                    *events, rest = (rest + part).split("\n\n")
                    for event in events:
                        self.read(event.removeprefix("data: "))
        except httpx.HTTPError as error:
            self.error = error
        assert not rest, "half an event"

    def read(self, data):
        if data == "[DONE]":
            self.ended = True
        else:
            self.text += json.loads(data)["choices"][0]["text"]
            self.first.set()


@pytest.mark.slow
def test_killed_and_stopped_servers(tmp_path):
    model = make("llama", max_sequence_length=2_000)
    plm.save(model, tmp_path / "writer")
    body = BODY | {"logit_bias": {str(token): -100 for token in allowed(model)}}
    whole = model.generate(["the"], max_new_tokens=60, logit_bias=allowed(model))[0]
    port = free_port()
    url = f"http://127.0.0.1:{port}/v1"
    process = start([tmp_path / "writer"], port)

    # killed while two clients read: whole events only, and an error instead of an end
    long = body | {"max_tokens": 1_900}
    readers = [Reader(url, long) for _ in range(2)]
    answers = []
    plain = threading.Thread(target=lambda: answers.append(_posted(url, long)))
    for thread in (*readers, plain):
        thread.start()
    assert all(reader.first.wait(60) for reader in readers)
    process.send_signal(signal.SIGKILL)
    for thread in (*readers, plain):
        thread.join(60)
    assert process.wait(60) == -9
    for reader in readers:
        assert isinstance(reader.error, httpx.HTTPError) and not reader.ended
    assert isinstance(answers[0], httpx.HTTPError)

    # started again on the same port, it answers as before; asked to stop, it finishes what it has begun
    process = start([tmp_path / "writer"], port)
    assert httpx.post(f"{url}/completions", json=body, timeout=60).json()["choices"][0]["text"] == whole
    reader = Reader(url, body)
    reader.start()
    assert reader.first.wait(60)
    process.terminate()
    reader.join(60)
    assert reader.ended and reader.error is None and reader.text == whole
    assert process.wait(60) in (0, -15)
    time.sleep(0.1)
    with pytest.raises(httpx.ConnectError):
        httpx.post(f"{url}/completions", json=body)


def _posted(url, body):
    try:
        return httpx.post(f"{url}/completions", json=body, timeout=60)
    except httpx.HTTPError as error:
        return error
