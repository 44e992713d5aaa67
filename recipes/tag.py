"""A pre-trained encoder and tagged sentences → a tagger: entities, parts of speech, slots.

Input    CoNLL files (a word and its tag a line), or JSONL with words and tags, or with a text and its spans
Output   a folder with a Tagger, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm tag --encoder saved_models/mini --train train.conll --save-to saved_models/entities
Time     MiniLM, 1,000 sentences of 30 tokens: about 15 seconds an epoch on 2 cores with AVX-512 BF16
"""

from dataclasses import dataclass
from typing import ClassVar

from keras_plm.models import Encoder
from keras_plm.tasks import TAGGING, Columns, Tagger, Task
from keras_plm.text import TaggedSentences

from .fine_tune import FineTune

# a score of a pair of tags moves by about the learning rate a step; at the encoder's it would never matter
_CRF_RATE = 100.0


@dataclass(frozen=True, kw_only=True)
class Tag(FineTune[Tagger]):
    """Fine-tune an encoder to give each word a tag, read at its first token.

    Tags may be IOB1, IOB2, BIOES, BILOU, BMES or plain ones; which of them is told by rule and printed. An I that
    continues nothing begins an entity, as seqeval reads it (`repair_tags`); the card says how many there were. The
    score is that of `tag` on the sentences as texts. Sentences longer than `max_length` are trained on in parts.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: no encoder there, a pattern that matches no file.
        ValueError: a line without a tag, a tag in `validation` or `test` that the training has not.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> tagger = Tag(  # doctest: +SKIP
        ...     encoder="saved_models/mini", train="train.conll", validation="dev.conll", crf=True,
        ...     save_to="saved_models/entities",
        ... ).run()
        >>> tagger.tag(["Ada Lovelace lived in London."])  # doctest: +SKIP
        [[TaggedSpan(text='Ada Lovelace', label='PER', start=0, end=12, score=0.99), …]]

    Source: Devlin et al. 2019, §5.3, https://arxiv.org/abs/1810.04805
    """

    task: ClassVar[Task] = TAGGING

    # CoNLL: the column of the tag from 0, by default the last (CoNLL-U: UPOS); JSONL: its key
    tag_column: int | str = -1
    crf: bool = False  # learn which tags follow each other (conditional random field)
    learning_rate: float = 1e-4  # peak, after the warm-up
    max_length: int = 128  # longest row in tokens; a longer sentence is trained on in parts

    @property
    def columns(self) -> Columns:
        """The field of that name."""
        return Columns(tag=self.tag_column)

    def make(self, encoder: Encoder, examples: TaggedSentences) -> Tagger:
        """A tagger, with a conditional random field or without."""
        return TAGGING.build(encoder, examples, self.crf)

    def rates(self, model: Tagger) -> dict[str, float]:
        """Multipliers of the learning rate by the path of a weight."""
        return super().rates(model) | {weight.path: _CRF_RATE for weight in (model.crf.weights if model.crf else [])}
