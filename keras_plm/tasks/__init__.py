"""Each task is one folder: its Keras model, its text-level methods, and its `Task` interface for the other packages."""

from .classification import CLASSIFICATION, Classifier, ClassifierMethods, extract_summaries
from .columns import Columns, read_texts
from .embedding import EMBEDDING, Embedder, EmbedderMethods
from .evaluate import evaluate
from .generating_model import GeneratingModel
from .packed_pretraining import PackedPretrainer
from .pooling import Pooling
from .pretraining import Pretrainer
from .question_answering import QUESTION_ANSWERING, Answer, QuestionAnswerer, QuestionAnswererMethods
from .registry import register, registered, task_named, task_of
from .seq2seq import SEQ2SEQ, Seq2Seq, Seq2SeqMethods
from .tagging import TAGGING, TaggedSpan, Tagger, TaggerMethods
from .task import Task
from .text_generation import TEXT_GENERATION, FewShot, TextGenerator, TextGeneratorMethods, TextScore
from .text_model import TaskModel, TextModel, softmax

__all__ = [
    "CLASSIFICATION",
    "EMBEDDING",
    "QUESTION_ANSWERING",
    "SEQ2SEQ",
    "Seq2Seq",
    "Seq2SeqMethods",
    "TAGGING",
    "TEXT_GENERATION",
    "Answer",
    "Classifier",
    "ClassifierMethods",
    "Columns",
    "Embedder",
    "FewShot",
    "EmbedderMethods",
    "GeneratingModel",
    "Pooling",
    "PackedPretrainer",
    "Pretrainer",
    "QuestionAnswerer",
    "QuestionAnswererMethods",
    "TaggedSpan",
    "Tagger",
    "TaggerMethods",
    "Task",
    "TaskModel",
    "TextGenerator",
    "TextGeneratorMethods",
    "TextModel",
    "TextScore",
    "evaluate",
    "extract_summaries",
    "read_texts",
    "register",
    "registered",
    "softmax",
    "task_named",
    "task_of",
]
