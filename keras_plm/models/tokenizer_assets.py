"""The settings and files of a model's tokenizer, in our folders and in Keras' own `.keras` files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from keras_plm.text import BytePairTokenizer, SentencePieceTokenizer, Tokenizer, WordPieceTokenizer

_TOKENIZERS: dict[str, type[Tokenizer]] = {
    kind.__name__: kind for kind in (BytePairTokenizer, SentencePieceTokenizer, WordPieceTokenizer)
}
_SETTINGS = "tokenizer_settings.json"


class KeepsTokenizer:
    """A model that Keras saves with its tokenizer: `model.save("reviews.keras")`, also as part of a user's model."""

    tokenizer: Tokenizer | None

    def needs_tokenizer(self) -> Tokenizer:
        """The tokenizer.

        Raises:
            ValueError: the model has no tokenizer.
        """
        if self.tokenizer is None:
            raise ValueError(f"this {type(self).__name__} has no tokenizer: pass tokenizer=… or feed it token ids")
        return self.tokenizer

    def save_assets(self, folder: str) -> None:
        """Write the files of the tokenizer. Keras calls this method."""
        if self.tokenizer is None:
            return
        for name, content in self.tokenizer.files().items():
            (Path(folder) / name).write_bytes(content)
        settings = tokenizer_settings(self.tokenizer)
        (Path(folder) / _SETTINGS).write_text(json.dumps(settings, ensure_ascii=False), "utf-8")

    def load_assets(self, folder: str) -> None:
        """Read the tokenizer from its files. Keras calls this method.

        Raises:
            ValueError: the files are damaged.
        """
        path = Path(folder) / _SETTINGS
        if path.is_file():
            try:
                self.tokenizer = load_tokenizer(json.loads(path.read_text("utf-8")), lambda name: path.with_name(name))
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{path.name} in the .keras file is damaged: {error!r}") from None


def tokenizer_settings(tokenizer: Tokenizer) -> dict[str, Any]:
    """The class and the constructor arguments of a tokenizer, as JSON types. Its tokens are in its files."""
    return {"class": type(tokenizer).__name__, **tokenizer.settings()}


def load_tokenizer(settings: dict[str, Any], paths: Callable[[str], Path]) -> Tokenizer:
    """The inverse of `tokenizer_settings` and `Tokenizer.files`.

    Args:
        settings: the class and the constructor arguments.
        paths: takes the name of a file and returns its path.

    Raises:
        ValueError: the class is not one of this package's.
    """
    settings = dict(settings)
    name = settings.pop("class")
    if name not in _TOKENIZERS:
        raise ValueError(f"unknown tokenizer {name!r}")
    kind = _TOKENIZERS[name]
    return kind.from_files({file: paths(file) for file in kind.filenames}, **settings)
