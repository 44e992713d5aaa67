import re
from pathlib import Path

# The files that a model needs. A repository may have the same weights in more formats. In these patterns, * matches /.
_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_OTHER_FORMATS = ["*onnx*", "*openvino*", "*coreml*", "*.msgpack", "*.h5", "*.ot"]


def snapshot(where: str | Path) -> Path:
    """The folder itself, or the folder in Hugging Face's cache with the files of a repository.

    Args:
        where: a folder, or a repository id like "bert-base-uncased" or "google/electra-small-discriminator".

    Raises:
        FileNotFoundError: `where` is neither a folder nor a reachable repository.
        ImportError: `where` is a repository id, but huggingface_hub is not installed.
    """
    folder = Path(where)
    if folder.is_dir():
        return folder
    name = str(where)
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or name.startswith("."):
        raise FileNotFoundError(f"there is no folder {where}")
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise ImportError(f'to download {name}: pip install "keras-plm[hub]"') from None
    try:
        folder = Path(snapshot_download(name, allow_patterns=_FILES, ignore_patterns=_OTHER_FORMATS))
        if not list(folder.rglob("model*.safetensors")):
            patterns = [*_FILES, "*pytorch_model*.bin"]
            folder = Path(snapshot_download(name, allow_patterns=patterns, ignore_patterns=_OTHER_FORMATS))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FileNotFoundError(f"there is no folder {where}, and no such repository was reached: {reason}") from None
    return folder
