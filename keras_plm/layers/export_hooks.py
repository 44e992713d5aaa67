"""Changes that an exporter can make to the graph of the layers. They apply only while the exporter traces it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from keras_plm.tensor_types import Tensor

from .masks import MASKED_SCORE


def _unchanged(x: Tensor) -> Tensor:
    return x


@dataclass(frozen=True, kw_only=True)
class GraphHooks:
    """Functions and values that the layers use while a graph is traced.

    Attributes:
        masked_score: added to the attention scores where a key is hidden.
        look_up: (V, E) matrix and (B, T) ids → (B, T, E) rows; None means the layer's own look-up.
        attention_weights: (B, N, T, S) weights → the same shape, before the product with the values.
        normalized: output of a normalization layer → the same shape.
    """

    masked_score: float = MASKED_SCORE
    look_up: Callable[[Tensor, Tensor], Tensor] | None = None
    attention_weights: Callable[[Tensor], Tensor] = _unchanged
    normalized: Callable[[Tensor], Tensor] = _unchanged


_USUAL = GraphHooks()
_IN_FORCE: ContextVar[GraphHooks] = ContextVar("graph_hooks", default=_USUAL)


def graph_hooks() -> GraphHooks:
    """The hooks that apply now."""
    return _IN_FORCE.get()


@contextmanager
def tracing_with(hooks: GraphHooks) -> Iterator[None]:
    """Within this context, layers are traced with these hooks."""
    before = _IN_FORCE.set(hooks)
    try:
        yield
    finally:
        _IN_FORCE.reset(before)
