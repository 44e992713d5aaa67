"""Raw text → a prepared corpus: shards of tokens, without duplicates, made by Apache Beam.

parts → raw documents → filters and duplicates → tokens → shards
"""

from .prepare import Prepare

__all__ = ["Prepare"]
