"""A model → a smaller model of the same kind."""

import dataclasses

import tyro

from keras_plm.checkpoints import load
from keras_plm.compression import shrink, trim_vocabulary
from keras_plm.compression.shrinking import smaller_config
from keras_plm.models import check_free, save
from keras_plm.text import read_rows


def shrink_model(
    model: tyro.conf.Positional[str],
    save_to: str,
    num_layers: int,
    hidden_dim: int,
    intermediate_dim: int | None = None,
    overwrite: bool = False,
) -> None:
    """Save a smaller model with the largest weights of a model, as the start of a student for `distill`.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        save_to: folder for the smaller model.
        num_layers: number of blocks; they are evenly spaced blocks of the model.
        hidden_dim: width; a multiple of the width of the model's heads.
        intermediate_dim: inner width of the feed-forward layers; None keeps its ratio to the width.
        overwrite: replace the folder of --save-to if it exists.
    """
    check_free(save_to, overwrite, is_folder=True)
    large = load(model)
    heads = max(hidden_dim * large.config.num_heads // large.config.hidden_dim, 1)
    config = smaller_config(large.config, num_layers, heads)
    inner = config.intermediate_dim if intermediate_dim is None else intermediate_dim
    small = shrink(large, dataclasses.replace(config, hidden_dim=hidden_dim, intermediate_dim=inner))
    save(small, save_to, overwrite)
    print(f"{save_to}: {small.count_params():,} weights of {large.count_params():,}")


def trim(
    model: tyro.conf.Positional[str],
    data: str,
    save_to: str,
    text_column: str = "text",
    second_column: str | None = None,
    min_count: int = 1,
    overwrite: bool = False,
) -> None:
    """Save a model whose vocabulary has only the tokens that such texts need.

    Args:
        model: a folder, or "hf:" and a Hugging Face folder or repository.
        data: a .tsv, .csv or .jsonl file with texts; use training rows, not test rows.
        save_to: folder for the smaller model.
        text_column: column of the texts.
        second_column: column of the second texts, if the model takes pairs.
        min_count: leave out tokens that occur less often.
        overwrite: replace the folder of --save-to if it exists.
    """
    check_free(save_to, overwrite, is_folder=True)
    columns = [text_column] if second_column is None else [text_column, second_column]
    texts = [text for column in read_rows(data, columns).values() for text in column]
    large = load(model)
    small = trim_vocabulary(large, texts, min_count, progress=True)
    save(small, save_to, overwrite)
    pieces = f"{len(small.tokenizer):,} tokens of {len(large.tokenizer):,}"
    print(f"{save_to}: {pieces}, {small.count_params():,} weights of {large.count_params():,}")
