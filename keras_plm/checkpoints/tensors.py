from pathlib import Path

from keras_plm.models import StoredTensor, stored_weights

from .torch_pickle import read_torch


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a Hugging Face folder by name, each read only when asked for.

    In this order: `model.safetensors`, its shards by `model.safetensors.index.json`, `pytorch_model.bin`, its shards.

    Raises:
        FileNotFoundError: none of them is there, or a shard is missing.
        ValueError: a truncated file, a pickle with code in it, a shard outside the folder, a tensor that the index puts
            into a shard that has no such tensor.
    """
    stored = stored_weights(folder)
    if stored is None:
        stored = stored_weights(folder, "pytorch_model.bin", read_torch)
    if stored is None:
        raise FileNotFoundError(f"{folder} has neither model.safetensors nor pytorch_model.bin, nor an index of shards")
    return stored
