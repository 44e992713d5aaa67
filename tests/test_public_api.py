"""Frozen lists: a change of a public name or a flag is made here too, on purpose."""

from dataclasses import fields, is_dataclass

import keras_plm as plm
from keras_plm import __main__ as command_line
from keras_plm import export, recipes

RECIPE = [
    "save_to", "overwrite", "batch_size", "learning_rate", "warmup", "weight_decay", "clip_norm", "max_length",
    "seed", "precision", "momentum_dtype", "strategy", "rematerialize",
    "steps_per_execution", "static_shapes", "tensorboard", "fast_dev_run", "verbose", "callbacks",
]  # fmt: skip
FINE_TUNE = [
    *RECIPE, "start_from", "train", "validation", "test", "validation_split", "on_bad_row", "limit_train_examples",
    "epochs", "dropout", "trainable", "layer_decay", "head_rate", "gradual_unfreezing",
    "gradient_accumulation_steps", "ema_momentum", "load_best", "patience",
    "num_layers", "num_heads", "embedding_rank", "prune", "clusters", "quantization_aware",
]  # fmt: skip


def test_public_names():
    assert plm.__all__ == [
        "BASE", "GPT3_SIZES", "GPT_MINI", "LARGE", "MEDIUM", "MINI", "SIZES", "SMALL", "TINY", "TRANSFORMER_BASE",
        "TRANSFORMER_TINY", "Adaptation", "BytePairTokenizer", "ClassificationHead", "Classifier", "Decoder",
        "DecoderBlock", "DecoderConfig", "Embedder", "Encoder", "EncoderBlock", "EncoderConfig", "EncoderDecoder",
        "EncoderDecoderConfig", "FeedForward", "GenerationSettings", "MaskedTokenHead", "MultiHeadAttention",
        "NextSentenceHead", "Pretrainer", "QuestionAnswerer", "SentencePieceTokenizer", "Seq2Seq", "Tagger",
        "TextGenerator", "TokenEmbedding", "Tokenizer", "WordPieceTokenizer", "checkpoints", "choose", "cluster",
        "evaluate", "factorize_embedding", "load", "merge_lora", "prune", "save", "shrink", "trim_vocabulary",
    ]  # fmt: skip
    assert export.__all__ == [
        "Artifact", "Attempt", "Bounds", "Budget", "BudgetError", "Comparison", "ExportError", "compare", "fit_budget",
        "load_artifact", "sensitivity", "to_litert_lm", "to_onnx", "to_saved_model", "to_tflite",
        "write_report", "write_tokenizer_vectors",
    ]  # fmt: skip
    assert recipes.__all__ == [
        "AnswerQuestions", "Classify", "Converse", "CrossValidation", "Distill", "Embed", "FineTune",
        "FineTuneCausal", "Pretrain", "PretrainCausal", "PretrainDenoising", "RateTest", "Recipe", "Summarize",
        "SummarizeExtractive", "Tag", "Translate", "cross_validate", "find_learning_rate",
    ]  # fmt: skip
    for module in (plm, export, recipes):
        for name in module.__all__:
            thing = getattr(module, name)
            assert thing.__doc__ or isinstance(thing, plm.EncoderConfig | dict), name


def test_commands():
    assert [name for group in command_line.COMMANDS.values() for name in group] == [
        "pretrain", "pretrain-causal", "pretrain-denoising", "fine-tune-causal", "converse", "translate", "summarize",
        "summarize-extractive", "classify", "tag", "answer-questions", "embed", "distill", "predict", "generate",
        "extract", "complete", "serve", "evaluate", "export", "compare", "fit-budget", "choose", "cross-validate",
        "prepare", "learning-rate", "plan", "shrink", "trim", "vocabulary",
    ]  # fmt: skip
    assert list(command_line.EXPORTS["Formats"]) == ["tflite", "onnx", "litert-lm", "saved-model", "tokenizer-vectors"]


def test_recipe_fields():
    names = {
        name: [f.name for f in fields(getattr(recipes, name))]
        for name in recipes.__all__
        if is_dataclass(getattr(recipes, name))
    }
    assert names["Recipe"] == RECIPE
    pretraining = [
        *RECIPE, "corpus", "validation", "config", "start_from", "vocabulary_size", "steps", "checkpoint_every",
        "short_length", "short_share", "gradient_accumulation_steps", "validation_steps",
    ]  # fmt: skip
    assert names["Pretrain"] == [
        *pretraining, "vocabulary", "lowercase", "mask_rate", "whole_word", "next_sentence", "pack", "inside_rate",
        "optimizer_name",
    ]  # fmt: skip
    assert names["PretrainCausal"] == [*pretraining, "text_column"]
    assert names["PretrainDenoising"] == [*pretraining, "text_column", "noise", "noise_rate"]
    assert names["FineTune"] == FINE_TUNE
    assert names["Classify"] == [
        *FINE_TUNE, "text_column", "second_column", "label_column", "regression", "multi_label", "pooling",
        "class_weights",
    ]  # fmt: skip
    assert names["SummarizeExtractive"] == [*FINE_TUNE, "text_column", "summary_column", "num_sentences", "pooling"]
    assert names["Distill"] == [
        "teacher", "recipe", "hard", "soft", "hidden", "attention", "temperature", "augmentations_per_text", "layers",
    ]  # fmt: skip
    text_to_text = ["source_column", "target_column", "config", "vocabulary_size", "label_smoothing"]
    assert names["Translate"] == names["Summarize"] == [*FINE_TUNE, *text_to_text]
    assert names["Converse"] == [*FINE_TUNE, "messages_column"]
    assert names["Tag"] == [*FINE_TUNE, "tag_column", "crf"]
    assert names["AnswerQuestions"] == [*FINE_TUNE, "overlap"]
    assert names["Embed"] == [
        *FINE_TUNE, "text_column", "second_column", "label_column", "similarity", "pooling", "scale",
    ]  # fmt: skip
