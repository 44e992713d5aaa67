import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = [p for folder in ("keras_plm", "recipes", "export") for p in (ROOT / folder).rglob("*.py")]


def test_every_folder_is_packaged():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    folders = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in SOURCES if p.name == "__init__.py"}
    remapped = {f if f.startswith("keras_plm") else f"keras_plm.{f}" for f in folders}
    assert set(config["options"]["packages"].split()) == remapped


def test_files_are_short_and_named_for_what_they_do():
    for path in SOURCES:
        assert len(path.read_text("utf-8").splitlines()) <= 400, path
        assert path.stem not in ("utils", "common", "helpers", "base", "misc", "types"), path


def test_no_path_of_a_machine():
    made = ("saved_models", "demo_output", "tutorial_output", "build", "dist")  # by users, with paths of theirs
    for path in ROOT.rglob("*"):
        first = path.relative_to(ROOT).parts[0]
        if first.startswith(".") or first in made:
            continue
        if path.suffix in (".py", ".md", ".cfg", ".toml", ".yaml"):
            found = re.search(r"(?<![\w.])/(home|root|work|Users)/\w", path.read_text("utf-8"))
            assert not found or path == Path(__file__), path


def test_the_map_of_the_house_names_every_file():
    """docs/architecture.md is true: each source file stands in it."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("```")[1]
    found, folders = set(), [(-1, "")]  # how far each folder is indented
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        while folders[-1][0] >= indent and line.strip():
            folders.pop()
        if heading := re.match(r" *(?:__main__\.py +)?(\w+)/\s", line):
            folders.append((indent, heading[1]))
        found |= {(folders[-1][1], name) for name in re.findall(r"\w+\.py", line)}
    wanted = {(p.parent.name, p.name) for p in SOURCES if p.name not in ("__init__.py", "__main__.py")}
    assert wanted <= found, wanted - found
    gone = {(folder, name) for folder, name in found - wanted if folder in {p.parent.name for p in SOURCES}}
    assert gone <= {("commands", "__main__.py")}, gone
