import keras


def scaled_normal(width: int) -> keras.initializers.Initializer:
    """BERT's initializer in proportion to the width: truncated normal of deviation 0.02 · √(768 / width).

    BERT uses 0.02 at every width. That is 0.55 / √width at its width of 768, but only 0.32 / √width at 256, where the
    blocks add little to the residual stream. MINI with 0.02 was still at 0.14 of the masked tokens after 1,500 steps;
    with this and pre-norm it was at 0.24 after 1,000 (docs/results.md).

    Args:
        width: D.

    Source: Devlin et al. 2019, https://github.com/google-research/bert (initializer_range)
    """
    return keras.initializers.TruncatedNormal(stddev=0.02 * (768 / width) ** 0.5)
