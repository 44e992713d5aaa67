from typing import Any, ClassVar, Protocol, Self, TypeVar

from keras_plm.config import Adaptation
from keras_plm.text import Tokenizer

from .encoder import Encoder
from .tokenizer_assets import KeepsTokenizer


class BackboneModel(KeepsTokenizer):
    """A model with a backbone. Keras saves it with the config and the adaptation of the backbone.

    Attributes:
        config: the sizes of the backbone.
        backbone_class: the class of the backbone.
        backbone_field: the name of the attribute, and of the constructor's argument, for the backbone.
        pretrained_head: whether a fine-tuning starts with a head that was pre-trained, so that LoRA and adapters leave
            it unchanged.
    """

    backbone_class: ClassVar[Any] = Encoder
    backbone_field: ClassVar[str] = "encoder"
    pretrained_head: ClassVar[bool] = False
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
        """The settings that the model was created with, as JSON types. A task adds its own settings."""
        return {"config": self.config.to_dict(), "adaptation": self.adaptation.to_dict(), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """The inverse of `get_config`. The fields may include `tokenizer` and the backbone."""
        fields = dict(config)
        shape = cls.backbone_class.config_class.from_dict(fields.pop("config"))
        adaptation = fields.pop("adaptation", None)
        if fields.get(cls.backbone_field) is None:
            fields[cls.backbone_field] = cls.backbone_class(shape, fields.get("tokenizer"), adaptation)
        return cls(shape, **fields)  # type: ignore[call-arg]


class ConfiguredModel(Protocol):
    """The common interface of backbones and models with a backbone: they can be created again from their settings."""

    tokenizer: Tokenizer | None

    @property
    def config(self) -> Any:
        """The sizes of the backbone."""

    @property
    def adaptation(self) -> Adaptation:
        """LoRA, adapters or fake quantization in the layers of the backbone."""

    def get_config(self) -> dict[str, Any]:
        """The settings that the model was created with, as JSON types."""


AnyModel = TypeVar("AnyModel", bound=ConfiguredModel)
