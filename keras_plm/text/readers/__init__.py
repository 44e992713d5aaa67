"""Files and tables in memory → typed examples. All bad rows are reported in one error, with file, row and column."""

from .bad_rows import BadRowError, BadRows, OnBadRow
from .completions import Completions
from .conversations import Conversations
from .examples import Examples, list_of_texts
from .files import expand_files, read_text
from .labeled_texts import LabeledTexts
from .labels import distinct_labels, label_ids, label_rows
from .questions import Questions
from .tables import check_limit, read_columns, read_rows, read_texts
from .tagged_sentences import TaggedSentences

__all__ = [
    "BadRowError",
    "BadRows",
    "Examples",
    "Completions",
    "Conversations",
    "LabeledTexts",
    "OnBadRow",
    "Questions",
    "TaggedSentences",
    "check_limit",
    "distinct_labels",
    "expand_files",
    "label_ids",
    "label_rows",
    "list_of_texts",
    "read_columns",
    "read_rows",
    "read_texts",
    "read_text",
]
