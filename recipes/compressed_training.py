from dataclasses import dataclass
from typing import Any

from keras_plm.compression import Clusterer, Pruner, factorize_table, shrink
from keras_plm.compression.pruning import Sparsity
from keras_plm.compression.shrinking import smaller_config
from keras_plm.models import Encoder, merge_lora
from keras_plm.tasks.registry import task_of_class

from .recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class CompressedTraining(Recipe):
    """The fields of a training that ends with a smaller model, and what they do to it."""

    num_layers: int | None = None  # begin with so many of the encoder's blocks, evenly spread
    num_heads: int | None = None  # begin with its heaviest heads; its width and inner width go with them
    table_rank: int | None = None  # begin with the token table as a product of two narrow ones
    prune: str | None = None  # "0.8": that share of each kernel becomes 0 by and by; "2:4": two of each four neighbours
    clusters: int | None = None  # different values that each kernel has, from the beginning on
    quantization_aware: bool = False  # train with the roundings of int8, for static_int8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_layers", "num_heads", "table_rank"):
            if getattr(self, name) is not None:
                self.check_at_least_one(name)
        if self.prune is not None:
            Sparsity.parse(self.prune)
        if self.clusters is not None and self.clusters < 2:
            raise ValueError(f"clusters={self.clusters}; it must be at least 2")
        if self.prune is not None and self.clusters is not None:
            raise ValueError("prune first, then fine-tune that model with clusters: they leave the zeros alone")

    @property
    def policy(self) -> str:
        """The dtype policy of the training: with the roundings of int8 "auto" is float32.

        Those of bfloat16 are half as large as they are, and no artefact will have them.
        """
        return "float32" if self.quantization_aware and self.precision == "auto" else super().policy

    def check_trained_kernels(self, trainable: str) -> None:
        """Raise ValueError if a compression needs kernels that are trained, and they are not."""
        if trainable != "all" and (self.prune is not None or self.clusters is not None):
            raise ValueError(
                f"prune and clusters change every kernel, so all of them must be trained, not {trainable!r}"
            )
        if trainable.startswith("lora") and self.quantization_aware:
            raise ValueError("quantization_aware rounds the kernels that it trains; with lora they are not trained")

    def smaller(self, pretrained: Any) -> Any:
        """What the training begins with: the pre-trained model without updates beside it, or a part of it."""
        if pretrained.config.lora_rank:
            pretrained = merge_lora(pretrained)
        if self.num_layers is not None or self.num_heads is not None:
            pretrained = shrink(pretrained, smaller_config(pretrained.config, self.num_layers, self.num_heads))
        if self.table_rank is None:
            return pretrained
        # without the head that predicts pieces: it needs the whole table
        has_task = isinstance(pretrained, Encoder) or task_of_class(type(pretrained)) is not None
        model = pretrained if has_task else pretrained.encoder
        return factorize_table(model, self.table_rank)

    def compressor(self, model: Any, updates: int) -> Pruner | Clusterer | None:
        """A callback that keeps the kernels as they are to be, and applies it to the weights that are kept."""
        if self.clusters is not None:
            return Clusterer(model, self.clusters)
        return None if self.prune is None else Pruner(model, self.prune, updates)
