"""Text generation: choose the next token, and end the text. The code is the same for Keras models and artifacts."""

from .beam_search import Hypothesis, beam_search
from .chat import Message, render_chat
from .constraints import Constraint
from .contrastive_search import write_contrastive
from .decoding import Continuation, FinishReason, begin, write
from .logits_processors import LogitsProcessor
from .prompt_lookup import write_with_lookup
from .session import FINISHED, GenerationSession, JoiningSession, StateSession
from .settings import GenerationSettings
from .streaming import TextStream

__all__ = [
    "FINISHED",
    "Constraint",
    "Continuation",
    "FinishReason",
    "GenerationSession",
    "GenerationSettings",
    "Hypothesis",
    "JoiningSession",
    "LogitsProcessor",
    "Message",
    "StateSession",
    "TextStream",
    "beam_search",
    "begin",
    "render_chat",
    "write",
    "write_contrastive",
    "write_with_lookup",
]
