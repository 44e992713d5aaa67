import gzip
import json

import pytest

from keras_plm.text import LabeledTexts, Questions, TaggedSentences

CONLL = "-DOCSTART- -X- O\n\nAda B-PER\nLovelace I-PER\nlived O\n\nin\tO\nLondon\tB-LOC\n"


def write(path, text):
    path.write_text(text, "utf-8")
    return str(path)


def test_conll(tmp_path):
    found = TaggedSentences.read(write(tmp_path / "a.conll", CONLL))
    assert found.words == [["Ada", "Lovelace", "lived"], ["in", "London"]]
    assert found.tags == [["B-PER", "I-PER", "O"], ["O", "B-LOC"]]
    assert len(found) == 2 and found.take([1]).words == [["in", "London"]] and len(found.head(1)) == 1
    (tmp_path / "b.conll.gz").write_bytes(gzip.compress(CONLL.replace("\n", "\r\n").encode()))
    assert TaggedSentences.read(str(tmp_path / "b.conll.gz")).tags == found.tags
    columns = write(tmp_path / "c.conll", "the\tDET\tDT\ncat\tNOUN\tNN\n")
    assert TaggedSentences.read(columns).tags == [["DT", "NN"]]
    assert TaggedSentences.read(columns, 1).tags == [["DET", "NOUN"]]
    with pytest.raises(ValueError, match="tag_column='upos'; in CoNLL a column is a number, counted from 0"):
        TaggedSentences.read(columns, "upos")


def test_conll_u(tmp_path):
    text = "# text = vámonos al mar\n1-2\tvámonos\t_\t_\n1\tvamos\tir\tVERB\tSpaceAfter=No\n"
    text += "2\tnos\tnosotros\tPRON\t_\n3.1\tx\tx\tX\t_\n"
    path = write(tmp_path / "a.conllu", text)
    (tmp_path / "b.conllu.gz").write_bytes(gzip.compress(text.encode()))
    for file, options in ((path, {}), (str(tmp_path / "b.conllu.gz"), {"tag_column": 3})):
        found = TaggedSentences.read(file, **options)
        assert found.words == [["vamos", "nos"]] and found.tags == [["VERB", "PRON"]]


def test_tags_that_are_not_legal_begin_an_entity(tmp_path):
    found = TaggedSentences.read(write(tmp_path / "a.conll", "a I-PER\nb I-PER\nc I-LOC\n"))
    assert found.tags == [["B-PER", "I-PER", "B-LOC"]] and found.repaired == [2]


def test_spans_of_characters(tmp_path):
    rows = [
        {"text": "Play 小明's song!", "slots": [{"start": 5, "end": 7, "slot": "artist"}]},
        {"text": "in Rome", "spans": [{"start": 4, "end": 6, "label": "LOC"}]},
        {"words": ["a", "b"], "tags": ["O", "B-x"]},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(json.dumps(row) for row in rows))
    found = TaggedSentences.read(path)
    assert found.words[0] == ["Play", "小", "明", "'", "s", "song", "!"]
    assert found.tags == [["O", "B-artist", "I-artist", "O", "O", "O", "O"], ["O", "B-LOC"], ["O", "B-x"]]


def test_a_word_that_two_spans_share_goes_to_the_one_that_has_more_of_it(tmp_path):
    row = {
        "text": "at one pmnear Rome",
        "spans": [{"start": 3, "end": 9, "label": "time"}, {"start": 9, "end": 13, "label": "near"}],
    }
    found = TaggedSentences.read(write(tmp_path / "a.jsonl", json.dumps(row)))
    assert found.tags == [["O", "B-time", "B-near", "O"]] and found.repaired == [2]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.conll", "Ada B-PER\nLovelace\n", r"a.conll, line 2: 'Lovelace' has no tag in column -1"),
        ("a.conll", "\n\n", "no sentence in"),
        ("a.jsonl", '{"words": ["a"], "tags": ["O", "O"]}', "line 1: 1 words, but 2 tags"),
        ("a.jsonl", '{"words": "a b", "tags": ["O"]}', "'words' must be a list of strings"),
        ("a.jsonl", '{"words": [], "tags": []}', "a sentence without words"),
        ("a.jsonl", '{"text": " "}', "a text without words"),
        ("a.jsonl", '{"sentence": "a"}', r"give \"words\" and \"tags\""),
        ("a.conll", "Ada B-PER\nin 0\nRome O\n", "line 1: the tag '0' does not fit the other tags.*letter O means"),
        ("a.conll", "Ada B-PER\nin O\n\nRome PER\n", "line 4: the tag 'PER' does not fit the other tags"),
        (
            "a.conll",
            "Ada B-PER\n# a comment inside\nRome O\n",
            "line 2: '# a comment inside' has no tag|does not fit",
        ),
        ("a.jsonl", '{"tokens": ["a"], "ner_tags": [3]}', "give the names of the tags instead of their numbers"),
        ("a.jsonl", '{"text": "ab", "label": [[0, "2", "x"]]}', r"a span must be {start, end, label} or \[start"),
        (
            "a.jsonl",
            '{"text": "ab", "spans": [{"start": 1, "end": 9, "label": "x"}]}',
            "outside the text, which has 2 characters",
        ),
        ("a.jsonl", '{"text": "ab", "spans": ["x"]}', "a span must be {start, end, label}"),
        ("a.jsonl", '{"text": "ab", "spans": null}', '"spans" is None; give a list'),
        ("a.jsonl", '{"words": ["\\ud83d"], "tags": ["O"]}', r"line 1: the word .* has half of a character"),
        ("a.jsonl", '{"text": "a b", "spans": [{"start": 1, "end": 2, "label": "x"}]}', "has white space only"),
    ],
)
def test_bad_sentences(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        TaggedSentences.read(write(tmp_path / name, text))


def test_a_column_of_conll_is_a_number(tmp_path):
    with pytest.raises(ValueError, match="in CoNLL a column is a number"):
        TaggedSentences.read(write(tmp_path / "a.conll", CONLL), "upos")


SQUAD = {
    "data": [
        {
            "title": "x",
            "paragraphs": [
                {
                    "context": "Ada 住在 London.",
                    "qas": [
                        {"id": "1", "question": "Where?", "answers": [{"text": "London", "answer_start": 7}]},
                        {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
                    ],
                }
            ],
        }
    ]
}


def test_squad(tmp_path):
    found = Questions.read(write(tmp_path / "a.json", json.dumps(SQUAD)))
    assert found.ids == ["1", "2"] and found.answers == [[("London", 7)], []]
    line = {"question": "Who?", "context": "Ada 住在 London.", "answers": [{"text": "Ada", "answer_start": 0}]}
    assert Questions.read(write(tmp_path / "a.jsonl", json.dumps(line))).answers == [[("Ada", 0)]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": " "}, "line 1: the context is empty; fill it in"),
        ({"question": None}, "line 1: the question is null; fill it in"),
        (
            {"answers": [{"text": "Bob", "answer_start": 0}]},
            "the answer 'Bob' is not at character 0 of the context; found 'Ada' there",
        ),
        ({"answers": [{"text": "Ada", "answer_start": 99}]}, "is not at character 99"),
        ({"answers": [{"text": "Ada"}]}, "an answer must be {text, answer_start}"),
        ({"answers": [{"text": 1843, "answer_start": 0}]}, "an answer must be {text, answer_start}"),
        ({"is_impossible": "False"}, "line 1: is_impossible is 'False'; true or false is needed, without quotes"),
        ({"is_impossible": True}, "is_impossible is true, but it has the answer"),
        ({"answers": {"text": ["Ada"], "answer_start": []}}, "must be lists of the same length"),
        ({"answers": [{"text": "Ada", "answer_start": "0"}]}, "an answer must be {text, answer_start}"),
        ({"id": [1]}, r"the id is \[1\]; a text or a number"),
        ({"answers": None}, '"answers" is None; give a list, empty if there is no answer'),
    ],
)
def test_bad_questions(tmp_path, change, message):
    line = {"question": "Who?", "context": "Ada lived.", "answers": [{"text": "Ada", "answer_start": 0}]} | change
    with pytest.raises(ValueError, match=message):
        Questions.read(write(tmp_path / "a.jsonl", json.dumps(line)))


def test_no_squad_file(tmp_path):
    with pytest.raises(ValueError, match="is not a SQuAD file"):
        Questions.read(write(tmp_path / "a.json", "{}"))
    with pytest.raises(ValueError, match="no question in"):
        Questions.read(write(tmp_path / "b.json", '{"data": []}'))


@pytest.mark.parametrize(
    "row",
    [
        {"tokens": ["Maria", "lives"], "ner_tags": ["B-PER", "O"]},
        {"words": ["Maria", "lives"], "tags": ["I-PER", "O"]},
        {"text": "Maria lives", "label": [[0, 5, "PER"]]},
        {"text": "Maria lives", "entities": [{"start_offset": 0, "end_offset": 5, "label": "PER"}]},
        {"text": "Maria lives", "spans": [{"start": 0, "end": 5, "label": "PER"}]},
        {"text": "Maria\0lives", "spans": [{"start": 0, "end": 5, "label": "PER"}]},
    ],
)
def test_the_names_of_others(tmp_path, row):
    path = write(tmp_path / "a.jsonl", json.dumps(row))
    for source in (path, [row], {name: [value] for name, value in row.items()}):
        found = TaggedSentences.read(source)
        assert found.words == [["Maria", "lives"]] and found.tags == [["B-PER", "O"]]


@pytest.mark.parametrize(
    ("tags", "notation", "expected"),
    [
        ("I-PER O I-LOC B-LOC", "IOB1", "B-PER O B-LOC B-LOC"),
        ("B-PER I-PER O I-LOC", "IOB2", "B-PER I-PER O B-LOC"),
        ("B-PER L-PER O U-LOC", "BILOU", "B-PER E-PER O S-LOC"),
        ("B-PER M-PER E-PER S-LOC", "BMES", "B-PER I-PER E-PER S-LOC"),
        ("B-PER E-PER O W-LOC", "BEW", "B-PER E-PER O S-LOC"),
        ("B-PER I-PER E-PER S-LOC", "BIOES", "B-PER I-PER E-PER S-LOC"),
        ("NOUN VERB X O", "plain", "NOUN VERB X O"),
    ],
)
def test_notations_are_told_apart(tmp_path, tags, notation, expected):
    found = TaggedSentences.read(write(tmp_path / "a.conll", "".join(f"word {tag}\n" for tag in tags.split())))
    assert found.notation == notation and found.tags == [expected.split()]


@pytest.mark.parametrize(
    ("text", "comments", "words"),
    [
        ("# id 9a1b-0000\tdomain=en\nAda _ _ B-PER\nlives _ _ O\n\n# id 7\tdomain=en\nRome _ _ B-LOC\n", 2, 3),
        ("# sent_id = 1\n# text = Ada O\nAda\tB-PER\nlives\tO\n", 2, 2),
        ("# sent_id = 1\nAda _ _ B-PER\n", 1, 1),
        ("# newdoc\nAda B-PER\nlives O\n", 1, 2),
        ("# O\nnow O\nAda B-PER\n\n#london B-LOC\n", 0, 4),  # words of tweets
        ("#\tO\nAda\tB-PER\nx\tO\n", 0, 3),
    ],
)
def test_comments_are_no_words(tmp_path, text, comments, words):
    found = TaggedSentences.read(write(tmp_path / "a.conll", text))
    assert found.comments == comments and sum(map(len, found.words)) == words
    assert {tag for tags in found.tags for tag in tags} <= {"O", "B-PER", "B-LOC"}


def test_bad_sentences_can_be_left_out(tmp_path):
    path = write(tmp_path / "a.conll", "Ada B-PER\n\nin 0\nRome B-LOC\n\nLima\n\nOslo I-LOC\n")
    found = TaggedSentences.read(path, on_bad_row="skip")
    assert found.words == [["Ada"], ["Oslo"]] and len(found.skipped) == 2
    assert found.known(["O", "B-PER"]).words == [["Ada"]]
    with pytest.raises(ValueError, match="2 bad rows"):
        TaggedSentences.read(path)


def test_words_are_split_as_in_a_text():
    rows = TaggedSentences("x", [["O'Neil", "left", "L.A.", "\u200b"]], [["S-PER", "O", "B-LOC", "O"]], [0])
    found = rows.split()
    assert found.words == [["O", "'", "Neil", "left", "L", ".", "A", ".", "\u200b"]]
    assert found.tags == [["B-PER", "I-PER", "E-PER", "O", "B-LOC", "I-LOC", "I-LOC", "I-LOC", "O"]]
    assert found.split() == found


def test_answers_as_hugging_face_has_them(tmp_path):
    row = {"question": "Who?", "context": "Ada lived.", "answers": {"text": ["Ada"], "answer_start": [0]}}
    nested = {
        "data": [{"paragraphs": [{"context": row["context"], "qas": [{k: row[k] for k in ("question", "answers")}]}]}]
    }
    sources = [
        write(tmp_path / "a.jsonl", json.dumps(row)), write(tmp_path / "a.json", json.dumps(nested)),
        write(tmp_path / "b.json", json.dumps([row])), [row], {name: [value] for name, value in row.items()},
    ]  # fmt: skip
    for source in sources:
        found = Questions.read(source)
        assert found.questions == ["Who?"] and found.answers == [[("Ada", 0)]]
    bad = [row | {"context": "Bob lived."}, row, row | {"question": ""}]
    found = Questions.read(bad, on_bad_row="skip")
    assert len(found) == 1 and len(found.skipped) == 2


def test_labels_of_a_table(tmp_path):
    path = write(tmp_path / "a.tsv", "label\ttext\ta\nx\thello\tb\n")
    assert LabeledTexts.read(path, "text", "a", "label") == LabeledTexts(path, ["hello"], ["b"], ["x"])


def test_the_same_rows_from_another_place_are_the_same():
    rows, again = (LabeledTexts(source, ["a text"], None, ["yes"]) for source in ("/here/a.tsv", "a.tsv"))
    assert rows.fingerprint() == again.fingerprint()
    assert rows.fingerprint() != LabeledTexts("a.tsv", ["a text"], None, ["no"]).fingerprint()
