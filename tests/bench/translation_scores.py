"""A translator from scratch beside a statistical baseline: chrF and BLEU, greedy, with beams and in int8.

    python tests/bench/translation_scores.py DATA FOLDER [--epochs 30] [--languages en de] [--test test2016]

DATA has train.tsv.gz and test2016.tsv.gz with a column for each language, such as multi30k; FOLDER is for the models. A
training that was interrupted resumes.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from keras_plm import export, load
from keras_plm.evaluation.text_scores import text_scores
from keras_plm.recipes import Translate
from keras_plm.text import read_rows


def word_translations(sources, targets, iterations=5):
    """The most probable target word of each source word, by IBM's Model 1 (Brown et al. 1993, §4.2)."""
    pairs = [(s.lower().split(), words(t)) for s, t in zip(sources, targets, strict=True)]
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


def words(text):
    """The words of a text, or the characters of a Chinese one."""
    return text.split() if " " in text or text.isascii() else list(text)


def scores(name, found, wanted, seconds):
    found = text_scores(found, wanted)
    print(f"{name:32} chrF {found['chrf']:5.2f}  BLEU {found['bleu']:5.2f}  {seconds:6.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--languages", nargs=2, default=["en", "de"])
    parser.add_argument("--test", default="test2016")
    given = parser.parse_args()
    source, target = given.languages
    train, test = (str(given.data / f"{name}.tsv.gz") for name in ("train", given.test))
    pairs, held = (read_rows(path, [source, target]) for path in (train, test))

    start = time.perf_counter()
    best = word_translations(pairs[source], pairs[target])
    joint = "" if target == "zh" else " "
    copied = [joint.join(best.get(word, word) for word in text.lower().split()) for text in held[source]]
    scores("word by word (IBM Model 1)", copied, held[target], time.perf_counter() - start)

    folder = given.folder / f"{source}_{target}"
    if not folder.is_dir():
        Translate(
            train=train, source_column=source, target_column=target, epochs=given.epochs, learning_rate=3e-3,
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
        found = translator.generate(held[source], batch_size=32, max_new_tokens=60, **options)
        scores(name, found, held[target], time.perf_counter() - start)


if __name__ == "__main__":
    main()
