"""Damaged inputs by the thousand: each ends in a result, or in an error of the package that names the file.

    python tests/fuzzing.py [NUMBER] [SEED]

A loop of mutations of good files, the same ones for the same seed. What may be raised is a ValueError, a
FileNotFoundError or a TypeError of the package itself; anything else of Python, NumPy, json or TensorFlow is a fault.
"""

import json
import shutil
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

TABLE = 'text,label,score\nA quiet film.,good,0.5\n"Too long, by far",bad,1\nfine,good,0\n'
ROWS = [{"text": "A quiet film.", "label": "good", "n": 1}, {"text": "naïve 中国", "label": "bad", "n": None}]
TAGGED = [{"words": ["Ada", "left"], "tags": ["B-PER", "O"]}, {"text": "in Rome", "spans": [{"start": 3, "end": 7, "label": "LOC"}]}]  # fmt: skip # noqa: E501
CONLL = "-DOCSTART- -X- O\n\n# id 7\nAda NNP B-PER\nLovelace NNP I-PER\nleft VBD O\n\nRome NNP B-LOC\n"
QUESTION = {"id": "1", "question": "Who?", "answers": [{"text": "Ada", "answer_start": 0}], "is_impossible": False}
SQUAD = {"data": [{"title": "t", "paragraphs": [{"context": "Ada left Rome.", "qas": [QUESTION]}]}]}
WORDS = [
    b"null", b"NaN", b"true", b"1e999", b"-1", b"[]", b"{}", b'""', b"\0", b"\xff", b"\xed\xa0\x80", b'"\\ud800"',
    b"9" * 400, b"\n\n", b"\t", b",", b";", b'"', b"[" * 300, b"\xef\xbb\xbf", b"\xff\xfe", b"0", b"100000", b"..",
    b"1000000000000",
]  # fmt: skip

Case = tuple[str, bytes, Callable[[Path], object]]


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One to four small changes: bytes, tokens that mean something, cuts, copies, and for JSON other values."""
    for whole in (content, content.split(b"\n")[0]) if random.random() < 0.5 else ():  # or several objects, a line each
        try:
            return json.dumps(_other(json.loads(whole), random)).encode("utf-8", "surrogatepass")
        except ValueError:
            continue
    for _ in range(random.integers(1, 5)):
        at, end = sorted(random.integers(0, len(content) + 1, 2).tolist())
        word = WORDS[random.integers(len(WORDS))]
        kind = random.integers(6)
        if kind == 0:
            content = content[:at] + word + content[at:]
        elif kind == 1:
            content = content[:at] + word + content[end:]
        elif kind == 2:
            content = content[:at]
        elif kind == 3:
            content = content[:end] + content[at:]
        elif kind == 4:
            content = content[:at] + bytes(random.integers(0, 256, 1 + at % 4).tolist()) + content[at + 1 :]
        else:
            content = content[:at] + content[end:]
    return content


def _other(value: object, random: np.random.Generator) -> object:
    """A JSON value with one of its parts changed."""
    if isinstance(value, dict) and value and random.random() < 0.8:
        key = sorted(value)[random.integers(len(value))]
        if random.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: _other(value[key], random)}
    if isinstance(value, list) and value and random.random() < 0.8:
        at = int(random.integers(len(value)))
        return [*value[:at], _other(value[at], random), *value[at + 1 :]]
    others = [
        None,
        True,
        -1,
        0,
        1.5,
        10**12,
        float("nan"),
        "",
        "x",
        "\ud800",
        [],
        {},
        [1],
        {"a": 1},
        "../../etc/passwd",
    ]
    return others[random.integers(len(others))]


def data_cases() -> list[Case]:
    """Files of data, and what reads them."""
    from keras_plm.text import LabeledTexts, Questions, TaggedSentences, read_documents

    lines = "\n".join(map(json.dumps, ROWS)).encode()
    tagged = "\n".join(map(json.dumps, TAGGED)).encode()

    def labels(path: Path) -> object:
        return LabeledTexts.read(str(path), "text", None, "label")

    def scores(path: Path) -> object:
        return LabeledTexts.read(str(path), "text", None, "score", kind="score", on_bad_row="skip")

    def several(path: Path) -> object:
        return LabeledTexts.read(str(path), "text", None, "label", kind="labels")

    return [
        ("a.csv", TABLE.encode(), labels), ("a.csv", TABLE.encode(), scores),
        ("a.csv", TABLE.replace(",", ";").encode(), labels),
        ("a.csv", TABLE.replace(",", "\t").encode("utf-16"), labels),
        ("a.tsv", TABLE.replace(",", "\t").encode(), labels),
        ("a.jsonl", lines, labels), ("a.jsonl", lines, several),
        ("a.conll", CONLL.encode(), lambda path: TaggedSentences.read(str(path))),
        ("a.conllu", b"1\tAda\tAda\tPROPN\n2\tleft\tleave\tVERB\n", lambda path: TaggedSentences.read(str(path))),
        ("a.jsonl", tagged, lambda path: TaggedSentences.read(str(path), on_bad_row="skip")),
        ("a.json", json.dumps(SQUAD).encode(), lambda path: Questions.read(str(path))),
        ("a.jsonl", json.dumps(QUESTION | {"context": "Ada left."}).encode(), lambda path: Questions.read(str(path))),
        ("a.txt", "Fine. 中国。\n\nMore.\n".encode(), lambda path: list(read_documents(path))),
    ]  # fmt: skip


def folder_cases(folder: Path) -> list[Case]:
    """Files of a folder of a model or an artifact, and what opens it; the others of the folder are whole."""
    import keras_plm as plm
    from keras_plm import export
    from keras_plm.export.signature import Signature
    from keras_plm.recipes import Classify

    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghij", *(f"##{c}" for c in "abcdefghij")]
    tokenizer = plm.WordPieceTokenizer(pieces)
    sizes = replace(plm.TINY, num_layers=1, hidden_dim=8, num_heads=2, intermediate_dim=12, max_sequence_length=16)
    model = plm.Classifier(replace(sizes, vocabulary_size=len(pieces)), ["a", "b"], tokenizer)
    plm.save(model, folder / "ours")
    plm.checkpoints.to_hugging_face(model, folder / "theirs")
    phone = export.to_onnx(model, folder / "phone")
    (folder / "recipe.json").write_text(Classify(start_from="x", train="y", save_to="z").to_json())

    def opened(where: str, name: str, load: Callable[[Path], object]) -> Case:
        def run(path: Path) -> object:
            shutil.copytree(folder / where, path.parent / where, dirs_exist_ok=True)
            shutil.copy(path, path.parent / where / name)
            try:
                return load(path.parent / where)
            finally:
                shutil.rmtree(path.parent / where)

        return name, (folder / where / name).read_bytes(), run

    ours = [opened("ours", name, plm.load) for name in ("config.json", "vocab.txt", "model.safetensors")]
    theirs = [
        opened("theirs", name, lambda path: plm.load(f"hf:{path}"))
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    ]
    beside = [
        opened("phone", name, lambda path: export.load_artifact(path / "model.onnx"))
        for name in ("model.onnx.json", "model.onnx.vocab.txt")
    ]
    facts = Signature.path(phone)
    return [
        *ours, *theirs, *beside,
        ("model.onnx.json", facts.read_bytes(), Signature.read),
        ("recipe.json", (folder / "recipe.json").read_bytes(), Classify.from_json),
    ]  # fmt: skip


def fault(name: str, content: bytes, read: Callable[[Path], object], folder: Path) -> str | None:
    """What is wrong with how an input ends; None if nothing is."""
    path = folder / name
    path.write_bytes(content)
    start = time.process_time()  # not of the clock: other work may run beside it
    try:
        read(path)
    except (ValueError, FileNotFoundError, TypeError) as error:
        if type(error) not in (ValueError, FileNotFoundError, TypeError) or not str(error):
            return f"{type(error).__name__}: {error}"
        if not any(
            part in str(error) for part in (name, "config.json", "tokenizer", "theirs", "ours", "phone", "vocab")
        ):
            return f"names no file: {error}"
    except Exception as error:  # what else there is, is what is looked for
        return f"{type(error).__module__}.{type(error).__name__}: {error}"
    seconds = time.process_time() - start
    return f"{seconds:.0f} seconds" if seconds > 10 else None


def run(number: int, seed: int = 0, slow_share: float = 0.02) -> list[str]:
    """Faults of so many inputs; of each file the first three kinds.

    Args:
        number: of inputs.
        seed: of the mutations.
        slow_share: of the inputs that are opened as models, which takes a hundred times as long.
    """
    random = np.random.default_rng(seed)
    faults: dict[str, Counter[str]] = {}
    with tempfile.TemporaryDirectory() as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(work)
        (folder / "input").mkdir()
        data, folders = data_cases(), folder_cases(folder)
        for _ in range(number):
            cases = folders if random.random() < slow_share else data
            name, good, read = cases[random.integers(len(cases))]
            content = mutated(good, random)
            problem = fault(name, content, read, folder / "input")
            if problem is not None:
                faults.setdefault(name, Counter())[problem[:300]] += 1
    return [f"{name}: {problem} ({count})" for name, found in faults.items() for problem, count in found.most_common(3)]


if __name__ == "__main__":
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    found = run(total, int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    # not getrusage: that of a child begins with the memory of its parent
    status = Path("/proc/self/status").read_text()
    gigabytes = int(status.split("VmHWM:")[1].split()[0]) / 1e6
    print(*found, f"{total:,} inputs, {len(found)} kinds of faults, {gigabytes:.2f} GB at most", sep="\n")
    sys.exit(bool(found))
