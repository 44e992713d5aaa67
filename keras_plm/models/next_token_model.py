from typing import Any

import keras
from jaxtyping import Float, Int

from keras_plm.tensor_types import Tensor

from .decoder import Caches
from .model_with_backbone import BackboneModel

OWN_CACHES = "kv_cache_"  # begins the names of the caches that a step changes; the others are from the encoder


class NextTokenModel(BackboneModel):
    """A model that predicts the next token: a backbone with `step`, and a head on its hidden states.

    Attributes:
        head: the `NextTokenHead`.
    """

    head: Any

    def step(
        self,
        token_ids: Int[Tensor, "B T"],
        padding_mask: Int[Tensor, "B S"],
        caches: Caches,
        index: Int[Tensor, ""] | int,
        all_logits: bool = False,
    ) -> tuple[Float[Tensor, "B *T V"], Caches]:
        """Process further tokens of each row, see `step` of the backbone.

        Returns:
            (B, V) float32 logits of the token after the last one, or with `all_logits` (B, T, V) logits of the token
            after each one; and the caches including these tokens.
        """
        hidden, caches = self.backbone.step(token_ids, padding_mask, caches, index)
        if not all_logits:
            hidden = hidden[:, -1:]
        logits = keras.ops.cast(self.logits(hidden), "float32")
        return logits if all_logits else logits[:, 0], caches

    def logits(self, hidden: Float[Tensor, "B T D"]) -> Float[Tensor, "B T V"]:
        """(B, T, V) logits in the compute dtype, from hidden states of the backbone."""
        return self.head(hidden, self.backbone.embedding_matrix) if self.head.tied else self.head(hidden)
