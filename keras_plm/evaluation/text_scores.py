"""Scores of generated texts beside reference texts, by sacreBLEU and rouge-score (extra `text-scores`)."""

import importlib.util
import re
from collections.abc import Sequence
from typing import Any

_NEEDED = {"sacrebleu", "rouge_score"}
_ROUGE = ("rouge1", "rouge2", "rougeL")
# a character of a script without spaces, or the letters and digits of a word
_WORD = re.compile(
    r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W_\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)


def needs_text_scores() -> None:
    """Raise ImportError unless the packages are installed."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise ImportError('scores of generated texts need: pip install "keras-plm[text-scores]"')


def text_scores(found: Sequence[str], wanted: Sequence[str]) -> dict[str, float]:
    """Scores of texts, in percent.

    - `chrf`: chrF2, the F-score of character n-grams. It needs no words, so it is comparable for all languages.
    - `bleu`: the precision of word n-grams, with sacreBLEU's tokenizer 13a, or by character (tokenizer zh) if a tenth
      of the reference characters are Chinese.
    - `rouge1`, `rouge2`, `rougeL`: means of the F-scores of words, pairs of words and longest common subsequences,
      with Porter's stemmer for English words. For ASCII texts they are those of rouge-score, which ignores all other
      characters; here the words of other scripts count, and in Chinese, Japanese and Thai the characters.

    Args:
        found: the generated texts, at least one.
        wanted: a reference for each.

    Raises:
        ImportError: the extra `text-scores` is not installed.

    Source: chrF: Popović 2015, https://aclanthology.org/W15-3049; BLEU: Post 2018, https://arxiv.org/abs/1804.08771;
        ROUGE: Lin 2004, https://aclanthology.org/W04-1013
    """
    needs_text_scores()
    import sacrebleu

    characters = "".join(wanted)
    chinese = sum("\u4e00" <= character <= "\u9fff" for character in characters) > len(characters) / 10
    rouge = rouge_scores(found, wanted)
    bleu = sacrebleu.corpus_bleu(list(found), [list(wanted)], tokenize="zh" if chinese else "13a")
    return {
        "chrf": sacrebleu.corpus_chrf(list(found), [list(wanted)]).score,
        "bleu": bleu.score,
        **{name: 100 * sum(score[name] for score in rouge) / len(rouge) for name in _ROUGE},
    }


def rouge_scores(found: Sequence[str], wanted: Sequence[str]) -> list[dict[str, float]]:
    """`rouge1`, `rouge2` and `rougeL` of each text, in [0, 1]; see `text_scores`."""
    needs_text_scores()
    from nltk.stem.porter import PorterStemmer
    from rouge_score import rouge_scorer
    from rouge_score.tokenizers import Tokenizer

    stemmer = PorterStemmer()

    class Words(Tokenizer):
        def tokenize(self, text: str) -> list[str]:
            # as rouge-score: no stems of words of up to three letters
            return [stemmer.stem(w) if len(w) > 3 and w.isascii() else w for w in words_of(text)]

    scorer = rouge_scorer.RougeScorer(_ROUGE, tokenizer=Words())
    rows: list[dict[str, Any]] = [scorer.score(w, f) for f, w in zip(found, wanted, strict=True)]
    return [{name: score.fmeasure for name, score in row.items()} for row in rows]


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation; in scripts without spaces, its characters."""
    return _WORD.findall(text.lower())


def distinct(texts: Sequence[str], size: int) -> float:
    """The number of different n-grams of words, divided by the number of all, in [0, 1]; 0 if there are none.

    Args:
        texts: the texts.
        size: n, the number of words of an n-gram.

    Source: distinct-n: Li et al. 2016, §5.1, https://arxiv.org/abs/1510.03055
    """
    grams = [tuple(row[i : i + size]) for row in map(words_of, texts) for i in range(len(row) - size + 1)]
    return len(set(grams)) / max(len(grams), 1)
