"""Tokens a second of the server with one client and with several, beside another server of the same model.

    python tests/bench/server_throughput.py MODEL [--clients 8] --peer-model hf_folder --peer COMMAND…

COMMAND starts the other server; {port} in it is its port, such as: transformers serve hf_folder --port {port}
"""

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2 as httpx

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.serve.server_process import free_port, start

PROMPTS = [
    "The capital of France is", "Once upon a time there was a house by the sea, and in the house", "Water is",
    "The history of the city begins in the year", "A good teacher knows that", "The three most important rivers are",
    "In the morning, when the market opens, the farmers", "To make bread you need",
]  # fmt: skip
TOKENS = 64


def ask(url, model, prompt):
    """The number of tokens of an answer."""
    body = {"model": model, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0}
    answer = httpx.post(f"{url}/completions", json=body, timeout=600)
    answer.raise_for_status()
    return answer.json()["usage"]["completion_tokens"]


def measure(url, model, clients, rounds):
    """Tokens a second of all clients together; each asks one prompt after the other."""
    counts = [0] * clients

    def run(number):
        for turn in range(rounds):
            counts[number] += ask(url, model, PROMPTS[(number + turn) % len(PROMPTS)])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


def wait(name, server):
    """Wait for the first answer."""
    for _ in range(120):
        try:
            ask(*server, PROMPTS[0])
            return
        except httpx.HTTPError:
            time.sleep(1)
    raise TimeoutError(f"{name} does not answer")


def compare(servers, clients, rounds):
    """The best of three measurements of each server, by (name, number of clients)."""
    found = {}
    for turn in range(3):
        for count in clients:
            for name, server in servers.items():  # in turn, so that the machine is the same
                speed = measure(*server, count, rounds)
                found.setdefault((name, count), []).append(speed)
                print(f"turn {turn}  {name:10} {count} clients  {speed:6.1f} tokens/s", flush=True)
    return {key: max(speeds) for key, speeds in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--peer-model", default="")
    parser.add_argument("--peer", nargs=argparse.REMAINDER, default=[])
    given = parser.parse_args()
    port, other = free_port(), free_port()
    servers = {"keras_plm": (f"http://127.0.0.1:{port}/v1", "writer")}
    processes = [start([f"writer={given.model}"], port)]
    if given.peer:
        processes.append(subprocess.Popen([part.replace("{port}", str(other)) for part in given.peer]))
        servers["peer"] = (f"http://127.0.0.1:{other}/v1", given.peer_model)
    try:
        for name, server in servers.items():
            wait(name, server)
            for clients in (1, given.clients):  # compiles what the measurement needs
                measure(*server, clients, 2)
        best = compare(servers, (1, given.clients), given.rounds)
    finally:
        for process in processes:
            process.terminate()
    for (name, clients), speed in best.items():
        print(f"{name:10} {clients} clients  {speed:6.1f} tokens/s")
    print(f"{given.clients} clients / 1 client: {best['keras_plm', given.clients] / best['keras_plm', 1]:.2f}")
    for clients in (1, given.clients) if given.peer else ():
        print(f"beside the peer, {clients} clients: {best['keras_plm', clients] / best['peer', clients]:.2f}")


if __name__ == "__main__":
    main()
