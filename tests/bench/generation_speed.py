"""One contestant: greedy decoding of SmolLM2-135M, 64 new tokens behind 11; and a prompt of 512 tokens; prints JSON.

    python generation_speed.py CONTESTANT MODE GGUF

keras_plm, keras_hub, transformers, transformers_compiled: fp32 or bf16. litert (keras_plm's artifact): a quantization
scheme. ctranslate2: float32 or int8. llama_cpp: any mode; the weights are those of the file. keras_hub has random
weights of the same shape. Its backend is that of KERAS_BACKEND.
"""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

PROMPT = "The history of the small town begins with a river that"
NEW, LONG, ROUNDS = 64, 512, 3


def best(work) -> float:
    """Seconds of the fastest of some rounds, after one to compile."""
    work()
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def keras_plm(dtype: str, path: Path) -> dict[str, float]:
    os.environ["KERAS_PLM_XLA"] = "1" if dtype == "fp32" else "0"  # XLA's products of bfloat16 are slow here
    import keras

    keras.config.set_dtype_policy("float32" if dtype == "fp32" else "bfloat16")
    import numpy as np

    import keras_plm as plm

    model = plm.load(path)
    end = model.tokenizer.role_id("eos")
    never = plm.GenerationSettings(max_new_tokens=NEW, logit_bias={end: float("-inf")})
    found = {str(batch): best(lambda n=batch: model.generate([PROMPT] * n, never)) for batch in (1, 8)}
    ids = np.random.default_rng(0).integers(10, 40_000, LONG).tolist()
    return found | {"first_token": best(lambda: model.open_session(1).read([ids]))}


def transformers(dtype: str, path: Path, compiled: bool = False) -> dict[str, float]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(2)
    kind = torch.float32 if dtype == "fp32" else torch.bfloat16
    tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=kind).eval()
    options = {"cache_implementation": "static"} if compiled else {}
    if compiled:
        model.forward = torch.compile(model.forward)

    def generate(batch: int) -> None:
        inputs = tokenizer([PROMPT] * batch, return_tensors="pt")
        model.generate(**inputs, max_new_tokens=NEW, min_new_tokens=NEW, do_sample=False, pad_token_id=2, **options)

    ids = torch.randint(10, 40_000, (1, LONG))
    with torch.inference_mode():
        found = {str(batch): best(lambda n=batch: generate(n)) for batch in (1, 8)}
        return found | {"first_token": best(lambda: model(ids, logits_to_keep=1))}


def litert(scheme: str, path: Path) -> dict[str, float]:
    import tempfile

    import numpy as np

    import keras_plm as plm
    from keras_plm import export

    with tempfile.TemporaryDirectory() as folder:
        size = -(-(LONG + NEW) // 64) * 64
        short, long = f"{folder}/short.tflite", f"{folder}/long.tflite"
        # made in another process: the peak of the memory is that of the runtime
        script = "import sys, keras_plm as p; from keras_plm import export as e; m = p.load(sys.argv[1])\n"
        script += "for path, n in ((sys.argv[3], 128), (sys.argv[4], int(sys.argv[5]))):\n"
        script += "    e.to_tflite(m, path, sys.argv[2], max_length=n)"
        subprocess.run([sys.executable, "-c", script, str(path), scheme, short, long, str(size)], check=True)
        found = {}
        for threads in (1, 2):
            model = export.load_artifact(short, num_threads=threads)
            end = model.tokenizer.role_id("eos")
            never = plm.GenerationSettings(max_new_tokens=NEW, logit_bias={end: float("-inf")})
            for batch in (1, 8):
                seconds = best(lambda n=batch, m=model, s=never: m.generate([PROMPT] * n, s))
                found[str(batch)] = min(seconds, found.get(str(batch), seconds))
            del model
        ids = np.random.default_rng(0).integers(10, 40_000, LONG).tolist()
        model = export.load_artifact(long, num_threads=2)
        return found | {"first_token": best(lambda: model.open_session(1).read([ids]))}


def ctranslate2(kind: str, path: Path) -> dict[str, float]:
    import shutil
    import tempfile

    import ctranslate2 as library
    from ctranslate2.converters import TransformersConverter
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        loaded = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
        del loaded.config.quantization_config  # otherwise it cannot be saved
        model = AutoModelForCausalLM.from_config(loaded.config)
        model.load_state_dict(loaded.state_dict())
        model.save_pretrained(f"{folder}/model")
        tokenizer.save_pretrained(f"{folder}/model")
        converter = TransformersConverter(f"{folder}/model")
        converter.convert(f"{folder}/ct2", quantization=None if kind == "float32" else kind)
        del loaded, model, converter
        generator = library.Generator(f"{folder}/ct2", device="cpu", intra_threads=2)
        shutil.rmtree(f"{folder}/model")
        prompt = tokenizer.convert_ids_to_tokens(tokenizer(PROMPT)["input_ids"])

        def generate(batch: int, tokens: list[str], new: int) -> None:
            generator.generate_batch(
                [tokens] * batch, max_length=new, min_length=new, sampling_topk=1, include_prompt_in_result=False
            )

        found = {str(batch): best(lambda n=batch: generate(n, prompt, NEW)) for batch in (1, 8)}
        return found | {"first_token": best(lambda: generate(1, (prompt * LONG)[:LONG], 1))}


def llama_cpp(mode: str, path: Path) -> dict[str, float]:
    import shutil

    modules = Path(os.environ["NODE_LLAMA_CPP"])  # the folder with its node_modules, where Node looks for packages
    script = shutil.copy(Path(__file__).parent / "llama_cpp.mjs", modules)
    command = ["node", script, str(path), PROMPT, str(NEW), str(LONG)]
    done = subprocess.run(command, cwd=modules, text=True, capture_output=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def keras_hub(dtype: str, path: Path) -> dict[str, float]:
    import keras

    keras.config.set_dtype_policy("float32" if dtype == "fp32" else "bfloat16")
    import keras_hub as hub
    import numpy as np

    backbone = hub.models.Llama3Backbone(
        vocabulary_size=49_152, num_layers=30, num_query_heads=9, num_key_value_heads=3, hidden_dim=576,
        intermediate_dim=1_536, rope_max_wavelength=100_000, layer_norm_epsilon=1e-5,
    )  # fmt: skip
    model = hub.models.Llama3CausalLM(backbone, preprocessor=None)
    model.compile(sampler="greedy", jit_compile=keras.backend.backend() == "jax")
    random = np.random.default_rng(0)

    def inputs(batch: int, length: int, new: int) -> dict:
        ids = random.integers(3, 40_000, (batch, length + new)).astype("int32")
        mask = (np.arange(length + new) < length).astype("int32")[None].repeat(batch, 0)
        return {"token_ids": ids, "padding_mask": mask}

    def generate(*sizes: int) -> None:
        model.generate(inputs(*sizes), stop_token_ids=None)

    found = {str(batch): best(lambda n=batch: generate(n, 11, NEW)) for batch in (1, 8)}
    return found | {"first_token": best(lambda: generate(1, LONG, 1))}


if __name__ == "__main__":
    name, mode, file = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    contestants = {
        "keras_plm": keras_plm, "keras_hub": keras_hub, "transformers": transformers, "litert": litert,
        "ctranslate2": ctranslate2, "llama_cpp": llama_cpp,
    }  # fmt: skip
    seconds = transformers(mode, file, True) if name == "transformers_compiled" else contestants[name](mode, file)
    figures = {f"tokens_per_second_{batch}": batch * NEW / seconds.get(str(batch), float("nan")) for batch in (1, 8)}
    figures["first_token_ms"] = 1e3 * seconds["first_token"]
    who = resource.RUSAGE_CHILDREN if name == "llama_cpp" else resource.RUSAGE_SELF
    figures["peak_mb"] = resource.getrusage(who).ru_maxrss / 1e3
    print(json.dumps(figures))
