import json
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from keras_plm.models import load_tokenizer, tokenizer_settings
from keras_plm.text import PreparedCorpus, StreamedRows, TokenizedCorpus, streamed_rows, write_shards
from keras_plm.text.shard_writing import description_of
from keras_plm.text.token_shards import CORPUS, Shard, read_shard, write_shard

DOCUMENTS = [["The cat sees the dog.", "A dog sleeps."], ["The bird sings."], ["A cat.", "A dog.", "A bird."]] * 5


def prepared(folder, tokenizer, documents=DOCUMENTS, shard_bytes=60):
    shards = tuple(write_shards(documents, tokenizer, folder, "shard", shard_bytes))
    for name, content in tokenizer.files().items():
        (folder / name).write_bytes(content)
    corpus = PreparedCorpus(folder, "sentences", tokenizer_settings(tokenizer), shards)
    (folder / CORPUS).write_text(corpus.description())
    return PreparedCorpus.open(folder)


@given(st.lists(st.lists(st.lists(st.integers(0, 70_000), min_size=1), min_size=1), min_size=1))
def test_documents_are_read_as_they_were_written(tmp_path_factory, documents):
    lengths = [len(sentence) for document in documents for sentence in document]
    tokens = np.array([i for document in documents for sentence in document for i in sentence], "int32")
    corpus = TokenizedCorpus.from_lengths(tokens, np.array(lengths), np.array([*map(len, documents)]))
    folder = tmp_path_factory.mktemp("shard")
    shard = write_shard(folder / "a.tfrecord.gz", corpus, 1)
    found = read_shard(folder / "a.tfrecord.gz")
    for name in ("tokens", "sentences", "documents"):
        assert getattr(found, name).tolist() == getattr(corpus, name).tolist()
    assert (shard.tokens, shard.sentences, shard.documents) == (len(tokens), len(lengths), len(documents))
    assert write_shard(folder / "b.tfrecord.gz", corpus, 1).sha256 == shard.sha256


def test_other_programs_can_read_a_shard(tmp_path, tokenizer):
    (shard,) = prepared(tmp_path, tokenizer, DOCUMENTS[:1]).shards
    features = {name: tf.io.RaggedFeature(tf.int64) for name in ("tokens", "sentence_lengths")}
    (record,) = tf.data.TFRecordDataset(str(tmp_path / shard.name), "GZIP")
    example = tf.io.parse_single_example(record, features)
    assert tokenizer.decode(example["tokens"].numpy().tolist()) == "the cat sees the dog . a dog sleeps ."
    assert example["sentence_lengths"].shape == 2
    assert sum(example["sentence_lengths"]) == len(example["tokens"])


def test_a_folder_is_described(tmp_path, tokenizer):
    corpus = prepared(tmp_path, tokenizer)
    assert len(corpus.shards) > 3 and corpus.total("documents") == 15 and corpus.total("sentences") == 30
    assert corpus.total("text_bytes") == sum(len(s) for document in DOCUMENTS for s in document)
    whole = TokenizedCorpus.from_documents(DOCUMENTS, tokenizer)
    assert corpus.load().tokens.tolist() == whole.tokens.tolist()
    assert corpus.load().documents.tolist() == whole.documents.tolist()
    loaded = load_tokenizer(dict(corpus.tokenizer), lambda name: tmp_path / name)
    assert loaded.vocabulary == tokenizer.vocabulary


def test_finished_shards_are_not_written_again(tmp_path, tokenizer):
    first = prepared(tmp_path, tokenizer)
    kept, lost, damaged = (tmp_path / shard.name for shard in first.shards[:3])
    description_of(lost).unlink()
    damaged.write_bytes(damaged.read_bytes()[:-9])
    before = kept.stat().st_mtime_ns
    again = prepared(tmp_path, tokenizer)
    assert again.fingerprint == first.fingerprint and kept.stat().st_mtime_ns == before
    assert [again.read(shard).tokens.sum() for shard in again.shards]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "this version reads format 1"),
        ({"level": "words"}, "it must be sentences or texts"),
        ({"shards": []}, "it has no shard"),
        ({"shards": [{"name": "../a.tfrecord.gz"}]}, "is damaged"),
        ({"tokenizer": "bert"}, "tokenizer must be an object"),
    ],
)
def test_a_damaged_description_is_refused(tmp_path, tokenizer, change, message):
    prepared(tmp_path, tokenizer)
    content = json.loads((tmp_path / CORPUS).read_text())
    (tmp_path / CORPUS).write_text(json.dumps(content | change))
    with pytest.raises(ValueError, match=message):
        PreparedCorpus.open(tmp_path)


def test_a_name_outside_of_the_folder_is_refused(tmp_path, tokenizer):
    shard = prepared(tmp_path, tokenizer).shards[0]
    for name in ("../a.tfrecord.gz", "/a.tfrecord.gz", "a.txt"):
        with pytest.raises(ValueError, match="in the same folder"):
            replace(shard, name=name)


def test_a_damaged_shard_is_refused(tmp_path, tokenizer):
    corpus = prepared(tmp_path, tokenizer)
    path = tmp_path / corpus.shards[1].name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} is damaged: its checksum differs"):
        corpus.load()
    path.unlink()
    with pytest.raises(ValueError, match="1 shards are missing, such as"):
        PreparedCorpus.open(tmp_path)
    with pytest.raises(FileNotFoundError, match="has no corpus.json"):
        PreparedCorpus.open(tmp_path / "nowhere")


class Numbers:
    """The tokens of some documents, one by one, as rows."""

    def __init__(self, corpus):
        self.tokens = corpus.tokens

    def __len__(self):
        return len(self.tokens)

    def training_dataset(self, batch_size, num_steps, first_step=0, seed=0):
        order = np.random.default_rng(seed).permutation(len(self))
        rows = tf.constant(np.resize(self.tokens[order], (-(-len(self) // batch_size), batch_size)))
        return tf.data.Dataset.range(first_step, num_steps).map(lambda step: rows[step])


def streamed(folder, count=53, **options):
    """Rows with the numbers below `count`, in shards of 3."""
    shards = []
    for number, first in enumerate(range(0, count, 3)):
        tokens = np.arange(first, min(first + 3, count), dtype="int32")
        corpus = TokenizedCorpus.from_lengths(tokens, np.array([len(tokens)]), np.array([1]))
        shards.append(write_shard(folder / f"{number}.tfrecord.gz", corpus, 1))
    return StreamedRows(PreparedCorpus(folder, "texts", {}, tuple(shards)), Numbers, block_tokens=10, **options)


def batches(rows, *arguments, **options):
    return [batch.numpy().tolist() for batch in rows.training_dataset(*arguments, **options)]


def test_each_row_is_read_in_each_epoch(tmp_path):
    rows = streamed(tmp_path)
    assert len(rows) == 53 and len(rows.sizes) == 5
    epochs = np.array(batches(rows, 1, 3 * 53)).reshape(3, 53)
    assert [sorted(epoch) for epoch in epochs.tolist()] == [list(range(53))] * 3
    assert epochs[0].tolist() != epochs[1].tolist() != epochs[2].tolist()
    neighbors = np.abs(np.diff(epochs[0]))
    assert (neighbors == 1).mean() < 0.3  # not in the order of the file
    assert batches(rows, 1, 20, seed=1) != batches(rows, 1, 20)


def test_a_step_always_has_the_same_batch(tmp_path):
    rows = streamed(tmp_path)
    whole = batches(rows, 5, 40)
    per_epoch = sum(-(-size // 5) for size in rows.sizes)
    assert 3 * per_epoch < 40
    for first in (1, 2, per_epoch - 1, per_epoch, 2 * per_epoch + 3, 39):
        assert batches(rows, 5, 40, first) == whole[first:]
    assert batches(streamed(tmp_path, sizes=rows.sizes), 5, 40, 17) == whole[17:]
    assert len(whole) == 40 and {len(batch) for batch in whole} == {5}


def test_sizes_of_another_corpus_are_refused(tmp_path):
    with pytest.raises(ValueError, match="sizes has 2 numbers, but there are 5 blocks"):
        streamed(tmp_path, sizes=[3, 3])
    with pytest.raises(ValueError, match="a whole number of rows, at least 1"):
        streamed(tmp_path, sizes=[3, 3, 3, 3, 0])
    with pytest.raises(ValueError, match="no batch between step 9 and step 9"):
        streamed(tmp_path).training_dataset(5, 9, 9)


def test_blocks_of_shards_of_very_different_sizes(tmp_path):
    def sizes(tokens, block_tokens):
        shards = [Shard(f"{i}.tfrecord.gz", "", 1, 1, size, 1) for i, size in enumerate(tokens)]
        blocks = streamed_rows._blocks(shards, block_tokens)
        assert sorted(shard.name for block in blocks for shard in block) == sorted(shard.name for shard in shards)
        return sorted(sum(shard.tokens for shard in block) for block in blocks)

    assert sizes([17, 1], 10) == [18]  # the second block would have too few rows
    assert sizes([10, 1, 10, 1], 11) == [11, 11]
    assert sizes([50, 1, 1, 1], 10) == [53]
    assert sizes([3] * 40, 30) == [30] * 4
    assert sizes([5], 10) == [5]
