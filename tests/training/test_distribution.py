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
    folder = tmp_path / "model.training"

    def files(index):
        return list(folder.glob(f"worker_{index}.*.safetensors"))

    end = time.monotonic() + 200
    while time.monotonic() < end and not all(map(files, range(2))):
        time.sleep(0.1)
    for process in processes:
        process.kill()
        process.communicate()
    for file in files(1):
        file.unlink()
    processes = start_two_workers(corpus_file, tmp_path / "model", 3_000)
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    for output in outputs:
        assert "can be used by all workers" in output, output[-2000:]


def end_of(process, seconds):
    """The exit status and the output of a process that must end by itself."""
    try:
        output = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"it still runs after {seconds} s: {process.communicate()[0][-2000:]}")
    return process.returncode, output


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill one", "kill both", "terminate one"])
def test_workers_that_are_stopped(corpus_file, tmp_path, how):
    """Started again, two workers end with the losses of one device that nothing stopped."""
    steps, folder = 900, tmp_path / "model.training"
    whole = losses(start("one", corpus_file, tmp_path / "one", steps), replicas=1)
    processes = start_two_workers(corpus_file, tmp_path / "model", steps)
    end = time.monotonic() + 200
    while time.monotonic() < end and not all(list(folder.glob(f"worker_{index}.000000300.*")) for index in range(2)):
        time.sleep(0.05)
    if how == "terminate one":
        processes[1].terminate()
        found = [end_of(process, 100) for process in processes]
        assert [status for status, _ in found] == [143, 143], found
        assert all("stopped by SIGTERM" in output for _, output in found)
    else:
        processes[1].kill()
        if how == "kill both":
            processes[0].kill()
        status, output = end_of(processes[0], 400)  # TensorFlow notices a lost worker after some time
        assert status != 0, output[-2000:]
        processes[1].communicate()
    assert all(list(folder.glob(f"worker_{index}.*.*.safetensors")) for index in range(2))
    processes = start_two_workers(corpus_file, tmp_path / "model", steps)
    chief = losses(processes[0], replicas=2)
    assert end_of(processes[1], 60)[0] == 0
    for a, b in zip(sum(chief, []), sum(whole, []), strict=True):
        assert a == pytest.approx(b, abs=1e-4)


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
