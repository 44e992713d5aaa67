"""The command line: `keras-plm COMMAND …`. Help and version are fast: TensorFlow is imported only if it is needed."""

import difflib
import sys
import warnings
from importlib import import_module
from importlib.metadata import version
from typing import Any, NamedTuple


class Command(NamedTuple):
    """The one-line summary of a command, and its target: `module:name`."""

    summary: str
    target: str

    def load(self) -> Any:
        """Import the recipe or the function."""
        module, _, name = self.target.partition(":")
        return getattr(import_module(module), name)


COMMANDS: dict[str, dict[str, Command]] = {
    "Train": {
        "pretrain": Command("learn a vocabulary and an encoder from raw text", "keras_plm.recipes:Pretrain"),
        "pretrain-causal": Command("learn a tokenizer and a decoder from raw text", "keras_plm.recipes:PretrainCausal"),
        "pretrain-denoising": Command(
            "learn a tokenizer and an encoder-decoder from raw text", "keras_plm.recipes:PretrainDenoising"
        ),
        "fine-tune-causal": Command("fine-tune a decoder on completions", "keras_plm.recipes:FineTuneCausal"),
        "converse": Command("fine-tune a decoder on conversations", "keras_plm.recipes:Converse"),
        "translate": Command("train a translator", "keras_plm.recipes:Translate"),
        "summarize": Command("train a summarizer", "keras_plm.recipes:Summarize"),
        "summarize-extractive": Command(
            "train a model that selects important sentences", "keras_plm.recipes:SummarizeExtractive"
        ),
        "classify": Command("fine-tune a classifier of texts, or of pairs of texts", "keras_plm.recipes:Classify"),
        "tag": Command("fine-tune a tagger: entities, parts of speech", "keras_plm.recipes:Tag"),
        "answer-questions": Command("fine-tune a question answerer", "keras_plm.recipes:AnswerQuestions"),
        "embed": Command("fine-tune an embedder: vectors of texts", "keras_plm.recipes:Embed"),
        "distill": Command("train a small student with a teacher", "keras_plm.recipes:Distill"),
    },
    "Use": {
        "predict": Command("label texts, tag them, answer questions or make vectors", "keras_plm.commands:predict"),
        "generate": Command("continue, translate or summarize texts", "keras_plm.commands:generate"),
        "extract": Command("select the important sentences of texts", "keras_plm.commands:extract"),
        "complete": Command("solve a task from examples in a prompt (few-shot)", "keras_plm.commands:complete"),
        "serve": Command("serve models over HTTP, with OpenAI's API", "keras_plm.commands:serve"),
        "evaluate": Command("score a model or an artifact on labeled data", "keras_plm.commands:evaluate_model"),
    },
    "Export": {
        "export": Command("write a model as tflite, onnx, saved-model or tokenizer-vectors", ""),
        "compare": Command("compare a model with its artifacts", "keras_plm.commands:compare_artifact"),
        "fit-budget": Command("find the best .tflite within limits of size and speed", "keras_plm.commands:budget"),
    },
    "Prepare": {
        "choose": Command("recommend a published checkpoint", "keras_plm.commands:choose_checkpoint"),
        "cross-validate": Command("measure how much a score varies (k-fold)", "keras_plm.commands:cross_validation"),
        "prepare": Command("tokenize a corpus that is larger than the memory", "keras_plm.preparation:Prepare"),
        "learning-rate": Command("run a learning-rate range test", "keras_plm.commands:learning_rate"),
        "plan": Command("estimate memory, time and energy of a pre-training", "keras_plm.commands:plan_training"),
        "shrink": Command("make a smaller model with fewer blocks and less width", "keras_plm.commands:shrink_model"),
        "trim": Command("keep only the tokens of the vocabulary that texts need", "keras_plm.commands:trim"),
        "vocabulary": Command("learn a WordPiece vocabulary", "keras_plm.commands:vocabulary"),
    },
}
EXPORTS: dict[str, dict[str, Command]] = {
    "Formats": {
        "tflite": Command("a .tflite for phones", "keras_plm.commands:export_tflite"),
        "onnx": Command("an ONNX file", "keras_plm.commands:export_onnx"),
        "litert-lm": Command("a .litertlm of a text generator for phones", "keras_plm.commands:export_litert_lm"),
        "saved-model": Command("a SavedModel for TF Serving", "keras_plm.commands:export_saved_model"),
        "tokenizer-vectors": Command("texts with their tokens, as JSON", "keras_plm.commands:export_tokenizer_vectors"),
    }
}


def main(arguments: list[str] | None = None) -> None:
    """Run a command. An input error is printed without a traceback, and the exit status is 1."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments[:1] == ["export"]:
        prog, groups, rest = "keras-plm export", EXPORTS, arguments[1:]
    else:
        prog, groups, rest = "keras-plm", COMMANDS, arguments
    if rest[:1] in (["--version"], ["-V"]):
        print(f"keras-plm {version('keras-plm')}")
        sys.exit(0)
    if not rest or rest[0] in ("--help", "-h"):
        print(_overview(prog, groups))
        sys.exit(0 if rest else 2)
    table = {name: command for group in groups.values() for name, command in group.items()}
    if rest[0] not in table:
        near = difflib.get_close_matches(rest[0], table, 1)
        known = f"did you mean {near[0]}?" if near else f"the commands are {', '.join(table)}"
        _fail(f"unknown command {rest[0]!r}; {known}", 2)
    _run(prog, rest[0], table[rest[0]], rest[1:])


def _overview(prog: str, groups: dict[str, dict[str, Command]]) -> str:
    lines = [f"usage: {prog} COMMAND [FLAGS]", "", "Pre-trained language models, from raw text to a phone.", ""]
    for title, commands in groups.items():
        lines += [title, *(f"  {name:<18}{command.summary}" for name, command in commands.items()), ""]
    return "\n".join([*lines, f"{prog} COMMAND --help lists the flags; keras-plm --version prints the version."])


def _run(prog: str, name: str, command: Command, arguments: list[str]) -> None:
    from keras_plm.commands.quiet import quiet_start

    runs = False
    warnings.showwarning = lambda message, *_, **__: print(f"warning: {message}", file=sys.stderr)
    try:
        with quiet_start():
            target = command.load()
        from keras_plm.commands.parsing import parse

        result = parse(target, f"{prog} {name}", command.summary, arguments)
        runs = isinstance(target, type)  # settings with a method `run`, which can resume
        if runs:
            result.run()
    except KeyboardInterrupt:
        _fail("stopped; the same command resumes from where it was" if runs else "stopped", 130)
    except BrokenPipeError:
        sys.stderr.close()
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        _fail(str(error), 1)


def _fail(problem: str, status: int) -> None:
    from rich.console import Console

    Console(stderr=True).print(f"keras-plm: {problem}", style="red", markup=False, highlight=False, soft_wrap=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
