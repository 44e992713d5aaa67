import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from keras_plm.training import is_chief, make_strategy, worker_name

SCRIPT = Path(__file__).with_name("run_strategy.py")


def start(mode, corpus, save_to, steps, tf_config=None):
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_CONFIG", None)
    if tf_config:
        environment["TF_CONFIG"] = json.dumps(tf_config)
    command = [sys.executable, str(SCRIPT), mode, corpus, str(save_to), str(steps)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def losses(process, replicas):
    try:
        output, _ = process.communicate(timeout=280)
    except subprocess.TimeoutExpired:  # a worker waits for ever for a peer that has died
        process.kill()
        output, _ = process.communicate()
    assert process.returncode == 0, output[-3000:]
    assert f"REPLICAS {replicas}\n" in output
    line = next(line for line in output.splitlines() if line.startswith("HISTORY"))
    rows = json.loads(line.removeprefix("HISTORY"))
    return [[float(row["loss"]), float(row["val_loss"])] for row in rows]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@pytest.fixture(scope="module")
def one_device(corpus_file, tmp_path_factory):
    return losses(start("one", corpus_file, tmp_path_factory.mktemp("one") / "model", 30), replicas=1)


def test_two_mirrored_devices_equal_one(corpus_file, tmp_path, one_device):
    found = losses(start("mirrored", corpus_file, tmp_path / "model", 30), replicas=2)
    assert len(found) == 3
    for a, b in zip(sum(found, []), sum(one_device, []), strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    assert one_device[-1][0] < one_device[0][0] - 0.3  # it learns


def start_two_workers(corpus, save_to, steps):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    return [start("multi_worker", corpus, save_to, steps, {"cluster": {"worker": workers}, "task": t}) for t in tasks]


@pytest.mark.slow
def test_a_worker_that_lost_its_checkpoint_is_an_error(corpus_file, tmp_path):
    processes = start_two_workers(corpus_file, tmp_path / "model", 3_000)
    files = [tmp_path / "model.training" / f"worker_{index}.weights.h5" for index in range(2)]
    end = time.monotonic() + 200
    while time.monotonic() < end and not all(file.exists() for file in files):
        time.sleep(0.1)
    for process in processes:
        process.kill()
        process.communicate()
    files[1].unlink()
    processes = start_two_workers(corpus_file, tmp_path / "model", 3_000)
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    for output in outputs:
        assert "only some workers have a checkpoint" in output, output[-2000:]


@pytest.mark.slow
def test_two_workers_equal_one_device(corpus_file, tmp_path, one_device):
    processes = start_two_workers(corpus_file, tmp_path / "model", 30)
    chief = losses(processes[0], replicas=2)
    for a, b in zip(sum(chief, []), sum(one_device, []), strict=True):
        assert a == pytest.approx(b, abs=1e-4)
    processes[1].communicate(timeout=60)
    assert processes[1].returncode == 0


def test_names(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ValueError, match="strategy='ring'; choose auto"):
        make_strategy("ring")
    with pytest.raises(ValueError, match="needs TF_CONFIG"):
        make_strategy("multi_worker")
    with pytest.raises(ValueError, match="needs the address of a TPU in TPU_NAME"):
        make_strategy("tpu")
    assert make_strategy("auto").num_replicas_in_sync == 1
    assert is_chief()
    monkeypatch.setenv(
        "TF_CONFIG",
        '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}',
    )
    assert not is_chief() and worker_name() == "worker_1"
    cluster = {"chief": ["a:1"], "worker": ["b:2"]}
    for kind, chief in (("chief", True), ("worker", False)):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": 0}}))
        assert is_chief() == chief


def test_tpu_path_reaches_the_resolver(monkeypatch):
    """Without a TPU the path can be followed up to the connection: resolver, connect, initialize, strategy."""
    import tensorflow as tf

    calls = []

    class Resolver:
        def __init__(self, tpu):
            calls.append(("resolve", tpu))

    monkeypatch.setenv("TPU_NAME", "local")
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", Resolver)
    monkeypatch.setattr(tf.config, "experimental_connect_to_cluster", lambda r: calls.append("connect"))
    monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", lambda r: calls.append("initialize"))
    monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda r: calls.append("strategy") or "strategy")
    assert make_strategy("auto") == "strategy"
    assert calls == [("resolve", "local"), "connect", "initialize", "strategy"]
