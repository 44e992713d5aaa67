from dataclasses import dataclass, field
from typing import Any, ClassVar

from .rules import Rule, their_names

# Hugging Face's names of activations → ours.
ACTIVATIONS = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu",
}  # fmt: skip
THEIR_ACTIVATION = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}


@dataclass(frozen=True, kw_only=True)
class Head:
    """What one of Hugging Face's classes has on top of the backbone.

    Attributes:
        their_class: its name.
        our_class: ours.
        rules: their tensors ↔ our weights.
        ignored: tensors that other versions wrote and nothing reads.
        has_pooler: `rules` have the weights of our pooler, whatever the architecture says.
        needs_pooler: the head reads the pooler's output.
        activation: the one that the head has whatever the config says; None for the config's.
        options: keyword arguments of our class.
    """

    their_class: str
    our_class: type[Any]
    rules: tuple[Rule, ...] = ()
    ignored: tuple[str, ...] = ()
    has_pooler: bool = False
    needs_pooler: bool = False
    activation: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> set[str]:
        """Their tensors; not the second copies."""
        return their_names(self.rules, tied=False)

    @property
    def all_names(self) -> set[str]:
        """Their tensors, with the second copies and what is ignored."""
        return their_names(self.rules) | set(self.ignored)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Blocks of the same kind, one behind the other.

    Attributes:
        rules: their tensors of a block ↔ our weights, `{i}` being its number.
        num_layers: our config field that says how many there are.
    """

    rules: tuple[Rule, ...]
    num_layers: str = "num_layers"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One of Hugging Face's families of models: tables from their names to ours.

    Attributes:
        model_type: its name in config.json.
        prefix: of the backbone's tensors where a head is on top of it.
        fields: their config field → (ours, the value if it is absent).
        fixed: our config fields that all models of this architecture share.
        required: their config fields that must have this value if they are there.
        backbone: their tensors outside the blocks ↔ our weights.
        stacks: the blocks; an encoder and a decoder have one stack.
        heads: what can stand on top.
        ignored: ends of names of tensors that are no weights, such as masks.
        config_class: of our configs.
        what_fits: what else than the config must be alike, for messages.
    """

    config_class: ClassVar[Any]
    what_fits: ClassVar[str] = "these weights"
    model_type: str
    prefix: str
    fields: dict[str, tuple[str, Any]]
    fixed: dict[str, Any] = field(default_factory=dict)
    required: dict[str, Any] = field(default_factory=dict)
    backbone: tuple[Rule, ...]
    stacks: tuple[Stack, ...]
    heads: tuple[Head, ...]
    ignored: tuple[str, ...] = ()

    def config(self, theirs: dict[str, Any], head: Head, found: set[str]) -> Any:
        """Our config for theirs.

        Args:
            theirs: the fields of config.json.
            head: the head that was chosen.
            found: the names of the tensors.

        Raises:
            ValueError: a value that our layers cannot reproduce.
        """
        raise NotImplementedError

    def their_config(self, config: Any) -> dict[str, Any]:
        """The inverse of `config`.

        Raises:
            ValueError: this architecture has no such model.
        """
        raise NotImplementedError

    def rules(self, config: Any, head: Head) -> list[Rule]:
        """Their tensors ↔ our weights, for a model of that config with that head; second copies are the last."""
        raise NotImplementedError

    def has_head_of(self, model: Any, head: Head) -> bool:
        """Whether what that head does is what the model does, when class and weights are alike."""
        return True

    def belongs_to_backbone(self, name: str) -> bool:
        """Whether a tensor of that name would be one of the backbone, known or not."""
        return name.split(".")[0] in {known.split(".")[0] for known in self._backbone_names}

    @property
    def _backbone_names(self) -> set[str]:
        return their_names(self.backbone) | {name for stack in self.stacks for name in their_names(stack.rules)}

    def _our_values(self, theirs: dict[str, Any]) -> dict[str, Any]:
        """The fields that both have, in our names.

        Raises:
            ValueError: a value that our layers cannot reproduce.
        """
        for name, wanted in self.required.items():
            if theirs.get(name, wanted) != wanted:
                raise ValueError(f"{name}={theirs[name]!r} is not supported for {self.model_type}, only {wanted!r}")
        values = {ours: theirs.get(name, default) for name, (ours, default) in self.fields.items()}
        if values["activation"] not in ACTIVATIONS:
            raise ValueError(f"activation {values['activation']!r} is not supported, only {sorted(ACTIVATIONS)}")
        values["activation"] = ACTIVATIONS[values["activation"]]
        return values

    def _block_rules(self, config: Any, blocks: int | None = None) -> list[Rule]:
        return [
            rule.of_block(i)
            for stack in self.stacks
            for i in range(getattr(config, stack.num_layers) if blocks is None else blocks)
            for rule in stack.rules
        ]

    def choose(self, found: set[str], wanted: str | None) -> Head:
        """The head whose tensors are there.

        Args:
            found: the tensors' names without the prefix.
            wanted: the class that config.json names. It is taken unless another has all of its tensors and more: many
                files that say MaskedLM hold next sentence too.

        Raises:
            ValueError: a class that is not in the table, and is known to have another head.
        """
        classes = [head.their_class for head in self.heads]
        if wanted is not None and wanted not in classes and "For" in wanted:
            raise ValueError(f"the class {wanted} is not supported, only {', '.join(dict.fromkeys(classes))}")
        complete = [head for head in self.heads if self.is_complete(head, found)]
        for named in self.heads:
            if named.their_class == wanted:
                larger = [head for head in complete if head.names > named.names and named.names]
                return larger[0] if larger else named
        every_name = {name for head in self.heads for name in their_names(head.rules)}

        def unread(head: Head) -> int:
            return len(found & every_name - head.all_names)

        return min(complete, key=unread)

    def is_complete(self, head: Head, found: set[str]) -> bool:
        """Whether all that the head needs is there."""
        return head.names <= found
