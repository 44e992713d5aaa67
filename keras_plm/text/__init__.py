"""Raw text → batches of integers: the only folder of the library that speaks TensorFlow Text.

corpus → vocabulary → tokenizer → sentence_pairs → packing → masking → datasets
"""

from .byte_pair import BytePairTokenizer
from .corpus import expand_files, read_documents, read_text, split_sentences
from .datasets import TextRows, pretraining_dataset
from .masking import mask_tokens
from .packing import Spans, pack
from .rows import distinct_labels, label_ids, read_rows, scores
from .sentence_pairs import SentencePairs, TokenizedCorpus
from .sentence_piece import SentencePieceTokenizer
from .tokenizer import Encoding, SpecialTokens, Tokenizer
from .vocabulary import SPECIAL_TOKENS, learn_vocabulary, read_vocabulary
from .word_piece import WordPieceTokenizer

__all__ = [
    "BytePairTokenizer",
    "SPECIAL_TOKENS",
    "Encoding",
    "SentencePairs",
    "SentencePieceTokenizer",
    "Spans",
    "SpecialTokens",
    "TextRows",
    "TokenizedCorpus",
    "Tokenizer",
    "WordPieceTokenizer",
    "distinct_labels",
    "expand_files",
    "label_ids",
    "learn_vocabulary",
    "mask_tokens",
    "pack",
    "pretraining_dataset",
    "read_documents",
    "read_rows",
    "read_text",
    "read_vocabulary",
    "scores",
    "split_sentences",
]
