"""Serve models over HTTP."""

import importlib.util
import os
from pathlib import Path

import tyro

from keras_plm.checkpoints import load_lora
from keras_plm.models import BackboneModel, merge_lora

from .predicting import open_model

_KEYS = "KERAS_PLM_API_KEYS"


def serve(
    models: tyro.conf.Positional[tuple[str, ...]],
    host: str = "127.0.0.1",
    port: int = 8000,
    adapters: tuple[str, ...] = (),
    max_rows: int = 8,
    max_waiting: int = 64,
    timeout: float = 600.0,
) -> None:
    """Serve models and artifacts over HTTP, with the endpoints of OpenAI's API.

    Text: /v1/completions and /v1/chat/completions. Vectors: /v1/embeddings. Labels, entities and answers:
    /v1/classifications, /v1/tags and /v1/answers. /docs describes all of them, and /chat is a page for conversations.
    The environment variable KERAS_PLM_API_KEYS has the API keys, separated by commas.

    Args:
        models: folders, "hf:" and Hugging Face folders, .gguf files, or artifacts; NAME=PATH gives a name.
        host: the address to listen on; one that other machines can reach needs API keys.
        port: the port to listen on.
        adapters: folders of LoRA updates (PEFT) of the only model; each is served as a model; NAME=PATH gives a name.
        max_rows: number of texts that a model generates at once.
        max_waiting: number of texts that may wait for each model; further requests get the status 429.
        timeout: largest number of seconds of an answer.
    """
    if any(importlib.util.find_spec(name) is None for name in ("fastapi", "uvicorn", "prometheus_client")):
        raise ImportError('a server needs: pip install "keras-plm[serve]"')
    from keras_plm.serve import Limits, run_server

    paths, updates = (dict(_named(text) for text in texts) for texts in (models, adapters))
    if len(paths | updates) < len(models) + len(adapters):
        raise ValueError("two models have the same name; write NAME=PATH")
    if updates and len(paths) != 1:
        raise ValueError(f"--adapters belong to one model, but there are {len(paths)} models: start a server for each")
    limits = Limits(max_rows=max_rows, max_waiting=max_waiting, timeout=timeout)
    keys = [key.strip() for key in os.environ.get(_KEYS, "").split(",") if key.strip()]
    opened = {name: open_model(path) for name, path in paths.items()}
    for base in list(opened.values()) if updates else []:
        if not isinstance(base, BackboneModel):
            raise ValueError("--adapters need a Keras model; export the merged model of an adapter instead")
        # a copy of the weights for each adapter: merged updates cost no time in each step
        opened |= {name: merge_lora(load_lora(base, path)) for name, path in updates.items()}
    print(f"serving {', '.join(opened)} at http://{host}:{port}/docs", flush=True)
    run_server(opened, host, port, limits, keys)


def _named(text: str) -> tuple[str, str]:
    """The name and the path of a model."""
    name, equals, path = text.partition("=")
    if equals and name and "/" not in name:
        return name, path
    whole = Path(text.removeprefix("hf:"))
    return whole.stem if whole.suffix in (".gguf", ".tflite", ".onnx") else whole.name, text
