"""BERT: Devlin et al. 2019, https://arxiv.org/abs/1810.04805."""

from keras_plm.models import Encoder
from keras_plm.tasks import Classifier, Pretrainer, QuestionAnswerer, Tagger

from .architecture import Head, Stack
from .encoder_architecture import EncoderArchitecture
from .rules import Rule, dense, kernel, norm, tie, weight

FIELDS = {
    "vocab_size": ("vocabulary_size", 30_522),
    "hidden_size": ("hidden_dim", 768),
    "num_hidden_layers": ("num_layers", 12),
    "num_attention_heads": ("num_heads", 12),
    "intermediate_size": ("intermediate_dim", 3_072),
    "hidden_act": ("activation", "gelu"),
    "hidden_dropout_prob": ("dropout", 0.1),
    "attention_probs_dropout_prob": ("attention_dropout", 0.1),
    "max_position_embeddings": ("max_sequence_length", 512),
    "type_vocab_size": ("num_segments", 2),
    "layer_norm_eps": ("layer_norm_epsilon", 1e-12),
}
REQUIRED = {"position_embedding_type": "absolute", "is_decoder": False, "add_cross_attention": False}


def embedding(first_position: int = 0) -> tuple[Rule, ...]:
    """Rules of the embedding matrices. The first rows of the position embeddings may be unused."""
    return (
        *weight("embeddings.word_embeddings.weight", "embedding/tokens"),
        *weight("embeddings.position_embeddings.weight", "embedding/positions", first_position),
        *weight("embeddings.token_type_embeddings.weight", "embedding/segments"),
        *norm("embeddings.LayerNorm", "embedding/norm"),
    )


EMBEDDING = embedding()
BLOCK = (
    *dense("encoder.layer.{i}.attention.self.query", "block_{i}/attention/query"),
    *dense("encoder.layer.{i}.attention.self.key", "block_{i}/attention/key"),
    *dense("encoder.layer.{i}.attention.self.value", "block_{i}/attention/value"),
    *dense("encoder.layer.{i}.attention.output.dense", "block_{i}/attention/output"),
    *norm("encoder.layer.{i}.attention.output.LayerNorm", "block_{i}/attention_norm"),
    *kernel("encoder.layer.{i}.intermediate.dense.weight", "block_{i}/feed_forward/expand/kernel"),
    *weight("encoder.layer.{i}.intermediate.dense.bias", "block_{i}/feed_forward/expand_bias"),
    *dense("encoder.layer.{i}.output.dense", "block_{i}/feed_forward/contract"),
    *norm("encoder.layer.{i}.output.LayerNorm", "block_{i}/feed_forward_norm"),
)
POOLER = dense("pooler.dense", "pooler")
CLASSIFIER = dense("classifier", "head/dense")
ANSWER = dense("qa_outputs", "head/dense")

_MASKED = (
    *dense("cls.predictions.transform.dense", "masked_tokens/dense"),
    *norm("cls.predictions.transform.LayerNorm", "masked_tokens/norm"),
    *weight("cls.predictions.bias", "masked_tokens/bias"),
)
_TIED = (
    *tie("cls.predictions.decoder.weight", "embedding/tokens"),
    *tie("cls.predictions.decoder.bias", "masked_tokens/bias"),
)
_NEXT = dense("cls.seq_relationship", "next_sentence/dense")

BERT = EncoderArchitecture(
    model_type="bert",
    prefix="bert.",
    fields=FIELDS,
    required=REQUIRED,
    backbone=EMBEDDING,
    stacks=(Stack(rules=BLOCK),),
    pooler=POOLER,
    heads=(
        Head(their_class="BertModel", our_class=Encoder),
        Head(
            their_class="BertForPreTraining",
            our_class=Pretrainer,
            rules=(*_MASKED, *_NEXT, *_TIED),
            needs_pooler=True,
        ),
        Head(
            their_class="BertForMaskedLM",
            our_class=Pretrainer,
            rules=(*_MASKED, *_TIED),
            options={"next_sentence": False},
        ),
        Head(
            their_class="BertForNextSentencePrediction",
            our_class=Classifier,
            rules=dense("cls.seq_relationship", "head/dense"),
            needs_pooler=True,
            options={"labels": ["IsNext", "NotNext"]},
        ),
        Head(their_class="BertForSequenceClassification", our_class=Classifier, rules=CLASSIFIER, needs_pooler=True),
        Head(their_class="BertForTokenClassification", our_class=Tagger, rules=CLASSIFIER),
        Head(their_class="BertForQuestionAnswering", our_class=QuestionAnswerer, rules=ANSWER),
    ),
)
