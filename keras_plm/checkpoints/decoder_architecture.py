"""The tables of architectures that generate text: decoders, and what they share with encoder-decoders."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from keras_plm.config import DecoderConfig

from .architecture import THEIR_ACTIVATION, Architecture, Head
from .rules import Rule, kernel, tie

OWN_HEAD = "head/kernel"
_TRAINING = ("dropout", "attention_dropout")


@dataclass(frozen=True, kw_only=True)
class GeneratingArchitecture(Architecture):
    """An architecture whose config is converted by two functions.

    Attributes:
        read: config.json → values of our config fields that do not correspond to one of Hugging Face's fields.
        write: the inverse of `read`.
    """

    read: Callable[[dict[str, Any]], dict[str, Any]]
    write: Callable[[Any], dict[str, Any]]

    def config(self, theirs: dict[str, Any], head: Head, found: set[str]) -> Any:
        return self._config(theirs)

    def _config(self, theirs: dict[str, Any]) -> Any:
        return self.config_class(**self._our_values(theirs) | self.fixed | self.read(theirs))

    def their_config(self, config: Any) -> dict[str, Any]:
        ours = config.to_dict() | {"activation": THEIR_ACTIVATION[config.activation]}
        theirs = {"model_type": self.model_type, **{name: ours[field] for name, (field, _) in self.fields.items()}}
        theirs |= self.required | self.write(config)
        # a field that changes when the config is converted back is not supported; dropout does not change outputs
        back = self._config(theirs)
        for name in (field.name for field in fields(config) if field.name not in _TRAINING):
            if getattr(back, name) != getattr(config, name):
                raise ValueError(f"{self.model_type} has no {name}={getattr(config, name)!r}")
        return theirs


@dataclass(frozen=True, kw_only=True)
class DecoderArchitecture(GeneratingArchitecture):
    """A decoder of GPT's or Llama's family."""

    config_class: ClassVar[Any] = DecoderConfig

    def rules(self, config: DecoderConfig, head: Head) -> list[Rule]:
        missing = {"none": ("query", "key", "value", "output"), "inputs": ("output",), "all": ()}[config.attention_bias]
        lost = {f"block_{i}/self_attention/{name}/bias" for i in range(config.num_layers) for name in missing}
        # Hugging Face's file may contain a copy of a tied head; it must contain an untied head
        lost |= {OWN_HEAD} if config.tied else set()
        rules = [*self.backbone, *self._block_rules(config), *head.rules]
        kept = [rule for rule in rules if not lost & set(rule.ours) and (config.tied or not rule.tied)]
        return sorted(kept, key=lambda rule: rule.tied)


def next_token_head() -> tuple[Rule, ...]:
    """The rules for the kernel of the logits: untied, or a copy of the embedding matrix."""
    return (*kernel("lm_head.weight", OWN_HEAD), *tie("lm_head.weight", "embedding/tokens"))
