from dataclasses import replace

import numpy as np

from keras_plm.config import EncoderConfig
from keras_plm.models import AnyModel, remake, weight_arrays

_MATRIX, _WIDEN = "embedding/tokens", "embedding/widen"


def factorize_embedding(model: AnyModel, rank: int) -> AnyModel:
    """Factorize the embedding matrix of a model into two narrow matrices, (V, rank) and (rank, E).

    Their product is the best approximation of this rank. In a small model, most weights are in the embedding matrix.
    Fine-tune the model afterwards, as after every compression.

    Args:
        model: an `Encoder` or a task model.
        rank: a number below the width of the embedding matrix. A smaller rank is less accurate. Half the width keeps
            about half the weights.

    Returns:
        A model of the same kind, whose config has `embedding_rank`.

    Raises:
        ValueError: the rank is not below the width or is above the number of tokens, the matrix is already factorized,
            or the model is a `Pretrainer`, whose masked-token head needs the whole matrix.

    Example:
        >>> import keras_plm
        >>> tuple(factorize_embedding(keras_plm.Encoder(keras_plm.TINY), 32).embedding.embedding_matrix.shape)
        (30522, 32)

    Source: Eckart & Young 1936; for BERT's embeddings: Lan et al. 2020, §3.1, https://arxiv.org/abs/1909.11942
    Differs: ALBERT has narrow matrices for positions and segments, too.
    """
    if not isinstance(model.config, EncoderConfig):
        raise ValueError(
            f"a {type(model).__name__} cannot have a factorized embedding matrix, only models with an encoder"
        )
    if model.config.embedding_rank is not None:
        raise ValueError(f"the embedding matrix is already factorized, with rank {model.config.embedding_rank}")
    config = replace(model.config, embedding_rank=rank)
    if rank > config.vocabulary_size:
        raise ValueError(f"rank={rank} is more than the {config.vocabulary_size} tokens of the embedding matrix")
    there = weight_arrays(model)
    left, sizes, right = np.linalg.svd(there[_MATRIX], full_matrices=False)
    root = np.sqrt(sizes[:rank])  # in both factors, so that both learn at the same rate
    parts = {_MATRIX: left[:, :rank] * root, _WIDEN: root[:, None] * right[:rank]}
    return remake(model, (there | parts).__getitem__, config)
