"""Which processes train together: TF_CONFIG, also made from the variables of Slurm."""

import json
import os
import re
import subprocess
from typing import Any

_FIRST_PORT = 20_000
_PORTS = 10_000


def is_chief() -> bool:
    """Whether this process writes files: it is the chief of TF_CONFIG, otherwise worker 0, or the only process."""
    return worker_name() == ("chief_0" if cluster().get("chief") else "worker_0")


def worker_name() -> str:
    """Type and index of this process in TF_CONFIG, such as "worker_1"; "worker_0" if there is no TF_CONFIG."""
    task = _configuration().get("task", {})
    return f"{task.get('type', 'worker')}_{task.get('index', 0)}"


def cluster() -> dict[str, list[str]]:
    """The addresses of the processes by type, such as {"worker": ["host:port", …]}; empty without TF_CONFIG."""
    return _configuration().get("cluster", {})


def _configuration() -> dict[str, Any]:
    content = os.environ.get("TF_CONFIG") or "{}"
    try:
        found = json.loads(content)
        if not isinstance(found, dict) or not isinstance(found.get("cluster", {}), dict):
            raise ValueError("it must be an object with a cluster")
    except ValueError as error:
        raise ValueError(f"the environment variable TF_CONFIG is not valid ({error}): {content:.200}") from None
    return found


def join_slurm_step() -> None:
    """Set TF_CONFIG if `srun` started this process together with others. An existing TF_CONFIG is not changed.

    Each task of the step is a worker, in Slurm's order. The ports depend on the numbers of the job and the step, so
    that jobs on the same host rarely collide. Slurm assigns the GPUs: `srun --gpus-per-task=1`.

    Raises:
        ValueError: the variables of Slurm contradict each other.
        RuntimeError: `scontrol`, which lists the hosts, is missing or fails.
    """
    environment = os.environ
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if environment.get("TF_CONFIG") or tasks < 2:
        return
    hosts = _slurm_hosts(environment["SLURM_STEP_NODELIST"])
    counts = _tasks_per_host(environment["SLURM_STEP_TASKS_PER_NODE"])
    if len(hosts) != len(counts) or sum(counts) != tasks:
        raise ValueError(f"Slurm has {tasks} tasks, but {counts} on the hosts {', '.join(hosts)}")
    number = 1_009 * int(environment.get("SLURM_JOB_ID", 0)) + 97 * int(environment.get("SLURM_STEP_ID", 0))
    first = _FIRST_PORT + number % _PORTS
    addresses = [f"{host}:{first + i}" for host, count in zip(hosts, counts, strict=True) for i in range(count)]
    index = int(environment["SLURM_PROCID"])
    here, expected = environment.get("SLURMD_NODENAME"), addresses[index].split(":")[0]
    if here is not None and here != expected:
        raise ValueError(
            f"task {index} runs on {here}, but was expected on {expected}: start it with `srun --distribution=block`"
        )
    task = {"type": "worker", "index": index}
    environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses}, "task": task})


def _slurm_hosts(nodes: str) -> list[str]:
    command = ["scontrol", "show", "hostnames", nodes]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    except (OSError, subprocess.CalledProcessError) as error:
        raise RuntimeError(f"`{' '.join(command)}` failed: {error}; set TF_CONFIG instead") from None


def _tasks_per_host(counts: str) -> list[int]:
    """Slurm's notation "2(x3),1" as [2, 2, 2, 1]."""
    found = []
    for part in counts.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if match is None:
            raise ValueError(f"SLURM_STEP_TASKS_PER_NODE={counts!r} is not a list such as 2(x3),1")
        found += [int(match[1])] * int(match[2] or 1)
    return found
