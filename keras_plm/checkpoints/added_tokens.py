"""Read added tokens from all Hugging Face files that can contain them."""

from pathlib import Path
from typing import Any, NamedTuple

from keras_plm.models import read_json
from keras_plm.text import AddedToken, SpecialTokens


class Listed(NamedTuple):
    """A token as listed in a file.

    Attributes:
        text: the token.
        normalized: whether it is lower-cased and searched in the lower-cased text.
        strips_left, strips_right: whether the white space before it, or after it, belongs to it.
        single_word: whether it is recognized only if no letter is next to it.
        special: it is a control token, which is not part of a decoded text.
    """

    text: str
    normalized: bool = True
    strips_left: bool = False
    strips_right: bool = False
    single_word: bool = False
    special: bool = False

    @classmethod
    def of(cls, token: Any, is_special: bool) -> "Listed":
        """Make it from a string, or from an object with `content` and flags."""
        if isinstance(token, str):
            return cls(token, normalized=not is_special, special=is_special)
        left, right, alone = (bool(token.get(name, False)) for name in ("lstrip", "rstrip", "single_word"))
        special = is_special or bool(token.get("special", False))
        if not isinstance(token["content"], str):
            raise TypeError(f"content is {token['content']!r:.60}")
        return cls(token["content"], bool(token.get("normalized", not special)), left, right, alone, special)


def listed_tokens(folder: Path, settings: dict[str, Any]) -> dict[int, Listed]:
    """The added tokens by id, from `added_tokens.json` and from `added_tokens_decoder` in tokenizer_config.json.

    Args:
        folder: the folder of the files.
        settings: the content of special_tokens_map.json and tokenizer_config.json.
    """
    special = _special_texts(settings)
    found: dict[int, Listed] = {}
    if (folder / "added_tokens.json").is_file():
        for text, index in read_json(folder / "added_tokens.json").items():
            found[_id(index, folder / "added_tokens.json")] = Listed.of(text, text in special)
    decoder = settings.get("added_tokens_decoder") or {}
    for index, token in decoder.items():
        text = token["content"]
        found[_id(int(index), folder / "tokenizer_config.json")] = Listed.of(token, text in special)
    known = {token.text for token in found.values()}
    for number, text in enumerate(sorted(special - known)):
        found[-1 - number] = Listed(text, normalized=False, special=True)  # a negative key: its id is in the vocabulary
    return found


def in_tokenizer_json(content: dict[str, Any]) -> dict[int, Listed]:
    """The added tokens of a tokenizer.json, by id."""
    return {
        _id(token["id"], Path("added_tokens")): Listed.of(token, False) for token in content.get("added_tokens") or []
    }


def _special_texts(settings: dict[str, Any]) -> set[str]:
    """The special tokens without a role."""
    more = settings.get("additional_special_tokens") or []
    extra = settings.get("extra_special_tokens") or []
    tokens = [*more, *(extra.values() if isinstance(extra, dict) else extra)]
    return {token if isinstance(token, str) else token["content"] for token in tokens}


def _id(index: Any, path: Path) -> int:
    if not isinstance(index, int) or isinstance(index, bool) or index < 0:
        raise ValueError(f"{path}: {index!r} is not the id of a token")
    return index


def extended(vocabulary: list[str], listed: dict[int, Listed], special: SpecialTokens) -> list[str]:
    """The vocabulary, followed by the added tokens whose ids come after it.

    Raises:
        ValueError: there is a gap between ids, an id belongs to another token, or a special token has no id.
    """
    vocabulary = list(vocabulary)
    for index in sorted(listed):
        text = listed[index].text
        if index < 0:
            if text not in vocabulary:
                raise ValueError(f"the special token {text!r} has no id: no list of added tokens contains it")
        elif index == len(vocabulary):
            vocabulary.append(text)
        elif index > len(vocabulary):
            raise ValueError(
                f"the added token {text!r} has the id {index}, but the vocabulary ends at {len(vocabulary)}"
            )
        elif vocabulary[index] != text:
            raise ValueError(f"the added token {text!r} has the id {index} of the token {vocabulary[index]!r}")
    return vocabulary


def added_tokens(listed: dict[int, Listed], special: SpecialTokens, lowercase: bool) -> list[AddedToken]:
    """The added tokens, without the special tokens that have a role.

    Raises:
        ValueError: a token is for whole words only, which a graph cannot check.
    """
    found = {}
    for token in listed.values():
        if token.text in special.by_role.values():
            continue
        if token.single_word:
            raise ValueError(
                f"the added token {token.text!r} is for whole words only (single_word), which is not supported"
            )
        case = token.normalized and lowercase
        found[token.text] = AddedToken(token.text, case, token.strips_left, token.strips_right, token.special)
    return list(found.values())
