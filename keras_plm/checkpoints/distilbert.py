"""DistilBERT: Sanh et al. 2019, https://arxiv.org/abs/1910.01108. BERT without segments and without pooler."""

from keras_plm.models import Encoder
from keras_plm.tasks import Classifier, Pretrainer, QuestionAnswerer, Tagger

from .architecture import Head, Stack
from .bert import ANSWER, CLASSIFIER
from .encoder_architecture import EncoderArchitecture
from .rules import dense, kernel, norm, tie, weight

DISTILBERT = EncoderArchitecture(
    model_type="distilbert",
    prefix="distilbert.",
    fields={
        "vocab_size": ("vocabulary_size", 30_522),
        "dim": ("hidden_dim", 768),
        "n_layers": ("num_layers", 6),
        "n_heads": ("num_heads", 12),
        "hidden_dim": ("intermediate_dim", 3_072),
        "activation": ("activation", "gelu"),
        "dropout": ("dropout", 0.1),
        "attention_dropout": ("attention_dropout", 0.1),
        "max_position_embeddings": ("max_sequence_length", 512),
    },
    fixed={"num_segments": 0, "layer_norm_epsilon": 1e-12},
    backbone=(
        *weight("embeddings.word_embeddings.weight", "embedding/tokens"),
        *weight("embeddings.position_embeddings.weight", "embedding/positions"),
        *norm("embeddings.LayerNorm", "embedding/norm"),
    ),
    stacks=(
        Stack(
            rules=(
                *dense("transformer.layer.{i}.attention.q_lin", "block_{i}/attention/query"),
                *dense("transformer.layer.{i}.attention.k_lin", "block_{i}/attention/key"),
                *dense("transformer.layer.{i}.attention.v_lin", "block_{i}/attention/value"),
                *dense("transformer.layer.{i}.attention.out_lin", "block_{i}/attention/output"),
                *norm("transformer.layer.{i}.sa_layer_norm", "block_{i}/attention_norm"),
                *kernel("transformer.layer.{i}.ffn.lin1.weight", "block_{i}/feed_forward/expand/kernel"),
                *weight("transformer.layer.{i}.ffn.lin1.bias", "block_{i}/feed_forward/expand_bias"),
                *dense("transformer.layer.{i}.ffn.lin2", "block_{i}/feed_forward/contract"),
                *norm("transformer.layer.{i}.output_layer_norm", "block_{i}/feed_forward_norm"),
            ),
        ),
    ),
    pooler_activation="relu",
    heads=(
        Head(their_class="DistilBertModel", our_class=Encoder),
        Head(
            their_class="DistilBertForMaskedLM",
            our_class=Pretrainer,
            rules=(
                *dense("vocab_transform", "masked_tokens/dense"),
                *norm("vocab_layer_norm", "masked_tokens/norm"),
                *weight("vocab_projector.bias", "masked_tokens/bias"),
                *tie("vocab_projector.weight", "embedding/tokens"),
            ),
            options={"next_sentence": False},
        ),
        Head(
            their_class="DistilBertForSequenceClassification",
            our_class=Classifier,
            rules=(*dense("pre_classifier", "pooler"), *CLASSIFIER),
            has_pooler=True,
        ),
        Head(their_class="DistilBertForTokenClassification", our_class=Tagger, rules=CLASSIFIER),
        Head(their_class="DistilBertForQuestionAnswering", our_class=QuestionAnswerer, rules=ANSWER),
    ),
)
