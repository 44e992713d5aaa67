"""Load and write checkpoints of Hugging Face and keras-hub. Each architecture is one table of rules."""

from .gguf import from_gguf
from .hugging_face import from_hugging_face, to_hugging_face
from .keras_hub import from_keras_hub, from_preset
from .loading import load
from .peft import load_lora, save_lora
from .recommendation import Choice, KnownCheckpoint, choose, known_checkpoints

__all__ = [
    "Choice",
    "KnownCheckpoint",
    "choose",
    "from_gguf",
    "from_hugging_face",
    "from_keras_hub",
    "from_preset",
    "known_checkpoints",
    "load",
    "load_lora",
    "save_lora",
    "to_hugging_face",
]
