"""Small Hugging Face folders with random weights and a tokenizer of each kind."""

import functools
import io
import json
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import keras_plm as plm
from keras_plm.checkpoints.tokenizer_writer import write_tokenizer
from keras_plm.text import BERT_TEMPLATE, ROBERTA_TEMPLATE
from keras_plm.text.byte_pair import BYTE_CHARACTERS, ROBERTA_TOKENS
from keras_plm.text.sentence_piece import Unigram

from . import random_weights

GOLDEN = Path(__file__).parent / "transformers.npz"
TEXTS = ["The quiet film, 2031.", "a cafe in the film", "quiet films", "中国 is big"]
_WORDS = ["the", "quiet", "film", "a", "in", "is", "big", "中", "国", ",", ".", "cafe", "20"]


def word_piece() -> plm.WordPieceTokenizer:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("0123456789")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS, "##s", "##31"]
    pieces += [p for c in letters for p in (c, f"##{c}") if p not in pieces]
    return plm.WordPieceTokenizer(_filled(pieces))


def byte_pair() -> plm.BytePairTokenizer:
    merges = ["t h", "th e", "Ġ th", "Ġth e", "Ġ q", "u i", "ui e", "uie t", "Ġq uiet", "f i", "l m", "fi lm", "Ġ film"]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *BYTE_CHARACTERS, *(m.replace(" ", "") for m in merges)]
    return plm.BytePairTokenizer(_filled(pieces), merges)


def sentence_piece(special: plm.text.SpecialTokens, first: list[str]) -> plm.SentencePieceTokenizer:
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789,.", "▁", "T"]
    pieces = [*first, special.mask, *(f"▁{w}" for w in _WORDS), *letters, "film", "国"]
    pieces = list(dict.fromkeys(pieces))
    scores = [0.0 if i < 5 else -2.0 - len(pieces) / 100 + len(piece) / 5 for i, piece in enumerate(pieces)]
    pieces, scores = _filled(pieces), scores + [-50.0] * (random_weights.VOCABULARY - len(pieces))
    albert = special.cls == "[CLS]"
    case = {"lowercase": albert, "strip_accents": albert, "quotes": albert}
    return plm.SentencePieceTokenizer(
        Unigram(pieces, scores, charsmap()), special, **case, template=BERT_TEMPLATE if albert else ROBERTA_TEMPLATE
    )


@functools.cache
def charsmap() -> bytes:
    """The table of replacements that nearly all models have (NFKC, white space to spaces)."""
    import sentencepiece

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, vocab_size=40, hard_vocab_limit=False, minloglevel=2
    )
    return Unigram.from_bytes(model.getvalue(), "the model").charsmap


def _filled(pieces: list[str]) -> list[str]:
    return [*pieces, *(f"[unused{i}]" for i in range(random_weights.VOCABULARY - len(pieces)))]


def tokenizer(model_type: str) -> plm.Tokenizer:
    if model_type == "roberta":
        return byte_pair()
    if model_type == "xlm-roberta":
        return sentence_piece(ROBERTA_TOKENS, ["<s>", "<pad>", "</s>", "<unk>"])
    if model_type == "albert":
        from keras_plm.text.sentence_piece import ALBERT_TOKENS

        return sentence_piece(ALBERT_TOKENS, ["<pad>", "<unk>", "[CLS]", "[SEP]"])
    return word_piece()


def golden_facts() -> dict:
    return json.loads(str(np.load(GOLDEN)["facts"]))


def write_folder(folder: Path, name: str) -> dict:
    """The folder of a class as Transformers wrote it; its facts."""
    facts = golden_facts()[name]
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(facts["config"]))
    save_file(random_weights.weights(facts["shapes"]), folder / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(tokenizer(facts["config"]["model_type"]), folder, 21)
    return facts


def our_answers(model, batch: dict) -> dict[str, np.ndarray]:
    """Outputs under the names of Transformers."""
    if isinstance(model, plm.Pretrainer):
        rows, length = batch["token_ids"].shape
        batch = batch | {"mask_positions": np.tile(np.arange(length, dtype="int32"), (rows, 1))}
    found = model(batch)
    if isinstance(model, plm.Encoder):
        return {"last_hidden_state": found["sequence_output"], "pooler_output": found["pooled_output"]}
    if isinstance(model, plm.QuestionAnswerer):
        return {"start_logits": found["start"], "end_logits": found["end"]}
    if not isinstance(model, plm.Pretrainer):
        return {"logits": found}
    masked, following = found["masked_tokens"], found.get("next_sentence")
    names = {"prediction_logits": masked, "seq_relationship_logits": following, "sop_logits": following}
    return {"logits": masked} | {name: value for name, value in names.items() if value is not None}


def assert_same(ours: dict, theirs: dict, mask: np.ndarray, atol: float = 1e-4) -> None:
    """At all positions that are not padding."""
    for name, value in theirs.items():
        real = np.ones(value.shape, bool)
        if value.ndim > 1 and value.shape[1] == mask.shape[1]:
            real = np.broadcast_to(mask.astype(bool).reshape(*mask.shape, *[1] * (value.ndim - 2)), value.shape)
        np.testing.assert_allclose(np.asarray(ours[name])[real], value[real], atol=atol, err_msg=name)


def refuses(folder, message, error=ValueError) -> None:
    with pytest.raises(error, match=message):
        plm.load(f"hf:{folder}")


def torch_file(path, tensors: dict[str, np.ndarray], legacy: bool, extra: bytes = b"") -> None:
    """What torch.save writes, made without torch."""
    body = [b"\x80\x02ccollections\nOrderedDict\n)R("]
    for key, (name, array) in enumerate(tensors.items()):
        encoded = name.encode()
        body.append(b"X" + struct.pack("<I", len(encoded)) + encoded)
        body.append(b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n")
        for text in (str(key), "cpu"):
            body.append(b"X" + struct.pack("<I", len(text)) + text.encode())
        body.append(b"J" + struct.pack("<i", array.size) + (b"N" if legacy else b"") + b"tQK\x00")
        for sizes in (array.shape, [s // array.itemsize for s in array.strides]):
            body.append(b"(" + b"".join(b"J" + struct.pack("<i", size) for size in sizes) + b"t")
        body.append(b"\x89ccollections\nOrderedDict\n)RtR")
    data = b"".join(body) + b"u" + extra + b"."
    if legacy:
        parts = [pickle.dumps(o, 2) for o in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        parts += [data, pickle.dumps([str(k) for k in range(len(tensors))], 2)]
        parts += [struct.pack("<q", a.size) + a.tobytes() for a in tensors.values()]
        path.write_bytes(b"".join(parts))
        return
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        for key, array in enumerate(tensors.values()):
            archive.writestr(f"archive/data/{key}", array.tobytes())
