"""Preparations for a training: choose a checkpoint, learn a vocabulary, find a learning rate, cross-validate."""

import json
from pathlib import Path
from typing import Any

import tyro

from keras_plm.checkpoints import choose
from keras_plm.checkpoints.recommendation import Size, Task
from keras_plm.config import DECODER_SIZES, ENCODER_DECODER_SIZES, SIZES, BackboneConfig
from keras_plm.models import check_free
from keras_plm.recipes import AnswerQuestions, Classify, Embed, Tag, cross_validate, find_learning_rate
from keras_plm.text import WordPieceTokenizer, learn_vocabulary, read_documents
from keras_plm.training import plan, write_whole


def choose_checkpoint(
    task: Task = "classification",
    max_megabytes: float | None = None,
    max_latency_ms: float | None = None,
    languages: tuple[str, ...] = ("en",),
    quantization: Size = "dynamic_int8",
) -> None:
    """Recommend a published checkpoint to start from, and show the reason. Nothing is downloaded.

    Args:
        task: the task.
        max_megabytes: largest exported file, in 10⁶ bytes.
        max_latency_ms: longest time of a row of 128 tokens in TFLite on one thread.
        languages: ISO 639-1 codes; the checkpoint must know all of them.
        quantization: quantization of the exported file, for both limits.
    """
    print(choose(task, max_megabytes, max_latency_ms, languages, quantization))


def plan_training(
    config: tyro.conf.Positional[str],
    tokens: float,
    device: str = "here",
    devices: int = 1,
    batch_size: int = 256,
    max_length: int = 128,
    bfloat16: bool = True,
    utilization: float = 0.4,
    rematerialize: bool = False,
    price_per_hour: float | None = None,
) -> None:
    """Estimate operations, memory, time, energy and price of a pre-training. Nothing is trained.

    Args:
        config: sizes of the model: a name, such as mini or gpt3-125m, or a JSON file of fields.
        tokens: number of tokens of all steps, such as 3.3e9: batch size × row length × steps.
        device: a GPU or TPU, such as a100-80gb or tpu-v4; here: this machine, which is measured.
        devices: number of devices.
        batch_size: rows per step, on all devices together.
        max_length: row length in tokens.
        bfloat16: mixed precision.
        utilization: fraction of the device's largest speed that the training reaches; usual are 0.1 to 0.5.
        rematerialize: compute each block again in the backward pass, which saves memory.
        price_per_hour: of one device, in any currency.
    """
    sizes: dict[str, Any] = {**SIZES, **DECODER_SIZES, **ENCODER_DECODER_SIZES}
    if config.endswith(".json"):
        chosen: Any = BackboneConfig.from_dict(json.loads(Path(config).read_text("utf-8")))
    elif config in sizes:
        chosen = sizes[config]
    else:
        raise ValueError(f"config={config!r}; choose one of {', '.join(sizes)}, or a .json file")
    print(
        plan(
            chosen,
            tokens,
            device,
            devices,
            batch_size,
            max_length,
            bfloat16,
            utilization,
            rematerialize,
            price_per_hour=price_per_hour,
        )
    )


def vocabulary(
    corpus: tyro.conf.Positional[tuple[str, ...]],
    save_to: str,
    size: int = 30_522,
    lowercase: bool = True,
    overwrite: bool = False,
) -> None:
    """Learn a WordPiece vocabulary from text and write it as a vocab.txt.

    Args:
        corpus: paths or globs of text files.
        save_to: the file to write.
        size: maximum number of tokens, including the 5 special tokens.
        lowercase: lower-case and strip accents.
        overwrite: replace the file if it exists.
    """
    check_free(save_to, overwrite)
    sentences = (s for document in read_documents(list(corpus)) for s in document)
    pieces = learn_vocabulary(sentences, size, lowercase, progress=True)
    write_whole(Path(save_to), WordPieceTokenizer(pieces, lowercase).files()["vocab.txt"].decode())
    print(f"{len(pieces):,} tokens → {save_to}")


def learning_rate(
    recipe: Classify | Tag | AnswerQuestions | Embed, lowest: float = 1e-6, highest: float = 1e-2, steps: int = 100
) -> None:
    """Learning-rate range test: show the loss while the learning rate rises, and suggest a rate.

    Args:
        recipe: the fine-tuning recipe; nothing is saved.
        lowest: the first learning rate.
        highest: the last learning rate.
        steps: number of batches.
    """
    print(find_learning_rate(recipe, lowest, highest, steps))


def cross_validation(recipe: Classify | Tag | AnswerQuestions | Embed, folds: int = 5) -> None:
    """K-fold cross-validation: fine-tune and score once for each fold, and show how much the scores vary.

    Args:
        recipe: the fine-tuning recipe; nothing is saved.
        folds: number of folds.
    """
    print(cross_validate(recipe, folds))
