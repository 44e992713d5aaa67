from dataclasses import dataclass
from typing import Any, Self

from .typed_fields import TypedFields

LORA_TARGETS = ("query", "key", "value", "output", "expand", "gate", "contract")


@dataclass(frozen=True, kw_only=True)
class Adaptation(TypedFields):
    """Additions to the layers of a backbone that do not change its shape: LoRA, adapters, fake quantization.

    Every layer with weights has an argument `adaptation`, and uses the fields that apply to it: `Projection` uses LoRA
    and fake quantization, a block uses the adapters.

    Raises:
        ValueError: a rank or width is below 0, `lora_targets` has unknown names, or LoRA is combined with fake
            quantization.

    Example:
        >>> Adaptation(lora_rank=8).lora_scale
        2.0

    Source: LoRA: Hu et al. 2022, https://arxiv.org/abs/2106.09685; adapters: Houlsby et al. 2019,
        https://arxiv.org/abs/1902.00751; fake quantization: Jacob et al. 2018, https://arxiv.org/abs/1712.05877
    """

    lora_rank: int = 0  # rank of the LoRA updates; 0 for none
    lora_alpha: float = 16.0  # LoRA updates are scaled by lora_alpha / lora_rank
    lora_targets: tuple[str, ...] = ("query", "value")  # from query, key, value, output, expand, gate, contract
    adapter_dim: int = 0  # width of the bottleneck adapters in each block; 0 for none
    quantization_aware: bool = False  # True: fake quantization to int8, with ranges learned in training

    def __post_init__(self) -> None:
        self.check_types()
        self.check_at_least(0, "lora_rank", "adapter_dim")
        unknown = sorted(set(self.lora_targets) - set(LORA_TARGETS))
        if unknown or (self.lora_rank and not self.lora_targets):
            raise ValueError(f"lora_targets={self.lora_targets} match no layer; choose from {', '.join(LORA_TARGETS)}")
        if self.quantization_aware and self.lora_rank:
            raise ValueError("LoRA with fake quantization is not supported: call plm.merge_lora first")

    @classmethod
    def get(cls, given: Self | dict[str, Any] | None) -> Self:
        """The adaptation of a layer: an `Adaptation`, its fields from a saved config, or None for no adaptation.

        Raises:
            TypeError: the argument has another type.
        """
        if given is not None and not isinstance(given, cls | dict):
            raise TypeError(f"adaptation={given!r:.60}; give a plm.Adaptation, such as plm.Adaptation(lora_rank=8)")
        return cls.from_dict(given or {}) if given is None or isinstance(given, dict) else given

    @property
    def lora_scale(self) -> float:
        """The factor of the LoRA updates, α / r."""
        return self.lora_alpha / max(self.lora_rank, 1)

    def without_lora(self) -> "Adaptation":
        """The same adaptation without LoRA."""
        return Adaptation(adapter_dim=self.adapter_dim, quantization_aware=self.quantization_aware)

    def rank_of(self, layer: str) -> int:
        """The rank of the LoRA update of a layer with this name; 0 for none."""
        return self.lora_rank if layer in self.lora_targets else 0
