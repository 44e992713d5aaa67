"""The model card: a Markdown file in the model's folder."""

import platform
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any


def model_card(title: str, facts: dict[str, Any], scores: dict[str, Any]) -> str:
    """A model card in Markdown: facts about the model, its command, its scores, and the versions of the packages."""
    command = "keras-plm " + " ".join(map(shlex.quote, sys.argv[1:]))
    started = Path(sys.argv[0])
    if started.name != "keras-plm" and started.parts[-2:] != ("keras_plm", "__main__.py"):
        command = "started from Python; recipe.json has the settings"
    names = ("keras-plm", "keras", "tensorflow", "tensorflow-text", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in names)
    lines = [f"# {title}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(str(value))} |" for name, value in facts.items()]
    lines += [f"| command | `{command}` |", f"| versions | {versions} |"]
    lines += [f"| machine | {platform.machine()}, Python {platform.python_version()} |", ""]
    lines += ["## Scores", "", "| measure | value |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in scores.items()]
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value).replace("|", "\\|").replace("\n", " ")
