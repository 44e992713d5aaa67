"""A small decoder, trained on the text of the demo, that writes on a phone's runtime."""

from pathlib import Path

from rich.console import Console

import keras_plm as plm
from keras_plm import export, recipes
from keras_plm.training import Precision

SIZES = plm.DecoderConfig(
    vocabulary_size=4_096, num_layers=4, num_heads=4, hidden_dim=256, intermediate_dim=1_024, max_sequence_length=256,
    dropout=0.0, attention_dropout=0.0,
)  # fmt: skip
PROMPTS = ("Return the", "Raises an error if the", "This class")


def show(folder: Path, seed: int, precision: Precision, console: Console) -> None:
    """Train, export and write."""
    model = recipes.PretrainCausal(
        corpus=str(folder / "own_corpus.txt"), validation=str(folder / "held_out.txt"), config=SIZES, steps=600,
        checkpoint_every=300, batch_size=16, max_length=128, seed=seed, precision=precision,
        save_to=str(folder / "writer"),
    ).run()  # fmt: skip
    path = export.to_tflite(model, folder / "phone_writer", "dynamic_int8", max_length=64)
    phone = export.load_artifact(path)
    settings = plm.GenerationSettings(max_new_tokens=30, do_sample=True, temperature=0.6, top_p=0.9, seed=seed)
    console.print(f"{path} has {path.stat().st_size / 1e6:.1f} MB. What it writes in LiteRT:")
    for prompt, text in zip(PROMPTS, phone.generate(PROMPTS, settings), strict=True):
        console.print(f"  [bold]{prompt}[/]{' '.join(text.split(chr(10)))}", soft_wrap=True)
