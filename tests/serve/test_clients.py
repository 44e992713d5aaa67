"""Real clients against a real server process: OpenAI's for Python and Node, LangChain, llama-index."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import keras_plm as plm
from tests.export.test_web_example import in_chromium
from tests.tasks.test_text_generation import make

from .conftest import TEMPLATE
from .server_process import HOME, free_port, serving

CLIENTS = HOME / ".venv-openai" / "bin" / "python"
NODE = HOME / ".web" / "node_modules" / "openai"
HERE = Path(__file__).parent
# no requests to anywhere but this machine
OFFLINE = {"LANGCHAIN_TRACING_V2": "false", "LLAMA_INDEX_CACHE_DIR": "/tmp", "no_proxy": "*"}


@pytest.fixture(scope="module")
def server(config, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    writer, vectors = make("llama"), plm.Embedder(config, tokenizer)
    writer.chat_template = TEMPLATE
    plm.save(writer, folder / "writer")
    plm.save(vectors, folder / "vectors")
    with serving([folder / "writer", folder / "vectors"], keys="one") as url:
        yield url, writer, vectors


def check(found, writer, vectors):
    completion = writer.generate(["the"], max_new_tokens=7)[0]
    chat = writer.chat([{"role": "user", "content": "Hi"}], max_new_tokens=7)
    for name, wanted in (("completion", completion), ("stream", completion), ("chat", chat), ("chat_stream", chat)):
        assert found.get(name, wanted) == wanted
    np.testing.assert_allclose(found["embedding"], vectors.embed(["a quiet film"])[0], atol=1e-6)


@pytest.mark.slow
def test_python_clients(server):
    if not CLIENTS.exists():
        pytest.skip("no clients in .venv-openai; `make .venv-openai/installed`")
    url, writer, vectors = server
    command = [CLIENTS, HERE / "openai_client.py", url]
    result = subprocess.run(command, capture_output=True, text=True, env=os.environ | OFFLINE, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-2_000:]
    found = json.loads(result.stdout.splitlines()[-1])
    for client in ("official", "langchain", "llama_index"):
        check(found[client], writer, vectors)
    assert found["official"]["models"] == ["writer", "vectors"]
    assert found["official"]["refused"] == "tools" and found["official"]["wrong_key"] == "invalid_api_key"


@pytest.mark.slow
def test_the_node_client(server, tmp_path):
    if not NODE.is_dir():
        pytest.skip("no OpenAI client in .web; `make .web/installed`")
    url, writer, vectors = server
    (tmp_path / "node_modules").symlink_to(NODE.parent)
    shutil.copy(HERE / "openai_client.mjs", tmp_path)
    command = ["node", tmp_path / "openai_client.mjs", url]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stderr[-2_000:]
    found = json.loads(result.stdout)
    check(found, writer, vectors)
    assert found["refused"] == "tools"


@pytest.mark.slow
def test_the_chat_page(tmp_path):
    model = make("llama", max_sequence_length=200)
    model.chat_template = TEMPLATE
    plm.save(model, tmp_path / "writer")
    script = HERE / "chat_page.mjs"
    lines = in_chromium(script, str(free_port()), sys.executable, tmp_path / "writer", "Hi <b>", "And?")
    messages = []
    for text in ("Hi <b>", "And?"):
        messages.append({"role": "user", "content": text})
        messages.append({"role": "assistant", "content": model.chat(messages, max_new_tokens=9)})
    assert lines == [[message["role"], message["content"]] for message in messages]
