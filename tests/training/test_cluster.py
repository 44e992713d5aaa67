import json

import pytest

from keras_plm.training import is_chief, make_strategy, worker_name
from keras_plm.training.cluster import cluster, join_slurm_step

HOSTS = {"node[2,10-11]": "node2\nnode10\nnode11\n"}


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """A `scontrol` that knows some hosts, and the variables of a task."""
    lines = "\n".join(f"[ \"$3\" = '{nodes}' ] && printf '{hosts}' && exit 0" for nodes, hosts in HOSTS.items())
    script = tmp_path / "scontrol"
    script.write_text(f"#!/bin/sh\n{lines}\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("TF_CONFIG", "")  # so that it is deleted at the end
    monkeypatch.delenv("TF_CONFIG")

    def task(number, tasks=4, counts="2,1(x2)", nodes="node[2,10-11]"):
        monkeypatch.setenv("SLURM_PROCID", str(number))
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setenv("SLURM_STEP_NUM_TASKS", str(tasks))
        monkeypatch.setenv("SLURM_STEP_NODELIST", nodes)
        monkeypatch.setenv("SLURM_STEP_TASKS_PER_NODE", counts)

    return task


def test_tasks_of_slurm_are_workers_in_its_order(slurm, monkeypatch):
    for number in range(4):
        slurm(number)
        join_slurm_step()
        assert cluster() == {"worker": ["node2:27063", "node2:27064", "node10:27063", "node11:27063"]}
        assert worker_name() == f"worker_{number}" and is_chief() == (number == 0)
        monkeypatch.delenv("TF_CONFIG")


def test_an_own_configuration_is_kept(slurm, monkeypatch):
    slurm(1)
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}})
    )
    join_slurm_step()
    assert cluster() == {"worker": ["a:1"]}


def test_a_step_with_one_task_is_no_cluster(slurm):
    slurm(0, tasks=1, counts="1")
    join_slurm_step()
    assert cluster() == {} and is_chief()


def test_tasks_that_are_not_in_blocks(slurm, monkeypatch):
    slurm(1)
    monkeypatch.setenv("SLURMD_NODENAME", "node2")
    join_slurm_step()
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setenv("SLURMD_NODENAME", "node10")
    with pytest.raises(ValueError, match="task 1 runs on node10, but was expected on node2: .* --distribution=block"):
        join_slurm_step()


def test_contradictions_of_slurm(slurm):
    slurm(0, tasks=5)
    with pytest.raises(ValueError, match=r"Slurm has 5 tasks, but \[2, 1, 1\] on the hosts node2, node10, node11"):
        join_slurm_step()
    slurm(0, counts="2;1")
    with pytest.raises(ValueError, match=r"is not a list such as 2\(x3\),1"):
        join_slurm_step()
    slurm(0, nodes="other[1-3]")
    with pytest.raises(RuntimeError, match="scontrol show hostnames .* failed: .* set TF_CONFIG instead"):
        join_slurm_step()


@pytest.mark.parametrize("content", ["{", "[]", '{"cluster": []}'])
def test_a_configuration_that_is_not_valid(monkeypatch, content):
    monkeypatch.setenv("TF_CONFIG", content)
    with pytest.raises(ValueError, match="TF_CONFIG is not valid"):
        make_strategy("auto")
