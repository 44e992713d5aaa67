"""The tables of encoder-decoder architectures."""

from dataclasses import dataclass
from typing import Any, ClassVar

from keras_plm.config import EncoderDecoderConfig

from .architecture import Head
from .decoder_architecture import OWN_HEAD, GeneratingArchitecture
from .rules import Rule, tie


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderArchitecture(GeneratingArchitecture):
    """An encoder-decoder, such as T5 or BART."""

    config_class: ClassVar[Any] = EncoderDecoderConfig

    def rules(self, config: EncoderDecoderConfig, head: Head) -> list[Rule]:
        # Hugging Face's file may contain a copy of a tied head; it must contain an untied head
        rules = [*self.backbone, *self._block_rules(config), *head.rules]
        kept = [r for r in rules if (OWN_HEAD not in r.ours if config.tied else not self._is_copy_of_head(r))]
        return sorted(kept, key=lambda rule: rule.tied)

    def _is_copy_of_head(self, rule: Rule) -> bool:
        return rule.tied and rule.theirs == ("lm_head.weight",)


def shared_embedding() -> tuple[Rule, ...]:
    """The rules for one embedding matrix of both stacks."""
    copies = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
    return tuple(rule for name in copies for rule in tie(name, "embedding/tokens"))
