"""RoBERTa: Liu et al. 2019, https://arxiv.org/abs/1907.11692; XLM-R: Conneau et al. 2020, https://arxiv.org/abs/1911.02116.

BERT with other tokenizers, one segment, and positions that start at 2.
"""

from dataclasses import replace

from keras_plm.models import Encoder
from keras_plm.tasks import Classifier, Pretrainer, QuestionAnswerer, Tagger

from .architecture import Head, Stack
from .bert import ANSWER, BLOCK, CLASSIFIER, FIELDS, POOLER, REQUIRED, embedding
from .encoder_architecture import EncoderArchitecture
from .rules import dense, norm, their_names, tie, weight

ROBERTA = EncoderArchitecture(
    model_type="roberta",
    prefix="roberta.",
    fields=FIELDS
    | {
        "vocab_size": ("vocabulary_size", 50_265),
        # the defaults of Transformers (5.24); they equal BERT's defaults and differ from the published models
        "type_vocab_size": ("num_segments", 2),
        "max_position_embeddings": ("max_sequence_length", 512),
        "layer_norm_eps": ("layer_norm_epsilon", 1e-12),
    },
    required=REQUIRED | {"pad_token_id": 1},  # the first position is pad_token_id + 1
    backbone=embedding(first_position=2),
    stacks=(Stack(rules=BLOCK),),
    pooler=POOLER,
    heads=(
        Head(their_class="RobertaModel", our_class=Encoder),
        Head(
            their_class="RobertaForMaskedLM",
            our_class=Pretrainer,
            rules=(
                *dense("lm_head.dense", "masked_tokens/dense"),
                *norm("lm_head.layer_norm", "masked_tokens/norm"),
                *weight("lm_head.bias", "masked_tokens/bias"),
                *tie("lm_head.decoder.weight", "embedding/tokens"),
                *tie("lm_head.decoder.bias", "masked_tokens/bias"),
            ),
            activation="gelu",
            options={"next_sentence": False},
        ),
        Head(
            their_class="RobertaForSequenceClassification",
            our_class=Classifier,
            rules=(*dense("classifier.dense", "pooler"), *dense("classifier.out_proj", "head/dense")),
            ignored=tuple(sorted(their_names(POOLER))),
            has_pooler=True,
        ),
        Head(their_class="RobertaForTokenClassification", our_class=Tagger, rules=CLASSIFIER),
        Head(their_class="RobertaForQuestionAnswering", our_class=QuestionAnswerer, rules=ANSWER),
    ),
)

XLM_ROBERTA = replace(
    ROBERTA,
    model_type="xlm-roberta",
    heads=tuple(replace(head, their_class=f"XLM{head.their_class}") for head in ROBERTA.heads),
)
