"""Complete training runs on Keras `fit`."""

from .answer_questions import AnswerQuestions
from .classify import Classify
from .converse import Converse
from .cross_validation import CrossValidation, cross_validate
from .distill import Distill
from .embed import Embed
from .fine_tune import FineTune
from .fine_tune_causal import FineTuneCausal
from .learning_rate_finder import RateTest, find_learning_rate
from .pretrain import Pretrain
from .pretrain_causal import PretrainCausal
from .pretrain_denoising import PretrainDenoising
from .recipe import Recipe
from .summarize import Summarize
from .summarize_extractive import SummarizeExtractive
from .tag import Tag
from .translate import Translate

__all__ = [
    "AnswerQuestions",
    "Classify",
    "Converse",
    "CrossValidation",
    "Distill",
    "Embed",
    "FineTune",
    "FineTuneCausal",
    "Pretrain",
    "PretrainCausal",
    "PretrainDenoising",
    "RateTest",
    "Recipe",
    "Summarize",
    "SummarizeExtractive",
    "Tag",
    "Translate",
    "cross_validate",
    "find_learning_rate",
]
