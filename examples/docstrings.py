"""Real text that is on every machine: what Python and its packages say about themselves.

Nothing is imported or run: source files are read and parsed.
"""

import ast
import importlib.util
import random
import re
import sysconfig
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

# Chapters of the Python library reference and the modules that each of them describes (docs.python.org/3/library);
# packages stand for all of their modules. C modules have no docstrings in a source file and are left out.
CHAPTERS = {
    "data types": "datetime _pydatetime calendar collections _collections_abc heapq bisect weakref types copy pprint reprlib enum graphlib zoneinfo",  # noqa: E501
    "numbers": "numbers fractions decimal _pydecimal random statistics",
    "files and directories": "pathlib posixpath ntpath genericpath fileinput filecmp tempfile glob fnmatch linecache shutil stat",  # noqa: E501
    "operating system services": "os _pyio argparse getopt optparse logging getpass curses platform ctypes",
    "concurrent execution": "threading multiprocessing concurrent subprocess sched queue _threading_local",
    "networking": "asyncio socket ssl selectors signal",
    "internet data handling": "email json mailbox mimetypes base64 quopri uu",
    "markup": "html xml _markupbase",
    "internet protocols": "webbrowser wsgiref urllib http ftplib poplib imaplib smtplib uuid socketserver xmlrpc ipaddress telnetlib nntplib cgi",  # noqa: E501
    "graphical interfaces": "tkinter turtle turtledemo",
    "development tools": "typing pydoc doctest unittest lib2to3 bdb pdb profile cProfile pstats timeit trace tracemalloc",  # noqa: E501
    "runtime and import": "sysconfig warnings dataclasses contextlib abc traceback inspect site code codeop zipimport pkgutil modulefinder runpy importlib",  # noqa: E501
    "language services": "ast symtable token keyword tokenize tabnanny pyclbr py_compile compileall dis pickletools",
}
_CHAPTER_OF = {module: chapter for chapter, names in CHAPTERS.items() for module in names.split()}


def standard_library() -> Iterator[tuple[str, Path]]:
    """Dotted name and file of each module of the standard library, tests left out."""
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        left_out = {
            "test",
            "tests",
            "idle_test",
            "idlelib",
            "site-packages",
            "dist-packages",
            "ensurepip",
        }
        if not left_out & set(parts) and not parts[0].startswith("config-"):
            yield ".".join(part for part in parts if part != "__init__"), path


def package_files(package: str) -> Iterator[Path]:
    """The source files of an installed package, tests left out."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or []:
        for path in sorted(Path(folder).rglob("*.py")):
            if not {"tests", "_api", "api"} & set(path.parts) and not path.stem.endswith("_test"):
                yield path


def docstrings(path: Path) -> list[str]:
    """The docstrings of a module, its classes and functions, as prose without code."""
    try:
        tree = ast.parse(path.read_text("utf-8"))
    except (SyntaxError, UnicodeDecodeError):
        return []
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    found = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, kinds)]
    return [text for text in map(prose, filter(None, found)) if text]


def quick_docstrings(path: Path) -> list[str]:
    """Triple-quoted strings that begin a line: docstrings, found ten times as fast as by parsing."""
    text = path.read_text("utf-8", errors="ignore")
    found = re.findall(r'^[ \t]*[rRuU]?"""(.+?)"""', text, re.DOTALL | re.MULTILINE)
    return [text for text in map(prose, map(textwrap.dedent, found)) if text]


def prose(text: str) -> str:
    """The paragraphs that are sentences, a line each; code, tables and headings go."""
    kept = []
    for paragraph in re.split(r"\n\s*\n|```.*?```", text):
        lines = [line.strip() for line in paragraph.split("\n")]
        if any(line.startswith((">>>", "...", "|", "+-", "==", "--")) for line in lines):
            continue
        joined = " ".join(filter(None, lines))
        letters = sum(c.isalpha() or c == " " for c in joined)
        if len(joined) >= 25 and letters > 0.85 * len(joined):
            kept.append(joined)
    return "\n".join(kept)


def write_data(folder: Path, packages: tuple[str, ...] = ("numpy", "keras", "tensorflow")) -> dict[str, int]:
    """Write corpus.txt, train.tsv and test.tsv.

    The corpus has Python's language reference, the docstrings of the packages, and those of the standard library but
    for the modules in test.tsv. Of each chapter, every third module is held out for test.tsv.

    Returns:
        Numbers of documents and rows.
    """
    from pydoc_data.topics import topics

    rows: dict[str, list[str]] = {"train": [], "test": []}
    documents = [prose(text) for text in topics.values()]
    counts: defaultdict[str, int] = defaultdict(int)
    for name, path in standard_library():
        texts = docstrings(path)
        chapter = _CHAPTER_OF.get(name.split(".")[0])
        if chapter is None or not texts:
            documents.append("\n".join(texts))
            continue
        counts[chapter] += 1
        split = "test" if counts[chapter] % 3 == 0 else "train"
        for text in dict.fromkeys(texts):
            rows[split].append(f"{chapter}\t{' '.join(text.split())[:600]}")
        if split == "train":
            documents.append("\n".join(texts))
    for package in packages:
        documents += ["\n".join(dict.fromkeys(quick_docstrings(p))) for p in package_files(package)]
    documents = [document for document in dict.fromkeys(documents) if document.count(" ") > 30]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus.txt").write_text("\n\n".join(documents) + "\n", "utf-8")
    seen = {row.split("\t")[1] for row in rows["train"]}  # "Return a string." stands in many modules
    rows["test"] = [row for row in rows["test"] if row.split("\t")[1] not in seen]
    for lines in rows.values():
        random.Random(0).shuffle(lines)  # the first so many are then of all chapters
    for split, lines in rows.items():
        (folder / f"{split}.tsv").write_text("\n".join(["label\ttext", *lines]) + "\n", "utf-8")
    return {"documents": len(documents), "train": len(rows["train"]), "test": len(rows["test"])}
