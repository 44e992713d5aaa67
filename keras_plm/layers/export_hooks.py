"""What an exporter may change in the graph that layers write: declared here, and in force only while it is traced."""

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
    """What layers ask while a graph is traced.

    Attributes:
        masked_score: is added to attention scores where a key may not be seen.
        look_up: (V, E) matrix and (B, T) ids → (B, T, E) rows, in place of the layer's own; None leaves that.
        attention_weights: (B, N, T, S) weights → the same, before they are multiplied with the values.
        normalized: what a `ResidualNorm` gives → the same.
    """

    masked_score: float = MASKED_SCORE
    look_up: Callable[[Tensor, Tensor], Tensor] | None = None
    attention_weights: Callable[[Tensor], Tensor] = _unchanged
    normalized: Callable[[Tensor], Tensor] = _unchanged


_USUAL = GraphHooks()
_IN_FORCE: ContextVar[GraphHooks] = ContextVar("graph_hooks", default=_USUAL)


def graph_hooks() -> GraphHooks:
    """Those that are in force."""
    return _IN_FORCE.get()


@contextmanager
def tracing_with(hooks: GraphHooks) -> Iterator[None]:
    """Within it, layers that are traced ask these hooks."""
    before = _IN_FORCE.set(hooks)
    try:
        yield
    finally:
        _IN_FORCE.reset(before)
