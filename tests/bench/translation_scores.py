"""A translator from scratch beside a statistical baseline: chrF and BLEU on multi30k, greedy, with beams and in int8.

    python tests/bench/translation_scores.py DATA FOLDER [--epochs 30]

DATA has train.tsv.gz and test2016.tsv.gz with the columns `en` and `de`; FOLDER is for the models. A training that was
interrupted resumes.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np
import sacrebleu

from keras_plm import export, load
from keras_plm.recipes import Translate
from keras_plm.text import read_rows


def word_translations(sources, targets, iterations=5):
    """The most probable target word of each source word, by IBM's Model 1 (Brown et al. 1993, §4.2)."""
    pairs = [(s.lower().split(), t.split()) for s, t in zip(sources, targets, strict=True)]
    source_words, target_words = ({w: i for i, w in enumerate(sorted({w for pair in pairs for w in pair[side]}))}
                                  for side in (0, 1))  # fmt: skip
    links = np.array([
        (source_words[s], target_words[t], number)
        for number, (source, target) in enumerate(pairs) for s in source for t in target
    ])  # fmt: skip
    count = len(target_words)
    # one number for each word pair, and one for each target word of each sentence
    keys, pair = np.unique(links[:, 0] * count + links[:, 1], return_inverse=True)
    _, place = np.unique(links[:, 2] * count + links[:, 1], return_inverse=True)
    chance = np.ones(len(keys))
    for _ in range(iterations):
        share = chance[pair] / np.bincount(place, chance[pair])[place]
        counts = np.bincount(pair, share)
        chance = counts / np.bincount(keys // count, counts)[keys // count]
    names, words = list(source_words), list(target_words)
    ordered = keys[np.argsort(chance, kind="stable")]  # the last one of a source word is its most probable one
    return {names[key // count]: words[key % count] for key in ordered}


def scores(name, found, wanted, seconds):
    chrf, bleu = sacrebleu.corpus_chrf(found, [wanted]).score, sacrebleu.corpus_bleu(found, [wanted]).score
    print(f"{name:32} chrF {chrf:5.2f}  BLEU {bleu:5.2f}  {seconds:6.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    given = parser.parse_args()
    train, test = (str(given.data / f"{name}.tsv.gz") for name in ("train", "test2016"))
    pairs, held = (read_rows(path, ["en", "de"]) for path in (train, test))

    start = time.perf_counter()
    best = word_translations(pairs["en"], pairs["de"])
    copied = [" ".join(best.get(word, word) for word in text.lower().split()) for text in held["en"]]
    scores("word by word (IBM Model 1)", copied, held["de"], time.perf_counter() - start)

    folder = given.folder / "en_de"
    if not folder.is_dir():
        Translate(
            train=train, source_column="en", target_column="de", epochs=given.epochs, learning_rate=3e-3,
            dropout=0.3, max_length=64, save_to=str(folder), verbose=2,
        ).run()  # fmt: skip
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"trained in {(used.ru_utime + used.ru_stime) / 60:.1f} CPU minutes", flush=True)
    model = load(folder)
    phone = export.to_tflite(model, given.folder / "phone", "dynamic_int8", overwrite=True)
    for name, translator, options in (
        ("keras_plm, greedy", model, {}),
        ("keras_plm, 4 beams", model, {"num_beams": 4}),
        ("LiteRT int8, greedy", export.load_artifact(phone, num_threads=2), {}),
    ):
        start = time.perf_counter()
        found = translator.generate(held["en"], batch_size=32, max_new_tokens=60, **options)
        scores(name, found, held["de"], time.perf_counter() - start)


if __name__ == "__main__":
    main()
