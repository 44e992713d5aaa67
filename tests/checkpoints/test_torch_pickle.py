"""`pytorch_model.bin`: read without torch, and nothing in it is run."""

import os
import pickle
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from safetensors.numpy import load_file

import keras_plm as plm
from keras_plm.checkpoints.torch_pickle import read_torch

from .small_folders import refuses, torch_file


@pytest.mark.parametrize("legacy", [True, False], ids=["legacy", "zip"])
def test_pytorch_model_bin(folder, legacy):
    wanted = plm.load(f"hf:{folder}").get_weights()
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    path = folder / "pytorch_model.bin"
    torch_file(path, tensors, legacy)
    for a, b in zip(plm.load(f"hf:{folder}").get_weights(), wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 99])
    refuses(folder, "pytorch_model.bin was not read")
    for content in (b"", b"\x80", whole[:50], b"not a pickle"):
        path.write_bytes(content)
        refuses(folder, "pytorch_model.bin was not read")


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: OrderedDict(a=m), lambda m: {"state_dict": [m]}])
def test_code_in_a_pickle_is_not_run(folder, tmp_path, wrap):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(wrap(Malicious(tmp_path / "executed")), 2))
    refuses(folder, "it calls posix.mkdir, which a file of weights does not need")
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(wrap(Malicious(tmp_path / "executed")), 2))
    refuses(folder, "it calls posix.mkdir")
    assert not (tmp_path / "executed").exists()


def test_other_tricks_of_pickles(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    array = {"a": np.arange(6, dtype="float32").reshape(2, 3)}
    torch_file(path, array, legacy=True)
    np.testing.assert_array_equal(read_torch(path)["a"].read(), array["a"])
    for name in ("builtins\neval", "torch\nload", "torch._utils\n_rebuild_tensor", "collections\nabc"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02c" + name.encode() + b"\n.")
        with pytest.raises(ValueError, match="it calls"):
            read_torch(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 3}, 2))
    with pytest.raises(ValueError, match="it does not contain named tensors"):
        read_torch(path)
    torch_file(path, {"a": np.lib.stride_tricks.as_strided(np.zeros(4, "float32"), (2, 2), (8, 4))}, legacy=False)
    with zipfile.ZipFile(path) as archive:
        data = archive.read("archive/data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/data/0", b"\0" * 8)
    with pytest.raises(ValueError, match="the tensor a was not read: a tensor extends beyond its storage"):
        read_torch(path)["a"].read()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
    with pytest.raises(ValueError, match=r"the content of \['a'\] is missing"):
        read_torch(path)
