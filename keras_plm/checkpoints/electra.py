"""ELECTRA: Clark et al. 2020, https://arxiv.org/abs/2003.10555. BERT with narrow embedding matrices and without pooler.

Its pre-training head, which detects replaced tokens, is not useful for other tasks and is left out.
"""

from keras_plm.models import Encoder
from keras_plm.tasks import Classifier, Pretrainer, QuestionAnswerer, Tagger

from .architecture import Head, Stack
from .bert import ANSWER, BLOCK, CLASSIFIER, EMBEDDING, FIELDS, REQUIRED
from .encoder_architecture import EncoderArchitecture
from .rules import dense, norm, tie, weight

ELECTRA = EncoderArchitecture(
    model_type="electra",
    prefix="electra.",
    fields=FIELDS
    | {
        "embedding_size": ("embedding_dim", 128),
        "hidden_size": ("hidden_dim", 256),
        "num_attention_heads": ("num_heads", 4),
        "intermediate_size": ("intermediate_dim", 1_024),
    },
    required=REQUIRED,
    backbone=(*EMBEDDING, *dense("embeddings_project", "embedding/projection")),
    stacks=(Stack(rules=BLOCK),),
    pooler_activation="gelu",
    heads=(
        Head(their_class="ElectraModel", our_class=Encoder),
        Head(
            their_class="ElectraForPreTraining",
            our_class=Encoder,
            ignored=tuple(
                f"discriminator_predictions.{layer}.{what}"
                for layer in ("dense", "dense_prediction")
                for what in ("weight", "bias")
            ),
        ),
        Head(
            their_class="ElectraForMaskedLM",
            our_class=Pretrainer,
            rules=(
                *dense("generator_predictions.dense", "masked_tokens/dense"),
                *norm("generator_predictions.LayerNorm", "masked_tokens/norm"),
                *weight("generator_lm_head.bias", "masked_tokens/bias"),
                *tie("generator_lm_head.weight", "embedding/tokens"),
            ),
            activation="gelu",
            options={"next_sentence": False},
        ),
        Head(
            their_class="ElectraForSequenceClassification",
            our_class=Classifier,
            rules=(*dense("classifier.dense", "pooler"), *dense("classifier.out_proj", "head/dense")),
            has_pooler=True,
        ),
        Head(their_class="ElectraForTokenClassification", our_class=Tagger, rules=CLASSIFIER),
        Head(their_class="ElectraForQuestionAnswering", our_class=QuestionAnswerer, rules=ANSWER),
    ),
)
