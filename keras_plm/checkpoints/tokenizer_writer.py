"""Our tokenizers → Hugging Face's tokenizer files."""

import base64
from pathlib import Path
from typing import Any

from keras_plm.models import write_json
from keras_plm.text import (
    BERT_TEMPLATE,
    ROBERTA_TEMPLATE,
    BytePairTokenizer,
    SentencePieceTokenizer,
    Tokenizer,
    WordPieceTokenizer,
)
from keras_plm.text.byte_pair_words import to_pre_tokenizer

_BERT_LIKE = {"BertTokenizer", "AlbertTokenizer"}


def write_tokenizer(tokenizer: Tokenizer | None, folder: Path, max_length: int) -> dict[str, Any]:
    """Write tokenizer.json, tokenizer_config.json and the vocabulary files.

    Args:
        tokenizer: a tokenizer of this package; None writes nothing.
        folder: the output folder.
        max_length: the model's limit in tokens.

    Returns:
        The fields of config.json about special tokens.
    """
    if tokenizer is None:
        return {}
    parts, settings = _parts(tokenizer)
    special = tokenizer.special.by_role
    usual = BERT_TEMPLATE if settings["tokenizer_class"] in _BERT_LIKE else ROBERTA_TEMPLATE
    # the usual classes ignore the template; this class reads it from tokenizer.json
    if tokenizer.template != usual or "mask" not in special:
        settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    if "spiece.model" not in tokenizer.filenames:  # Hugging Face's file would need other ids than ours
        for name, file in tokenizer.files().items():
            (folder / name).write_bytes(file)
    added: list[dict[str, Any]] = [
        {
            "id": tokenizer.id(piece), "content": piece, "single_word": False,
            "lstrip": role == "mask" and not isinstance(tokenizer, WordPieceTokenizer),
            "rstrip": False, "normalized": False, "special": True,
        }
        for piece, role in {piece: role for role, piece in reversed(special.items())}.items()
    ]  # fmt: skip
    added += [
        {
            "id": tokenizer.id(token.text), "content": token.text, "single_word": False,
            "lstrip": token.strips_left, "rstrip": token.strips_right,
            "normalized": token.ignore_case, "special": token.special,
        }
        for token in tokenizer.added
    ]  # fmt: skip
    content: dict[str, Any] = {"version": "1.0", "truncation": None, "padding": None}
    content |= {"added_tokens": sorted(added, key=lambda token: token["id"]), **parts}
    write_json(folder / "tokenizer.json", content)
    roles = {f"{role}_token": piece for role, piece in special.items()}
    write_json(folder / "tokenizer_config.json", settings | roles | {"model_max_length": max_length})
    # what Transformers calls the first and the last token are those of BERT where a model has no others
    names = {"pad": ["pad"], "bos": ["bos", "cls"], "eos": ["eos", "sep"]}
    found = {name: [tokenizer.role_id(role) for role in of if role in special] for name, of in names.items()}
    return {f"{name}_token_id": ids[0] for name, ids in found.items() if ids}


def _parts(tokenizer: Tokenizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """The steps of tokenizer.json, and the settings of the corresponding Transformers class."""
    ids = {piece: index for index, piece in enumerate(tokenizer.vocabulary)}
    special = tokenizer.special
    parts: dict[str, Any] = {"normalizer": None, "post_processor": _template(tokenizer)}
    if isinstance(tokenizer, WordPieceTokenizer):
        case = {"lowercase": tokenizer.lowercase, "strip_accents": tokenizer.strip_accents}
        parts["normalizer"] = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, **case}
        parts["pre_tokenizer"] = {"type": "BertPreTokenizer"}
        parts["decoder"] = {"type": "WordPiece", "prefix": "##", "cleanup": True}
        pieces = {"continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": ids}
        parts["model"] = {"type": "WordPiece", "unk_token": special.unk, **pieces}
        settings = {"do_lower_case": tokenizer.lowercase, "strip_accents": tokenizer.strip_accents}
        return parts, {"tokenizer_class": "BertTokenizer", **settings}
    if isinstance(tokenizer, BytePairTokenizer):
        parts["pre_tokenizer"] = to_pre_tokenizer(tokenizer.words, tokenizer.add_prefix_space)
        level = {"type": "ByteLevel", "add_prefix_space": tokenizer.add_prefix_space, "trim_offsets": True}
        parts["decoder"] = level | {"use_regex": True}
        model = {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False}
        model |= {"continuing_subword_prefix": "", "end_of_word_suffix": "", "ignore_merges": tokenizer.ignore_merges}
        parts["normalizer"] = {"type": "NFC"} if tokenizer.nfc else None
        parts["model"] = model | {"vocab": ids, "merges": [merge.split(" ") for merge in tokenizer.merges]}
        return parts, {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": tokenizer.add_prefix_space}
    if isinstance(tokenizer, SentencePieceTokenizer):
        return parts | _unigram(tokenizer), _unigram_settings(tokenizer)
    raise TypeError(f"a {type(tokenizer).__name__} has no counterpart in Transformers")


def _unigram(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    steps: list[dict[str, Any]] = []
    if tokenizer.quotes:
        steps += [{"type": "Replace", "pattern": {"String": q}, "content": '"'} for q in ("``", "''")]
    if tokenizer.strip_accents:
        steps += [{"type": "NFKD"}, {"type": "StripAccents"}]
    if tokenizer.lowercase:
        steps.append({"type": "Lowercase"})
    if tokenizer.model.charsmap:
        charsmap = base64.b64encode(tokenizer.model.charsmap).decode()
        steps.append({"type": "Precompiled", "precompiled_charsmap": charsmap})
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    scored = list(zip(tokenizer.model.pieces, tokenizer.model.scores, strict=True))
    return {
        "normalizer": {"type": "Sequence", "normalizers": steps} if steps else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
        "decoder": metaspace,
        "model": {"type": "Unigram", "unk_id": tokenizer.unk_id, "byte_fallback": False, "vocab": scored},
    }


def _unigram_settings(tokenizer: SentencePieceTokenizer) -> dict[str, Any]:
    if tokenizer.template == ROBERTA_TEMPLATE:
        return {"tokenizer_class": "XLMRobertaTokenizer"}
    case = {"do_lower_case": tokenizer.lowercase, "keep_accents": not tokenizer.strip_accents}
    return {"tokenizer_class": "AlbertTokenizer", **case}


def _template(tokenizer: Tokenizer) -> dict[str, Any]:
    """Convert the tokenizer's template to a TemplateProcessing."""
    special = tokenizer.special.by_role

    def row(pair: bool) -> list[dict[str, Any]]:
        return [
            {"Sequence": {"id": part.name, "type_id": part.segment}}
            if part.is_text
            else {"SpecialToken": {"id": special[part.name], "type_id": part.segment}}
            for part in tokenizer.template.parts(pair)
        ]

    tokens = sorted({special[role] for role in tokenizer.template.roles})
    single = row(pair=False)
    # they always have pairs: where a model has none, one text behind the other
    second = [{**part, "Sequence": {"id": "B", "type_id": 0}} if "Sequence" in part else part for part in single]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": row(pair=True) if tokenizer.template.pair is not None else [*single, *second],
        "special_tokens": {token: {"id": token, "ids": [tokenizer.id(token)], "tokens": [token]} for token in tokens},
    }
