"""Inputs and weights that are the same wherever they are drawn; used in two environments, so NumPy alone."""

import zlib

import numpy as np

VOCABULARY = 307
SIZES = {"hidden": 33, "layers": 2, "heads": 3, "intermediate": 53, "embedding": 19, "positions": 23}
_NAMES = {
    "hidden_size": "hidden", "num_hidden_layers": "layers", "num_attention_heads": "heads",
    "intermediate_size": "intermediate", "max_position_embeddings": "positions",
}  # fmt: skip
_DISTILBERT = {
    "dim": "hidden", "n_layers": "layers", "n_heads": "heads", "hidden_dim": "intermediate",
    "max_position_embeddings": "positions",
}  # fmt: skip
# model_type → config, beside the sizes
CONFIGS = {
    "bert": {"hidden_act": "gelu_new", "layer_norm_eps": 1e-3},
    "distilbert": {"activation": "relu"},
    "albert": {"embedding_size": SIZES["embedding"]},
    "roberta": {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1},
    "xlm-roberta": {"type_vocab_size": 1, "layer_norm_eps": 1e-5, "pad_token_id": 1},
    "electra": {"embedding_size": SIZES["embedding"]},
}
_HEADS = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"]
CLASSES = {
    "bert": [f"Bert{h}" for h in [*_HEADS, "ForPreTraining", "ForNextSentencePrediction"]],
    "distilbert": [f"DistilBert{h}" for h in _HEADS],
    "albert": [f"Albert{h}" for h in [*_HEADS, "ForPreTraining"]],
    "roberta": [f"Roberta{h}" for h in _HEADS],
    "xlm-roberta": [f"XLMRoberta{h}" for h in _HEADS],
    "electra": [f"Electra{h}" for h in [*_HEADS, "ForPreTraining"]],
}


def config(model_type: str, name: str) -> dict:
    names = _DISTILBERT if model_type == "distilbert" else _NAMES
    labels = {"id2label": {"0": "cat", "1": "dog", "2": "heron"}, "label2id": {"cat": 0, "dog": 1, "heron": 2}}
    return {
        "model_type": model_type,
        "vocab_size": VOCABULARY,
        **{theirs: SIZES[ours] for theirs, ours in names.items()},
        **(labels if "Classification" in name else {}),
        **CONFIGS[model_type],
    }


def weights(shapes: dict) -> dict[str, np.ndarray]:
    """Large enough that a swapped or forgotten tensor shows; norms near 1."""
    drawn = {}
    for name, shape in shapes.items():
        values = np.random.default_rng(zlib.crc32(name.encode())).normal(size=shape)
        scale = 0.15 if len(shape) > 1 else 0.1
        is_gain = "norm" in name.lower() and name.endswith("weight")
        drawn[name] = (scale * values + is_gain).astype("float32")
    return drawn


def inputs(model_type: str) -> dict[str, np.ndarray]:
    """Three rows of an odd length, two segments where there are segments, the last row padded."""
    random = np.random.default_rng(7)
    mask = np.ones((3, 11), "int32")
    mask[-1, 7:] = 0
    ids = random.integers(5, VOCABULARY, mask.shape).astype("int32")
    pad = 1 if "roberta" in model_type else 0
    segments = (np.arange(11) > 4).astype("int32") * mask
    if CONFIGS[model_type].get("type_vocab_size", 2) == 1 or model_type == "distilbert":
        segments *= 0
    return {"token_ids": np.where(mask, ids, pad).astype("int32"), "segment_ids": segments, "padding_mask": mask}


_LLAMA = {
    "hidden_size": 42, "num_hidden_layers": 2, "num_attention_heads": 6, "intermediate_size": 53, "head_dim": 10,
    "num_key_value_heads": 2, "max_position_embeddings": 29, "rms_norm_eps": 1e-3, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0,
    "original_max_position_embeddings": 11,
}  # fmt: skip
# name of the case → class, and config beside the vocabulary
DECODERS = {
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 33, "n_layer": 2, "n_head": 3, "n_positions": 29, "n_inner": 53,
                                 "layer_norm_epsilon": 1e-3, "bos_token_id": 1, "eos_token_id": 2}),
    "gpt2-bare": ("GPT2Model", {"n_embd": 36, "n_layer": 2, "n_head": 3, "n_positions": 29,
                                "activation_function": "relu", "bos_token_id": 1, "eos_token_id": 2}),
    "llama": ("LlamaForCausalLM", _LLAMA),
    "llama-bare": ("LlamaModel", _LLAMA),
    "llama-3.1": ("LlamaForCausalLM", {**_LLAMA, "rope_parameters": _LLAMA3, "tie_word_embeddings": True,
                                       "attention_bias": True}),
    "mistral": ("MistralForCausalLM", {**_LLAMA, "sliding_window": 4}),
    "qwen2": ("Qwen2ForCausalLM", {**_LLAMA, "head_dim": 6, "use_sliding_window": False,
                                   "tie_word_embeddings": True}),
    "qwen2-window": ("Qwen2ForCausalLM", {**_LLAMA, "head_dim": 6, "use_sliding_window": True,
                                          "sliding_window": 5, "max_window_layers": 0}),
}  # fmt: skip


def decoder_config(case: str) -> dict:
    return {"vocab_size": VOCABULARY, **DECODERS[case][1]}


_T5 = {"d_model": 33, "d_kv": 11, "d_ff": 53, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 3,
       "relative_attention_num_buckets": 8, "relative_attention_max_distance": 7, "decoder_start_token_id": 0,
       "pad_token_id": 0, "eos_token_id": 2}  # fmt: skip
_BART = {"d_model": 34, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
         "decoder_attention_heads": 2, "encoder_ffn_dim": 53, "decoder_ffn_dim": 53, "max_position_embeddings": 29,
         "decoder_start_token_id": 2, "bos_token_id": 1, "pad_token_id": 0, "eos_token_id": 2}  # fmt: skip
SEQ2SEQ = {
    "t5": ("T5ForConditionalGeneration", _T5),
    "t5-1.1": ("T5ForConditionalGeneration", {**_T5, "d_kv": 5, "feed_forward_proj": "gated-gelu",
                                              "tie_word_embeddings": False}),
    "t5-bare": ("T5Model", _T5),
    "bart": ("BartForConditionalGeneration", _BART),
    "bart-bare": ("BartModel", {**_BART, "scale_embedding": True, "activation_function": "relu"}),
    "marian": ("MarianMTModel", {**_BART, "scale_embedding": True, "activation_function": "swish",
                                 "decoder_start_token_id": 0}),
}  # fmt: skip


def seq2seq_config(case: str) -> dict:
    return {"vocab_size": VOCABULARY, **SEQ2SEQ[case][1]}


def seq2seq_inputs() -> dict[str, np.ndarray]:
    """Rows of odd lengths; the last row of each side is padded."""
    source = inputs("bert")
    random = np.random.default_rng(13)
    mask = np.ones((3, 7), "int32")
    mask[-1, 5:] = 0
    ids = random.integers(5, VOCABULARY, mask.shape).astype("int32") * mask
    return {
        "token_ids": source["token_ids"], "padding_mask": source["padding_mask"], "decoder_token_ids": ids,
        "decoder_padding_mask": mask,
    }  # fmt: skip


BEAM_MODELS = ["gpt2", "llama"]
# few tokens, the end among them: hypotheses end at all lengths
SUPPRESSED = [token for token in range(VOCABULARY) if token not in (2, *range(9, VOCABULARY, 27))]
BEAM_SETTINGS = [
    {"num_beams": 3, "max_new_tokens": 9},
    {"num_beams": 4, "max_new_tokens": 11, "length_penalty": 2.0, "early_stopping": True},
    {"num_beams": 2, "max_new_tokens": 8, "length_penalty": 0.5, "early_stopping": "never"},
    {"num_beams": 5, "max_new_tokens": 10, "length_penalty": -0.5, "no_repeat_ngram_size": 2,
     "repetition_penalty": 1.3, "min_new_tokens": 3},
]  # fmt: skip


def beam_prompts() -> list[list[int]]:
    random = np.random.default_rng(11)
    return [random.integers(3, VOCABULARY, random.integers(1, 9)).tolist() for _ in range(25)]
