import keras


def scaled_normal(width: int) -> keras.initializers.Initializer:
    """BERT's initializer in proportion to the width: truncated normal of deviation 0.02 · √(768 / width).

    BERT uses 0.02 at every width. That is 0.55 / √width at its width of 768, but only 0.32 / √width at 256, where the
    signal of each block then drowns in the residual stream: MINI stayed at the accuracy of frequent words for two
    thousand steps that it now leaves after two hundred (docs/results.md).

    Args:
        width: D.

    Source: Devlin et al. 2019, https://github.com/google-research/bert (initializer_range)
    """
    return keras.initializers.TruncatedNormal(stddev=0.02 * (768 / width) ** 0.5)
