import io
from collections.abc import Iterable, Sequence
from dataclasses import replace

import sentencepiece

from .sentence_piece import SentencePieceTokenizer
from .sentence_piece_model import Unigram, read_model
from .template import SpecialTokens, Template
from .tokenizer import AddedToken

TRANSLATION_TOKENS = SpecialTokens(pad="<pad>", unk="<unk>", cls=None, sep=None, mask=None, bos=None, eos="</s>")
_LONGEST = 4_000  # characters of a line; longer ones are cut, because the library skips lines above its limit in bytes
_THREADS = 1  # the result depends on their number


def learn_sentence_pieces(
    texts: Iterable[str], vocabulary_size: int, added: Sequence[str] = (), mask: str | None = None
) -> SentencePieceTokenizer:
    """Learn a SentencePiece model (Unigram) from texts. Rows end with `</s>`, as in T5.

    Every character of the texts gets a token. The result depends only on the texts and the size.

    Args:
        texts: texts, such as the sources and the targets of a translation. They share the tokens.
        vocabulary_size: number of tokens, with `<pad>`, `</s>`, `<unk>` and the added ones. If the texts have too few
            different parts, there are fewer tokens.
        added: control tokens that do not come from texts, such as the sentinels of T5. They are the last tokens.
        mask: a token that stands for hidden tokens; None for no such token.

    Raises:
        ValueError: the texts have more different characters than the vocabulary has room for, or there is no text.

    Source: Kudo 2018, §3.2, https://arxiv.org/abs/1804.10959
    """
    last = [*added, *([] if mask is None else [mask])]
    if vocabulary_size < 4 + len(last):
        raise ValueError(f"vocabulary_size={vocabulary_size}; it must be at least {4 + len(last)}")
    model = io.BytesIO()
    lines = (
        line[start : start + _LONGEST]
        for text in texts
        for line in text.split("\n")
        if line.strip()
        for start in range(0, len(line), _LONGEST)
    )
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=lines,
            model_writer=model,
            vocab_size=vocabulary_size - len(last),
            hard_vocab_limit=False,
            character_coverage=1.0,
            max_sentence_length=4 * _LONGEST,
            num_threads=_THREADS,
            pad_id=0,
            eos_id=1,
            unk_id=2,
            bos_id=-1,
            minloglevel=2,
        )
    except (RuntimeError, OSError) as error:
        raise ValueError(
            f"no vocabulary of {vocabulary_size} tokens can be learned from these texts: {error}; take more texts, or "
            "another size"
        ) from None
    learned = read_model(model.getvalue(), "the learned model")
    return SentencePieceTokenizer(
        Unigram([*learned.pieces, *last], [*learned.scores, *[0.0] * len(last)], learned.charsmap),
        replace(TRANSLATION_TOKENS, mask=mask),
        template=Template("A eos", None),
        added=[AddedToken(token, special=True) for token in added],
    )
