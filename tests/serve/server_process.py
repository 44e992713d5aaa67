"""A server in a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

HOME = Path(__file__).parents[2]


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start(arguments, port, keys=""):
    """The process, as soon as it answers."""
    command = [sys.executable, "-m", "keras_plm", "serve", *map(str, arguments), "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | {"KERAS_PLM_API_KEYS": keys}, cwd=HOME)
    for _ in range(240):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1)
            return process
        except OSError:
            assert process.poll() is None
            time.sleep(0.5)
    process.kill()
    raise TimeoutError("the server does not answer")


@contextmanager
def serving(arguments, keys=""):
    """The address of a server for these arguments of the command."""
    port = free_port()
    process = start(arguments, port, keys)
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        assert process.wait(60) in (0, -15)
