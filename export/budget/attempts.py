"""The attempts of one search of `fit_budget`."""

import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from keras_plm.compression import trim_vocabulary
from keras_plm.evaluation import ERRORS
from keras_plm.export.loaded_model import load_artifact
from keras_plm.export.runtime import Artifact
from keras_plm.export.sensitivity import sensitivity
from keras_plm.export.tflite.converter import to_tflite
from keras_plm.export.tflite.schemes import Scheme
from keras_plm.export.verify import ExportError
from keras_plm.models import tokenizer_settings, weight_arrays
from keras_plm.tasks import TaskModel, evaluate
from keras_plm.text import Examples
from keras_plm.training import write_whole

from .pareto import Attempt, Bounds

GIVEN = "given"  # the name of the user's model
CHOSEN = "chosen"  # a marker file: the search has started to write the winner to the user's path
_MAKERS = ("keras_plm", "tensorflow", "ai-edge-litert", "litert-quantizer")  # artifacts depend on their versions


def search_folder(path: Path) -> Path:
    """The folder for the attempts of an unfinished search."""
    return path.with_name(f"{path.name}.search")


def _too_large(attempt: Attempt, bounds: Bounds) -> bool:
    """Whether the artifact of an attempt is larger than allowed."""
    return attempt.problem is None and "max_megabytes" in bounds.excess(attempt)


class Search:
    """The attempts of one search. The result of each is written to disk at once."""

    def __init__(
        self,
        path: Path,
        models: Mapping[str, TaskModel],
        examples: Examples,
        texts: list,
        settings: dict[str, Any],
    ) -> None:
        self.folder = search_folder(path)
        self.models, self.examples, self.texts, self.settings = models, examples, texts, settings
        self.metric: str = settings["metric"] or ""
        self.finished = False
        self._known: dict[str, Attempt] = {}
        self._trimmed: tuple[tuple, TaskModel] | None = None

    def __enter__(self) -> "Search":
        facts, mark = self.folder / "search.json", self._fingerprint()
        for left in self.folder.glob("tmp*"):  # left by a killed attempt
            shutil.rmtree(left, ignore_errors=True)
        if facts.exists():
            if json.loads(facts.read_text("utf-8"))["fingerprint"] != mark:
                raise FileExistsError(
                    f"{self.folder} has an unfinished search for another model, other examples, other settings, or by "
                    "another version; delete the folder, or choose another path"
                )
            self._known = self._attempts()
        else:
            self._remove()  # without search.json, its attempts cannot be used
            write_whole(facts, json.dumps({"fingerprint": mark}))
        return self

    def __exit__(self, *error: object) -> None:
        if self.finished or not (self.folder / "attempts.jsonl").exists():
            self._remove()

    def _remove(self) -> None:
        """Delete search.json first: if the process is killed in between, the other files are known to be invalid."""
        for name in ("search.json", "attempts.jsonl", CHOSEN):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # the folder does not exist, or has files of the user
            self.folder.rmdir()

    def _fingerprint(self) -> str:
        facts = [self.examples.fingerprint(), self.texts, self.settings, {name: _version(name) for name in _MAKERS}]
        mark = hashlib.sha256(json.dumps(facts).encode())
        for name, model in self.models.items():
            facts = [name, model.get_config(), tokenizer_settings(model.needs_tokenizer())]
            mark.update(json.dumps(facts, default=str).encode())
            for content in model.needs_tokenizer().files().values():
                mark.update(content)
            for path, weight in weight_arrays(model).items():
                mark.update(path.encode() + np.ascontiguousarray(weight).tobytes())
        return mark.hexdigest()

    def reference(self) -> float:
        """The score of the given model in Keras."""
        scores = evaluate(self.models[GIVEN], self.examples).scores
        self.metric = self.metric or next(iter(scores))
        if self.metric not in scores:
            raise ValueError(f"metric={self.metric!r}; choose one of {list(scores)}")
        self._reference = scores[self.metric]
        return self._reference

    def _attempts(self) -> dict[str, Attempt]:
        """The results of an interrupted search, by name. An incomplete last line is removed from the file."""
        file = self.folder / "attempts.jsonl"
        if not file.exists():
            return {}
        *lines, unfinished = file.read_bytes().split(b"\n")
        if unfinished:
            os.truncate(file, file.stat().st_size - len(unfinished))
        return {attempt.name: attempt for attempt in (Attempt(**json.loads(line)) for line in lines)}

    def attempt(self, variant: Attempt) -> Attempt:
        """The result of an attempt. It is computed unless an interrupted search has already done so."""
        if variant.name not in self._known:
            self._known[variant.name] = self._try(variant)
        return self._known[variant.name]

    def _try(self, variant: Attempt) -> Attempt:
        """Make an artifact, measure it, and record the result."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            try:
                artifact = Artifact(self.make(variant, Path(folder)), self.settings["num_threads"])
            except (ExportError, ValueError) as error:
                done = replace(variant, problem=str(error).replace(f"{folder}/", ""))
            else:
                score = evaluate(load_artifact(artifact), self.examples).scores[self.metric]
                worse = score - self._reference if self.metric in ERRORS else self._reference - score
                done = replace(
                    variant,
                    megabytes=artifact.size_bytes / 1e6,
                    packed_megabytes=len(gzip.compress(artifact.path.read_bytes(), 9, mtime=0)) / 1e6,
                    latency_ms=artifact.latency_ms(),
                    score=score,
                    loss=100 * worse,
                )
        with (self.folder / "attempts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(done), ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return done

    def keep(self, winner: Attempt, path: Path, overwrite: bool) -> Path:
        """Write the artifact of the winner to the user's path."""
        chosen = self.folder / CHOSEN
        chosen.touch()
        try:
            return self.make(winner, path, overwrite)
        except BaseException:  # then the search wrote no artifact, and a later file at this path is not its own
            chosen.unlink()
            raise

    def make(self, variant: Attempt, path: Path, overwrite: bool = False) -> Path:
        """Write the artifact of an attempt."""
        model = self._model(variant)
        aware = model.adaptation.quantization_aware
        wanted = Scheme.parse(variant.quantization).takes_texts and not aware
        calibration = self.texts[:200] or None if wanted else None
        return to_tflite(
            model, path, variant.quantization, self.settings["max_length"], calibration, overwrite=overwrite
        )

    def _model(self, variant: Attempt) -> TaskModel:
        key = variant.model, variant.trim
        if variant.trim is None:
            return self.models[variant.model]
        # keep only one trimmed model: most of a small model is its embedding matrix
        if self._trimmed is None or self._trimmed[0] != key:
            texts = [part for text in self.texts for part in ([text] if isinstance(text, str) else text)]
            self._trimmed = key, trim_vocabulary(self.models[variant.model], texts, variant.trim)
        return self._trimmed[1]

    def mixed(self, attempts: list[Attempt], texts: list, bounds: Bounds) -> Iterator[Attempt]:
        """Mixed-precision attempts: four-bit attempts of allowed size, with more and more parts in 8 bits.

        The best four-bit attempt comes first. Its parts are added one by one, the most sensitive first, until the
        artifact is too large.
        """
        four = [
            one
            for one in attempts
            if one.problem is None and one.quantization in ("int4", "int4_block32") and not _too_large(one, bounds)
        ]
        parts: dict[str, list[str]] = {}
        for base in sorted(four, key=lambda one: one.costs):
            if base.model not in parts:
                parts[base.model] = list(sensitivity(self.models[base.model], texts))
            for number in range(1, len(parts[base.model])):
                scheme = f"{base.quantization}+int8:{','.join(parts[base.model][:number])}"
                done = self.attempt(Attempt(model=base.model, trim=base.trim, quantization=scheme))
                yield done
                if _too_large(done, bounds):
                    break


def _version(package: str) -> str | None:
    with suppress(metadata.PackageNotFoundError):
        return metadata.version(package)
    return None
