from typing import Any, Self

from keras_plm.config import Adaptation, EncoderConfig

from .encoder import Encoder
from .tokenizer_assets import KeepsTokenizer


class BackboneModel(KeepsTokenizer):
    """A model on top of a backbone: Keras saves it with the config of the backbone and what was added to its layers.

    Attributes:
        config: the sizes of its encoder.
        encoder: the backbone.
    """

    config: EncoderConfig
    encoder: Encoder
    name: str

    @property
    def adaptation(self) -> Adaptation:
        """LoRA, adapters or fake quantization in the layers of the backbone."""
        return self.encoder.adaptation

    def get_config(self) -> dict[str, Any]:
        """What it was made with, as JSON types; a task adds its own settings."""
        return {"config": self.config.to_dict(), "adaptation": self.adaptation.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The inverse of `get_config`; `tokenizer` and `encoder` may be among the fields."""
        fields = dict(config)
        shape, adaptation = EncoderConfig.from_dict(fields.pop("config")), fields.pop("adaptation", None)
        if fields.get("encoder") is None:
            fields["encoder"] = Encoder(shape, fields.get("tokenizer"), adaptation)
        return cls(shape, **fields)  # type: ignore[call-arg]
