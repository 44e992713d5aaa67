"""ALBERT: Lan et al. 2020, https://arxiv.org/abs/1909.11942. All layers share one block; the embeddings are narrow."""

from keras_plm.models import Encoder
from keras_plm.tasks import Classifier, Pretrainer, QuestionAnswerer, Tagger

from .architecture import Head, Stack
from .bert import ANSWER, CLASSIFIER, EMBEDDING, FIELDS, REQUIRED
from .encoder_architecture import EncoderArchitecture
from .rules import dense, kernel, norm, tie, weight

_LAYER = "encoder.albert_layer_groups.0.albert_layers.0"
_MASKED = (
    *dense("predictions.dense", "masked_tokens/dense"),
    *norm("predictions.LayerNorm", "masked_tokens/norm"),
    *weight("predictions.bias", "masked_tokens/bias"),
)
_TIED = (*tie("predictions.decoder.weight", "embedding/tokens"), *tie("predictions.decoder.bias", "masked_tokens/bias"))

ALBERT = EncoderArchitecture(
    model_type="albert",
    prefix="albert.",
    fields=FIELDS
    | {
        "vocab_size": ("vocabulary_size", 30_000),
        "embedding_size": ("embedding_dim", 128),
        "hidden_size": ("hidden_dim", 4_096),
        "num_attention_heads": ("num_heads", 64),
        "intermediate_size": ("intermediate_dim", 16_384),
        "hidden_act": ("activation", "gelu_new"),
        "hidden_dropout_prob": ("dropout", 0.0),
        "attention_probs_dropout_prob": ("attention_dropout", 0.0),
    },
    fixed={"shared_layers": True},
    required=REQUIRED | {"num_hidden_groups": 1, "inner_group_num": 1},
    backbone=(*EMBEDDING, *dense("encoder.embedding_hidden_mapping_in", "embedding/projection")),
    stacks=(
        Stack(
            rules=(
                *dense(f"{_LAYER}.attention.query", "block_{i}/attention/query"),
                *dense(f"{_LAYER}.attention.key", "block_{i}/attention/key"),
                *dense(f"{_LAYER}.attention.value", "block_{i}/attention/value"),
                *dense(f"{_LAYER}.attention.dense", "block_{i}/attention/output"),
                *norm(f"{_LAYER}.attention.LayerNorm", "block_{i}/attention_norm"),
                *kernel(f"{_LAYER}.ffn.weight", "block_{i}/feed_forward/expand/kernel"),
                *weight(f"{_LAYER}.ffn.bias", "block_{i}/feed_forward/expand_bias"),
                *dense(f"{_LAYER}.ffn_output", "block_{i}/feed_forward/contract"),
                *norm(f"{_LAYER}.full_layer_layer_norm", "block_{i}/feed_forward_norm"),
            ),
        ),
    ),
    pooler=dense("pooler", "pooler"),
    heads=(
        Head(their_class="AlbertModel", our_class=Encoder),
        Head(
            their_class="AlbertForPreTraining",
            our_class=Pretrainer,
            rules=(*_MASKED, *dense("sop_classifier.classifier", "next_sentence/dense"), *_TIED),
            needs_pooler=True,
        ),
        Head(
            their_class="AlbertForMaskedLM",
            our_class=Pretrainer,
            rules=(*_MASKED, *_TIED),
            options={"next_sentence": False},
        ),
        Head(their_class="AlbertForSequenceClassification", our_class=Classifier, rules=CLASSIFIER, needs_pooler=True),
        Head(their_class="AlbertForTokenClassification", our_class=Tagger, rules=CLASSIFIER),
        Head(their_class="AlbertForQuestionAnswering", our_class=QuestionAnswerer, rules=ANSWER),
    ),
)
