"""Transformers' side of the comparison, run by its own Python (`.venv-peers`).

golden FILE     write configs, shapes and outputs of every class with random weights
decoders FILE   the same for decoders
seq2seq FILE    the same for encoder-decoders, with greedy texts
beams FILE      beam search of decoders
peft FOLDER     LoRA updates, both ways
read FOLDER…    load each folder with the class that it names, write what it answers as FOLDER/theirs.npz
"""

import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.numpy import load_file, save_file

sys.path.insert(0, str(Path(__file__).parent))
import random_weights  # noqa: E402

warnings.filterwarnings("ignore")
transformers.utils.logging.disable_progress_bar()
transformers.logging.set_verbosity_error()


def answers(model, model_type: str) -> dict[str, np.ndarray]:
    batch = random_weights.inputs(model_type)
    given = {"input_ids": batch["token_ids"] % model.config.vocab_size, "attention_mask": batch["padding_mask"]}
    if model_type != "distilbert":
        given["token_type_ids"] = batch["segment_ids"]
    with torch.no_grad():
        found = model.eval()(**{name: torch.tensor(value).long() for name, value in given.items()})
    wanted = (
        "last_hidden_state", "pooler_output", "logits", "prediction_logits", "seq_relationship_logits", "sop_logits",
        "start_logits", "end_logits",
    )  # fmt: skip
    return {name: found[name].numpy() for name in wanted if found.get(name) is not None}


def golden(path: Path) -> None:
    facts, arrays = {}, {}
    for model_type, classes in random_weights.CLASSES.items():
        for name in classes:
            kind = getattr(transformers, name)
            config = kind.config_class(**random_weights.config(model_type, name))
            model, config, shapes = with_drawn_weights(kind, config)
            facts[name] = {"config": config, "shapes": shapes}
            for output, value in answers(model, model_type).items():
                arrays[f"{name}/{output}"] = value.astype("float32")
    np.savez_compressed(path, facts=json.dumps(facts), **arrays)


def decoders(path: Path) -> None:
    facts, arrays = {}, {}
    for case, (name, _) in random_weights.DECODERS.items():
        kind = getattr(transformers, name)
        config = kind.config_class(**random_weights.decoder_config(case))
        model, config, shapes = with_drawn_weights(kind, config)
        facts[case] = {"config": config, "shapes": shapes}
        arrays[case] = decoder_answer(model)
    np.savez_compressed(path, facts=json.dumps(facts), **arrays)


def decoder_answer(model) -> np.ndarray:
    batch = random_weights.inputs("bert")
    given = {"input_ids": batch["token_ids"], "attention_mask": batch["padding_mask"]}
    with torch.no_grad():
        found = model.eval()(**{name: torch.tensor(value).long() for name, value in given.items()})
    return found["logits" if "logits" in found else "last_hidden_state"].numpy().astype("float32")


def seq2seq(path: Path) -> None:
    facts, arrays = {}, {}
    for case, (name, _) in random_weights.SEQ2SEQ.items():
        kind = getattr(transformers, name)
        config = kind.config_class(**random_weights.seq2seq_config(case))
        # version 5 ties the head unless the file has a kernel for it, as the published T5 1.1 and FLAN-T5 have
        own = {"lm_head.weight": [random_weights.VOCABULARY, 33]} if case == "t5-1.1" else {}
        model, config, shapes = with_drawn_weights(kind, config, own)
        facts[case] = {"config": config, "shapes": shapes}
        arrays[case] = seq2seq_answer(model)
        if not case.endswith("bare"):
            ids = torch.tensor(random_weights.inputs("bert")["token_ids"][:2, :9]).long()
            for beams in (1, 3):
                options = {"num_beams": beams, "max_new_tokens": 9, "do_sample": False}
                options |= {
                    "suppress_tokens": random_weights.SUPPRESSED,
                    "forced_eos_token_id": None,
                    "use_cache": False,
                }
                with torch.no_grad():
                    found = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
                facts[case][f"beams_{beams}"] = found.tolist()
    np.savez_compressed(path, facts=json.dumps(facts), **arrays)


def seq2seq_answer(model) -> np.ndarray:
    batch = {name: torch.tensor(value).long() for name, value in random_weights.seq2seq_inputs().items()}
    names = {"token_ids": "input_ids", "padding_mask": "attention_mask", "decoder_token_ids": "decoder_input_ids",
             "decoder_padding_mask": "decoder_attention_mask"}  # fmt: skip
    with torch.no_grad():
        found = model.eval()(**{theirs: batch[ours] for ours, theirs in names.items()}, use_cache=False)
    return found["logits" if "logits" in found else "last_hidden_state"].numpy().astype("float32")


def with_drawn_weights(kind, config, more: dict = {}) -> tuple:  # noqa: B006
    """The model, its config as its file says it, and the shapes of its tensors."""
    with tempfile.TemporaryDirectory() as folder:
        kind(config).save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        shapes = {key: list(value.shape) for key, value in load_file(file).items()} | more
        save_file(random_weights.weights(shapes), file, metadata={"format": "pt"})
        return kind.from_pretrained(folder), json.loads((Path(folder) / "config.json").read_text()), shapes


def beams(path: Path) -> None:
    """Beam search of Transformers with random weights: new tokens and score of each hypothesis."""
    found = {}
    for case in random_weights.BEAM_MODELS:
        name, _ = random_weights.DECODERS[case]
        kind = getattr(transformers, name)
        model, _, _ = with_drawn_weights(kind, kind.config_class(**random_weights.decoder_config(case)))
        for number, settings in enumerate(random_weights.BEAM_SETTINGS):
            for index, prompt in enumerate(random_weights.beam_prompts()):
                with torch.no_grad():
                    answer = model.eval().generate(
                        torch.tensor([prompt]), do_sample=False, pad_token_id=0, eos_token_id=2, output_scores=True,
                        return_dict_in_generate=True, suppress_tokens=random_weights.SUPPRESSED,
                        num_return_sequences=settings["num_beams"], **settings,
                    )  # fmt: skip
                rows = []
                for row, score in zip(answer.sequences.tolist(), answer.sequences_scores.tolist(), strict=True):
                    new = row[len(prompt) :]
                    rows.append((new[: new.index(2) + 1] if 2 in new else new, score))
                found[f"{case}/{number}/{index}"] = rows
    path.write_text(json.dumps(found))


def read(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    kind = getattr(transformers, config["architectures"][0])
    model, report = kind.from_pretrained(folder, output_loading_info=True)
    lost = {name: sorted(keys) for name, keys in report.items() if keys}
    assert not lost, f"{folder.name}: {lost}"
    if config["model_type"] in ("t5", "bart", "marian"):
        np.savez(folder / "theirs.npz", logits=seq2seq_answer(model))
        return
    if config["model_type"] in ("gpt2", "llama", "mistral", "qwen2"):
        np.savez(folder / "theirs.npz", logits=decoder_answer(model))
        return
    np.savez(folder / "theirs.npz", **answers(model, config["model_type"]))
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    texts = json.loads((folder.parent / "texts.json").read_text())
    encoded = {text: tokenizer(text)["input_ids"] for text in texts}
    encoded |= {"pair": tokenizer(texts[0], texts[1])["input_ids"], "mask": tokenizer.mask_token_id}
    (folder / "theirs.json").write_text(json.dumps(encoded))


def peft(folder: Path) -> None:
    """Answer with the adapter in `folder/ours` on the model in `folder/base`; write one of PEFT's own to `theirs`."""
    import peft

    kind = transformers.BertForSequenceClassification
    base = kind.from_pretrained(folder / "base")
    model = peft.PeftModel.from_pretrained(base, folder / "ours")
    np.savez(folder / "ours.npz", **answers(model, "bert"))
    torch.manual_seed(0)
    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=2, lora_alpha=5, target_modules=["query", "value"], init_lora_weights=False
    )
    model = peft.get_peft_model(kind.from_pretrained(folder / "base"), config)
    np.savez(folder / "theirs.npz", **answers(model, "bert"))
    model.save_pretrained(folder / "theirs")


if __name__ == "__main__":
    if sys.argv[1] == "peft":
        peft(Path(sys.argv[2]))
    elif sys.argv[1] == "golden":
        golden(Path(sys.argv[2]))
    elif sys.argv[1] == "beams":
        beams(Path(sys.argv[2]))
    elif sys.argv[1] == "seq2seq":
        seq2seq(Path(sys.argv[2]))
    elif sys.argv[1] == "decoders":
        decoders(Path(sys.argv[2]))
    else:
        for argument in sys.argv[2:]:
            read(Path(argument))
