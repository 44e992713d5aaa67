"""Texts that are generated together are those that each request gets alone."""

import queue
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from keras_plm import export
from keras_plm.generation import GenerationSettings, begin
from keras_plm.generation.continuous_batching import ContinuousBatcher, Job
from tests.export.test_encoder_decoders import make as make_translator
from tests.tasks.test_text_generation import PROMPTS, allowed, make


@pytest.fixture(scope="module")
def model():
    return make("llama")


def job_of(model, prompt, settings, top=0):
    received = queue.Queue()
    (continuation,) = begin(model.texts_to_ids([prompt]), settings, model.longest_row, model.tokenizer.continuation)
    return Job(continuation, settings, model._processor(settings), received.put, top), received


def events_of(received):
    return list(iter(lambda: received.get(timeout=120), None))


def test_requests_join_and_leave(model):
    random = np.random.default_rng(0)
    cases = []
    for i in range(14):
        sampled = {"do_sample": True, "seed": i, "temperature": 0.9} if i % 3 == 0 else {}
        size = int(random.integers(1, 40))
        cases.append(
            (
                PROMPTS[i % len(PROMPTS)] * int(random.integers(1, 3)) or "x",
                GenerationSettings(max_new_tokens=size, **sampled),
            )
        )
    batcher = ContinuousBatcher(model.open_joining_session, max_rows=4)
    jobs = []
    for prompt, settings in cases:
        job, received = job_of(model, prompt, settings)
        batcher.submit(job)
        jobs.append((job, received))
        time.sleep(float(random.random()) * 0.1)
    for (job, received), (prompt, settings) in zip(jobs, cases, strict=True):
        events = events_of(received)
        assert "".join(event.text for event in events) == model.generate([prompt], settings)[0]
        assert job.continuation.finish_reason in ("stop", "length")
    batcher.close()
    assert not batcher.num_running


@pytest.mark.parametrize("kind", ["t5", "original", "phone"])
def test_sources_join_and_leave(kind, tmp_path):
    """Encoder-decoders: sources of different lengths in one batch, each with the text that it gets alone."""
    model = make_translator("t5" if kind == "phone" else kind)
    reader = model
    if kind == "phone":
        reader = export.load_artifact(export.to_tflite(model, tmp_path / "phone", max_length=61))
    random = np.random.default_rng(1)
    batcher = ContinuousBatcher(reader.open_joining_session, max_rows=3)
    jobs = []
    for i in range(9):
        source = "the cat " * int(random.integers(0, 6)) + "x"
        settings = GenerationSettings(max_new_tokens=int(random.integers(1, 30)), do_sample=i % 3 == 0, seed=i)
        received = queue.Queue()
        (continuation,) = begin([model.start_ids], settings, model.longest_row, model.tokenizer.continuation)
        (read,) = model.source_ids([source])
        job = Job(replace(continuation, prompt=read), settings, model._processor(settings), received.put)
        batcher.submit(job)
        jobs.append((received, model.generate([source], settings)[0]))
        time.sleep(float(random.random()) * 0.1)
    for received, wanted in jobs:
        assert "".join(event.text for event in events_of(received)).removeprefix(" ") == wanted.removeprefix(" ")
    batcher.close()


def test_log_probabilities(model):
    settings = GenerationSettings(max_new_tokens=5, logit_bias=allowed(model))
    batcher = ContinuousBatcher(model.open_joining_session, max_rows=2)
    job, received = job_of(model, "the", settings, top=3)
    batcher.submit(job)
    events = events_of(received)
    score = model.score(["the" + job.continuation.text])[0]
    assert [event.log_probability for event in events] == pytest.approx(score.log_probabilities[-5:], abs=1e-4)
    for event in events:
        assert len(event.top) == 3 and event.top[:3] == sorted(event.top, key=lambda pair: -pair[1])
    batcher.close()


def test_a_job_that_fails_or_is_cancelled_leaves_the_others_alone(model):
    settings = GenerationSettings(max_new_tokens=30, logit_bias=allowed(model))
    forbidden = GenerationSettings(logit_bias={i: float("-inf") for i in range(len(model.tokenizer))})
    batcher = ContinuousBatcher(model.open_joining_session, max_rows=4)
    good, wrong, gone = (job_of(model, "the", s) for s in (settings, forbidden, settings))
    for job, _ in (good, wrong, gone):
        batcher.submit(job)
    gone[0].cancelled.set()
    assert "".join(event.text for event in events_of(good[1])) == model.generate(["the"], settings)[0]
    with pytest.raises(ValueError, match="forbid every token"):
        raise wrong[1].get(timeout=60)
    events_of(gone[1])
    assert len(gone[0].continuation.token_ids) < 30
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit(good[0])


def test_the_queue_has_a_limit_and_errors_of_the_model_end_all_texts():
    class Broken:
        def join(self, prompts, room):
            release.wait(60)
            raise OSError("out of memory")

    release, model = threading.Event(), make("gpt2", num_layers=1)
    batcher = ContinuousBatcher(Broken, max_rows=1, max_waiting=2)
    jobs = [job_of(model, "a", GenerationSettings()) for _ in range(4)]
    batcher.submit(jobs[0][0])
    while batcher.num_waiting:
        time.sleep(0.01)
    batcher.submit(*(job for job, _ in jobs[1:3]))
    with pytest.raises(queue.Full):
        batcher.submit(jobs[3][0])
    release.set()
    for _, received in jobs[:3]:
        assert isinstance(received.get(timeout=60), OSError)
    batcher.close(timeout=1)
