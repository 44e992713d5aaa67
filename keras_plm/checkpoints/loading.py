from pathlib import Path
from typing import Any

from keras_plm.models import load_folder

from .gguf import from_gguf
from .hugging_face import from_hugging_face
from .keras_hub import from_preset


def load(where: str | Path) -> Any:
    """Load a model of this package, of Hugging Face or of keras-hub.

    Args:
        where: a folder that `plm.save` wrote; "hf:" and a Hugging Face folder or repository id; "preset:" and the
            name of a keras-hub preset; or a `.gguf` file.

    Returns:
        An Encoder, Pretrainer, Classifier, Tagger, QuestionAnswerer, Embedder, Decoder or TextGenerator, depending on
        the folder.

    Raises:
        FileNotFoundError: the folder or repository does not exist, or a file in it is missing.
        ImportError: `where` is a repository id, but the `hub` extra is not installed; or it is a `.gguf` file, but the
            `gguf` extra is not installed.
        TypeError: the preset has another architecture.
        ValueError: files are damaged, weights do not fit (the message names them), or something is not supported.

    Example:
        >>> encoder = load("hf:sentence-transformers/all-MiniLM-L6-v2")  # doctest: +SKIP
    """
    kind, _, name = str(where).partition(":")
    if kind == "hf":
        return from_hugging_face(name)
    if kind == "preset":
        return from_preset(name)
    if str(where).endswith(".gguf"):
        return from_gguf(where)
    folder = Path(where)
    if not folder.exists():
        raise FileNotFoundError(
            f"no folder {str(where)!r}; a model of Hugging Face is 'hf:{where}', a preset of keras-hub is "
            f"'preset:{where}'"
        )
    return load_folder(where)
