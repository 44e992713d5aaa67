"""Continue texts with a decoder."""

import sys
from typing import Annotated

import tyro

from keras_plm.generation import GenerationSettings
from keras_plm.tasks import GeneratingModel

from .predicting import open_model


def generate(
    model: str,
    prompts: tyro.conf.Positional[tuple[str, ...]] = (),
    settings: Annotated[GenerationSettings, tyro.conf.arg(name="")] = GenerationSettings(),  # noqa: B008
    batch_size: int = 8,
) -> None:
    """Continue texts with a decoder, or translate or summarize them with an encoder-decoder.

    One text is written on the screen token by token. For several prompts or several texts for each prompt, it prints
    each text and an empty line. A decoder's texts begin with their prompts.

    Args:
        model: a folder, "hf:" and a Hugging Face folder or repository, a .gguf file, or a .tflite.
        prompts: the beginnings of the texts; without any, lines are read from standard input.
        settings: how the texts are continued.
        batch_size: number of prompts at a time.
    """
    opened = open_model(model)
    if not isinstance(opened, GeneratingModel):
        raise ValueError(
            f"{model} is a {type(opened).__name__}, which does not generate text; give a TextGenerator or a Seq2Seq"
        )
    texts = list(prompts) or [line.rstrip("\n") for line in sys.stdin]
    if len(texts) == 1 and settings.num_return_sequences == settings.num_beams == 1:
        if opened.continues_prompts:
            print(texts[0], end="", flush=True)
        for part in opened.stream(texts[0], settings):
            print(part, end="", flush=True)
        print()
        return
    for prompt, found in zip(texts, opened.generate(texts, settings, batch_size), strict=True):
        for text in found if isinstance(found, list) else [found]:
            print(f"{prompt if opened.continues_prompts else ''}{text}\n")
