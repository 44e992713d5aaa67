import gzip
import json
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest

from keras_plm.text import LabeledTexts, distinct_labels, label_ids, read_rows, read_texts
from keras_plm.text.readers import BadRows, files, read_columns
from keras_plm.text.readers.cells import Label, Labels, flag, score, text


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def test_three_formats_read_the_same(tmp_path):
    expected = {"text": ['a "b"', "中, c"], "label": ["1", "0"]}
    tsv = write(tmp_path, "a.tsv", 'label\ttext\n1\ta "b"\n0\t中, c\n')
    csv = write(tmp_path, "a.csv", 'label,text\n1,"a ""b"""\n0,"中, c"\n')
    jsonl = write(tmp_path, "a.jsonl", '{"label": 1, "text": "a \\"b\\""}\n\n{"label": 0, "text": "中, c"}\n')
    for path in (tsv, csv, jsonl):
        assert read_columns(path, {"text": text, "label": Label()}) == (expected, [])
    assert read_rows([tsv, csv], ["text"], limit=3)["text"] == ['a "b"', "中, c", 'a "b"']
    with pytest.raises(ValueError, match="limit=0; it is a number of rows, 1 or more"):
        read_rows(tsv, ["text"], limit=0)


@pytest.mark.parametrize(
    "name,content,message",
    [
        ("a.tsv", "label\tsentence\n1\tx\n", r"a.tsv: no column 'text'; the table has \['label', 'sentence'\]"),
        ("a.tsv", "label\ttext\n1\tx\ty\n", "a.tsv, line 2: 3 fields, but the header has 2"),
        ("a.csv", 'label,text\n1,"x\n', "a.csv, line 2: unexpected end of data"),
        ("a.csv", "id,text,label,text\n1,a,b,c\n", "a.csv: the header has 'text' twice"),
        ("a.csv", "text,label\nfine,good\ntext,label\n", "a.csv, line 3: the header again"),
        ("a.csv", "text,label\n  ,good\n", "a.csv, line 2: 'text' is empty; fill it in"),
        ("a.jsonl", '{"text": "a"}\n{"text"\n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl, line 1: a row must be a JSON object"),
        ("a.jsonl", '{"text": "a", "text": "b"}\n', "a.jsonl, line 1: the key 'text' occurs twice"),
        ("a.jsonl", '{"text": ' + "9" * 5_000 + "}\n", "a.jsonl, line 1: not JSON"),
        ("a.jsonl", '{"text": ' + "[" * 99_999 + "\n", "a.jsonl, line 1: not JSON"),
        ("a.tsv", "label\ttext\n", "no row in"),
        ("a.xlsx", "x", "unknown kind of table '.xlsx'"),
        ("a.jsonl", '{"text": null}\n', "a.jsonl, line 1: 'text' is null; fill it in"),
        ("a.jsonl", '{"text": NaN}\n', "a.jsonl, line 1: 'text' is NaN, a missing value; fill it in"),
        ("a.jsonl", '{"text": ["a", "b"]}\n', r"line 1: 'text' is the list \['a', 'b'\], where a text is needed"),
        ("a.jsonl", '{"text": {"a": 1}}\n', "line 1: 'text' is the object {'a': 1}, where a text is needed"),
        ("a.jsonl", '{"text": 3}\n', "line 1: 'text' is the number 3, where a text is needed"),
        ("a.jsonl", '{"text": true}\n', "line 1: 'text' is true, where a text is needed"),
        ("a.jsonl", '{"text": "\\ud83d"}\n', "a.jsonl, line 1: 'text' has half of a character"),
    ],
)
def test_bad_rows_name_the_place(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write(tmp_path, name, content), ["text"])


def test_all_bad_rows_are_told_at_once_or_left_out(tmp_path):
    lines = [json.dumps({"text": None if i % 3 == 0 else f"text {i}", "label": "yes"}) for i in range(37)]
    path = write(tmp_path, "a.jsonl", "\n".join(lines))
    with pytest.raises(ValueError) as error:
        read_rows(path, ["text"])
    told = str(error.value).splitlines()
    assert told[0].startswith(f"{path}: 13 bad rows") and "--on-bad-row skip" in told[0]
    assert told[1].endswith("a.jsonl, line 1: 'text' is null; fill it in, or leave the row out")
    assert len(told) == 12 and told[-1].strip() == "… and 3 more"
    rows = LabeledTexts.read(path, "text", None, "label", on_bad_row="skip")
    assert len(rows) == 24 and rows.first[0] == "text 1" and len(rows.skipped) == 13
    assert len(rows.take([1, 2]).skipped) == 13
    with pytest.raises(ValueError, match="no row in .*a.jsonl: all 1 are bad"):
        LabeledTexts.read(write(tmp_path, "a.jsonl", lines[0]), "text", None, "label", on_bad_row="skip")
    with pytest.raises(ValueError, match="on_bad_row='ignore'; choose 'error' or 'skip'"):
        BadRows("ignore")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", 'text, label\n"I love, it", good\nschön , bad\n'),
        ("a.csv", 'text;label\n"I love, it";good\nschön ;bad\n'),
        ("a.csv", "sep=;\ntext;label\nI love, it;good\nschön ;bad\n"),
        ("a.csv", "sep=\t\r\ntext\tlabel\r\nI love, it\tgood\r\nschön \tbad\r\n"),
        ("a.csv", "text;label\rI love, it;good\rschön ;bad\r"),
        ("a.csv", "\ufefftext;label\r\nI love, it;good\r\nschön ;bad\r\n"),
        ("a.csv", "text\tlabel\nI love, it\tgood\nschön \tbad\n".encode("utf-16")),
        ("a.CSV", "text\tlabel\nI love, it\tgood\nschön \tbad\n".encode("utf-32")),
        ("a.csv.GZ", gzip.compress(mtime=0, data=b'text,label\n"I love, it",good\nsch\xc3\xb6n ,bad\n')),
    ],
)
def test_what_spreadsheets_write(tmp_path, name, content):
    rows = LabeledTexts.read(write(tmp_path, name, content), "text", None, "label")
    assert rows.first == ["I love, it", "schön "] and rows.values == ["good", "bad"]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.csv.gz"])
def test_the_texts_of_a_table_are_read_line_by_line(tmp_path, monkeypatch, name):
    lines = {".jsonl": ['{"text": "one"}'] * 30_000}.get(Path(name).suffix, ["text", *["one"] * 30_000])
    content = "\n".join(lines)
    path = write(tmp_path, name, gzip.compress(content.encode()) if name.endswith("gz") else content)
    monkeypatch.setattr(files, "read_text", None)
    tracemalloc.start()
    try:
        assert sum(text == "one" for text in read_texts(path, "text")) == 30_000
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("I don’t like it – 5 €".encode("cp1252"), "line 2: byte 0x92 is not UTF-8; it may be cp1252"),
        ("这家酒店的服务很好房间也很干净".encode("gb18030"), "it may be gb18030, an encoding of Chinese"),
        (b"caf\xe9 \x81 \xff", "its encoding is unknown; save the file as UTF-8"),
    ],
)
def test_other_encodings_are_guessed(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write(tmp_path, "a.csv", b"text,label\n" + content + b",good\n"), ["text"])


@pytest.mark.parametrize(
    ("cell", "value", "message"),
    [
        (Label(), 1.0, "is the number 1.0; a label is a text or a whole number"),
        (Label(), ["a"], "is the list"),
        (Label(), float("nan"), "is NaN, a missing value"),
        (Label(), " ", "is empty"),
        (Labels(), [0, 1, 0], r"is \[0, 1, 0\]; labels are texts"),
        (Labels(), "toxic,insult", "is 'toxic,insult'; separate labels by semicolons"),
        (Labels(), "[a", "is not a JSON list"),
        (Labels(), None, "is null"),
        (Labels(), {"a": 1}, "a list of labels is needed"),
        (flag, 2, "is the number 2; a column for one label contains only 0 and 1"),
        (flag, "yes", "is the text 'yes'"),
        (score, True, "is true, where a number is needed"),
        (score, "nan", "is 'nan', which is not a finite number"),
        (score, "high", "is 'high', which is not a number"),
        (score, 10**400, "too large a number"),
        (score, float("inf"), "is inf, which is not a finite number"),
    ],
)
def test_a_value_has_the_type_of_its_column(cell, value, message):
    with pytest.raises(ValueError, match=message):
        cell(value)


def test_labels_of_a_column_are_of_one_kind():
    label = Label()
    assert [label(value) for value in (3, 10)] == ["3", "10"]
    for other in (True, "3"):
        with pytest.raises(ValueError, match="but the labels before it are whole numbers"):
            label(other)
    assert [Label()(value) for value in (True, " a ")] == ["true", "a"]
    assert [Labels()(value) for value in ("joy; surprise;", "[]", '["fear, and"]', ["a", "a"], [])] == [
        ["joy", "surprise"], [], ["fear, and"], ["a"], [],
    ]  # fmt: skip
    for missing in ("", " "):
        with pytest.raises(ValueError, match=r"is empty; write \[\] if a text has no label"):
            Labels()(missing)
    assert [flag(value) for value in (0, 1, "0", "1", "1.0", True, 0.0)] == [
        False,
        True,
        False,
        True,
        True,
        True,
        False,
    ]


def test_one_column_for_each_label(tmp_path):
    path = write(tmp_path, "a.csv", "text,toxic,insult\nfool,1,1\nnice day,0,0\nhm,0,1\n")
    rows = LabeledTexts.read(path, "text", None, ("toxic", "insult"), kind="labels")
    assert rows.values == [["toxic", "insult"], [], ["insult"]] and rows.counts() == {"insult": 2, "toxic": 1}
    with pytest.raises(ValueError, match="are only for several labels per text"):
        LabeledTexts.read(path, "text", None, ("toxic", "insult"))
    with pytest.raises(ValueError, match="a column is named twice: text, text"):
        LabeledTexts.read(path, "text", "text", "toxic")


class Frame:
    """As much of a DataFrame as is asked of it."""

    def __init__(self, **columns):
        self.values, self.columns = columns, list(columns)

    def __getitem__(self, name):
        return np.array(self.values[name], object) if name == "text" else np.array(self.values[name])


class Classes:
    names = ["no", "yes"]


class DataSet(Frame):
    @property
    def column_names(self):
        return self.columns

    features = {"text": None, "label": Classes(), "tags": types.SimpleNamespace(feature=Classes())}


@pytest.mark.parametrize(
    "data",
    [
        {"text": ["a", "b"], "label": ["no", "yes"]},
        {"text": np.array(["a", "b"]), "label": ("no", "yes")},
        [{"text": "a", "label": "no"}, {"text": "b", "label": "yes", "more": 1}],
        Frame(text=["a", "b"], label=["no", "yes"]),
        DataSet(text=["a", "b"], label=[0, 1]),
    ],
    ids=["dict", "arrays", "list", "DataFrame", "Dataset"],
)
def test_tables_in_memory(data):
    rows = LabeledTexts.read(data, "text", None, "label")
    assert rows.first == ["a", "b"] and rows.values == ["no", "yes"]
    assert rows.source.endswith("in memory")


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"text": ["a"], "label": ["x", "y"]}, ValueError, "columns of the data have unequal lengths"),
        ({"text": ["a"]}, ValueError, r"the data has no column 'label'; its columns are \['text'\]"),
        ({"text": "a"}, TypeError, "the column 'text' is a str; give a list"),
        ([{"text": "a", "label": "x"}, "b"], TypeError, "row 2 of the data is a str; give dicts"),
        (Frame(text=[None], label=["x"]), ValueError, "row 1 of the data: 'text' is null"),
        (Frame(text=[float("nan")], label=["x"]), ValueError, "row 1 of the data: 'text' is NaN"),
        (
            {"text": ["good \ud800 film"], "label": ["x"]},
            ValueError,
            "row 1 of the data: 'text' has half of a character",
        ),
        (7, TypeError, "a int is not a table; give the path of a file"),
        ([], ValueError, "no row in the list in memory"),
    ],
)
def test_bad_tables_in_memory(data, error, message):
    with pytest.raises(error, match=message):
        LabeledTexts.read(data, "text", None, "label")


def test_unusual_rows_are_rows(tmp_path):
    separators = "a\u2028b\x85c"  # JSON allows them inside a string; str.splitlines would cut there
    path = write(tmp_path, "a.jsonl", f'{{"text": "{separators}"}}\r\n')
    assert read_rows(path, ["text"])["text"] == [separators]
    long = "word " * 40_000
    assert read_rows(write(tmp_path, "a.csv", f"text,label\n{long},1\n"), ["text"])["text"] == [long]
    with pytest.raises(
        ValueError, match="a.tsv, line 3: 'text' is empty"
    ):  # no blank line of one column is passed over
        read_rows(write(tmp_path, "a.tsv", "text\none\n\nthree\n"), ["text"])


def test_labels_and_scores():
    assert distinct_labels(["b", "a", "b"]) == ["a", "b"]
    assert distinct_labels(["10", "9", "0"]) == ["0", "9", "10"] and distinct_labels(["10", "9", "x"]) == [
        "10",
        "9",
        "x",
    ]
    assert label_ids(["b", "a", "b"], ["a", "b"], "x.tsv") == [1, 0, 1]
    with pytest.raises(ValueError, match=r"x.tsv, row 2: unknown label 'c' \(1 such rows\); the model knows"):
        label_ids(["b", "c"], ["a", "b"], "x.tsv")
    assert LabeledTexts("x.tsv", ["a", "b"], None, ["1", 2.5]).scores() == [1.0, 2.5]
    for value, message in (("high", "is not a number"), ("nan", "is not a finite number")):
        with pytest.raises(ValueError, match=f"x.tsv, row 2: the score is '{value}', which {message}"):
            LabeledTexts("x.tsv", ["a", "b"], None, [1.0, value]).scores()


def test_unknown_labels_can_be_left_out():
    rows = LabeledTexts("x.tsv", ["a", "b", "c"], None, ["yes", "no", "maybe"]).known(["no", "yes"])
    assert rows.first == ["a", "b"] and rows.skipped == ["x.tsv, row 3: unknown label 'maybe'"]
