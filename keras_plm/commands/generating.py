"""Continue texts with a decoder."""

import sys
from typing import Annotated

import tyro

from keras_plm.checkpoints import load
from keras_plm.generation import GenerationSettings
from keras_plm.tasks import TextGeneratorMethods


def generate(
    model: str,
    prompts: tyro.conf.Positional[tuple[str, ...]] = (),
    settings: Annotated[GenerationSettings, tyro.conf.arg(name="")] = GenerationSettings(),  # noqa: B008
    batch_size: int = 8,
) -> None:
    """Continue texts with a decoder. One prompt is continued on the screen token by token.

    For several prompts or several texts for each prompt, it prints each prompt with its text, and an empty line.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, or a .gguf file.
        prompts: the beginnings of the texts; without any, lines are read from standard input.
        settings: how the texts are continued.
        batch_size: number of prompts at a time.
    """
    opened = load(model)
    if not isinstance(opened, TextGeneratorMethods):
        raise ValueError(f"{model} is a {type(opened).__name__}, which does not generate text; give a TextGenerator")
    texts = list(prompts) or [line.rstrip("\n") for line in sys.stdin]
    if len(texts) == 1 and settings.num_return_sequences == settings.num_beams == 1:
        print(texts[0], end="", flush=True)
        for part in opened.stream(texts[0], settings):
            print(part, end="", flush=True)
        print()
        return
    for prompt, found in zip(texts, opened.generate(texts, settings, batch_size), strict=True):
        for text in found if isinstance(found, list) else [found]:
            print(f"{prompt}{text}\n")
