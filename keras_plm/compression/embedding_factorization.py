from dataclasses import replace

import numpy as np

from keras_plm.models import AnyModel, remake, weight_arrays

_MATRIX, _WIDEN = "embedding/tokens", "embedding/widen"


def factorize_embedding(model: AnyModel, rank: int) -> AnyModel:
    """The model with its embedding matrix as a product of two narrow ones, (V, rank) and (rank, E).

    Of all products of that rank it is the nearest to the embedding matrix. In a small model most weights are there; the
    model is to be trained a little afterwards, as after every compression.

    Args:
        model: an `Encoder` or a task model.
        rank: below the width of the embedding matrix. The smaller the worse; half the width keeps about half the
            weights.

    Returns:
        A model of the same kind, whose config has `embedding_rank`.

    Raises:
        ValueError: a rank that is not below the width, or above the number of tokens; a matrix that is a product
            already; or a `Pretrainer`, which predicts tokens by the whole matrix.

    Example:
        >>> import keras_plm
        >>> tuple(factorize_embedding(keras_plm.Encoder(keras_plm.TINY), 32).embedding.embedding_matrix.shape)
        (30522, 32)

    Source: Eckart & Young 1936; for those of BERT: Lan et al. 2020, §3.1, https://arxiv.org/abs/1909.11942
    Differs: from ALBERT, which learns narrow matrices for positions and segments too.
    """
    if model.config.embedding_rank is not None:
        raise ValueError(f"the embedding matrix is a product of rank {model.config.embedding_rank} already")
    config = replace(model.config, embedding_rank=rank)
    if rank > config.vocabulary_size:
        raise ValueError(f"rank={rank} is more than the {config.vocabulary_size} tokens of the embedding matrix")
    there = weight_arrays(model)
    left, sizes, right = np.linalg.svd(there[_MATRIX], full_matrices=False)
    root = np.sqrt(sizes[:rank])  # half to each side, so that both learn at the same rate
    parts = {_MATRIX: left[:, :rank] * root, _WIDEN: root[:, None] * right[:rank]}
    return remake(model, (there | parts).__getitem__, config)
