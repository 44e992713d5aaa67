"""A translator from scratch beside a statistical baseline: chrF and BLEU, greedy, with beams and in int8.

    python tests/bench/translation_scores.py DATA FOLDER [--epochs 30] [--languages en de] [--test test2016]

DATA has train.tsv.gz and test2016.tsv.gz with a column for each language, such as multi30k; FOLDER is for the models. A
training that was interrupted resumes.
"""

import argparse
import resource
import time
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from keras_plm import export, load
from keras_plm.evaluation.text_scores import text_scores
from keras_plm.recipes import Translate
from keras_plm.text import read_rows


def word_probabilities(pairs, iterations=5):
    """The probability of each target word for each source word, by IBM's Model 1 (Brown et al. 1993, §4.2)."""
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
    names, others = list(source_words), list(target_words)
    return {
        (names[key // count], others[key % count]): p for key, p in zip(keys.tolist(), chance.tolist(), strict=True)
    }


def best_words(chances):
    """The most probable target word of each source word."""
    found = {}
    for (source, target), chance in chances.items():
        if chance > found.get(source, ("", 0.0))[1]:
            found[source] = target, chance
    return {source: target for source, (target, _) in found.items()}


def phrase_table(pairs, longest=4):
    """The most frequent translation of each phrase: phrases whose words are aligned only with each other.

    A word pair is aligned if each is the best word for the other (Koehn, Och and Marcu 2003, §4.3).
    """
    there, back = word_probabilities(pairs), word_probabilities([(t, s) for s, t in pairs])
    counts = defaultdict(Counter)
    for source, target in pairs:
        to = [max(range(len(target)), key=lambda j: there.get((s, target[j]), 0.0)) for s in source]  # noqa: B023
        of = [max(range(len(source)), key=lambda i: back.get((t, source[i]), 0.0)) for t in target]  # noqa: B023
        links = {i: j for i, j in enumerate(to) if of[j] == i}
        for first in range(len(source)):
            for last in range(first, min(first + longest, len(source))):
                inside = [links[i] for i in range(first, last + 1) if i in links]
                if not inside or max(inside) - min(inside) >= 2 * longest:
                    continue
                begin, end = min(inside), max(inside)
                if all(first <= i <= last for i, j in links.items() if begin <= j <= end):
                    counts[tuple(source[first : last + 1])][tuple(target[begin : end + 1])] += 1
    return {phrase: found.most_common(1)[0][0] for phrase, found in counts.items()}


def look_up(table, source, longest=4):
    """The translations of the longest known phrases, from left to right; unknown words are copied."""
    found, at = [], 0
    while at < len(source):
        sizes = [n for n in range(min(longest, len(source) - at), 0, -1) if tuple(source[at : at + n]) in table]
        size = sizes[0] if sizes else 1
        found += table.get(tuple(source[at : at + size]), source[at : at + size])
        at += size
    return found


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

    cut = [(text.lower().split(), words(wanted)) for text, wanted in zip(pairs[source], pairs[target], strict=True)]
    joint = "" if target == "zh" else " "
    queries = [text.lower().split() for text in held[source]]
    start = time.perf_counter()
    best = best_words(word_probabilities(cut))
    copied = [joint.join(best.get(word, word) for word in query) for query in queries]
    scores("word by word (IBM Model 1)", copied, held[target], time.perf_counter() - start)
    start = time.perf_counter()
    table = phrase_table(cut)
    copied = [joint.join(look_up(table, query)) for query in queries]
    scores("phrase by phrase", copied, held[target], time.perf_counter() - start)

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
