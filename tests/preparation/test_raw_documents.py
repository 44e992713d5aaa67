import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_plm.preparation.filters import is_kept, is_readable
from keras_plm.preparation.raw_documents import documents_of, parts_of
from keras_plm.text import read_documents, split_sentences

LINES = st.text(st.sampled_from("ab .é。\u3000\r\t\x0b\u2028"), max_size=5)


def documents(path, part_bytes, document_end="blank-line"):
    parts = parts_of([path], part_bytes, document_end)
    return parts, [text for part in parts for text in documents_of(part, document_end, "text")]


@given(st.lists(LINES, min_size=1, max_size=30), st.integers(1, 40))
def test_parts_have_the_documents_of_the_file(tmp_path_factory, lines, part_bytes):
    path = tmp_path_factory.mktemp("corpus") / "a.txt"
    path.write_text("\n".join(["Begin.", *lines]), newline="")
    parts, texts = documents(path, part_bytes)
    assert texts == documents(path, 10**6)[1]
    sentences = [[s for line in text.split("\n") for s in split_sentences(line)] for text in texts]
    assert sentences == list(read_documents(path))
    size = path.stat().st_size
    assert [part.start for part in parts[1:]] == [part.end for part in parts[:-1]]
    assert parts[-1].end in (None, size)


def test_a_long_file_has_parts_of_about_the_same_size(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("A line of text.\nAnother one.\n\n" * 1_000)
    parts, texts = documents(path, 3_000)
    assert [part.end - part.start for part in parts] == [3_030] * 9 + [2_730] and len(texts) == 1_000
    path.write_text("a\n" * 2_000_000 + "\nb\n")  # longer than the window in which an end is searched
    assert len(documents(path, 10)[1]) == 2


def test_files_that_are_not_split(tmp_path):
    text = "One.\n\nTwo.\n"
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b.txt").write_text(text, "utf-16")
    (tmp_path / "c.csv").write_text('text,n\n"Three.\n\nIn one row.",1\nFour.,2\n')
    found = {name: documents(tmp_path / name, 3) for name in ("a.txt.gz", "b.txt", "c.csv")}
    assert {name: len(parts) for name, (parts, _) in found.items()} == {"a.txt.gz": 1, "b.txt": 1, "c.csv": 1}
    assert found["a.txt.gz"][1] == found["b.txt"][1] == ["One.", "Two."]
    assert found["c.csv"][1] == ["Three.\n\nIn one row.", "Four."]
    (tmp_path / "d.txt").write_text(text)
    assert documents(tmp_path / "d.txt", 3, "file")[1] == ["One.\n\nTwo."]


def test_json_lines_are_split(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"Text {n}\n\nof two paragraphs"}) for n in range(20)))
    parts, texts = documents(path, 100)
    assert len(parts) > 3 and len(texts) == 20 and texts[7] == "Text 7\n\nof two paragraphs"
    path.write_text('{"text": "a"}\n' * 9 + '{"words": "b"}\n')
    with pytest.raises(ValueError, match=r"a.jsonl, line 3 after byte 98: it must be an object with a text"):
        documents(path, 90)


def test_a_byte_that_is_not_utf8_has_its_place(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"Good.\n\n" * 10 + b"B\xe9.\n")
    with pytest.raises(ValueError, match="a.txt, byte 71: 0xe9 is not UTF-8"):
        documents(path, 20)


@pytest.mark.parametrize(
    ("text", "readable"),
    [
        ("The cat sat on the mat, and it slept.", True),
        ("那只猫坐在垫子上。" * 9, True),
        ("• one\n• two\n• three", False),
        ("Read more ...\nAnd more ...", False),
        ("### ## # a b", False),
        ("1 2 3 4 5 6 7", False),
        ("averyveryverylongword anothervery-longword", False),
        ("a b c d", False),
    ],
)
def test_text_that_was_not_written_to_be_read(text, readable):
    assert is_readable(text) == is_kept(text, (), quality=True) == readable
    assert is_kept(text, (), quality=False)


def test_languages():
    pytest.importorskip("py3langid")
    english, german = "The weather is fine today, so we go for a walk.", "Das Wetter ist heute schön, also gehen wir."
    assert [is_kept(text, ("en",), False) for text in (english, german)] == [True, False]
    assert is_kept(german, ("de", "en"), False)
