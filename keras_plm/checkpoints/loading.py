from pathlib import Path
from typing import Any

from keras_plm.models import load_folder

from .gguf import from_gguf
from .hugging_face import from_hugging_face
from .keras_hub import from_preset


def load(where: str | Path) -> Any:
    """A model, whoever made it.

    Args:
        where: a folder that `plm.save` wrote; "hf:" and a Hugging Face folder or repository id; "preset:" and the name
            of a keras-hub preset; a `.gguf` file.

    Returns:
        An Encoder, Pretrainer, Classifier, Tagger, QuestionAnswerer, Embedder, Decoder or TextGenerator, as it says.

    Raises:
        FileNotFoundError: no such folder or repository, or a file missing in it.
        ImportError: a repository id without the `hub` extra, a `.gguf` file without the `gguf` extra.
        TypeError: a preset of another architecture.
        ValueError: damaged files, weights that do not fit (each named), something that is not supported.

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
            f"no folder {str(where)!r}; a model of Hugging Face is 'hf:{where}', a preset of keras-hub 'preset:{where}'"
        )
    return load_folder(where)
