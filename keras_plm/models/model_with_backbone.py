from typing import Any, ClassVar, Protocol, Self, TypeVar

from keras_plm.config import Adaptation
from keras_plm.text import Tokenizer

from .encoder import Encoder
from .tokenizer_assets import KeepsTokenizer


class BackboneModel(KeepsTokenizer):
    """A model on top of a backbone: Keras saves it with the config of the backbone and what was added to its layers.

    Attributes:
        config: the sizes of its backbone.
        backbone_class: that of the backbone.
        backbone_field: the attribute, and the argument of the constructor, that is the backbone.
    """

    backbone_class: ClassVar[Any] = Encoder
    backbone_field: ClassVar[str] = "encoder"
    config: Any
    name: str

    @property
    def backbone(self) -> Any:
        """The backbone."""
        return getattr(self, self.backbone_field)

    @property
    def adaptation(self) -> Adaptation:
        """LoRA, adapters or fake quantization in the layers of the backbone."""
        return self.backbone.adaptation

    def get_config(self) -> dict[str, Any]:
        """What it was made with, as JSON types; a task adds its own settings."""
        return {"config": self.config.to_dict(), "adaptation": self.adaptation.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The inverse of `get_config`; `tokenizer` and the backbone may be among the fields."""
        fields = dict(config)
        shape = cls.backbone_class.config_class.from_dict(fields.pop("config"))
        adaptation = fields.pop("adaptation", None)
        if fields.get(cls.backbone_field) is None:
            fields[cls.backbone_field] = cls.backbone_class(shape, fields.get("tokenizer"), adaptation)
        return cls(shape, **fields)  # type: ignore[call-arg]


class ConfiguredModel(Protocol):
    """What backbones and the models on top of them have in common: they are made again from their settings."""

    tokenizer: Tokenizer | None

    @property
    def config(self) -> Any:
        """The sizes of the backbone."""

    @property
    def adaptation(self) -> Adaptation:
        """What is added to its layers."""

    def get_config(self) -> dict[str, Any]:
        """What it was made with, as JSON types."""


AnyModel = TypeVar("AnyModel", bound=ConfiguredModel)
