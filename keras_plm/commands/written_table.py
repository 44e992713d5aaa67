"""A table of texts with what a model wrote for them. An interrupted run continues."""

import json
import re
from collections.abc import Callable
from pathlib import Path

from rich.progress import track

from keras_plm.training import write_whole

_AT_ONCE = 16  # batches between two writes


def write_table(
    path: Path,
    texts: list[str],
    write: Callable[[list[str]], list[list[str]]],
    columns: tuple[str, str],
    made_by: str,
    batch_size: int,
) -> None:
    """Write a `.jsonl` of texts and generated texts. Finished rows are kept in `<path>.partial` until the end.

    Args:
        path: the file.
        texts: the texts.
        write: generates one or several texts for each text.
        columns: names of the columns of texts and of generated texts.
        made_by: the settings of `write`, in one line. Rows of other settings are not continued.
        batch_size: texts that `write` processes together.
    """
    partial = path.with_name(f"{path.name}.partial")
    head = json.dumps([made_by, len(texts)]) + "\n"
    done = _finished(partial, head, texts, columns[0])
    if not done:
        partial.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(head, "utf-8")
    size = _AT_ONCE * batch_size
    with partial.open("a", encoding="utf-8") as file:
        for start in track(range(done, len(texts), size), "generating", transient=True):
            part = texts[start : start + size]
            order = sorted(range(len(part)), key=lambda row: -len(part[row]))  # similar lengths share a batch
            found = dict(zip(order, write([part[row] for row in order]), strict=True))
            rows = [{columns[0]: text, columns[1]: found[row]} for row, text in enumerate(part)]
            file.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            file.flush()
    rows = [json.loads(line) for line in _lines(partial)[1:]]
    each = ({columns[0]: row[columns[0]], columns[1]: text} for row in rows for text in row[columns[1]])
    write_whole(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in each))
    partial.unlink()


def _finished(partial: Path, head: str, texts: list[str], column: str) -> int:
    """The number of rows that an earlier run with the same settings finished. An incomplete last row is removed."""
    if not partial.exists():
        return 0
    lines = _lines(partial)
    if lines[:1] != [head]:
        return 0
    kept = []
    for line, text in zip(lines[1:], texts, strict=False):
        try:
            row = json.loads(line)
        except ValueError:
            break
        if not line.endswith("\n") or row.get(column) != text:
            break
        kept.append(line)
    write_whole(partial, "".join([head, *kept]))
    return len(kept)


def _lines(path: Path) -> list[str]:
    # not `splitlines`: a text may have other line separators, such as U+2028, which JSON does not escape
    return re.findall(r"[^\n]*\n|[^\n]+\Z", path.read_bytes().decode("utf-8", "replace"))
