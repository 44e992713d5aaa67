"""Continue texts with a decoder, and solve tasks from examples in its prompt."""

import json
import sys
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from keras_plm.generation import GenerationSettings
from keras_plm.models import check_free
from keras_plm.tasks import FewShot, GeneratingModel
from keras_plm.text import read_rows

from .predicting import open_model
from .written_table import write_table


def generate(
    model: str,
    prompts: tyro.conf.Positional[tuple[str, ...]] = (),
    settings: Annotated[GenerationSettings, tyro.conf.arg(name="")] = GenerationSettings(),  # noqa: B008
    batch_size: int = 8,
    prefix: str = "",
    split_texts: bool = False,
    data: str | None = None,
    text_column: str = "text",
    written_column: str = "written",
    save_to: str | None = None,
    overwrite: bool = False,
) -> None:
    """Continue texts with a decoder, or translate or summarize them with an encoder-decoder.

    One text is written on the screen token by token. For several prompts or several texts for each prompt, it prints
    each text and an empty line. A decoder's texts begin with their prompts.

    With --data, it writes a table of the texts of another table with what the model wrote: for back-translation, or for
    the training of a small model on the texts of a large one (sequence-level knowledge distillation). An interrupted
    run continues if it is started again with the same flags.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, a .gguf file, or a .tflite.
        prompts: the beginnings of the texts; without any, lines are read from standard input.
        settings: how the texts are continued.
        batch_size: number of prompts at a time.
        prefix: a text before each prompt, such as "summarize: " for T5.
        split_texts: cut texts that are too long for an encoder-decoder between sentences, and join what it writes.
        data: a .tsv, .csv or .jsonl file of prompts; needs --save-to.
        text_column: column of the prompts.
        written_column: column of the written texts in the new table.
        save_to: a .jsonl file for the new table.
        overwrite: replace the file of --save-to if it exists.
    """
    _check_table(data, save_to, text_column, written_column, overwrite)
    if prompts and data is not None:
        raise ValueError("prompts and --data exclude each other: give only one of them")
    if batch_size < 1:
        raise ValueError(f"--batch-size {batch_size}; it must be at least 1")
    opened = open_model(model)
    if not isinstance(opened, GeneratingModel):
        raise ValueError(
            f"{model} is a {type(opened).__name__}, which does not generate text; give a TextGenerator or a Seq2Seq"
        )
    write = partial(_write_parts if split_texts else _write, opened, prefix, settings, batch_size)
    if data is not None and save_to is not None:
        texts = read_rows(data, [text_column])[text_column]
        # what an interrupted run has written is kept only if it was made in the same way
        made_by = json.dumps([model, settings.to_dict(), prefix, split_texts, text_column, written_column])
        write_table(Path(save_to), texts, write, (text_column, written_column), made_by, batch_size)
        print(f"{len(texts):,} texts → {save_to}")
        return
    texts = list(prompts) or [line.rstrip("\n") for line in sys.stdin]
    if len(texts) == 1 and settings.num_return_sequences == settings.num_beams == 1 and not split_texts:
        _print_stream(opened, prefix + texts[0], settings)
        return
    for text, found in zip(texts, write(texts), strict=True):
        for written in found:
            print(f"{prefix + text if opened.continues_prompts else ''}{written}\n")


def _write(
    model: GeneratingModel, prefix: str, settings: GenerationSettings, batch_size: int, texts: list[str]
) -> list[list[str]]:
    """The generated texts for each text."""
    found = model.generate([prefix + text for text in texts], settings, batch_size)
    return [text if isinstance(text, list) else [text] for text in found]


def _write_parts(
    model: Any, prefix: str, settings: GenerationSettings, batch_size: int, texts: list[str]
) -> list[list[str]]:
    """The same for texts of any length, which are split."""
    if model.continues_prompts or settings.num_return_sequences > 1:
        raise ValueError("--split-texts is for an encoder-decoder that writes one text for each text")
    return [[" ".join(model.generate(model.split_text(text, None, prefix), settings, batch_size))] for text in texts]


def _print_stream(model: GeneratingModel, prompt: str, settings: GenerationSettings) -> None:
    if model.continues_prompts:
        print(prompt, end="", flush=True)
    for part in model.stream(prompt, settings):
        print(part, end="", flush=True)
    print()


def _check_table(data: str | None, save_to: str | None, text_column: str, written_column: str, overwrite: bool) -> None:
    """Raise an error, before the model is loaded, if a new table is wanted, but cannot be written."""
    if data is save_to is None:
        if (text_column, written_column, overwrite) != ("text", "written", False):
            raise ValueError("--text-column, --written-column and --overwrite need --data and --save-to")
        return
    if data is None or save_to is None:
        raise ValueError("--data and --save-to belong together: a table of prompts, and a table for the texts")
    check_free(save_to, overwrite)
    if not save_to.endswith(".jsonl"):
        raise ValueError(f"--save-to {save_to}: the table is written as .jsonl")
    if text_column == written_column:
        raise ValueError(f"--text-column and --written-column are both {text_column!r}")


def complete(
    model: str,
    examples: str,
    queries: tyro.conf.Positional[tuple[str, ...]] = (),
    text_column: str = "text",
    label_column: str = "label",
    shots: int = 8,
    template: str = "Text: {text}\\nAnswer:",
    instruction: str = "",
    write: bool = False,
    seed: int = 0,
) -> None:
    """Solve a task from examples in the prompt of a decoder (few-shot), without training.

    It prints the most probable label of each text, its probability, and the text. With --write, the answers are written
    by the model.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, a .gguf file, or a .tflite.
        examples: a .tsv, .csv or .jsonl file of examples.
        queries: the texts to label; without any, lines are read from standard input.
        text_column: column of the texts.
        label_column: column of the labels, or of other answers.
        shots: number of examples in the prompt, as many of each label as possible.
        template: the form of an example; {text} is the text.
        instruction: a text before the examples.
        write: write an answer instead of choosing among the labels of the examples.
        seed: seed of the choice of examples.
    """
    opened = open_model(model)
    if not isinstance(opened, GeneratingModel) or not opened.continues_prompts:
        raise ValueError(f"{model} is a {type(opened).__name__}; give a TextGenerator")
    table = read_rows(examples, [text_column, label_column])
    chosen = _balanced(list(zip(table[text_column], table[label_column], strict=True)), shots, seed)
    labels = None if write else sorted(set(table[label_column]))
    task = FewShot(opened, chosen, labels, template.replace("\\n", "\n"), instruction)
    texts = list(queries) or [line.rstrip("\n") for line in sys.stdin]
    if write:
        for text in texts:
            print(task.complete(text), text, sep="\t")
        return
    found = task.predict_probabilities(texts)
    for text, row in zip(texts, found, strict=True):
        print(task.labels[int(row.argmax())], f"{row.max():.3f}", text, sep="\t")


def _balanced(rows: list[tuple[str, str]], count: int, seed: int) -> list[tuple[str, str]]:
    """This number of rows: one of each label in turn, in random order."""
    random, groups = np.random.default_rng(seed), defaultdict(list)
    for row in random.permutation(len(rows)).tolist():
        groups[rows[row][1]].append(rows[row])
    turns = [group[turn] for turn in range(count) for group in groups.values() if turn < len(group)][:count]
    return [turns[i] for i in random.permutation(len(turns))]
