"""Requests to the server."""

import json

from tests.tasks.test_text_generation import allowed

JSON = {"Content-Type": "application/json"}


def complete(client, **fields):
    return client.post("/v1/completions", json={"model": "writer", "prompt": "the", "temperature": 0} | fields)


def bias_of(models):
    return {str(token): -100 for token in allowed(models["writer"])}


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def chat(client, **fields):
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    return client.post(
        "/v1/chat/completions", json={"model": "writer", "messages": messages, "temperature": 0} | fields
    )
