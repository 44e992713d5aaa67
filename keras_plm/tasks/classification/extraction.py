"""Extractive summaries: the most important sentences of a text, by a score of each sentence."""

from collections.abc import Sequence

from keras_plm.evaluation.text_scores import words_of
from keras_plm.text import list_of_texts, sentences_of

from .text_methods import ClassifierMethods


def extract_summaries(
    model: ClassifierMethods, texts: Sequence[str], num_sentences: int = 3, batch_size: int = 32
) -> list[str]:
    """The sentences of each text with the highest scores, in the order of the text.

    A sentence that shares three consecutive words with a better one, or is equal to it, is left out (trigram blocking).

    Args:
        model: a model without labels for pairs of a sentence and its text, as from the recipe `SummarizeExtractive`,
            or its artifact.
        texts: texts; a line break ends a sentence.
        num_sentences: maximum number of sentences of a summary.
        batch_size: pairs per batch.

    Raises:
        ValueError: the model does not score sentences, or `num_sentences` is below 1.

    Example:
        >>> extract_summaries(model, ["We study noise. It hurts. Our method removes it."], 1)  # doctest: +SKIP
        ['Our method removes it.']

    Source: Liu & Lapata 2019, §3.1, https://arxiv.org/abs/1908.08345; trigram blocking: Paulus et al. 2018, §2.5,
        https://arxiv.org/abs/1705.04304
    Differs: the model reads each sentence with its text as a pair. It is slower than one pass for all sentences, but
        every classifier, artifact and server can do it.
    """
    if not isinstance(model, ClassifierMethods) or model.labels is not None:
        raise ValueError("the model does not score sentences; give a model of the recipe SummarizeExtractive")
    if num_sentences < 1:
        raise ValueError(f"num_sentences={num_sentences}; it must be at least 1")
    sentences = [sentences_of(text) for text in list_of_texts(texts, "texts")]
    first = [sentence for of_text in sentences for sentence in of_text]
    second = [text for text, of_text in zip(texts, sentences, strict=True) for _ in of_text]
    scores = iter(model.predict_logits(first, second, batch_size=batch_size)[:, 0] if first else [])
    rows = ((of_text, [next(scores) for _ in of_text]) for of_text in sentences)
    return [" ".join(of_text[i] for i in _chosen(of_text, values, num_sentences)) for of_text, values in rows]


def _chosen(sentences: Sequence[str], scores: Sequence[float], num_sentences: int) -> list[int]:
    chosen: list[int] = []
    seen = set[tuple[str, ...]]()
    for index in sorted(range(len(scores)), key=lambda i: -scores[i]):
        words = words_of(sentences[index])
        trigrams = {tuple(words[i : i + 3]) for i in range(max(len(words) - 2, 1))}  # a short sentence is its own
        if len(chosen) < num_sentences and not trigrams & seen:
            chosen.append(index)
            seen |= trigrams
    return sorted(chosen)
