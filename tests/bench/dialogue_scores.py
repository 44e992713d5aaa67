"""Replies in conversations: perplexity beside a 5-gram model on the same tokens, and the variety of generated replies.

    python tests/bench/dialogue_scores.py DATA FOLDER --start-from model.gguf [--dialogues 2500]

DATA has train.jsonl.gz and test.jsonl.gz with `utterances`, in which two people take turns, such as DailyDialog. The
5-gram model learns from all dialogues, the fine-tuning sees only some of them. FOLDER is for the model. A training that
was interrupted resumes.
"""

import argparse
import gzip
import json
import math
import resource
from collections import Counter, defaultdict
from pathlib import Path

from keras_plm import evaluate, load
from keras_plm.evaluation.text_scores import distinct
from keras_plm.generation.chat import PLAIN_TEMPLATE
from keras_plm.recipes import Converse
from keras_plm.text import Conversations


class KneserNey:
    """Interpolated Kneser-Ney with one discount for each order (Chen and Goodman 1998, §4.1)."""

    def __init__(self, rows, vocabulary_size, order=5):
        self.order, self.vocabulary_size = order, vocabulary_size
        grams = [Counter() for _ in range(order + 1)]
        for row in rows:
            for end in range(1, len(row) + 1):
                if end >= order:
                    grams[order][tuple(row[end - order : end])] += 1
                else:  # at the beginning of a text there is no longer context
                    grams[end][tuple(row[:end])] += 1
        self.counts = [Counter() for _ in range(order + 1)]
        self.counts[order] = grams[order]
        for size in range(order - 1, 0, -1):  # the number of different tokens before it
            self.counts[size] = Counter(gram[1:] for gram in self.counts[size + 1]) + grams[size]
        self.totals, self.kinds, self.discounts = [None], [None], [None]
        for size in range(1, order + 1):
            totals, kinds = defaultdict(int), defaultdict(int)
            for gram, count in self.counts[size].items():
                totals[gram[:-1]] += count
                kinds[gram[:-1]] += 1
            once, twice = (sum(count == n for count in self.counts[size].values()) for n in (1, 2))
            self.totals.append(totals)
            self.kinds.append(kinds)
            self.discounts.append(once / (once + 2 * twice) if twice else 0.5)

    def log_probability(self, context, token):
        chance = 1 / self.vocabulary_size
        for size in range(1, self.order + 1):
            before = tuple(context[len(context) - size + 1 :]) if size > 1 else ()
            if len(before) < size - 1 or before not in self.totals[size]:
                break
            total, discount = self.totals[size][before], self.discounts[size]
            found = max(self.counts[size].get((*before, token), 0) - discount, 0)
            chance = (found + discount * self.kinds[size][before] * chance) / total
        return math.log(chance)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--start-from", required=True)
    parser.add_argument("--dialogues", type=int, default=2_500)
    parser.add_argument("--contexts", type=int, default=200)
    given = parser.parse_args()
    parts = {}
    for part in ("train", "test"):
        with gzip.open(given.data / f"{part}.jsonl.gz", "rt", encoding="utf-8") as lines:
            parts[part] = [{"messages": json.loads(line)["utterances"]} for line in lines]
    train, test = (Conversations.read(parts[part], "messages", on_bad_row="skip") for part in ("train", "test"))

    folder = given.folder / "assistant"
    if not folder.is_dir():
        Converse(
            start_from=given.start_from, train=train.take(range(given.dialogues)), trainable="lora:16", epochs=1,
            learning_rate=5e-4, batch_size=8, max_length=256, dropout=0.0, save_to=str(folder), verbose=2,
        ).run()  # fmt: skip
        used = resource.getrusage(resource.RUSAGE_SELF)
        print(f"trained in {(used.ru_utime + used.ru_stime) / 60:.1f} CPU minutes", flush=True)
    model, base = load(folder), load(given.start_from)
    base.chat_template = model.chat_template or PLAIN_TEMPLATE

    rows = [model.conversation_ids(messages) for messages in train.conversations]
    grams = KneserNey([ids for ids, _ in rows], len(model.needs_tokenizer()))
    nats = tokens = 0
    for ids, counted in (model.conversation_ids(messages) for messages in test.conversations):
        for place, counts in enumerate(counted):
            if counts and place:
                nats -= grams.log_probability(ids[max(place - 4, 0) : place], ids[place])
                tokens += 1
    print(
        f"5-gram Kneser-Ney                perplexity {math.exp(nats / tokens):7.2f}  ({tokens:,} tokens)", flush=True
    )
    for name, scored in (("before the training", base), ("keras_plm", model)):
        print(f"{name:32} perplexity {evaluate(scored, test).scores['perplexity']:7.2f}", flush=True)

    contexts = [messages[: 2 * (len(messages) // 4) + 1] for messages in test.conversations[: given.contexts]]
    wanted = [messages[len(context)]["content"] for messages, context in
              zip(test.conversations, contexts, strict=False) if len(messages) > len(context)]  # fmt: skip
    print(f"{'human replies':32} distinct-1 {distinct(wanted, 1):.3f}  distinct-2 {distinct(wanted, 2):.3f}")
    for name, options in (
        ("greedy", {}),
        ("sampled", {"temperature": 1.0, "top_p": 0.9, "seed": 0, "do_sample": True}),
    ):
        found = [model.chat(context, max_new_tokens=40, **options) for context in contexts]
        print(f"{name:32} distinct-1 {distinct(found, 1):.3f}  distinct-2 {distinct(found, 2):.3f}", flush=True)
    for context, reply in list(zip(contexts, found, strict=True))[:3]:
        print(*(f"  {message['content']}" for message in context[-2:]), f"    → {reply}", sep="\n")


if __name__ == "__main__":
    main()
