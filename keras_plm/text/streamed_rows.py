import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf
from rich.progress import track

from .datasets import ready
from .token_shards import PreparedCorpus, Shard
from .tokenized_corpus import TokenizedCorpus

BLOCK_TOKENS = 16_000_000  # tokens of the shards that are in memory together: 64 MB, and the next ones are being read


class Rows(Protocol):
    """Rows of tokens in memory, as the source of batches for pre-training."""

    def __len__(self) -> int: ...

    def training_dataset(self, batch_size: int, num_steps: int, first_step: int = 0, seed: int = 0) -> tf.data.Dataset:
        """Batches of shuffled rows; each batch is a function of (seed, step)."""


class _Part(NamedTuple):
    """Steps of a training with the rows of one block."""

    block: int
    seed: int
    first_step: int
    num_steps: int


class RowsInBlocks(ABC):
    """Rows of several blocks, one after the other. The blocks have a random order in each epoch.

    Each block gets another seed in each epoch, so its rows have another order, and draw other things.

    Attributes:
        sizes: the number of rows of each block.
    """

    sizes: list[int]

    @abstractmethod
    def read(self, block: int) -> Rows:
        """The rows of a block."""

    def __len__(self) -> int:
        return sum(self.sizes)

    def training_dataset(self, batch_size: int, num_steps: int, first_step: int = 0, seed: int = 0) -> tf.data.Dataset:
        """Batches of shuffled rows; each batch is a function of (seed, step).

        A block ends with a full batch, which repeats some of its rows.

        Args:
            batch_size: rows per batch, summed over all replicas.
            num_steps: the dataset ends before this step.
            first_step: the dataset begins at this step. Its batches are the same as in a dataset that starts at 0.
            seed: random seed of the order, and of what the rows draw.
        """
        parts = list(self._parts(batch_size, num_steps, first_step, seed))
        if not parts:
            raise ValueError(f"no batch between step {first_step} and step {num_steps}")
        first = [self.read(parts[0].block)]
        form = first[0].training_dataset(batch_size, 1).element_spec

        def batches() -> Iterator[Any]:
            with ThreadPoolExecutor(1) as reader:
                rows = first.pop() if first else self.read(parts[0].block)
                for part, following in zip(parts, [*parts[1:], None], strict=True):
                    reading = None if following is None else reader.submit(self.read, following.block)
                    yield from rows.training_dataset(batch_size, part.num_steps, part.first_step, part.seed)
                    if reading is not None:
                        rows = reading.result()

        dataset = tf.data.Dataset.from_generator(batches, output_signature=form)
        # Keras warns of a validation whose number of batches it does not know
        return ready(dataset.apply(tf.data.experimental.assert_cardinality(num_steps - first_step)))

    def _parts(self, batch_size: int, num_steps: int, first_step: int, seed: int) -> Iterator[_Part]:
        """The blocks in the order of the training, from the block of the first step."""
        begin, epoch = 0, 0
        steps = [math.ceil(size / batch_size) for size in self.sizes]
        if first_step >= sum(steps):
            epoch = first_step // sum(steps)
            begin = epoch * sum(steps)
        while begin < num_steps:
            for block in np.random.default_rng([seed, epoch]).permutation(len(steps)).tolist():
                end = min(begin + steps[block], num_steps)
                if first_step < end and begin < num_steps:
                    (own_seed,) = np.random.SeedSequence([seed, epoch, block]).generate_state(1)
                    yield _Part(block, int(own_seed) % 2**31, max(first_step - begin, 0), end - begin)
                begin += steps[block]
            epoch += 1


class Epochs(RowsInBlocks):
    """Rows in memory that draw their passages again in each epoch.

    Args:
        rows: rows that draw passages once for each dataset, such as `PackedPassages`.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.sizes = [len(rows)]

    def read(self, block: int) -> Rows:
        """The rows."""
        return self.rows


class StreamedRows(RowsInBlocks):
    """Rows of a prepared corpus that is larger than the memory.

    The shards are distributed over blocks, and one block after the other is in memory. The blocks have a random order
    in each epoch, and so have the rows inside a block. Each batch is a function of (seed, step).

    Args:
        corpus: the prepared corpus.
        make_rows: the rows of some documents.
        sizes: the number of rows of each block, from the `sizes` of an earlier object. None reads all shards once and
            counts them.
        block_tokens: number of tokens of a block, about.
        progress: show a progress bar while counting.

    Attributes:
        sizes: the number of rows of each block.

    Raises:
        ValueError: a shard is damaged, or has too little text for a row; or `sizes` has another length.

    Differs: a shuffle buffer, as in tf.data, has an order that a resumed training would have to read from the start.
    """

    def __init__(
        self,
        corpus: PreparedCorpus,
        make_rows: Callable[[TokenizedCorpus], Rows],
        sizes: Sequence[int] | None = None,
        block_tokens: int = BLOCK_TOKENS,
        progress: bool = False,
    ) -> None:
        self.corpus, self.make_rows = corpus, make_rows
        self._blocks = _blocks(corpus.shards, block_tokens)
        if sizes is None:
            numbers = track(range(len(self._blocks)), "counting rows", disable=not progress)
            sizes = [len(self.read(block)) for block in numbers]
        if len(sizes) != len(self._blocks):
            raise ValueError(f"sizes has {len(sizes)} numbers, but there are {len(self._blocks)} blocks")
        if not all(type(size) is int and size > 0 for size in sizes):
            raise ValueError(f"sizes={str(list(sizes)):.60}; each block must have a whole number of rows, at least 1")
        self.sizes = list(sizes)

    def read(self, block: int) -> Rows:
        """The rows of some shards."""
        return self.make_rows(TokenizedCorpus.joined([self.corpus.read(shard) for shard in self._blocks[block]]))


def _blocks(shards: Sequence[Shard], block_tokens: int) -> list[list[Shard]]:
    """Distribute shards over blocks with about the same number of tokens, none with less than half of `block_tokens`.

    A block has shards from all over the corpus, because neighbors are similar.
    """
    total = sum(shard.tokens for shard in shards)
    blocks: list[list[Shard]] = [[] for _ in range(max(round(total / block_tokens), 1))]
    tokens = [0] * len(blocks)
    for shard in sorted(shards, key=lambda shard: -shard.tokens):
        smallest = tokens.index(min(tokens))
        blocks[smallest].append(shard)
        tokens[smallest] += shard.tokens
    while len(blocks) > 1 and min(tokens) < block_tokens / 2:  # there is a shard that is larger than a block
        smallest = tokens.index(min(tokens))
        moved, count = blocks.pop(smallest), tokens.pop(smallest)
        smallest = tokens.index(min(tokens))
        blocks[smallest] += moved
        tokens[smallest] += count
    return blocks
