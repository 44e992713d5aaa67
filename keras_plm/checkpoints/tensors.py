from pathlib import Path

from keras_plm.models import StoredTensor, stored_weights

from .torch_pickle import read_torch


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a Hugging Face folder by name. Each tensor is read only when needed.

    The first of these files is used: `model.safetensors`, its shards (`model.safetensors.index.json`),
    `pytorch_model.bin`, its shards.

    Raises:
        FileNotFoundError: none of these files exists, or a shard is missing.
        ValueError: a file is truncated, a pickle contains code, a shard is outside the folder, or a shard does not have
            a tensor of the index.
    """
    stored = stored_weights(folder)
    if stored is None:
        stored = stored_weights(folder, "pytorch_model.bin", read_torch)
    if stored is None:
        raise FileNotFoundError(f"{folder} has neither model.safetensors nor pytorch_model.bin, nor an index of shards")
    return stored
