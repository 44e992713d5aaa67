import json
from pathlib import Path
from typing import Any

from keras_plm.models import check_free, tokenizer_settings, whole_file
from keras_plm.text import list_of_texts

from .verify import SAMPLE_TEXTS

# texts that ports of BERT's tokenizer often tokenize wrong
_HARD = (
    "[MASK] in the middle of [SEP] a text[MASK]",
    "don't (really) stop--now...",
    "tab\tnew\nline\u00a0no-break\u3000wide",
    "a\u0000b\ufffdc\u200dd\u0007e",
    "ÀÉÎÕÜ àéîõü Ångström e\u0301",
    "ΣΊΣΥΦΟΣ σίσυφος Σ",
    "İstanbul ıssız STRASSE straße",
    "北京2008年奥运会，很大。",
    "東京タワー、ｶﾀｶﾅ、ひらがな",
    "한국어 문장입니다",
    "हिन्दी में एक वाक्य",
    "مرحبا بالعالم",
    "שלום עולם",
    "🙂👍🏽👨‍👩‍👧 emoji",
    "½ ² ﬁ Ⅷ ㎏ ℡",
    "$100 €50 ^_^ `code` ~ | +=<>",
    "x" * 99,
    "x" * 400,
    "http://example.org/a?b=c#d",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    " leading and trailing  ",
    "\u0085\u009f latin-1 controls",
    "of\ue000fonts \U000f1234",
)


def write_tokenizer_vectors(model: Any, path: str | Path, texts: Any = (), overwrite: bool = False) -> Path:
    """Write texts with their tokens, as test vectors for a tokenizer in another programming language.

    The file is JSON with the settings of the `tokenizer` and a list of `rows`. Each row has a `text`, its `token_ids`
    and `tokens`, and their `starts` and `ends` in characters (code points). Special tokens are not added.

    Args:
        model: any model with a tokenizer, or a tokenizer.
        path: the file.
        texts: your own texts. They come first; then come texts that ports often tokenize wrong.
        overwrite: replace an existing file.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        ValueError: the model has no tokenizer, or `texts` is a single string instead of a list.

    Example:
        >>> write_tokenizer_vectors(reviews, "vectors.json")  # doctest: +SKIP
        PosixPath('vectors.json')
    """
    path = Path(path)
    check_free(path, overwrite)
    own = list_of_texts(texts, "texts")
    tokenizer = getattr(model, "tokenizer", model)
    if tokenizer is None:
        raise ValueError("the model has no tokenizer")
    rows = []
    for text in (*own, *SAMPLE_TEXTS, *_HARD):
        found = tokenizer.encode(text)
        places = {"starts": [int(s) for s in found.starts], "ends": [int(e) for e in found.ends]}
        rows.append({"text": text, "token_ids": [int(i) for i in found.token_ids], "tokens": found.tokens, **places})
    with whole_file(path) as temporary:
        content = {"tokenizer": tokenizer_settings(tokenizer), "rows": rows}
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path
