"""The files of examples/cluster: the schema of Kubernetes, the shell, and the flags of the command."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from keras_plm.commands.parsing import parse
from keras_plm.recipes import Pretrain

FOLDER = Path(__file__).parent.parent / "examples" / "cluster"


def manifests():
    return list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))


def test_the_manifests_have_the_schema_of_kubernetes():
    validate = pytest.importorskip("kubernetes_validate")
    found = manifests()
    assert [manifest["kind"] for manifest in found] == ["Service", "Job"]
    for manifest in found:
        validate.validate(manifest, "1.31", strict=True)
    found[1]["spec"]["completion"] = 4
    with pytest.raises(validate.ValidationError):
        validate.validate(found[1], "1.31", strict=True)


def test_each_pod_knows_its_place():
    service, job = manifests()
    spec = job["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    script = container["command"][2].replace("exec keras-plm", "echo keras-plm")
    for index in range(spec["completions"]):
        environment = {"JOB_COMPLETION_INDEX": str(index), "PATH": os.environ["PATH"]}
        command = [*container["command"][:2], script + '\necho "$TF_CONFIG"']
        output = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        line, config = output.split("\n", 1)
        found = json.loads(config)
        assert found["task"] == {"type": "worker", "index": index}
        port = container["ports"][0]["containerPort"]
        pods = [f"{job['metadata']['name']}-{i}.{service['metadata']['name']}:{port}" for i in range(4)]
        assert found["cluster"] == {"worker": pods}
        assert spec["template"]["spec"]["subdomain"] == service["metadata"]["name"]
        assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    check_flags(line)


def test_the_script_of_slurm():
    subprocess.run(["bash", "-n", FOLDER / "slurm.sh"], check=True)
    content = (FOLDER / "slurm.sh").read_text()
    check_flags(re.search(r"srun (keras-plm .*)", content.replace("\\\n", ""))[1])


def check_flags(line):
    words = shlex.split(line)
    assert words[:2] == ["keras-plm", "pretrain"]
    recipe = parse(Pretrain, "keras-plm pretrain", "", words[2:])
    assert recipe.strategy == "multi_worker" and recipe.batch_size % 4 == 0
