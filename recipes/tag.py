"""A pre-trained encoder and tagged sentences → a tagger: entities, parts of speech, slots.

Input    CoNLL files (one word and its tag per line), or JSONL with words and tags, or with a text and its spans
Output   a folder with a Tagger, its tokenizer, recipe, history, card, predictions and errors
Command  keras-plm tag --start-from saved_models/mini --train train.conll --save-to saved_models/entities
Time     MiniLM, 1,000 sentences of 30 tokens: about 15 seconds an epoch on 2 cores with AVX-512 BF16
"""

from dataclasses import dataclass
from typing import ClassVar

from keras_plm.models import Encoder
from keras_plm.tasks import TAGGING, Columns, Tagger, Task
from keras_plm.text import TaggedSentences

from .fine_tune import FineTune

# a transition score changes by about the learning rate in each step; at the encoder's rate it would stay near zero
_CRF_RATE = 100.0


@dataclass(frozen=True, kw_only=True)
class Tag(FineTune[Tagger]):
    """Fine-tune an encoder to give each word a tag. The tag of a word is predicted at its first token.

    Tags may be IOB1, IOB2, BIOES, BILOU, BMES or plain. The scheme is detected by rules and printed. An I tag that
    continues no entity begins one, as in seqeval (`repair_tags`); the model card says how many there were. Scores are
    computed with `tag` on the sentences as texts. For training, sentences longer than `max_length` are split.

    Raises:
        FileExistsError: `save_to` exists and `overwrite` is False.
        FileNotFoundError: there is no encoder at `encoder`, or a pattern matches no file.
        ValueError: a line has no tag, or `validation` or `test` has a tag that the training data do not have.
        RuntimeError: the loss became NaN; the last checkpoint is kept.

    Example:
        >>> tagger = Tag(  # doctest: +SKIP
        ...     start_from="saved_models/mini", train="train.conll", validation="dev.conll", crf=True,
        ...     save_to="saved_models/entities",
        ... ).run()
        >>> tagger.tag(["Ada Lovelace lived in London."])  # doctest: +SKIP
        [[TaggedSpan(text='Ada Lovelace', label='PER', start=0, end=12, score=0.99), …]]

    Source: Devlin et al. 2019, §5.3, https://arxiv.org/abs/1810.04805
    """

    task: ClassVar[Task] = TAGGING

    # CoNLL: column of the tag, from 0; by default the last column (CoNLL-U: UPOS). JSONL: key of the tags
    tag_column: int | str = -1
    crf: bool = False  # conditional random field: learn which tags follow each other
    learning_rate: float = 1e-4  # peak learning rate, after the warm-up
    max_length: int = 128  # longest row in tokens; longer sentences are split for training

    @property
    def columns(self) -> Columns:
        """The column of the tags."""
        return Columns(tag=self.tag_column)

    def make(self, encoder: Encoder, examples: TaggedSentences) -> Tagger:
        """A tagger, with or without a conditional random field."""
        return TAGGING.build(encoder, examples, self.crf)

    def rates(self, model: Tagger) -> dict[str, float]:
        """Factors of the learning rate, by the path of the weight."""
        return super().rates(model) | {weight.path: _CRF_RATE for weight in (model.crf.weights if model.crf else [])}
