"""Summaries of abstracts of papers in one sentence, beside the first sentence and TextRank: ROUGE on SciTLDR.

    python tests/bench/summary_scores.py DATA FOLDER --start-from hf:path/to/flan-t5-small [--epochs 3]
    python tests/bench/summary_scores.py DATA FOLDER --start-from hf:path/to/minilm --extractive

DATA has train.jsonl.gz, dev.jsonl.gz and test.jsonl.gz with `source`, a list of sentences, and `summaries`. A summary
is scored against the reference that it has most in common with. FOLDER is for the model. A training that was
interrupted resumes.
"""

import argparse
import gzip
import json
import re
import resource
from pathlib import Path

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from keras_plm import export, load
from keras_plm.recipes import Summarize, SummarizeExtractive
from keras_plm.tasks import extract_summaries

PREFIX = "summarize: "
_SCORER = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)


def text_rank(sentences, damping=0.85, rounds=50):
    """The most central sentence: PageRank over shared words (Mihalcea and Tarau 2004, §4)."""
    words = [re.findall(r"\w+", sentence.lower()) for sentence in sentences]
    sets = [set(found) for found in words]
    links = np.zeros((len(words), len(words)))
    for i, first in enumerate(words):
        for j, second in enumerate(words):
            size = np.log(max(len(first), 1)) + np.log(max(len(second), 1))
            links[i, j] = len(sets[i] & sets[j]) / size if i != j and size > 0 else 0.0
    share = np.divide(
        links, links.sum(1, keepdims=True), out=np.zeros_like(links), where=links.sum(1, keepdims=True) > 0
    )
    rank = np.ones(len(words))
    for _ in range(rounds):
        rank = 1 - damping + damping * share.T @ rank
    return sentences[int(rank.argmax())]


def scores(name, found, references):
    """The mean F of ROUGE-1, ROUGE-2 and ROUGE-L, with the reference of the best ROUGE-1."""
    rows = [
        max([score.fmeasure for score in _SCORER.score(wanted, text).values()] for wanted in of_text)
        for text, of_text in zip(found, references, strict=True)
    ]
    r1, r2, rl = 100 * np.mean(rows, axis=0)
    print(f"{name:32} ROUGE-1 {r1:5.1f}  ROUGE-2 {r2:5.1f}  ROUGE-L {rl:5.1f}", flush=True)


def extract(given, parts, references):
    def table(rows):
        return [{"text": "\n".join(row["source"]), "summary": row["summaries"][0]} for row in rows]

    best = [
        max(row["source"], key=lambda text: max(_SCORER.score(wanted, text)["rouge1"].fmeasure for wanted in of_text))
        for row, of_text in zip(parts["test"], references, strict=True)
    ]
    scores("the best sentence", best, references)
    folder = given.folder / "extractor"
    if not folder.is_dir():
        SummarizeExtractive(
            start_from=given.start_from, train=table(parts["train"]), validation=table(parts["dev"]),
            epochs=given.epochs, learning_rate=5e-5, num_sentences=1, save_to=str(folder), verbose=2,
        ).run()  # fmt: skip
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"trained in {(used.ru_utime + used.ru_stime) / 60:.1f} CPU minutes", flush=True)
    model, texts = load(folder), [row["text"] for row in table(parts["test"])]
    scores("keras_plm, one sentence", extract_summaries(model, texts, 1), references)
    phone = export.load_artifact(export.to_tflite(model, given.folder / "extract", "dynamic_int8", overwrite=True))
    scores("LiteRT int8, one sentence", extract_summaries(phone, texts, 1), references)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start-from", required=True)
    parser.add_argument("--extractive", action="store_true", help="select a sentence with an encoder")
    parser.add_argument("--epochs", type=int, default=3)
    given = parser.parse_args()
    parts = {}
    for part in ("train", "dev", "test"):
        with gzip.open(given.data / f"{part}.jsonl.gz", "rt", encoding="utf-8") as lines:
            parts[part] = [json.loads(line) for line in lines]
    test, references = parts["test"], [row["summaries"] for row in parts["test"]]
    scores("first sentence", [row["source"][0] for row in test], references)
    scores("TextRank", [text_rank(row["source"]) for row in test], references)

    if given.extractive:
        extract(given, parts, references)
        return

    def table(rows):
        return [{"text": PREFIX + " ".join(row["source"]), "summary": row["summaries"][0]} for row in rows]

    untrained = load(given.start_from)
    sources = [row["text"] for row in table(test)]
    options = {"batch_size": 32, "max_new_tokens": 60}
    scores("before the training, greedy", untrained.generate(sources, **options), references)
    folder = given.folder / "summarizer"
    if not folder.is_dir():
        Summarize(
            start_from=given.start_from, train=table(parts["train"]), validation=table(parts["dev"][:100]),
            epochs=given.epochs, learning_rate=3e-4, save_to=str(folder), verbose=2,
        ).run()  # fmt: skip
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"trained in {(used.ru_utime + used.ru_stime) / 60:.1f} CPU minutes", flush=True)
    model = load(folder)
    scores("keras_plm, greedy", model.generate(sources, **options), references)
    scores("keras_plm, 4 beams", model.generate(sources, num_beams=4, length_penalty=0.8, **options), references)
    phone = export.to_tflite(model, given.folder / "phone", "dynamic_int8", overwrite=True)
    phone = export.load_artifact(phone, num_threads=2)
    scores("LiteRT int8, greedy", phone.generate(sources, **options), references)


if __name__ == "__main__":
    main()
