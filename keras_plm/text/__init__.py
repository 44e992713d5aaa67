"""Raw text → batches of integers. Only this folder of the library uses TensorFlow Text.

readers · corpus → vocabulary → tokenizer → sentence_pairs → packing → masking → datasets
"""

from .answer_windows import AnswerWindows
from .augmentation import altered
from .byte_pair import BytePairTokenizer
from .byte_pair_learning import learn_byte_pairs
from .corpus import read_documents, sentences_of, split_sentences
from .datasets import TextRows
from .denoising import MASK, SENTINELS, DenoisingRows, Noise
from .masked_pairs import MaskedPairs
from .masking import mask_tokens
from .next_sentence_pairs import SentencePairs
from .packed_passages import PackedPassages
from .packed_texts import PackedRows, PackedTexts
from .packing import Spans, pack
from .readers import (
    Completions,
    Conversations,
    Examples,
    LabeledTexts,
    OnBadRow,
    Questions,
    TaggedSentences,
    check_limit,
    distinct_labels,
    expand_files,
    label_ids,
    label_rows,
    list_of_texts,
    read_columns,
    read_rows,
    read_text,
    read_texts,
)
from .sentence_piece import SentencePieceTokenizer
from .sentence_piece_learning import learn_sentence_pieces
from .shard_writing import write_shards
from .short_then_long import ShortThenLong
from .source_target_rows import SourceTargetRows
from .streamed_rows import Epochs, StreamedRows
from .tags import (
    allowed_transitions,
    canonical_labels,
    repair_tags,
    spans_to_tags,
    spread_tag,
    tag_notation,
    tag_scheme,
    tag_spans,
)
from .template import BERT_TEMPLATE, ROBERTA_TEMPLATE, SpecialTokens, Template
from .token_shards import PreparedCorpus
from .tokenized_corpus import TokenizedCorpus
from .tokenizer import AddedToken, Encoding, Tokenizer
from .vocabulary_learning import SPECIAL_TOKENS, learn_vocabulary, read_vocabulary
from .word_labels import WordRows
from .word_piece import WordPieceTokenizer
from .words import ALONE, BERT_ALONE, CORPUS_WORDS, split_each, split_words, split_words_in_graph

__all__ = [
    "ALONE",
    "BERT_ALONE",
    "BERT_TEMPLATE",
    "CORPUS_WORDS",
    "ROBERTA_TEMPLATE",
    "MASK",
    "SENTINELS",
    "SPECIAL_TOKENS",
    "AddedToken",
    "AnswerWindows",
    "SourceTargetRows",
    "BytePairTokenizer",
    "Encoding",
    "Examples",
    "LabeledTexts",
    "Completions",
    "Conversations",
    "DenoisingRows",
    "MaskedPairs",
    "Noise",
    "PackedRows",
    "PackedPassages",
    "Epochs",
    "OnBadRow",
    "PackedTexts",
    "PreparedCorpus",
    "Questions",
    "SentencePairs",
    "SentencePieceTokenizer",
    "Spans",
    "ShortThenLong",
    "StreamedRows",
    "SpecialTokens",
    "TaggedSentences",
    "Template",
    "TextRows",
    "TokenizedCorpus",
    "Tokenizer",
    "WordPieceTokenizer",
    "WordRows",
    "allowed_transitions",
    "altered",
    "canonical_labels",
    "check_limit",
    "distinct_labels",
    "expand_files",
    "label_ids",
    "label_rows",
    "learn_byte_pairs",
    "learn_sentence_pieces",
    "learn_vocabulary",
    "list_of_texts",
    "mask_tokens",
    "pack",
    "read_columns",
    "read_documents",
    "read_rows",
    "read_text",
    "read_texts",
    "read_vocabulary",
    "repair_tags",
    "sentences_of",
    "spans_to_tags",
    "split_each",
    "split_sentences",
    "split_words",
    "split_words_in_graph",
    "spread_tag",
    "tag_notation",
    "tag_scheme",
    "tag_spans",
    "write_shards",
]
