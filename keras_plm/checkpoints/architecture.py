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
    """The head of one of Hugging Face's model classes.

    Attributes:
        their_class: name of Hugging Face's class.
        our_class: the class of this package.
        rules: Hugging Face's tensors ↔ our weights.
        ignored: unused tensors that some versions write.
        has_pooler: whether `rules` include the weights of our pooler, even if the architecture has no pooler.
        needs_pooler: whether the head reads the pooler's output.
        activation: fixed activation of the head; None means the activation of the config.
        options: keyword arguments for our class.
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
        """The names of Hugging Face's tensors, without tied copies."""
        return their_names(self.rules, tied=False)

    @property
    def all_names(self) -> set[str]:
        """The names of Hugging Face's tensors, including tied copies and ignored tensors."""
        return their_names(self.rules) | set(self.ignored)


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A sequence of blocks of the same kind.

    Attributes:
        rules: Hugging Face's tensors of a block ↔ our weights; `{i}` is the number of the block.
        num_layers: our config field with the number of blocks.
    """

    rules: tuple[Rule, ...]
    num_layers: str = "num_layers"


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One of Hugging Face's architectures: tables that map its names to ours.

    Attributes:
        model_type: its name in config.json.
        prefix: prefix of the backbone's tensors in a model with a head.
        fields: Hugging Face's config field → (our field, default value).
        fixed: values of our config fields that all models of this architecture share.
        required: Hugging Face's config fields that must have these values, if present.
        backbone: Hugging Face's tensors outside the blocks ↔ our weights.
        stacks: the blocks; encoders and decoders have one stack.
        heads: the possible heads.
        ignored: endings of the names of tensors that are not weights, such as masks.
        config_class: the class of our config.
        what_fits: what must fit in addition to the config, for error messages.
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
        """Convert Hugging Face's config to ours.

        Args:
            theirs: the fields of config.json.
            head: the chosen head.
            found: the names of the tensors.

        Raises:
            ValueError: our layers do not support a value.
        """
        raise NotImplementedError

    def their_config(self, config: Any) -> dict[str, Any]:
        """The inverse of `config`.

        Raises:
            ValueError: this architecture does not support such a model.
        """
        raise NotImplementedError

    def rules(self, config: Any, head: Head) -> list[Rule]:
        """Hugging Face's tensors ↔ our weights, for a model with this config and this head. Tied copies come last."""
        raise NotImplementedError

    def has_head_of(self, model: Any, head: Head) -> bool:
        """Whether a head computes what the model computes, given that class and weights are equal."""
        return True

    def belongs_to_backbone(self, name: str) -> bool:
        """Whether a tensor is part of the backbone, judged by the first part of its name."""
        return name.split(".")[0] in {known.split(".")[0] for known in self._backbone_names}

    @property
    def _backbone_names(self) -> set[str]:
        return their_names(self.backbone) | {name for stack in self.stacks for name in their_names(stack.rules)}

    def _our_values(self, theirs: dict[str, Any]) -> dict[str, Any]:
        """Our values of the config fields in the table.

        Raises:
            ValueError: our layers do not support a value.
        """
        for name, wanted in self.required.items():
            if theirs.get(name, wanted) != wanted:
                raise ValueError(f"{name}={theirs[name]!r} is not supported for {self.model_type}, only {wanted!r}")
        values = {ours: theirs.get(name, default) for name, (ours, default) in self.fields.items()}
        if "activation" in values:  # otherwise the architecture has its own field for it
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
        """Choose the head from the tensors of a checkpoint.

        Args:
            found: names of the tensors, without the prefix.
            wanted: the class that config.json names. It is chosen unless the checkpoint has all tensors of a larger
                head that includes it: many files named MaskedLM also have the next-sentence head.

        Raises:
            ValueError: the class is not in the table, but its name says that it has a head.
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
        """Whether a file with these tensors has all tensors of the head."""
        return head.names <= found
