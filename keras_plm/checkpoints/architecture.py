from dataclasses import dataclass, field
from typing import Any

from keras_plm.config import EncoderConfig, PoolerActivation

from .rules import Rule, their_names

# Hugging Face's names of activations → ours.
ACTIVATIONS = {
    "gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh", "relu": "relu", "silu": "silu", "swish": "silu",
}  # fmt: skip
_THEIR_ACTIVATION = {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "silu": "silu"}


@dataclass(frozen=True, kw_only=True)
class Head:
    """What one of Hugging Face's classes has on top of the encoder.

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
    """One of Hugging Face's encoders: tables from their names to ours.

    Attributes:
        model_type: its name in config.json.
        prefix: of the encoder's tensors where a head is on top of it.
        fields: their config field → (ours, the value if it is absent).
        fixed: our config fields that all models of this architecture share.
        required: their config fields that must have this value if they are there.
        encoder: their tensors outside the blocks ↔ our weights.
        stacks: the blocks; an encoder has one stack.
        pooler: their tensors of the pooler ↔ our weights; loaded where they are there.
        pooler_activation: of the pooler, the architecture's or a classifier's.
        heads: what can stand on top, the bare encoder first.
    """

    model_type: str
    prefix: str
    fields: dict[str, tuple[str, Any]]
    fixed: dict[str, Any] = field(default_factory=dict)
    required: dict[str, Any] = field(default_factory=dict)
    encoder: tuple[Rule, ...]
    stacks: tuple[Stack, ...]
    pooler: tuple[Rule, ...] = ()
    pooler_activation: PoolerActivation = "tanh"
    heads: tuple[Head, ...]

    def config(self, theirs: dict[str, Any], has_pooler: bool) -> EncoderConfig:
        """Our config for theirs.

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
        values["max_sequence_length"] -= self.first_position
        if values.get("embedding_dim") == values["hidden_dim"] and not self.fixed.get("shared_layers"):
            values["embedding_dim"] = None
        values |= self.fixed | {"has_pooler": has_pooler, "pooler_activation": self.pooler_activation}
        return EncoderConfig(**values)

    def their_config(self, config: EncoderConfig) -> dict[str, Any]:
        """The inverse of `config`.

        Raises:
            ValueError: this architecture has no such model.
        """
        if "type_vocab_size" in self.fields and not config.num_segments:
            raise ValueError(f"{self.model_type} has no num_segments=0")
        if "embedding_size" in self.fields:
            # ALBERT projects even between equal widths, ELECTRA never does
            unlike = config.embedding_dim is None if self.fixed else config.embedding_dim == config.hidden_dim
            if unlike:
                raise ValueError(f"{self.model_type} has no embedding_dim={config.embedding_dim}")
        ours = config.to_dict()
        ours["activation"] = _THEIR_ACTIVATION[config.activation]
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
        """Rows of their position embeddings before the one of the first token."""
        return max(rule.skipped_rows for rule in self.encoder)

    def rules(self, config: EncoderConfig, head: Head) -> list[Rule]:
        """Their tensors ↔ our weights, for a model of that config with that head; second copies are the last."""
        missing = {"embedding/segments"} if not config.num_segments else set()
        if config.embedding_dim is None:
            missing |= {"embedding/projection/kernel", "embedding/projection/bias"}
        rules = list(self.pooler) if config.has_pooler and not head.has_pooler else []
        rules += [rule for rule in self.encoder if not missing & set(rule.ours)]
        for stack in self.stacks:
            blocks = 1 if config.shared_layers else getattr(config, stack.num_layers)
            rules += [rule.of_block(i) for i in range(blocks) for rule in stack.rules]
        return sorted((*rules, *head.rules), key=lambda rule: rule.tied)

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
        complete = [head for head in self.heads if self._complete(head, found)]
        for named in self.heads:
            if named.their_class == wanted:
                larger = [head for head in complete if head.names > named.names and named.names]
                return larger[0] if larger else named
        every_name = {name for head in self.heads for name in their_names(head.rules)}

        def unread(head: Head) -> int:
            return len(found & every_name - head.all_names)

        return min(complete, key=unread)

    def _complete(self, head: Head, found: set[str]) -> bool:
        return head.names <= found and (self.pooler_is_in(found) or not head.needs_pooler)

    def pooler_is_in(self, found: set[str]) -> bool:
        """Whether the pooler's tensors are there."""
        return bool(self.pooler) and their_names(self.pooler) <= found
