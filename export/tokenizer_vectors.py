import json
from pathlib import Path
from typing import Any

from keras_plm.models import check_free, tokenizer_settings, whole_file
from keras_plm.text import list_of_texts

from .verify import SAMPLE_TEXTS

# what ports of BERT's tokenizer get wrong
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
    """Write texts with their tokens, to check a tokenizer in another language against.

    JSON: `tokenizer`, its settings, and `rows`: each a `text` with the `token_ids` of its tokens, `tokens`, and
    `starts` and `ends` in characters (code points). There are no special tokens around them.

    Args:
        model: any model with a tokenizer, or a tokenizer.
        path: of the file.
        texts: of your own; they come before those that ports get wrong most often.
        overwrite: replace a file that is there.

    Raises:
        FileExistsError: the file exists and `overwrite` is False.
        ValueError: the model has no tokenizer, or one text in place of a list.

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
