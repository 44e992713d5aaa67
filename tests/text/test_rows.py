import pytest

from keras_plm.text import distinct_labels, label_ids, read_rows, scores


def write(folder, name, text):
    path = folder / name
    path.write_text(text, "utf-8")
    return str(path)


def test_three_formats_read_the_same(tmp_path):
    expected = {"text": ['a "b"', "中, c"], "label": ["1", "0"]}
    tsv = write(tmp_path, "a.tsv", 'label\ttext\n1\ta "b"\n0\t中, c\n')
    csv = write(tmp_path, "a.csv", 'label,text\n1,"a ""b"""\n0,"中, c"\n')
    jsonl = write(tmp_path, "a.jsonl", '{"label": 1, "text": "a \\"b\\""}\n\n{"label": 0, "text": "中, c"}\n')
    for path in (tsv, csv, jsonl):
        assert read_rows(path, ["text", "label"]) == expected
    assert read_rows([tsv, csv], ["text"], limit=3)["text"] == ['a "b"', "中, c", 'a "b"']
    with pytest.raises(ValueError, match="limit=0; it is a number of rows, 1 or more"):
        read_rows(tsv, ["text"], limit=0)


@pytest.mark.parametrize(
    "name,content,message",
    [
        (
            "a.tsv",
            "label\tsentence\n1\tx\n",
            r"a.tsv, line 2: no column 'text'; the row has \['label', 'sentence'\]",
        ),
        ("a.tsv", "label\ttext\n1\tx\ty\n", "a.tsv, line 2: 3 fields, but the header has 2"),
        ("a.csv", 'label,text\n1,"x\n', "a.csv, line 2: unexpected end of data"),
        ("a.jsonl", '{"text": 1}\n{"text"\n', "a.jsonl, line 2: not JSON"),
        ("a.jsonl", "[1]\n", "a.jsonl, line 1: a row must be a JSON object"),
        ("a.tsv", "label\ttext\n", "no row in"),
        ("a.xlsx", "x", "unknown kind of table '.xlsx'"),
        ("a.jsonl", '{"text": null}\n', "a.jsonl, line 1: 'text' is null; fill it in"),
        ("a.jsonl", '{"text": "\\ud83d"}\n', "a.jsonl, line 1: half of a character"),
    ],
)
def test_bad_rows_name_the_place(tmp_path, name, content, message):
    with pytest.raises(ValueError, match=message):
        read_rows(write(tmp_path, name, content), ["text"])


def test_unusual_rows_are_rows(tmp_path):
    separators = "a\u2028b\x85c"  # JSON allows them inside a string; str.splitlines would cut there
    path = write(tmp_path, "a.jsonl", f'{{"text": "{separators}"}}\r\n')
    assert read_rows(path, ["text"])["text"] == [separators]
    long = "word " * 40_000
    assert read_rows(write(tmp_path, "a.csv", f"text,label\n{long},1\n"), ["text"])["text"] == [long]
    assert read_rows(write(tmp_path, "a.tsv", "text\none\n\nthree\n"), ["text"])["text"] == ["one", "", "three"]


def test_labels_and_scores():
    assert distinct_labels(["b", "a", "b"], "x.tsv") == ["a", "b"]
    with pytest.raises(ValueError, match=r"x.tsv, row 2: the label is empty"):
        distinct_labels(["b", " "], "x.tsv")
    with pytest.raises(ValueError, match="x.tsv, row 2: 'nan' is not a finite number"):
        scores(["1", "nan"], "x.tsv")
    assert label_ids(["b", "a", "b"], ["a", "b"], "x.tsv") == [1, 0, 1]
    with pytest.raises(ValueError, match=r"x.tsv, row 2: unknown label 'c' \(1 such rows\); the model knows"):
        label_ids(["b", "c"], ["a", "b"], "x.tsv")
    assert scores(["1", "2.5"], "x.tsv") == [1.0, 2.5]
    with pytest.raises(ValueError, match="x.tsv, row 1: 'high' is not a number"):
        scores(["high"], "x.tsv")
