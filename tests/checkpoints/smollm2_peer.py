"""Transformers' own loading of a GGUF file: logits and greedy texts, run by `.venv-peers`.

FOLDER FILE OUTPUT PROMPTS     the folder and the name of the GGUF file, an `.npz` to write, a JSON list of prompts
"""

import json
import sys

import numpy as np
import torch
import transformers

folder, name, output, prompts = sys.argv[1:]
transformers.logging.set_verbosity_error()
tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
found = {}
with torch.inference_mode():
    for i, prompt in enumerate(json.loads(prompts)):
        inputs = tokenizer([prompt], return_tensors="pt")
        found[f"ids_{i}"] = inputs["input_ids"][0].numpy()
        found[f"logits_{i}"] = model(**inputs).logits[0].numpy()
        new = model.generate(**inputs, max_new_tokens=64, do_sample=False, pad_token_id=2)
        found[f"new_{i}"] = new[0, inputs["input_ids"].shape[1] :].numpy()
np.savez(output, **found)
