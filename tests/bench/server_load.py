"""A server under load: many clients, mixed lengths, streams that are cut, hostile bodies. Each answer is checked.

    python tests/bench/server_load.py MODEL [--minutes 60] [--clients 16]

MODEL is a text generator with a chat template. Greedy answers are compared with those of the model alone. If they
differ, the first different token must be one of two that are equally probable up to rounding errors.
"""

import argparse
import json
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import httpx2 as httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from keras_plm.commands.predicting import open_model
from tests.serve.server_process import free_port, start

TEXT = "the house on a hill by the sea was old and nobody knew who had built it or why there was light at night"
WORDS = TEXT.split()
TIE = 2e-3  # difference of two logits that rounding errors can explain
HOSTILE = (
    b"{", b"[]", b"\xff\xfe{}", b'{"model": "writer", "prompt": "a", "n": 1000000}', b'{"prompt": "a"}',
    b'{"model": "../../etc/passwd", "prompt": "a"}', b'{"model": "writer", "prompt": "a", "max_tokens": -1}',
    b'{"model": "writer", "prompt": ' + b"[" * 5_000 + b"]" * 5_000 + b"}",
    b'{"model": "writer", "prompt": "a", "temperature": NaN}',
    b'{"model": "writer", "prompt": "' + b"a " * 9_000 + b'"}',
)  # fmt: skip


def requests(seed, count):
    """Bodies of requests with greedy decoding, as (path, fields)."""
    draw = random.Random(seed)
    for number in range(count):
        words = draw.choices(WORDS, k=draw.choice((1, 4, 17, 60, 160)))
        tokens = draw.choice((1, 5, 16, 48))
        if number % 3:
            yield "completions", {"model": "writer", "prompt": " ".join(words), "max_tokens": tokens, "temperature": 0}
        else:
            messages = [{"role": "user", "content": " ".join(words)}]
            yield "chat/completions", {"model": "writer", "messages": messages, "max_tokens": tokens, "temperature": 0}


def prompt_of(model, fields):
    return model.chat_prompt(fields["messages"]) if "messages" in fields else fields["prompt"]


def is_tie(model, prompt, wanted, found):
    """Whether the two texts part at tokens that are equally probable up to rounding errors."""
    tokenizer = model.needs_tokenizer()
    before = model.texts_to_ids([prompt])[0]
    first, second = (tokenizer.encode(text).token_ids for text in (wanted, found))
    same = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second))
    )
    logits = np.asarray(model.predict_on_batch(model.row_inputs([*before, *first[:same]])), "float32")[0, -1]
    best = np.sort(logits)[-2:]
    return best[1] - best[0] < TIE


class Client(threading.Thread):
    def __init__(self, url, pool, end, seed, shared):
        super().__init__(daemon=True)
        self.url, self.pool, self.end, self.draw, self.shared = url, pool, end, random.Random(seed), shared

    def run(self):
        with httpx.Client(base_url=self.url, timeout=300) as client:
            while time.monotonic() < self.end:
                try:
                    self.once(client)
                except Exception as error:  # noqa: BLE001
                    self.note("lost", repr(error))

    def note(self, kind, detail=None):
        with self.shared["lock"]:
            self.shared["counts"][kind] += 1
            if detail is not None:
                self.shared["details"].append((kind, detail))

    def once(self, client):
        chance = self.draw.random()
        if chance < 0.1:
            answer = client.post(
                "/completions", content=self.draw.choice(HOSTILE), headers={"Content-Type": "application/json"}
            )
            kind = "refused" if 400 <= answer.status_code < 500 and "error" in answer.json() else "wrong"
            self.note(kind, None if kind == "refused" else answer.text[:300])
            return
        index = self.draw.randrange(len(self.pool))
        path, fields, wanted = self.pool[index]
        begun = time.monotonic()
        if chance < 0.3:
            text = self.streamed(client, path, fields, cut=False)
        elif chance < 0.4:
            self.streamed(client, path, fields, cut=True)
            self.note("cut")
            return
        else:
            answer = client.post(f"/{path}", json=fields)
            answer.raise_for_status()
            choice = answer.json()["choices"][0]
            text = choice["text"] if "text" in choice else choice["message"]["content"]
        with self.shared["lock"]:
            self.shared["seconds"][fields["max_tokens"]].append(time.monotonic() - begun)
        if text == wanted:
            self.note("right")
        else:
            self.note("other", (index, text))

    def streamed(self, client, path, fields, cut):
        text, parts = "", self.draw.randint(0, 6)
        with client.stream("POST", f"/{path}", json=fields | {"stream": True}) as answer:
            answer.raise_for_status()
            for number, line in enumerate(line for line in answer.iter_lines() if line):
                if cut and number >= parts:
                    return text
                data = line.removeprefix("data: ")
                if data == "[DONE]":
                    return text
                choice = json.loads(data)["choices"][0]
                text += choice["text"] if "text" in choice else choice["delta"].get("content") or ""
        raise ValueError("a stream without an end")


def memory(process):
    """Megabytes that a process uses."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--requests", type=int, default=90, help="number of different requests")
    given = parser.parse_args()
    model = open_model(given.model)
    pool = []
    for path, fields in requests(0, given.requests):
        text = model.generate([prompt_of(model, fields)], max_new_tokens=fields["max_tokens"])[0]
        pool.append((path, fields, text))
    print(f"{len(pool)} answers of the model alone", flush=True)

    port = free_port()
    process = start([f"writer={given.model}"], port)
    shared = {"lock": threading.Lock(), "counts": Counter(), "details": [], "seconds": {n: [] for n in (1, 5, 16, 48)}}
    begun = time.monotonic()
    end = begun + 60 * given.minutes
    clients = [Client(f"http://127.0.0.1:{port}/v1", pool, end, seed, shared) for seed in range(given.clients)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        time.sleep(min(60, 6 * given.minutes))
        minutes = (time.monotonic() - begun) / 60
        print(f"{minutes:5.1f} min  {memory(process):5d} MB  {dict(shared['counts'])}", flush=True)
    others = [detail for kind, detail in shared["details"] if kind == "other"]
    ties = sum(is_tie(model, prompt_of(model, pool[i][1]), pool[i][2], text) for i, text in others)
    print(f"other than alone: {len(others)}, of which equally probable: {ties}")
    for kind, detail in shared["details"]:
        if kind != "other":
            print(kind, detail)
    for tokens, seconds in shared["seconds"].items():
        if seconds:
            p50, p95 = np.percentile(seconds, (50, 95))
            print(f"{tokens:2} tokens: {len(seconds):6,} answers, p50 {p50:6.2f} s, p95 {p95:6.2f} s")
    answer = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=30)
    print(*(line for line in answer.text.splitlines() if "waiting" in line or "running" in line), sep="\n")
    process.terminate()
    print("ended with", process.wait(60))


if __name__ == "__main__":
    main()
