import gzip

import pytest

from keras_plm.text import expand_files, read_documents, split_sentences


@pytest.mark.parametrize(
    "text,sentences",
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Mr. J. Bell paid 3.50 dollars. He left.", ["Mr. J. Bell paid 3.50 dollars.", "He left."]),
        ('"Go!" He went.', ['"Go!"', "He went."]),
        ("“你好。”他说。再见!", ["“你好。”", "他说。", "再见!"]),
        ("我来了。你呢？", ["我来了。", "你呢？"]),
        ("e.g. this is one", ["e.g. this is one"]),
        ("He left (at ten. or so). She stayed.", ["He left (at ten. or so).", "She stayed."]),
        ("Он пришёл. Она ушла. Всё.", ["Он пришёл.", "Она ушла.", "Всё."]),
        ("नमस्ते। आप कैसे हैं? ठीक।", ["नमस्ते।", "आप कैसे हैं?", "ठीक।"]),
        ("Hola. ¿Cómo estás? ¡Bien!", ["Hola.", "¿Cómo estás?", "¡Bien!"]),
        ("the end. of it " * 3, ["the end. of it the end. of it the end. of it"]),
        ("   ", []),
    ],
)
def test_split_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_documents_end_at_blank_lines_and_files(tmp_path):
    (tmp_path / "a.txt").write_text("One. Two.\nThree.\n\n\nFour.\n", "utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress("\ufeffFive.\r\nSix.".encode()))
    (tmp_path / "c[1].txt").write_text("Seven\x0band\u2028a half.", "utf-8")  # no line ends of a text file
    documents = list(read_documents([str(tmp_path / "[ab]*"), tmp_path / "c[1].txt"]))
    assert documents == [["One.", "Two.", "Three."], ["Four."], ["Five.", "Six."], ["Seven\x0band\u2028a half."]]


def test_errors_name_the_file_the_line_and_the_fix(tmp_path):
    (tmp_path / "latin.txt").write_bytes("Fine.\nCaf\xe9.\n".encode("latin1"))
    with pytest.raises(ValueError, match=r"latin.txt, line 2: byte 0xe9 is not UTF-8; it may be cp1252"):
        list(read_documents(str(tmp_path / "latin.txt")))
    damaged = bytearray(gzip.compress(b"Fine. " * 99))
    damaged[12] ^= 0xFF
    (tmp_path / "damaged.gz").write_bytes(damaged)
    with pytest.raises(ValueError, match="damaged.gz is not a complete gzip file"):
        list(read_documents(tmp_path / "damaged.gz"))
    (tmp_path / "empty.txt").write_text("\n \n")
    with pytest.raises(ValueError, match="the corpus is empty"):
        list(read_documents(str(tmp_path / "empty.txt")))
    with pytest.raises(FileNotFoundError, match="no file matches"):
        expand_files(str(tmp_path / "*.md"))
    (tmp_path / "broken.txt.gz").write_bytes(gzip.compress(b"One. " * 100)[:-9])
    with pytest.raises(ValueError, match="not a complete gzip file"):
        list(read_documents(str(tmp_path / "broken.txt.gz")))
