import re
import unicodedata
from typing import Literal

import tensorflow as tf
import tensorflow_text

# BERT's cleaning removes these characters, but TensorFlow Text keeps them or splits words at them: the replacement
# character, Latin-1 control characters (frequent in badly decoded text), and invisible format marks (RE2 syntax).
_DIRT = r"[\x{fffd}\x{80}-\x{9f}\p{Cf}]+"


class Normalizer:
    """Lower-casing and accent stripping as in Hugging Face's tokenizers, in a graph and with offsets.

    Accents are stripped first: the text is decomposed, and marks are removed. NFD removes the nonspacing marks, NFKD
    all marks. Then each character is lower-cased on its own.

    Args:
        lowercase: lower-case the text.
        strip_accents: strip accents.
        clean: first remove replacement, Latin-1 control and format characters.
        quotes: first replace `` and '' by a double quote, as ALBERT does.
        form: "NFD", or "NFKD" to decompose compatibility forms, too; only used with `strip_accents`.

    Example:
        >>> Normalizer()(["Café À LA CARTE，"]).numpy()[0].decode()
        'cafe a la carte，'
        >>> Normalizer().aligned("Ég")
        ('eg', [0, 1], [1, 2])

    Differs: `tensorflow_text.FastBertNormalizer` folds case and compatibility forms: ， becomes a comma, and ß becomes
        ss. Chinese vocabularies contain the full-width punctuation, so it must stay.
    """

    def __init__(
        self,
        lowercase: bool = True,
        strip_accents: bool = True,
        clean: bool = False,
        quotes: bool = False,
        form: Literal["NFD", "NFKD"] = "NFD",
    ) -> None:
        self.lowercase = lowercase
        self.strip_accents = strip_accents
        self.clean = clean
        self.quotes = quotes
        self.form = form
        # BERT strips nonspacing marks only; ALBERT strips all marks, including the vowel signs of Hindi
        self._marks = "Mn" if form == "NFD" else "M"

    def __call__(self, texts: tf.Tensor) -> tf.Tensor:
        """Normalize (B,) strings."""
        texts = tf.convert_to_tensor(texts, tf.string)
        if self.quotes:
            texts = tf.strings.regex_replace(texts, "``|''", '"')
        if not (self.lowercase or self.strip_accents or self.clean):
            return texts
        # most English texts are ASCII, for which a tenth of the work is enough
        rows = tf.where(tf.strings.length(texts) != tf.strings.length(texts, "UTF8_CHAR"))
        plain = tf.strings.lower(texts) if self.lowercase else texts
        return tf.cond(
            tf.size(rows) > 0,
            lambda: tf.tensor_scatter_nd_update(plain, rows, self._any_script(tf.gather_nd(texts, rows))),
            lambda: plain,
        )

    def _any_script(self, texts: tf.Tensor) -> tf.Tensor:
        if self.clean:
            # a NUL would end the text; as another control character it only ends a word, as in ASCII texts
            texts = tf.strings.regex_replace(texts, r"\x00", "\1")
            texts = tf.strings.regex_replace(texts, _DIRT, "")
        if self.strip_accents:
            texts = tensorflow_text.normalize_utf8(texts, self.form)
            texts = tf.strings.regex_replace(texts, rf"\p{{{self._marks}}}+", "")
        if self.lowercase:
            # capital sigma is the only letter whose lower case depends on its neighbors (at the end of a word)
            texts = tf.strings.regex_replace(texts, "Σ", "σ")
            texts = tf.strings.lower(texts, "utf-8")
        return texts

    def aligned(self, text: str) -> tuple[str, list[int], list[int]]:
        """The normalized text and, for each of its characters, the start and end of the original characters."""
        parts = [(i, i + 1) for i in range(len(text))]
        if self.quotes:
            parts = [match.span() for match in re.finditer("``|''|.", text, re.DOTALL)]
        characters, starts, ends = [], [], []
        for start, end in parts:
            character = text[start:end] if end - start == 1 else '"'
            if self.clean and _is_dirt(character):
                continue
            if self.strip_accents and not character.isascii():
                decomposed = unicodedata.normalize(self.form, character)
                character = "".join(c for c in decomposed if not unicodedata.category(c).startswith(self._marks))
            if self.lowercase:
                character = character.lower()
            characters.append(character)
            starts += [start] * len(character)
            ends += [end] * len(character)
        return "".join(characters), starts, ends


def _is_dirt(character: str) -> bool:
    return character == "\ufffd" or "\x80" <= character <= "\x9f" or unicodedata.category(character) == "Cf"
