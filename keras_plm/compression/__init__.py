"""Compression: each function returns a smaller model of the same kind."""

from .clustering import Clusterer, cluster
from .embedding_factorization import factorize_embedding
from .pruning import Pruner, prune
from .shrinking import shrink
from .vocabulary_trimming import trim_vocabulary

__all__ = ["Clusterer", "Pruner", "cluster", "factorize_embedding", "prune", "shrink", "trim_vocabulary"]
