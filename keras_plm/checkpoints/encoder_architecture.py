"""The tables of encoder architectures."""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras_plm.config import EncoderConfig, PoolerActivation

from .architecture import THEIR_ACTIVATION, Architecture, Head
from .rules import Rule, their_names


@dataclass(frozen=True, kw_only=True)
class EncoderArchitecture(Architecture):
    """An encoder of BERT's family.

    Attributes:
        pooler: Hugging Face's tensors of the pooler ↔ our weights; they are loaded if the file has them.
        pooler_activation: activation of the pooler, also of a classifier's pooler.
    """

    config_class: ClassVar[Any] = EncoderConfig
    what_fits: ClassVar[str] = "this pooler and these weights"
    ignored: tuple[str, ...] = ("embeddings.position_ids",)
    pooler: tuple[Rule, ...] = ()
    pooler_activation: PoolerActivation = "tanh"

    def config(self, theirs: dict[str, Any], head: Head, found: set[str]) -> EncoderConfig:
        values = self._our_values(theirs)
        values["max_sequence_length"] -= self.first_position
        if values.get("embedding_dim") == values["hidden_dim"] and not self.fixed.get("shared_layers"):
            values["embedding_dim"] = None
        has_pooler = head.has_pooler or self.pooler_is_in(found)
        values |= self.fixed | {"has_pooler": has_pooler, "pooler_activation": self.pooler_activation}
        return EncoderConfig(**values)

    def their_config(self, config: EncoderConfig) -> dict[str, Any]:
        if "type_vocab_size" in self.fields and not config.num_segments:
            raise ValueError(f"{self.model_type} has no num_segments=0")
        if "embedding_size" in self.fields:
            # ALBERT has a projection even if the widths are equal; ELECTRA has none in this case
            unlike = config.embedding_dim is None if self.fixed else config.embedding_dim == config.hidden_dim
            if unlike:
                raise ValueError(f"{self.model_type} has no embedding_dim={config.embedding_dim}")
        ours = config.to_dict()
        ours["activation"] = THEIR_ACTIVATION[config.activation]
        ours["max_sequence_length"] += self.first_position
        ours["embedding_dim"] = config.embedding_dim or config.hidden_dim
        theirs: dict[str, Any] = {"model_type": self.model_type}
        theirs |= {name: ours.pop(field) for name, (field, _) in self.fields.items()} | self.required
        defaults = EncoderConfig().to_dict() | {"embedding_dim": config.hidden_dim} | self.fixed
        for name, value in ours.items():
            if "pooler" not in name and value != defaults[name]:
                raise ValueError(f"{self.model_type} has no {name}={value!r}")
        return theirs

    @property
    def first_position(self) -> int:
        """The number of rows in Hugging Face's position embeddings before the row of the first token."""
        return max(rule.skipped_rows for rule in self.backbone)

    def rules(self, config: EncoderConfig, head: Head) -> list[Rule]:
        missing = {"embedding/segments"} if not config.num_segments else set()
        if config.embedding_dim is None:
            missing |= {"embedding/projection/kernel", "embedding/projection/bias"}
        rules = list(self.pooler) if config.has_pooler and not head.has_pooler else []
        rules += [rule for rule in self.backbone if not missing & set(rule.ours)]
        rules += self._block_rules(config, 1 if config.shared_layers else None)
        return sorted((*rules, *head.rules), key=lambda rule: rule.tied)

    def has_head_of(self, model: Any, head: Head) -> bool:
        config = model.config
        if head.needs_pooler and not config.has_pooler:
            return False
        if config.has_pooler and config.pooler_activation != self.pooler_activation:
            return False
        return head.activation in (None, config.activation)

    def is_complete(self, head: Head, found: set[str]) -> bool:
        return super().is_complete(head, found) and (self.pooler_is_in(found) or not head.needs_pooler)

    def pooler_is_in(self, found: set[str]) -> bool:
        """Whether the file has all tensors of the pooler."""
        return bool(self.pooler) and their_names(self.pooler) <= found
