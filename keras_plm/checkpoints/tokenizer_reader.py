"""Hugging Face's tokenizer files → our tokenizers."""

import base64
import binascii
import warnings
from pathlib import Path
from typing import Any

from keras_plm.models import read_json
from keras_plm.text import (
    BERT_TEMPLATE,
    ROBERTA_TEMPLATE,
    BytePairTokenizer,
    SentencePieceTokenizer,
    SpecialTokens,
    Template,
    Tokenizer,
    WordPieceTokenizer,
    read_text,
    read_vocabulary,
)
from keras_plm.text.byte_pair import ROBERTA_TOKENS, read_piece_ids
from keras_plm.text.byte_pair_words import from_pre_tokenizer
from keras_plm.text.sentence_piece import ALBERT_TOKENS
from keras_plm.text.sentence_piece_model import BytePairs, Unigram, read_model
from keras_plm.text.template import ROLES

from .added_tokens import Listed, added_tokens, extended, in_tokenizer_json, listed_tokens

# The supported tokenizer classes of Hugging Face. For the last two, tokenizer.json determines the kind of tokenizer.
_CLASSES = {
    "BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer", "RobertaTokenizer", "XLMRobertaTokenizer",
    "AlbertTokenizer", "T5Tokenizer", "PreTrainedTokenizer", "TokenizersBackend", "GPT2Tokenizer", "LlamaTokenizer",
    "Qwen2Tokenizer",
}  # fmt: skip
_GPT2_WORDS = ("GPT2Tokenizer", "RobertaTokenizer", "PreTrainedTokenizer")  # the word rule of vocab.json alone
_GPT2_END = "<|endoftext|>"
_T5_BEGIN = ["<pad>", "</s>", "<unk>"]
T5_TOKENS = SpecialTokens("<pad>", "<unk>", cls=None, sep=None, mask=None, eos="</s>")
T5_TEMPLATE = Template("A eos", "A eos B eos")
_SENTENCE_PIECE = ("sentencepiece.bpe.model", "spiece.model", "tokenizer.model")


def read_tokenizer(folder: Path, causal: bool = False) -> Tokenizer:
    """Read the tokenizer of a folder.

    The first of these is used: tokenizer.json, vocab.txt, vocab.json with merges.txt, a SentencePiece model.

    Args:
        folder: the folder of the files.
        causal: whether it is the tokenizer of a decoder. Then only special tokens that the files name exist, and the
            default template adds none to a text.

    Raises:
        FileNotFoundError: none of these files exists.
        ValueError: a file is damaged, or the kind of tokenizer is not supported.
    """
    settings = _settings(folder)
    try:
        listed = listed_tokens(folder, settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder}: its files of added tokens are damaged: {error!r}") from None
    if (folder / "tokenizer.json").is_file():
        try:
            content = read_json(folder / "tokenizer.json")
            inside = in_tokenizer_json(content)
            known = {token.text for token in inside.values()}
            listed = {index: token for index, token in listed.items() if index >= 0 or token.text not in known}
            return _from_json(content, settings, listed | inside, causal)
        except (KeyError, TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{folder / 'tokenizer.json'} is not a tokenizer: {error!r}") from None
        except ValueError as error:
            raise ValueError(f"{folder / 'tokenizer.json'}: {error}") from None
    if (folder / "vocab.txt").is_file():
        if not settings.get("tokenize_chinese_chars", True):
            raise ValueError(f"{folder}: tokenize_chinese_chars=false is not supported")
        return _from_vocabulary(folder / "vocab.txt", settings, listed)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        return _from_merges(folder, settings, listed, causal)
    for name in _SENTENCE_PIECE:
        if (folder / name).is_file():
            model = read_model((folder / name).read_bytes(), str(folder / name))
            make: Any = _sentence_piece_pairs if isinstance(model, BytePairs) else from_sentence_piece
            return make(model, settings, listed)
    raise FileNotFoundError(
        f"{folder} has no tokenizer: neither tokenizer.json nor vocab.txt, vocab.json with merges.txt, "
        f"{' or '.join(_SENTENCE_PIECE)}"
    )


def _from_merges(folder: Path, settings: dict[str, Any], listed: dict[int, Listed], causal: bool) -> BytePairTokenizer:
    named = str(settings.get("tokenizer_class", "")).removesuffix("Fast")
    if named and named not in _GPT2_WORDS:
        raise ValueError(f"{folder}: {named} splits words by a rule that is in tokenizer.json, which is missing")
    prefix = settings.get("add_prefix_space", False)
    vocabulary = read_piece_ids(folder / "vocab.json")
    special = _causal(settings, vocabulary, listed) if causal else _special(settings, ROBERTA_TOKENS)
    vocabulary = extended(vocabulary, listed, special)
    added = added_tokens(listed, special, lowercase=False)
    merges = [m for m in read_text(folder / "merges.txt").splitlines() if m and not m.startswith("#version")]
    template = _causal_template(settings) if causal else _usual_template(special)
    return BytePairTokenizer(vocabulary, merges, special, prefix, template, added)


def _from_vocabulary(path: Path, settings: dict[str, Any], listed: dict[int, Listed]) -> WordPieceTokenizer:
    special = _special(settings, SpecialTokens())
    try:
        vocabulary = extended(read_vocabulary(path), listed, special)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    lowercase = settings.get("do_lower_case", True)
    if not isinstance(lowercase, bool):
        raise ValueError(f"{path.parent}: do_lower_case={lowercase!r} is neither true nor false")
    cased = sum(piece != piece.lower() for piece in vocabulary if piece not in special.by_role.values())
    if lowercase and "do_lower_case" not in settings and cased > len(vocabulary) // 20:
        warnings.warn(
            f"{path.parent} does not say do_lower_case, and {cased:,} of {len(vocabulary):,} tokens have capital "
            f"letters. As in Transformers, texts are lower-cased, so these tokens are never used. If the model is "
            f'cased, put {{"do_lower_case": false}} into tokenizer_config.json',
            stacklevel=2,
        )
    added = added_tokens(listed, special, lowercase)
    return WordPieceTokenizer(vocabulary, lowercase, settings.get("strip_accents"), special, added=added)


def _settings(folder: Path) -> dict[str, Any]:
    """The tokenizer settings of the folder. Also checks its class, because some classes split words in special ways."""
    found: dict[str, Any] = {}
    for name in ("config.json", "special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            content = read_json(folder / name)
            named = content.get("tokenizer_class")
            if name == "config.json":  # only its field tokenizer_class is about the tokenizer
                content = {}
            if named is not None and str(named).removesuffix("Fast") not in _CLASSES:
                raise ValueError(f"{folder / name}: the tokenizer {named} is not supported")
            found |= content
    if found.get("word_tokenizer_type") not in (None, "basic"):
        raise ValueError(f"{folder}: word_tokenizer_type={found['word_tokenizer_type']!r} is not supported")
    return found


def _special(settings: dict[str, Any], default: SpecialTokens) -> SpecialTokens:
    """The special tokens from the settings, where each is a string or an object."""
    spelled: dict[str, str | None] = dict.fromkeys(ROLES)
    for role, piece in default.by_role.items():
        value = settings.get(f"{role}_token") or piece
        spelled[role] = value["content"] if isinstance(value, dict) else value
    return SpecialTokens(**spelled)


def _causal(settings: dict[str, Any], vocabulary: list[str], listed: dict[int, Listed]) -> SpecialTokens:
    """The special tokens that the settings name and the vocabulary contains; if they name none, those of GPT-2."""
    known = {*vocabulary, *(token.text for token in listed.values())}
    spelled: dict[str, str | None] = dict.fromkeys(ROLES)
    for role in ROLES:
        value = settings.get(f"{role}_token")
        value = value["content"] if isinstance(value, dict) else value
        spelled[role] = value if value in known else None
    if spelled["eos"] is None and _GPT2_END in known:
        spelled |= {"bos": _GPT2_END, "eos": _GPT2_END}
    if spelled["eos"] is None:
        raise ValueError("no file names the token that ends a text (eos_token)")
    return SpecialTokens(**spelled)


def _causal_template(settings: dict[str, Any]) -> Template:
    return Template("bos A", None) if settings.get("add_bos_token") else Template("A", None)


def _usual_template(special: SpecialTokens) -> Template:
    """The default template, if no file has one."""
    if special.cls is None:
        return T5_TEMPLATE
    return ROBERTA_TEMPLATE if special.cls == "<s>" else BERT_TEMPLATE


def _template(content: dict[str, Any], special: SpecialTokens, usual: Template) -> Template:
    """The template of tokenizer.json for one text and for a pair; `usual` if it has none.

    Raises:
        ValueError: a step is not supported, or a token has no role.
    """
    for step in _steps(content.get("post_processor"), "processors"):
        if step["type"] == "BertProcessing":
            return BERT_TEMPLATE
        if step["type"] == "RobertaProcessing":
            return ROBERTA_TEMPLATE
        if step["type"] == "TemplateProcessing":
            return Template(_template_words(step["single"], special), _template_words(step["pair"], special))
        if step["type"] != "ByteLevel":  # ByteLevel changes only offsets
            raise ValueError(f"the post-processor {step['type']} is not supported")
    return usual


def _template_words(parts: list[dict[str, Any]], special: SpecialTokens) -> str:
    """Convert one row of a TemplateProcessing to the syntax of our `Template`."""
    role_of = {token: role for role, token in reversed(special.by_role.items())}
    words = []
    for part in parts:
        text = "Sequence" in part
        inner = part["Sequence" if text else "SpecialToken"]
        if not text and inner["id"] not in role_of:
            raise ValueError(f"its template has the token {inner['id']!r}, which has no known role")
        name = inner["id"] if text else role_of[inner["id"]]
        words.append(f"{name}:{inner['type_id']}" if inner["type_id"] else name)
    return " ".join(words)


def _from_json(content: dict[str, Any], settings: dict[str, Any], listed: dict[int, Listed], causal: bool) -> Tokenizer:
    model = content["model"]
    kind = model.get("type") or ("WordPiece" if "max_input_chars_per_word" in model else "BPE")
    if kind == "Unigram":
        return _unigram(model, listed, content, settings)
    vocabulary = [""] * len(model["vocab"])
    for piece, index in model["vocab"].items():
        if not 0 <= index < len(vocabulary):
            raise ValueError("the ids of its vocabulary are not 0, 1, 2, …")
        vocabulary[index] = piece
    special = _special(settings, SpecialTokens() if kind == "WordPiece" else ROBERTA_TOKENS)
    if causal:
        special = _causal(settings, vocabulary, listed)
    vocabulary = extended(vocabulary, listed, special)
    before = [step["type"] for step in _steps(content.get("pre_tokenizer"), "pretokenizers")]
    if kind == "WordPiece":
        return _word_piece(vocabulary, special, before, content, settings, listed)
    if kind == "BPE":
        return _byte_pair(vocabulary, special, content, settings, listed, causal)
    raise ValueError(f"a tokenizer of type {kind} is not supported, only WordPiece, BPE and Unigram")


def _byte_pair(
    vocabulary: list[str],
    special: SpecialTokens,
    content: dict[str, Any],
    settings: dict[str, Any],
    listed: dict[int, Listed],
    causal: bool,
) -> Tokenizer:
    if content["model"].get("byte_fallback"):
        return _sentence_piece_pairs(_byte_pairs(vocabulary, content), settings, listed, content)
    steps = _steps(content.get("pre_tokenizer"), "pretokenizers")
    before = [step["type"] for step in steps]
    if "ByteLevel" not in before:
        raise ValueError(f"BPE after {before} is not supported, only ByteLevel")
    words = from_pre_tokenizer(steps)
    normalizers = [step["type"] for step in _steps(content.get("normalizer"), "normalizers")]
    if normalizers not in ([], ["NFC"]):
        raise ValueError(f"BPE after the normalizers {normalizers} is not supported, only NFC")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in content["model"]["merges"]]
    prefix = steps[-1].get("add_prefix_space", False)
    added = added_tokens(listed, special, lowercase=False)
    template = _template(content, special, _causal_template(settings) if causal else _usual_template(special))
    if causal:  # a decoder has one text, whatever a file says of two
        template = Template(template.single, None)
    ignores = bool(content["model"].get("ignore_merges"))
    return BytePairTokenizer(vocabulary, merges, special, prefix, template, added, words, bool(normalizers), ignores)


def _word_piece(
    vocabulary: list[str],
    special: SpecialTokens,
    before: list[str],
    content: dict[str, Any],
    settings: dict[str, Any],
    listed: dict[int, Listed],
) -> WordPieceTokenizer:
    normalizer = content["normalizer"] or {"type": None}
    options = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    if before != ["BertPreTokenizer"] or options | normalizer != normalizer | options:
        raise ValueError(f"WordPiece after {before} and {normalizer} is not supported, only as in BERT")
    if content["model"].get("continuing_subword_prefix", "##") != "##":
        raise ValueError("WordPiece with another prefix than ## for tokens inside a word is not supported")
    lowercase = normalizer.get("lowercase", True)
    if settings.get("do_lower_case") not in (None, lowercase):
        raise ValueError(
            f"tokenizer.json has lowercase={lowercase}, but tokenizer_config.json has do_lower_case="
            f"{settings['do_lower_case']}; correct one of them"
        )
    added = added_tokens(listed, special, lowercase)
    template = _template(content, special, _usual_template(special))
    return WordPieceTokenizer(vocabulary, lowercase, normalizer.get("strip_accents"), special, template, added)


def _steps(step: dict[str, Any] | None, key: str) -> list[dict[str, Any]]:
    """The steps of a Sequence, or a list with the single step."""
    if step is None:
        return []
    return [inner for part in step[key] for inner in _steps(part, key)] if step["type"] == "Sequence" else [step]


def _unigram(
    model: dict[str, Any], listed: dict[int, Listed], content: dict[str, Any], settings: dict[str, Any]
) -> SentencePieceTokenizer:
    pieces = [piece for piece, _ in model["vocab"]]
    usual = T5_TOKENS if pieces[:3] == _T5_BEGIN else ROBERTA_TOKENS if "<s>" in pieces else ALBERT_TOKENS
    special = _special(settings, usual)
    pieces = extended(pieces, listed, special)
    scores = [score for _, score in model["vocab"]]
    scores += [0.0] * (len(pieces) - len(scores))
    steps = _steps(content.get("normalizer"), "normalizers")
    kinds = [step["type"] for step in steps]
    unknown = set(kinds) - {"Precompiled", "Replace", "NFKD", "StripAccents", "Lowercase", "Strip"}
    replaced = [step["pattern"] for step in steps if step["type"] == "Replace"]
    known = ({"String": "``"}, {"String": "''"}, {"Regex": " {2,}"})
    if unknown or ("StripAccents" in kinds) != ("NFKD" in kinds) or not all(pattern in known for pattern in replaced):
        raise ValueError(f"Unigram after the normalizers {kinds} with the replacements {replaced} is not supported")
    steps_before = _steps(content.get("pre_tokenizer"), "pretokenizers")
    before = [step["type"] for step in steps_before]
    if before not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        raise ValueError(f"Unigram after {before} is not supported, only Metaspace")
    begins = steps_before[-1].get("prepend_scheme", "always")
    if begins != "always":
        raise ValueError(f"Metaspace with prepend_scheme={begins!r} is not supported, only 'always'")
    try:
        charsmap = b"".join(base64.b64decode(s["precompiled_charsmap"]) for s in steps if s["type"] == "Precompiled")
    except binascii.Error:
        raise ValueError("its precompiled_charsmap is not base64") from None
    return SentencePieceTokenizer(
        Unigram(pieces, scores, charsmap),
        special,
        lowercase="Lowercase" in kinds,
        strip_accents="StripAccents" in kinds,
        quotes={"String": "``"} in replaced,
        template=_template(content, special, _usual_template(special)),
        added=added_tokens(listed, special, "Lowercase" in kinds),
    )


def from_sentence_piece(
    model: Unigram, settings: dict[str, Any], listed: dict[int, Listed] | None = None
) -> SentencePieceTokenizer:
    """Make a tokenizer from the model file. ALBERT and T5 use the ids of the file; XLM-RoBERTa has its own ids."""
    pieces, scores, listed = list(model.pieces), list(model.scores), listed or {}
    if "[CLS]" in pieces:
        special = _special(settings, ALBERT_TOKENS)
        lowercase, accents = bool(settings.get("do_lower_case", True)), bool(settings.get("keep_accents", False))
        pieces = extended(pieces, listed, special)
        return SentencePieceTokenizer(
            Unigram(pieces, [*scores, *[0.0] * (len(pieces) - len(scores))], model.charsmap), special, lowercase,
            not accents, quotes=True, added=added_tokens(listed, special, lowercase),
        )  # fmt: skip
    if pieces[:3] == _T5_BEGIN:
        special = _special(settings, T5_TOKENS)
        more = int(settings.get("extra_ids", 100))
        pieces += [piece for i in reversed(range(more)) if (piece := f"<extra_id_{i}>") not in pieces]
        pieces = extended(pieces, listed, special)
        unigram = Unigram(pieces, scores + [0.0] * (len(pieces) - len(scores)), model.charsmap)
        return SentencePieceTokenizer(
            unigram, special, template=T5_TEMPLATE, added=added_tokens(listed, special, lowercase=False)
        )
    if pieces[:3] != ["<unk>", "<s>", "</s>"]:
        raise ValueError(f"a SentencePiece model that begins with {pieces[:3]} is not supported")
    first = ["<s>", "<pad>", "</s>", "<unk>"]
    special = _special(settings, ROBERTA_TOKENS)
    pieces = extended([*first, *pieces[3:], "<mask>"], listed, special)
    scores = [0.0] * 4 + scores[3:]
    unigram = Unigram(pieces, scores + [0.0] * (len(pieces) - len(scores)), model.charsmap)
    added = added_tokens(listed, special, lowercase=False)
    return SentencePieceTokenizer(unigram, special, template=ROBERTA_TEMPLATE, added=added)


def _byte_pairs(vocabulary: list[str], content: dict[str, Any]) -> BytePairs:
    """SentencePiece's byte pairs from a tokenizer.json: the score of a token is the rank of its merge."""
    normalizers = _steps(content.get("normalizer"), "normalizers")
    kinds = [step["type"] for step in normalizers]
    before = _steps(content.get("pre_tokenizer"), "pretokenizers")
    if kinds != ["Prepend", "Replace"] or before:  # Metaspace has other spaces behind special tokens
        found = kinds + [step["type"] for step in before]
        raise ValueError(f"byte pairs with byte_fallback after {found} are not supported, only Prepend and Replace")
    scores = dict.fromkeys(vocabulary, 0.0)
    for rank, merge in enumerate(content["model"]["merges"]):
        first, second = merge.split(" ") if isinstance(merge, str) else merge
        piece = first + second
        if scores.get(piece) == 0.0:  # several pairs can make the same token
            scores[piece] = -float(rank + 1)
    return BytePairs(vocabulary, [scores[piece] for piece in vocabulary], b"")


def _sentence_piece_pairs(
    model: BytePairs, settings: dict[str, Any], listed: dict[int, Listed], content: dict[str, Any] | None = None
) -> SentencePieceTokenizer:
    """The tokenizer of Llama 1 and 2 and Mistral."""
    special = _causal(settings | {"unk_token": settings.get("unk_token") or "<unk>"}, model.pieces, listed)
    pieces = extended(model.pieces, listed, special)
    scores = model.scores + [0.0] * (len(pieces) - len(model.scores))
    usual = Template("bos A" if settings.get("add_bos_token", True) and special.bos else "A", None)
    single = usual if content is None else _template(content, special, usual)
    added = added_tokens(listed, special, lowercase=False)
    template = Template(single.single, None)
    pairs = BytePairs(pieces, scores, model.charsmap, model.controls)
    return SentencePieceTokenizer(pairs, special, template=template, added=added)
