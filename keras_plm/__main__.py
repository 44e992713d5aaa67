"""The command line: `keras-plm choose | pretrain | classify | tag | answer | similarity | predict | evaluate | …`."""

import sys
from collections.abc import Callable
from typing import Any

import tyro
from rich.console import Console

from keras_plm import commands
from keras_plm.recipes import Answer, Classify, Distill, Embed, Pretrain, Recipe, Tag


def main(arguments: list[str] | None = None) -> None:
    """Run a command; an error of the input is one line and exit status 1, not a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments[:1] == ["export"]:
            _command(_EXPORTS, arguments[1:], "keras-plm export", "Write a model for a runtime.")
        else:
            _command(_COMMANDS, arguments, "keras-plm", __doc__ or "")
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        Console(stderr=True).print(f"keras-plm: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


def _command(commands: dict[str, Any], arguments: list[str], prog: str, description: str) -> None:
    result = tyro.extras.subcommand_cli_from_dict(commands, args=arguments, prog=prog, description=description)
    if isinstance(result, Recipe | Distill):
        result.run()


_COMMANDS: dict[str, Callable] = {
    "choose": commands.choose_checkpoint,
    "pretrain": Pretrain,
    "classify": Classify,
    "tag": Tag,
    "answer": Answer,
    "similarity": Embed,
    "distill": Distill,
    "cross-validate": commands.cross_validation,
    "learning-rate": commands.learning_rate,
    "predict": commands.predict,
    "embed": commands.embed,
    "evaluate": commands.evaluate_model,
    "compare": commands.compare_artifact,
    "fit-budget": commands.budget,
    "shrink": commands.shrink_model,
    "trim": commands.trim,
    "vocabulary": commands.vocabulary,
    # for the list of commands; main() hands `export` to its own commands
    "export": lambda: None,
}
_COMMANDS["export"].__doc__ = "Write a model for a runtime: `export tflite | onnx | saved-model | tokenizer-vectors`."
_EXPORTS: dict[str, Callable] = {
    "tflite": commands.export_tflite,
    "onnx": commands.export_onnx,
    "saved-model": commands.export_saved_model,
    "tokenizer-vectors": commands.export_tokenizer_vectors,
}

if __name__ == "__main__":
    main()
