"""The work on the parts of a corpus, and the Apache Beam pipelines that distribute it.

Each part is read, hashed and tokenized by one worker, which writes files. A part whose files exist is not worked on
again, so an interrupted pipeline continues. What is in the files does not depend on the number of workers.
"""

import json
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from keras_plm.models import load_tokenizer
from keras_plm.text import split_sentences, write_shards
from keras_plm.training import write_whole

from .duplicates import Fingerprint, in_buckets, repeated
from .filters import is_kept
from .job import TOKENIZER, UNFINISHED, Job
from .raw_documents import Part


def hash_part(part: Part, job: Job) -> Part:
    """Write the hashes of the documents that pass the filters."""
    path = job.fingerprints(part)
    if path.exists():
        return part
    fingerprint = Fingerprint(job.deduplicate, job.threshold)
    hashes, numbers, read = [np.zeros(0, "<u8")], [np.zeros(0, "int64")], 0
    for number, text in enumerate(job.documents(part)):
        read = number + 1
        if is_kept(text, job.languages, job.quality):
            found = fingerprint(text) if job.deduplicate != "none" else np.zeros(1, "<u8")
            hashes.append(found)
            numbers.append(np.full(len(found), number))
    temporary = path.with_suffix(f".{secrets.token_hex(4)}.npz")
    np.savez(temporary, hashes=np.concatenate(hashes), numbers=np.concatenate(numbers), read=read)
    temporary.replace(path)
    return part


def hashes_in_buckets(part: Part, job: Job) -> Iterator[tuple[int, tuple]]:
    """The hashes of a part, in groups that are compared together."""
    with np.load(job.fingerprints(part)) as found:
        yield from in_buckets(part.number, found["hashes"], found["numbers"])


def repeated_of_bucket(group: tuple[int, Iterable[Any]]) -> Iterator[tuple[int, np.ndarray]]:
    """The repeated documents of each part, in one bucket."""
    return repeated(group[1])


def write_repeated(group: tuple[int, Iterable[np.ndarray]], job: Job) -> None:
    """Write the numbers of the repeated documents of a part."""
    part, numbers = group
    path = job.dropped(part)
    temporary = path.with_suffix(f".{secrets.token_hex(4)}.npy")
    np.save(temporary, np.unique(np.concatenate(list(numbers))))
    temporary.replace(path)


class TokenizePart(beam.DoFn):
    """Writes the shards of a part.

    Args:
        job: the settings.
    """

    def __init__(self, job: Job) -> None:
        self.job = job

    def setup(self) -> None:
        """Read the tokenizer, once in each worker."""
        settings = json.loads((self.job.folder / UNFINISHED / TOKENIZER).read_text("utf-8"))
        self.tokenizer = load_tokenizer(settings, lambda name: self.job.folder / name)

    def process(self, part: Part) -> None:
        """Write the shards of a part, and how many documents were left out."""
        job = self.job
        if job.finished(part).exists():
            return
        kept = self._kept(part) if job.filters else None
        read = 0

        def documents() -> Iterator[list[str]]:
            nonlocal read
            for number, text in enumerate(job.documents(part)):
                read = number + 1
                if kept is None or number in kept:
                    yield [text] if job.level == "texts" else _sentences(text)

        shards = [
            shard.name for shard in write_shards(documents(), self.tokenizer, job.folder, part.name, job.shard_bytes)
        ]
        left_out = {"read": read} if kept is None else {"read": read} | self._left_out(part, read)
        write_whole(job.finished(part), json.dumps({"shards": shards} | left_out))

    def _kept(self, part: Part) -> set[int]:
        with np.load(self.job.fingerprints(part)) as found:
            numbers = np.unique(found["numbers"])
        path = self.job.dropped(part.number)
        return set((np.setdiff1d(numbers, np.load(path)) if path.exists() else numbers).tolist())

    def _left_out(self, part: Part, read: int) -> dict[str, int]:
        with np.load(self.job.fingerprints(part)) as found:
            passed = len(np.unique(found["numbers"]))
        return {"filtered": read - passed, "repeated": passed - len(self._kept(part))}


def _sentences(text: str) -> list[str]:
    return [sentence for line in text.split("\n") for sentence in split_sentences(line)]


def run_pipelines(job: Job, parts: list[Part], workers: int, beam_flags: tuple[str, ...]) -> None:
    """Run the pipelines, one after the other: hashes, repeated documents, shards.

    Args:
        job: the settings.
        parts: the parts of the corpus.
        workers: number of processes on this machine.
        beam_flags: flags of Beam, such as `--runner=FlinkRunner`; if there are any, `workers` is not used.
    """
    if job.filters:
        with _pipeline(workers, beam_flags) as pipeline:
            _each(pipeline, parts) | "Hash" >> beam.Map(hash_part, job)
    if job.deduplicate != "none":
        with _pipeline(workers, beam_flags) as pipeline:
            (
                _each(pipeline, parts)
                | "Group hashes" >> beam.FlatMap(hashes_in_buckets, job)
                | beam.GroupByKey()
                | "Compare" >> beam.FlatMap(repeated_of_bucket)
                | "Group parts" >> beam.GroupByKey()
                | "Write" >> beam.Map(write_repeated, job)
            )
    with _pipeline(workers, beam_flags) as pipeline:
        _each(pipeline, parts) | "Tokenize" >> beam.ParDo(TokenizePart(job))


def _each(pipeline: beam.Pipeline, parts: list[Part]) -> Any:
    return pipeline | beam.Create(parts) | beam.Reshuffle()


def _pipeline(workers: int, beam_flags: tuple[str, ...]) -> beam.Pipeline:
    if beam_flags:
        return beam.Pipeline(options=PipelineOptions(list(beam_flags)))
    mode = "in_memory" if workers == 1 else "multi_processing"
    flags = [f"--direct_num_workers={workers}", f"--direct_running_mode={mode}"]
    # by name, "DirectRunner" may first download Prism, its successor
    return beam.Pipeline(runner=FnApiRunner(), options=PipelineOptions(flags))
