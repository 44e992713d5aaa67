import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import keras_plm as plm
from keras_plm.checkpoints import load
from keras_plm.preparation.duplicates import Fingerprint, band_sizes, in_buckets, repeated
from keras_plm.recipes import PretrainDenoising
from keras_plm.text import TokenizedCorpus, read_documents

pytest.importorskip("apache_beam")
from keras_plm.preparation import Prepare, pipeline  # noqa: E402

WORDS = [
    "the", "a", "cat", "dog", "bird", "tree", "house", "sees", "hears", "likes", "finds", "old", "new", "small", "red",
    "near", "under", "over",
]  # fmt: skip
SCRIPT = """
import sys
from keras_plm.preparation import Prepare
Prepare(corpus=sys.argv[1], save_to=sys.argv[2], workers=int(sys.argv[3]), vocabulary_size=90, shard_megabytes=1,
        deduplicate="near", verbose=0).run()
"""


def written(path, size, seed=0):
    """A file of documents of random sentences, with some bytes more than `size`."""
    draw = random.Random(seed)
    with path.open("w") as file:
        while file.tell() < size:
            sentences = (" ".join(draw.choices(WORDS, k=draw.randint(3, 12))) for _ in range(draw.randint(1, 9)))
            file.write("\n".join(sentence.capitalize() + "." for sentence in sentences) + "\n\n")
    return str(path)


def content(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def prepare(corpus, folder, **changes):
    fields = {"vocabulary_size": 90, "workers": 1, "verbose": 0}
    return Prepare(corpus=corpus, save_to=str(folder), **fields | changes).run()


def children(process):
    """The numbers of the processes that a process has started."""
    files = Path(f"/proc/{process}/task").glob("*/children")
    return [int(number) for path in files for number in path.read_text().split()]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return written(tmp_path_factory.mktemp("corpus") / "a.txt", 2_500_000)


def test_a_corpus_is_prepared(corpus, tmp_path, capsys):
    found = prepare(corpus, tmp_path / "prepared", shard_megabytes=1, deduplicate="none", verbose=2)
    assert len(found.shards) == 3 and found.level == "sentences"
    tokenizer = load_tokenizer_of(found)
    whole = TokenizedCorpus.from_documents(read_documents(corpus), tokenizer)
    loaded = found.load()
    for name in ("tokens", "sentences", "documents"):
        assert np.array_equal(getattr(loaded, name), getattr(whole, name))
    assert {"corpus.json", "vocab.txt"} < content(found.folder).keys()
    assert len(content(found.folder)) == 5 and not (tmp_path / "prepared.preparing").exists()
    assert f"{len(whole.tokens):,} tokens from 2." in capsys.readouterr().out
    with pytest.raises(FileExistsError, match="overwrite"):
        prepare(corpus, tmp_path / "prepared")
    again = prepare(corpus, tmp_path / "prepared", shard_megabytes=1, deduplicate="none", overwrite=True)
    assert again.fingerprint == found.fingerprint


def load_tokenizer_of(found):
    return plm.WordPieceTokenizer.from_file(found.folder / "vocab.txt")


def test_texts_keep_their_white_space(tmp_path):
    rows = [{"text": f"def f({n}):\n    return {n}\n"} for n in range(50)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = prepare(str(tmp_path / "a.jsonl"), tmp_path / "prepared", model="decoder", vocabulary_size=300)
    files = {name: found.folder / name for name in plm.BytePairTokenizer.filenames}
    settings = {name: value for name, value in found.tokenizer.items() if name != "class"}
    tokenizer = plm.BytePairTokenizer.from_files(files, **settings)
    assert [tokenizer.decode(text.tolist()) for text in found.load().texts()] == [row["text"].strip() for row in rows]


def test_tokens_for_encoder_decoders(tmp_path):
    (tmp_path / "a.txt").write_text("\u200b")  # nothing is left of it
    (tmp_path / "b.txt").write_text(" ".join(WORDS) * 20)
    folder = tmp_path / "prepared"
    found = prepare(str(tmp_path / "?.txt"), folder, model="encoder-decoder", vocabulary_size=200, shard_megabytes=1)
    assert found.total("documents") == 1 and "spiece.model" in content(folder)
    config = replace(plm.TRANSFORMER_TINY, num_layers=1, hidden_dim=16, intermediate_dim=16)
    model = PretrainDenoising(
        corpus=str(folder), config=config, steps=1, verbose=0, max_length=16, fast_dev_run=True
    ).run()
    assert "<extra_id_0>" in model.tokenizer.vocabulary


def test_a_tokenizer_of_a_model(corpus, encoder_folder, tmp_path):
    with pytest.raises(ValueError, match="has its own tokens: leave out vocabulary_size"):
        prepare(corpus, tmp_path / "prepared", tokenizer=encoder_folder)
    found = Prepare(
        corpus=corpus, save_to=str(tmp_path / "prepared"), tokenizer=encoder_folder, workers=1, verbose=0
    ).run()
    wanted = load(encoder_folder).tokenizer
    assert load_tokenizer_of(found).vocabulary == wanted.vocabulary


@pytest.fixture(scope="module")
def encoder_folder(tokenizer, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("model") / "encoder")
    config = replace(plm.TINY, vocabulary_size=len(tokenizer), num_layers=1)
    plm.save(plm.Encoder(config, tokenizer), folder)
    return folder


def test_equal_and_similar_documents_are_left_out(tmp_path):
    draw = random.Random(1)
    texts = [" ".join(draw.choices(WORDS, k=80)) for _ in range(40)]
    similar = texts[7].replace(texts[7].split()[40], "word", 1)
    (tmp_path / "a.txt").write_text("\n\n".join([*texts, texts[3], similar, texts[3], texts[9]]))
    (tmp_path / "b.txt").write_text("\n\n".join([texts[5], "A text of its own."]))
    pattern, counts = str(tmp_path / "*.txt"), {}
    for kind in ("none", "exact", "near"):
        found = prepare(pattern, tmp_path / kind, deduplicate=kind)
        counts[kind] = (found.total("documents"), found.settings["documents"]["repeated"])
    assert counts == {"none": (46, 0), "exact": (42, 4), "near": (41, 5)}


def test_similar_documents_by_their_similarity():
    fingerprint = Fingerprint("near", 0.8)
    draw = random.Random(2)
    bands, rows = band_sizes(0.8)

    def share_found(changed):
        found = []
        for _ in range(60):
            words = [str(draw.random()) for _ in range(200)]
            other = list(words)
            for place in draw.sample(range(200), changed):
                other[place] = "another"
            runs = [{tuple(text[i : i + 5]) for i in range(196)} for text in (words, other)]
            similarity = len(runs[0] & runs[1]) / len(runs[0] | runs[1])
            found.append((similarity, bool(set(fingerprint(" ".join(words))) & set(fingerprint(" ".join(other))))))
        similarity, hits = np.mean(found, 0)
        expected = np.mean([1 - (1 - s**rows) ** bands for s, _ in found])
        return similarity, hits, expected

    for changed in (1, 4, 12, 40):
        similarity, hits, expected = share_found(changed)
        assert hits == pytest.approx(expected, abs=0.2), similarity


def test_groups_of_hashes_in_any_order():
    first = (0, np.array([5, 6, 5, 7], "uint64"), np.array([0, 1, 2, 3]))
    second = (1, np.array([6, 8, 8], "uint64"), np.array([0, 1, 1]))  # document 1 has one hash twice
    for groups in ([first, second], [second, first]):
        assert {part: numbers.tolist() for part, numbers in repeated(groups)} == {0: [2], 1: [0]}
    hashes = np.arange(1_000, dtype="uint64")
    found = list(in_buckets(3, hashes, np.arange(1_000)))
    assert sorted(np.concatenate([numbers for _, (_, _, numbers) in found]).tolist()) == list(range(1_000))
    assert all((group[1] % 256 == bucket).all() for bucket, group in found)


def test_filters(tmp_path):
    pytest.importorskip("py3langid")
    german = "Das Wetter ist heute sehr schön, und deshalb gehen wir mit dem Hund in den Wald."
    english = "The weather is very fine today, and so we walk with the dog to the forest."
    (tmp_path / "a.txt").write_text("\n\n".join([german, english, "1 2 3 4 5"]))
    found = prepare(str(tmp_path / "a.txt"), tmp_path / "prepared", languages=("de",), quality=True)
    assert found.total("documents") == 1
    assert found.settings["documents"] == {"read": 3, "filtered": 2, "repeated": 0}
    with pytest.raises(ValueError, match="no document is left"):
        prepare(str(tmp_path / "a.txt"), tmp_path / "other", languages=("fr",))


def test_an_interrupted_preparation_continues(corpus, tmp_path, monkeypatch):
    settings = {"shard_megabytes": 1, "deduplicate": "near"}
    whole = prepare(corpus, tmp_path / "whole", **settings)

    class Interrupted(pipeline.TokenizePart):
        def process(self, part):
            if any((self.job.folder / "unfinished").glob("shard-?????.json")):
                raise KeyboardInterrupt
            super().process(part)

    folder = tmp_path / "prepared"
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "TokenizePart", Interrupted)
        with pytest.raises(BaseException):  # noqa: B017, PT011  Beam may wrap it
            prepare(corpus, folder, **settings)
    work = tmp_path / "prepared.preparing"
    assert not folder.exists() and len(list(work.glob("unfinished/shard-?????.json"))) == 1
    times = {path.name: path.stat().st_mtime_ns for path in [*work.glob("shard*"), *work.glob("unfinished/*")]}
    with pytest.raises(ValueError, match="unfinished preparation with other settings"):
        prepare(corpus, folder, shard_megabytes=2)
    prepare(corpus, folder, **settings)
    assert content(folder) == content(whole.folder)
    for path in folder.glob("shard*"):
        assert times.get(path.name, path.stat().st_mtime_ns) == path.stat().st_mtime_ns
    assert any(name.endswith(".tfrecord.gz") for name in times)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "words"}, "choose one of encoder, decoder, encoder-decoder"),
        ({"deduplicate": "all"}, "choose one of none, exact, near"),
        ({"document_end": "line"}, "choose one of blank-line, file"),
        ({"threshold": 1.0}, r"in \(0, 1\)"),
        ({"shard_megabytes": 0}, "at least 1"),
        ({"workers": -1}, "at least 0"),
    ],
)
def test_settings_out_of_range(corpus, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        prepare(corpus, tmp_path / "prepared", **changes)


@pytest.mark.slow
def test_a_killed_worker_ends_the_preparation_with_an_error(corpus, tmp_path):
    """Linux kills the largest process if the memory is full."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, corpus, str(tmp_path / "prepared"), "2"], stderr=subprocess.PIPE, text=True
    )
    workers = []
    while not workers and process.poll() is None:
        time.sleep(0.1)
        workers = [worker for shell in children(process.pid) for worker in children(shell)]
    os.kill(workers[-1], signal.SIGKILL)
    try:
        said = process.communicate(timeout=200)[1]
    finally:
        process.kill()
    assert "a worker was killed, perhaps because the memory is full" in said and "return code 137" in said
    assert process.returncode == 1 and not (tmp_path / "prepared").exists()


@pytest.mark.slow
def test_workers_and_kills_change_nothing(corpus, tmp_path):
    """One worker, two workers, and two workers that are killed again and again write the same bytes."""

    def start(name, workers):
        return subprocess.Popen([sys.executable, "-c", SCRIPT, corpus, str(tmp_path / name), str(workers)])

    began = time.monotonic()
    assert start("one", 1).wait(300) == 0
    seconds = time.monotonic() - began
    assert start("two", 2).wait(300) == 0
    draw = random.Random(3)
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, corpus, str(tmp_path / "killed"), "2"], start_new_session=True
        )
        time.sleep(draw.uniform(0.3, 1.2) * seconds)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if (tmp_path / "killed").exists():
            shutil.rmtree(tmp_path / "killed")
    assert start("killed", 2).wait(300) == 0
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(tmp_path / "killed")
