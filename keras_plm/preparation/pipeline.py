"""The work on the parts of a corpus, and the Apache Beam pipeline that distributes it.

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
from apache_beam.portability.api import beam_provision_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
from apache_beam.runners.portability.portable_runner import JobServiceHandle

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


def by_number(part: Part) -> tuple[int, Part]:
    """A part with its number as the key."""
    return part.number, part


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

    def process(self, group: tuple[int, dict[str, Iterable[Any]]]) -> None:
        """Write the shards of a part, and how many documents were left out.

        Args:
            group: the number of the part; `part`, and the numbers of its `repeated` documents.
        """
        job, (part,) = self.job, group[1]["part"]
        if job.finished(part).exists():
            return
        passed = self._passed(part) if job.filters else None
        dropped = {number for numbers in group[1]["repeated"] for number in numbers.tolist()}
        read = 0

        def documents() -> Iterator[list[str]]:
            nonlocal read
            for number, text in enumerate(job.documents(part)):
                read = number + 1
                if number not in dropped and (passed is None or number in passed):
                    yield [text] if job.level == "texts" else _sentences(text)

        shards = write_shards(documents(), self.tokenizer, job.folder, part.name, job.shard_bytes)
        found: dict[str, Any] = {"shards": [shard.name for shard in shards], "read": read, "repeated": len(dropped)}
        found["filtered"] = 0 if passed is None else read - len(passed)
        write_whole(job.finished(part), json.dumps(found))

    def _passed(self, part: Part) -> set[int]:
        """The numbers of the documents that the filters keep."""
        with np.load(self.job.fingerprints(part)) as found:
            return set(found["numbers"].tolist())


def _sentences(text: str) -> list[str]:
    return [sentence for line in text.split("\n") for sentence in split_sentences(line)]


def run_pipeline(job: Job, parts: list[Part], workers: int, beam_flags: tuple[str, ...]) -> None:
    """Hash the documents, find the repeated ones, and write the shards of the others.

    Args:
        job: the settings.
        parts: the parts of the corpus.
        workers: number of processes on this machine.
        beam_flags: flags of Beam, such as `--runner=FlinkRunner`; if there are any, `workers` is not used.
    """
    with _pipeline(workers, beam_flags) as pipeline:
        found = pipeline | "Parts" >> beam.Create(parts) | beam.Reshuffle()
        again = pipeline | "None" >> beam.Create([])
        if job.filters:
            found = found | "Hash" >> beam.Map(hash_part, job)
        if job.deduplicate != "none":
            again = (
                found
                | "Buckets" >> beam.FlatMap(hashes_in_buckets, job)
                | "Group hashes" >> beam.GroupByKey()
                | "Compare" >> beam.FlatMap(repeated_of_bucket)
            )
        groups = {"part": found | "Number" >> beam.Map(by_number), "repeated": again} | beam.CoGroupByKey()
        groups | "Tokenize" >> beam.ParDo(TokenizePart(job))


def _pipeline(workers: int, beam_flags: tuple[str, ...]) -> beam.Pipeline:
    if beam_flags:
        return beam.Pipeline(options=PipelineOptions(list(beam_flags)))
    mode = "in_memory" if workers == 1 else "multi_processing"
    options = PipelineOptions(
        [
            f"--direct_num_workers={workers}",
            f"--direct_running_mode={mode}",
            "--default_sdk_harness_log_level=ERROR",
        ]
    )
    # by name, "DirectRunner" may first download Prism, its successor; the workers get the options as from there
    encoded = JobServiceHandle.encode_pipeline_options(options.get_all_options())
    provision = ExtendedProvisionInfo(beam_provision_api_pb2.ProvisionInfo(pipeline_options=encoded))
    return beam.Pipeline(runner=FnApiRunner(provision_info=provision), options=options)
