"""Raw text → batches of integers: the only folder of the library that speaks TensorFlow Text.

corpus → vocabulary → tokenizer → sentence_pairs → packing → masking → datasets
"""

from .answer_windows import AnswerWindows
from .augmentation import altered
from .byte_pair import BytePairTokenizer
from .corpus import expand_files, read_documents, read_text, split_sentences
from .datasets import TextRows, pretraining_dataset
from .examples import Examples, LabelledTexts, list_of_texts
from .masking import mask_tokens
from .packing import Spans, pack
from .questions import Questions
from .rows import distinct_labels, label_ids, label_rows, read_rows, scores, split_labels
from .sentence_pairs import SentencePairs, TokenizedCorpus
from .sentence_piece import SentencePieceTokenizer
from .sentences import TaggedSentences
from .tags import allowed_transitions, repair_tags, spans_to_tags, tag_scheme, tag_spans
from .tokenizer import Encoding, SpecialTokens, Tokenizer
from .vocabulary import SPECIAL_TOKENS, learn_vocabulary, read_vocabulary
from .word_labels import WordRows
from .word_piece import WordPieceTokenizer
from .words import BERT_ALONE, split_words, split_words_in_graph

__all__ = [
    "BERT_ALONE",
    "SPECIAL_TOKENS",
    "AnswerWindows",
    "BytePairTokenizer",
    "Encoding",
    "Examples",
    "LabelledTexts",
    "Questions",
    "SentencePairs",
    "SentencePieceTokenizer",
    "Spans",
    "SpecialTokens",
    "TaggedSentences",
    "TextRows",
    "TokenizedCorpus",
    "Tokenizer",
    "WordPieceTokenizer",
    "WordRows",
    "allowed_transitions",
    "altered",
    "distinct_labels",
    "expand_files",
    "label_ids",
    "label_rows",
    "learn_vocabulary",
    "list_of_texts",
    "mask_tokens",
    "pack",
    "pretraining_dataset",
    "read_documents",
    "read_rows",
    "read_text",
    "read_vocabulary",
    "repair_tags",
    "scores",
    "spans_to_tags",
    "split_labels",
    "split_sentences",
    "split_words",
    "split_words_in_graph",
    "tag_scheme",
    "tag_spans",
]
